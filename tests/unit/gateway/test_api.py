"""The account that lists and watches are made with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from paddock_gateway.cluster import watch as module
from paddock_gateway.cluster.api import KubernetesApi
from paddock_gateway.cluster.watch import Resource, Sink, Watch
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
