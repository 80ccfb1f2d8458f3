"""The directory: one bad file leaves the last good configuration whole (fault 14), and every change is seen."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from paddock_runtime.config import DirectorySource, Snapshot
from paddock_runtime.config import folder as folder_module

DEADLINE = 20.0


def manifest(name: str, path: str = "x.gguf") -> str:
    return (f"apiVersion: paddock.dev/v1alpha1\nkind: Model\nmetadata: {{name: {name}}}\n"
            f"spec: {{source: {{file: {{path: {path}}}}}}}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a.yaml").write_text(manifest("a"))
    return folder


def names(snapshot: Snapshot) -> list[str]:
    return sorted(entry.name for entry in snapshot.config.models.values())


def path_of(snapshot: Snapshot, name: str) -> str:
    return snapshot.config.models[f"default/{name}"].desired.resolution.files[0]


def test_reading_counts_accepted_changes_only(folder: Path) -> None:
    source = DirectorySource(folder)
    first = source.read()
    assert (first.config.generation, names(first), first.errors, first.error) == (1, ["a"], (), None)
    assert source.read() is first
    os.utime(folder / "a.yaml")
    (folder / "README.md").write_text("not a manifest")
    (folder / ".hidden.yaml").write_text("[")
    assert source.read() is first
    (folder / "a.yaml").write_text("# a remark\n" + manifest("a"))
    assert source.read().config.generation == 1
    (folder / "b.json").write_text('{"apiVersion": "paddock.dev/v1alpha1", "kind": "Model", "metadata": {"name": "b"}, '
                                   '"spec": {"source": {"file": {"path": "b"}}}}')
    second = source.read()
    assert (second.config.generation, names(second)) == (2, ["a", "b"])
    assert second.hash != first.hash


def test_a_bad_file_leaves_the_last_good_configuration_whole(folder: Path) -> None:
    source = DirectorySource(folder)
    good = source.read()
    (folder / "a.yaml").write_text(manifest("a", "changed.gguf"))
    (folder / "b.yaml").write_text(manifest("B!"))
    bad = source.read()
    assert bad.config is good.config  # not even the good change of the other file
    assert bad.hash == good.hash
    assert len(bad.errors) == 1
    assert bad.error is not None
    assert bad.error.startswith("b.yaml, document 1: metadata.name: ")
    (folder / "b.yaml").unlink()
    mended = source.read()
    assert (mended.config.generation, mended.errors) == (2, ())
    assert path_of(mended, "a").endswith("changed.gguf")


def test_without_any_good_configuration_nothing_is_in_force(tmp_path: Path) -> None:
    source = DirectorySource(tmp_path / "missing")
    snapshot = source.read()
    assert (snapshot.config.generation, snapshot.config.models) == (0, {})
    assert "missing" in str(snapshot.errors[0])
    (tmp_path / "missing").mkdir()
    assert source.read().config.generation == 1  # an empty directory is a valid one


def test_a_truncated_file_does_not_unload_its_models(folder: Path) -> None:
    source = DirectorySource(folder)
    source.read()
    (folder / "a.yaml").write_text("")
    snapshot = source.read()
    assert names(snapshot) == ["a"]
    assert "empty" in str(snapshot.errors[0])


def test_pipes_directories_dangling_links_and_large_files_are_errors(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    (folder / "dir.yaml").mkdir()
    (folder / "link.yaml").symlink_to("nowhere")
    (folder / "large.yaml").write_bytes(b"#" * (2 << 20))
    errors = DirectorySource(folder).read().errors
    assert [error.file for error in errors] == ["dir.yaml", "link.yaml", "pipe.yaml", "large.yaml"]


def test_files_that_change_while_they_are_read_are_never_mixed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reading of `a` and of `b` both change: the old `a` must not be served with the new `b`."""
    (folder / "b.yaml").write_text(manifest("b", "old"))
    (folder / "a.yaml").write_text(manifest("a", "old"))
    content: Callable[[Path, int], bytes] = folder_module._content
    changed: list[str] = []

    def change_between(path: Path, max_bytes: int) -> bytes:
        if path.name == "b.yaml" and not changed:
            changed.append("yes")
            for name in ("a", "b"):
                (folder / f"{name}.yaml").write_text(manifest(name, "newer"))
        return content(path, max_bytes)

    monkeypatch.setattr(folder_module, "_content", change_between)
    snapshot = DirectorySource(folder).read()
    assert [Path(path_of(snapshot, name)).name for name in "ab"] == ["newer", "newer"]


@pytest.fixture
async def watching(folder: Path) -> AsyncIterator[AsyncGenerator[Snapshot, None]]:
    source = DirectorySource(folder)
    watch = source.watch()
    assert isinstance(watch, AsyncGenerator)
    assert names(await following(watch)) == ["a"]
    yield watch
    await watch.aclose()


