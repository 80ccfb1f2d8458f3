"""The account that lists and watches are made with."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import aclosing
from pathlib import Path

import pytest

from paddock_gateway.cluster import watch as module
from paddock_gateway.cluster.api import KubernetesApi
from paddock_gateway.cluster.watch import Resource, Sink, Watch
from tests.cluster.pki import Authority
from tests.unit.gateway.fleet_kit import until


@pytest.mark.parametrize("content", [None, "{}"])
async def test_an_account_that_is_not_there_yet_ends_no_watch(
        tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A gateway would never learn of anything again, and say nothing of it."""
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.001)
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    api = KubernetesApi(kubeconfig)
    with pytest.raises(OSError, match="account for the API server"):
        await api.get("/models", {})
    tried: list[bytes] = []
    watch = Watch(api, Resource("Model", "/models"), Sink(replace=tried.extend, put=tried.append, drop=tried.append))
    task = asyncio.create_task(watch.run())
    await until(lambda: "can't be watched" in caplog.text)
    await asyncio.sleep(0.02)
    assert not task.done()
    assert not watch.connected
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await api.close()


async def test_a_watch_that_is_cut_leaves_no_connection_to_a_server_that_hangs(tmp_path: Path) -> None:
    """A polite end of TLS waits for the other side's, and a gateway's loop can't be closed meanwhile."""
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("server", common_name="server", serves=["IP:127.0.0.1"])
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(pair.certificate, pair.key)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        api = KubernetesApi(authority.kubeconfig(tmp_path / "kubeconfig", server=url, user=pair))
        taken = asyncio.create_task(asyncio.to_thread(_answer_and_hang, listener, trust))
        async with aclosing(api.stream("/models", {"watch": "true"}, silence=30)) as chunks:
            assert await anext(chunks) == b"{}\n"
        await api.close()
        with await taken as hanging:
            assert await asyncio.to_thread(_ends, hanging), "the connection is still open"


def _answer_and_hang(listener: socket.socket, trust: ssl.SSLContext) -> socket.socket:
    """The connection below TLS, once the first piece of an answer is out: nobody speaks TLS on it any more."""
    listener.settimeout(30)
    near, _ = listener.accept()
    near.settimeout(30)
    secured = trust.wrap_socket(near, server_side=True)
    asked = b""
    while not asked.endswith(b"\r\n\r\n"):
        asked += secured.recv(65536)
    secured.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
    return socket.socket(fileno=secured.detach())


def _ends(sock: socket.socket) -> bool:
    sock.settimeout(10)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True
