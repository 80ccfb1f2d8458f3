"""Quantities, the machine's memory, and what the banner tells to type."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from paddock_api.model import ModelSpec
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.revision import Resolution, Revision
from paddock_cli.__main__ import build_parser
from paddock_cli.banner import banner, try_next, url_of
from paddock_cli.machine import default_budget, memory_bytes
from paddock_cli.quantities import format_bytes, parse_bytes


@pytest.mark.parametrize(("text", "size"), [
    ("4Gi", 4 << 30), ("512Mi", 512 << 20), ("2G", 2 * 10**9), ("1.5Gi", 3 << 29), ("100", 100), (" 1Ki ", 1024)])
def test_amounts_of_memory(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "4GB", "4gi", "-1Gi", "4 Gi", "0", "1e9", "٤Gi", "9" * 40])
def test_what_is_no_amount_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 4Gi|at least one byte"):
        parse_bytes(text)


@pytest.mark.parametrize("size", [1, 1024, 3 << 29, 4 << 30, 1 << 40])
def test_amounts_are_shown_as_they_are_written(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


def machine(root: Path, *, total_kib: int, groups: str, limits: dict[str, str]) -> dict[str, Path]:
    proc, cgroup = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:  {total_kib} kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for name, text in limits.items():
        (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroup / name).write_text(text)
    return {"proc": proc, "cgroup": cgroup}


def test_memory_is_the_machine_s_or_the_tightest_limit(tmp_path: Path) -> None:
    bare = machine(tmp_path / "bare", total_kib=8 << 20, groups="0::/\n", limits={"memory.max": "max\n"})
    assert memory_bytes(**bare) == 8 << 30
    assert default_budget(**bare) == 4 << 30
    nested = machine(tmp_path / "v2", total_kib=8 << 20, groups="0::/a/b\n",
                     limits={"a/memory.max": f"{1 << 30}\n", "a/b/memory.max": "max\n"})
    assert memory_bytes(**nested) == 1 << 30
    assert default_budget(**nested) == int(0.8 * (1 << 30))
    old = machine(tmp_path / "v1", total_kib=8 << 20, groups="5:cpu,memory:/x\n",
                  limits={"memory/memory.limit_in_bytes": "9223372036854771712",
                          "memory/x/memory.limit_in_bytes": str(2 << 30)})
    assert memory_bytes(**old) == 2 << 30


def config(*names: str, embeddings: bool = False) -> PoolConfig:
    spec = ModelSpec.model_validate({"source": {"file": {"path": "x"}}, "engine": {"embeddings": embeddings}})
    revision = Revision(id="r", load_key="l", spec=spec, resolution=Resolution())
    return PoolConfig(generation=1, models={
        f"default/{name}": PoolEntry(namespace="default", name=name, desired=revision) for name in names})


def test_the_banner_shows_a_command_that_a_shell_understands() -> None:
    text = banner(config("gemma", "other"), "http://127.0.0.1:8080", version="1", memory_bytes=4 << 30)
    assert "gemma, other" in text
    assert "4Gi" in text
    words = shlex.split(next(line for line in text.splitlines() if "Try" in line))[1:]
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert json.loads(words[3])["model"] == "gemma"
    assert "/v1/embeddings" in try_next(config("minilm", embeddings=True), "http://x")


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"),
                                           ("fe80::1", "http://[fe80::1]:1"), ("box", "http://box:1")])
def test_an_address_to_type(host: str, url: str) -> None:
    assert url_of(host, 1) == url


def test_defaults_of_serve() -> None:
    options = build_parser().parse_args(["serve", "models"])
    assert (options.host, options.port, options.hold, options.memory) == ("127.0.0.1", 8080, 300.0, None)
    given = build_parser().parse_args(["serve", "m", "--memory", "512Mi", "--hold", "90s", "--allow-source-host", "a:1",
                                       "--allow-source-host", "b"])
    assert (given.memory, given.hold, given.allow_source_host) == (512 << 20, 90.0, ["a:1", "b"])
