"""One render worker: frames in, frames out, until the socket closes. It trusts no template and nobody trusts it.

A frame is a 4-byte big-endian length and its bytes. In: JSON {"template", "variables"}; without variables the template
is only compiled. Out: one byte of `Answer`, then UTF-8 text. The first frame out is empty: ready.
"""

from __future__ import annotations

import json
import resource
import signal
import socket
import struct
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

from paddock_runtime.render.environment import Refusal, Templates

HEADER = struct.Struct(">I")
TEXT = b"t"
REFUSED = b"r"  # by the template's raise_exception
FAILED = b"f"
OVER_MEMORY = b"m"
OVER_OUTPUT = b"o"


class TooLong(Exception):
    pass


def main(descriptor: int, cpu_milliseconds: int, memory_bytes: int, output_bytes: int) -> None:
    with socket.socket(fileno=descriptor) as connection:
        limit_process(memory_bytes)
        templates = Templates()
        connection.sendall(HEADER.pack(0))
        while (request := receive(connection)) is not None:
            answer = limited(templates, request, cpu_milliseconds / 1000, output_bytes)
            connection.sendall(HEADER.pack(len(answer)) + answer)
            if answer[:1] == OVER_MEMORY:
                return  # what is left of the heap is not worth keeping


def limit_process(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def receive(connection: socket.socket) -> bytes | None:
    header = receive_exactly(connection, HEADER.size)
    return None if header is None else receive_exactly(connection, HEADER.unpack(header)[0])


def receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(count - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def limited(templates: Templates, request: bytes, cpu_seconds: float, output_bytes: int) -> bytes:
    """The answer. The kernel ends the process when the CPU time is used up: no code in here could stop a long C call.

    The timer is exact; RLIMIT_CPU, a second and more later, is the net below it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + cpu_seconds) + 2, hard))
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        return answer_to(templates, request, output_bytes)
    except MemoryError:
        return OVER_MEMORY
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def answer_to(templates: Templates, request: bytes, output_bytes: int) -> bytes:
    try:
        job: dict[str, Any] = json.loads(request)
        if "variables" not in job:
            templates.get(job["template"])
            return TEXT
        return TEXT + render(templates, job["template"], job["variables"], output_bytes)
    except TooLong:
        return OVER_OUTPUT
    except Refusal as error:
        return REFUSED + told(str(error))
    except TemplateSyntaxError as error:
        return FAILED + told(f"line {error.lineno}: {error.message}")
    except SecurityError as error:
        return FAILED + told(f"it is not allowed: {error}")
    except TemplateError as error:
        return FAILED + told(str(error))
    except RecursionError:
        return FAILED + told("it is nested or recurses too deeply")
    except UnicodeEncodeError:
        return FAILED + told("its text holds a lone surrogate")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a template can raise anything that Python can)
        return FAILED + told(f"{type(error).__name__}: {error}")


def render(templates: Templates, source: str, variables: dict[str, Any], output_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in templates.get(source).generate(variables):
        size += len(part)
        if size > output_bytes:
            raise TooLong
        parts.append(part.encode())
    text = b"".join(parts)
    if len(text) > output_bytes:
        raise TooLong
    return text


def told(message: str) -> bytes:
    return message[:500].encode("utf-8", "replace")
