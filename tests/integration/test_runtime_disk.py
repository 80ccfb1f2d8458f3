"""Fault 6 in a whole pod: a Model whose file has no room says so, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paddock_api.revision import Resolution
from tests.runtime_kit import RuntimePod, revision

Tiny = Callable[[int], Path]
NOBODY = "http://127.0.0.1:9/big.gguf"  # the discard port: to be asked at all would be another error


def test_a_full_disk_is_said_and_the_others_keep_serving(tmp_path: Path, tiny: Tiny) -> None:
    with RuntimePod(tmp_path, PADDOCK_DISK="1Mi", PADDOCK_ALLOWED_HOSTS="127.0.0.1:9") as pod:
        pod.put("good.gguf", tiny(0))
        big = revision({"http": {"url": NOBODY, "sha256": "0" * 64}},
                       Resolution(sha256="0" * 64, size=64 << 20, files=[NOBODY]))
        pod.apply(pod.entry("good", pod.in_volume("good.gguf")), pod.entry("big", big))
        assert pod.complete("good").status_code == 200
        refused = pod.complete("big")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "disk_full"
        assert int(refused.headers["retry-after"]) >= 1
        state = pod.model("big")
        assert state["failure"]["reason"] == "disk_full"
        assert state["bad_revisions"] == []
        assert state["failure"]["retry_at"] is not None
        assert pod.complete("good").status_code == 200
        assert pod.model("good")["loads"] == 1
        assert not list((tmp_path / "cache" / "partial").iterdir())