async def following(watch: AsyncGenerator[Snapshot, None]) -> Snapshot:
    async with asyncio.timeout(DEADLINE):
        return await anext(watch)


async def until(watch: AsyncGenerator[Snapshot, None], wanted: list[str]) -> Snapshot:
    async with asyncio.timeout(DEADLINE):
        while True:
            snapshot = await anext(watch)
            if names(snapshot) == wanted and not snapshot.errors:
                return snapshot


async def test_after_a_read_the_watch_brings_only_what_changed_since(folder: Path) -> None:
    source = DirectorySource(folder)
    source.read()
    watch = source.watch()
    waiting = asyncio.ensure_future(anext(aiter(watch)))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    (folder / "b.yaml").write_text(manifest("b"))
    async with asyncio.timeout(DEADLINE):
        assert names(await waiting) == ["a", "b"]


async def test_writes_renames_and_deletions_are_seen(watching: AsyncGenerator[Snapshot, None], folder: Path) -> None:
    (folder / "b.yaml").write_text(manifest("b"))
    assert names(await until(watching, ["a", "b"])) == ["a", "b"]
    (folder / ".b.yaml.new").write_text(manifest("c"))
    os.replace(folder / ".b.yaml.new", folder / "b.yaml")
    await until(watching, ["a", "c"])
    (folder / "a.yaml").unlink()
    assert (await until(watching, ["c"])).config.generation == 4


async def test_unchanged_content_brings_nothing(watching: AsyncGenerator[Snapshot, None], folder: Path) -> None:
    (folder / "a.yaml").write_text(manifest("a"))
    (folder / "note.txt").write_text("hello")
    waiting = asyncio.ensure_future(anext(watching))
    done, _ = await asyncio.wait({waiting}, timeout=2.5)
    assert not done
    (folder / "a.yaml").write_text(manifest("z"))
    async with asyncio.timeout(DEADLINE):
        assert names(await waiting) == ["z"]


async def test_errors_come_and_go(watching: AsyncGenerator[Snapshot, None], folder: Path) -> None:
    (folder / "b.yaml").write_text("kind: [")
    broken = await following(watching)
    assert (len(broken.errors), names(broken)) == (1, ["a"])
    (folder / "b.yaml").unlink()
    mended = await following(watching)
    assert (mended.errors, mended.config.generation) == ((), 1)


def make_anew(folder: Path) -> None:
    folder.mkdir()
    (folder / "n.yaml").write_text(manifest("n"))


async def test_a_directory_deleted_and_made_anew(watching: AsyncGenerator[Snapshot, None], folder: Path) -> None:
    shutil.rmtree(folder)
    async with asyncio.timeout(DEADLINE):
        while True:
            gone = await anext(watching)
            if gone.errors:
                break
    assert names(gone) == ["a"]  # a vanished directory is no order to unload everything
    make_anew(folder)
    await until(watching, ["n"])
    (folder / "m.yaml").write_text(manifest("m"))
    await until(watching, ["m", "n"])


def projected(mount: Path) -> None:
    """As kubelet lays a ConfigMap out: `a.yaml → ..data/a.yaml`, `..data → ..1`; `..2` waits to take its place."""
    for number, target in ((1, "one"), (2, "two")):
        (mount / f"..{number}").mkdir(parents=True)
        for name in "ab":
            (mount / f"..{number}" / f"{name}.yaml").write_text(manifest(name, target))
    (mount / "..data").symlink_to("..1")
    for name in "ab":
        (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    (mount / "..tmp").symlink_to("..2")


async def test_links_swapped_as_kubelet_does(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    projected(mount)
    watch = DirectorySource(mount).watch()
    assert isinstance(watch, AsyncGenerator)
    first = await following(watch)
    assert [path_of(first, name) for name in "ab"] == [str(mount / "one")] * 2
    os.replace(mount / "..tmp", mount / "..data")
    second = await following(watch)
    assert [path_of(second, name) for name in "ab"] == [str(mount / "two")] * 2
    assert second.config.generation == 2
    await watch.aclose()


async def test_a_link_to_a_file_elsewhere_is_followed(tmp_path: Path, watching: AsyncGenerator[Snapshot, None],
                                                      folder: Path) -> None:
    """No event comes from there: it is found by looking."""
    (tmp_path / "elsewhere.yaml").write_text(manifest("e"))
    (folder / "e.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    await until(watching, ["a", "e"])
    (tmp_path / "elsewhere.yaml").write_text(manifest("f"))
    await until(watching, ["a", "f"])


def test_a_file_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("kind: Model")
    error = DirectorySource(tmp_path).read().error
    assert error is not None
    assert error.encode().startswith(b"\\udcff.yaml, document 1: ")
