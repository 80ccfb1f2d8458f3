"""Input 13: requests that two servers could read differently, sent byte by byte."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.gateway.kit import Cluster, Gateway, eventually

_BODY = json.dumps({"model": "gemma", "messages": []}).encode()
_POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
_INNER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n" + b'{"model":"hidden"}'
_CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)

# Each must get one 400 and a closed connection: nothing of what follows may be taken for a request.
BAD = {
    "two lengths that differ": _POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + _INNER,
    "two lengths that agree": _POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + _INNER,
    "a list of lengths": _POST + b"Content-Length: 2, 2\r\n\r\n{}" + _INNER,
    "length and chunks": _POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED + _INNER,
    "chunks and length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + _CHUNKED + _INNER,
    "chunks twice": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED + _INNER,
    "unknown coding": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + _CHUNKED + _INNER,
    "coding with a tab": _POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + _CHUNKED + _INNER,
    "length with a sign": _POST + b"Content-Length: +2\r\n\r\n{}" + _INNER,
    "length in hex": _POST + b"Content-Length: 0x2\r\n\r\n{}" + _INNER,
    "negative length": _POST + b"Content-Length: -1\r\n\r\n" + _INNER,
    "huge length": _POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + _INNER,
    "a twin of the length": _POST + b"Content-Length: 2\r\nContent_Length: 99\r\n\r\n{}" + _INNER,
    "a twin of the coding": _POST + b"Content-Length: 2\r\nTransfer_Encoding: chunked\r\n\r\n{}" + _INNER,
    "space before the colon": _POST + b"Content-Length : 2\r\n\r\n{}" + _INNER,
    "a folded header": _POST + b"X-A: b\r\n Content-Length: 2\r\n\r\n" + _INNER,
    "bare line feeds": b"POST /v1/chat/completions HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}" + _INNER,
    "a bare carriage return": _POST + b"X-A: b\rContent-Length: 2\r\n\r\n" + _INNER,
    "a null in a header": _POST + b"X-A: a\x00b\r\n\r\n" + _INNER,
    "two hosts": _POST + b"Host: b\r\nContent-Length: 2\r\n\r\n{}" + _INNER,
    "an unknown version": b"POST /v1/chat/completions HTTP/9.9\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" + _INNER,
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _INNER,
    "a broken chunk size": _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n" + _INNER,
    "a chunk without its end": _POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n" + _INNER,
}


def _talk(gateway: Gateway, data: bytes, *, more: bool = True) -> bytes:
    """All that comes back until the server closes; or what comes in a while, if it does not."""
    with socket.create_connection(("127.0.0.1", urlsplit(gateway.url).port or 0), timeout=3 if more else 30) as client:
        client.sendall(data)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def _statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"(?:^|\}|\n)HTTP/1\.1 ([0-9]{3}) ", answer)]


def test_nothing_is_smuggled(cluster: Cluster, tmp_path: Path) -> None:
    cluster.model("gemma")
    cluster.model("hidden")
    name = f"{cluster.namespace}/gemma"
    with cluster.pod(models={name: "Ready"}) as pod, Gateway(cluster, tmp_path / "gw") as gateway:
        cluster.pods(pod)
        gateway.knows(name, "Ready")
        for what, data in BAD.items():
            answer = _talk(gateway, data, more=False)
            assert _statuses(answer) == [400], (what, answer)
            assert b"connection: close" in answer, what
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request", what
        assert not pod.requests, [seen.body for seen in pod.requests]
        assert not [line for line in gateway.logs() if "hidden" in str(line)]
        length = b"Content-Length: %d\r\n\r\n" % len(_BODY)
        two = _talk(gateway, (_POST + length + _BODY) * 2)
        assert _statuses(two) == [200, 200], "one after the other is fine"
        assert _statuses(_talk(gateway, _POST + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKED)) == [200]
        assert [seen.model for seen in pod.requests] == [name] * 3


def test_heads_are_bounded_in_size_and_time(cluster: Cluster, tmp_path: Path) -> None:
    with Gateway(cluster, tmp_path / "gw") as gateway:
        for head in (_POST + b"X-A: " + b"a" * (1 << 20), _POST + b"X-A: b\r\n" * 100_000,
                     b"GET /" + b"a" * (1 << 20)):
            answer = _talk(gateway, head, more=False)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 431 "), answer[:200]
        assert gateway.probe("livez") == 200
        eventually(lambda: "paddock_gateway_connections 0.0" in gateway.metrics())


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
def test_a_refusal_before_the_body_leaves_no_rest_behind(cluster: Cluster, tmp_path: Path, expects: bytes) -> None:
    """What was announced as a body is never read as a request."""
    with Gateway(cluster, tmp_path / "gw", keys={}) as gateway:
        head = _POST + expects + b"Content-Length: %d\r\n\r\n" % len(_INNER)
        answer = _talk(gateway, head + _INNER)
        assert _statuses(answer) == [401]
        assert (b"connection: close" in answer) == bool(expects)
