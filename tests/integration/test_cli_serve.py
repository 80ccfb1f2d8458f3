"""`paddock serve` as its user runs it: a process, signals, exit codes, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.models import gemma
from tests.pod_kit import DEADLINE, eventually, write_gemma

ROOT = Path(__file__).resolve().parents[2]
HELLO = {"model": "gemma", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "paddock_cli", *map(str, arguments)]


def environment(tmp: Path) -> dict[str, str]:
    paths = [str(ROOT / name) for name in ("api", "runtime", "cli")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(tmp)}


@contextmanager
def serving(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    models, temporary = tmp_path / "models", tmp_path / "tmp"
    models.mkdir()
    temporary.mkdir()
    write_gemma(models, gemma())
    process = subprocess.Popen(
        command("serve", models, "--port", "0", "--cache", tmp_path / "cache", *arguments),
        env=environment(temporary), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        first = json.loads(process.stderr.readline())
        url = first["data"]["url"]
        eventually(lambda: _ready(url))
        yield process, url
    finally:
        process.kill()
        process.communicate()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def end(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Its remaining log lines, all of them JSON."""
    _, errors = process.communicate(timeout=DEADLINE)
    return [json.loads(line) for line in errors.splitlines()]


def data_of(lines: list[str]) -> list[str]:
    """The events among the lines of a stream; comments and blank lines left out."""
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_chat_end_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (process, url):
        eventually(lambda: [model["phase"] for model in httpx.get(f"{url}/state").json()["models"]] == ["Cached"])
        assert httpx.get(f"{url}/state").json()["engines"] == []
        answer = httpx.post(f"{url}/v1/chat/completions", json=HELLO, timeout=DEADLINE)
        assert answer.json()["choices"][0]["message"]["content"]
        state = httpx.get(f"{url}/state").json()
        assert [model["phase"] for model in state["models"]] == ["Ready"]
        pids = {engine["pid"] for engine in state["engines"]} | set(children_of(process.pid))
        process.send_signal(number)
        lines = end(process)
    assert process.returncode == 0
    assert lines[-1]["message"] == "ended"
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "cache" / "partial").iterdir())
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))


def test_an_end_lets_streams_finish_and_takes_nothing_new(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        lines: list[str] = []
        signalled = False
        with httpx.stream("POST", f"{url}/v1/chat/completions", timeout=DEADLINE,
                          json={**HELLO, "max_tokens": 60, "ignore_eos": True, "stream": True}) as response:
            for line in response.iter_lines():
                lines.append(line)
                if len(data_of(lines)) == 2 and not signalled:
                    signalled = True
                    process.send_signal(signal.SIGTERM)
                    eventually(lambda: httpx.get(f"{url}/readyz").status_code == 503)
                    refused = httpx.post(f"{url}/v1/chat/completions", json=HELLO)
                    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
                    assert "retry-after" in refused.headers
        assert lines[-2:] == ["data: [DONE]", ""]
        end(process)
    assert process.returncode == 0


def test_the_deadline_of_a_drain_is_an_error_event(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "1s") as (process, url):
        lines: list[str] = []
        signalled = False
        with httpx.stream("POST", f"{url}/v1/chat/completions", timeout=DEADLINE,
                          json={**HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True}) as response:
            for line in response.iter_lines():
                lines.append(line)
                if len(data_of(lines)) == 2 and not signalled:
                    signalled = True
                    process.send_signal(signal.SIGTERM)
        assert json.loads(data_of(lines)[-1])["error"]["code"] == "draining"
        end(process)
    assert process.returncode == 0


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "1h") as (process, url):
        with httpx.stream("POST", f"{url}/v1/chat/completions", timeout=DEADLINE,
                          json={**HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True}) as response:
            lines = response.iter_lines()
            next(line for line in lines if line.startswith("data: "))  # until then it may be loading
            pids = children_of(process.pid)
            process.send_signal(signal.SIGINT)
            eventually(lambda: httpx.get(f"{url}/readyz").status_code == 503)
            process.send_signal(signal.SIGINT)
            rest = data_of(list(lines))
        end(process)
    assert "[DONE]" not in rest
    assert process.returncode == 0
    assert pids
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def run(*arguments: str | Path, tmp: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(tmp), capture_output=True, text=True, timeout=DEADLINE,
                          check=False)


def test_what_can_not_start_says_so_in_one_line(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    empty = run("serve", models, "--cache", tmp_path / "c", tmp=tmp_path)
    missing = run("serve", tmp_path / "none", "--cache", tmp_path / "c", tmp=tmp_path)
    (models / "bad.yaml").write_text("kind: Model\napiVersion: paddock.dev/v1alpha1\nmetadata: {name: x}\nspec: {}\n")
    bad = run("serve", models, "--cache", tmp_path / "c", tmp=tmp_path)
    (models / "bad.yaml").unlink()
    write_gemma(models, gemma())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        used = run("serve", models, "--port", str(port), "--cache", tmp_path / "c", tmp=tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    cache = run("serve", models, "--port", "0", "--cache", file, tmp=tmp_path)
    for result, word in ((empty, "holds no Model"), (missing, "not a directory"), (bad, "source"),
                         (used, f"port {port} on 127.0.0.1 is in use"), (cache, "--cache")):
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("paddock: ")
        assert word in result.stderr


@pytest.mark.parametrize(("arguments", "word"), [
    (["--memory", "4 apples"], "like 4Gi"), (["--port", "99999"], "0 to 65535"), (["--hold", "soon"], "like 30s"),
])
def test_wrong_options_are_explained(arguments: list[str], word: str, tmp_path: Path) -> None:
    result = run("serve", tmp_path, *arguments, tmp=tmp_path)
    assert result.returncode == 2
    assert word in result.stderr


def test_version(tmp_path: Path) -> None:
    result = run("version", tmp=tmp_path)
    assert (result.returncode, result.stdout.split()[0]) == (0, "paddock")
