"""Installing: locks pin everything, a spoilt cache is noticed, a broken-off download leaves nothing."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import gemma as gemma_script
import install
import llama_wheel
import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_version_and_hash_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text()
    requirements = re.findall(r"^[A-Za-z0-9].*", text.replace("\\\n", ""), flags=re.MULTILINE)
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z]+\])?==", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "://" not in text
    assert not re.search(r"^-", text, flags=re.MULTILINE), "options would weaken --require-hashes"


def test_the_runtime_lock_is_part_of_the_dev_lock() -> None:
    """`make test` must try what `make run` runs."""
    pins = {
        name: set(re.findall(r"^[A-Za-z0-9][^\n\\]*", (ROOT / "requirements" / name).read_text(), flags=re.MULTILINE))
        for name in ("install.txt", "dev.txt")
    }
    assert pins["install.txt"] <= pins["dev.txt"]


@pytest.mark.parametrize("profile", sorted(install.PROFILES))
def test_a_profile_names_locks_that_exist_and_notices_a_change(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = install.fingerprint(profile)
    for lock in LOCKS:
        (tmp_path / lock.name).write_bytes(lock.read_bytes())
    monkeypatch.setattr(install, "LOCKS", tmp_path)
    assert install.fingerprint(profile) == before
    changed = tmp_path / install.PROFILES[profile][-1]
    changed.write_text(changed.read_text() + "# changed\n")
    assert install.fingerprint(profile) != before


def test_other_flags_are_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CFLAGS", raising=False)
    before = llama_wheel.key(ROOT / "requirements")
    monkeypatch.setenv("CFLAGS", "-O1")
    assert llama_wheel.key(ROOT / "requirements") != before


def test_only_a_wheel_that_matches_its_record_is_used(tmp_path: Path) -> None:
    wheel = tmp_path / "llama_cpp_python-1-py3-none-any.whl"
    record = tmp_path / "llama_cpp_python-1-py3-none-any.whl.sha256"
    wheel.write_bytes(b"wheel")
    record.write_text(hashlib.sha256(b"wheel").hexdigest())
    assert llama_wheel.verified(tmp_path) == wheel
    wheel.write_bytes(b"other")
    assert llama_wheel.verified(tmp_path) is None
    assert not wheel.exists()


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(llama_wheel.InstallError, match=r"no cc and no c\+\+ found.*build-essential"):
        llama_wheel.need_compiler()


def test_the_model_file_is_right_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "models" / "model.gguf"
    parts = [tmp_path / f"part{n}" for n in range(4)]
    for number, part in enumerate(parts):
        part.write_bytes(bytes([number]) * 1000)
    monkeypatch.setattr(gemma_script, "parts", lambda _: parts)
    assert gemma_script.main(target) == 1
    assert list(target.parent.iterdir()) == []

    whole = b"".join(part.read_bytes() for part in parts)
    monkeypatch.setattr(gemma_script, "SHA256", hashlib.sha256(whole).hexdigest())
    target.write_bytes(b"half a file, from a run that was broken off")
    assert gemma_script.main(target) == 0
    assert target.read_bytes() == whole
    assert list(target.parent.iterdir()) == [target]


def test_the_documents_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "docs" / "install.md", ROOT / "docs" / "development.md"]
    named = {name for page in pages for name in re.findall(r"(?:`|    )make ([a-z0-9-]+)", page.read_text())}
    assert {"run", "test", "lint", "help"} <= named
    assert named <= targets
