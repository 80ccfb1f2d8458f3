"""The Dockerfiles as text: stages that exist, locked installs, nothing but the code in the final ones.

It is all the proof that the CUDA target gets where there is no CUDA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster import images

ROOT = images.ROOT
FINAL = ("operator", "gateway", "runtime", "runtime-cuda")


@dataclass
class Stage:
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]


def stages(file: Path) -> tuple[dict[str, str], dict[str, Stage]]:
    """Global arguments, and stages in their order."""
    whole = re.sub(r"\\\n\s*", "", "\n".join(line for line in file.read_text().splitlines() if line[:1] != "#"))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in filter(None, (line.strip() for line in whole.splitlines())):
        instruction, _, text = line.partition(" ")
        if instruction == "FROM":
            base, _, name = text.partition(" AS ")
            found[name] = Stage(base)
        elif not found:
            name, _, value = text.partition("=")
            arguments[name] = value
        else:
            found[next(reversed(found))].steps.append((instruction, text))
    return arguments, found


ARGUMENTS, STAGES = stages(ROOT / "Dockerfile")


def lineage(name: str) -> list[Stage]:
    """A stage and those that it is built on."""
    stage = STAGES[name]
    return [stage, *(lineage(stage.base) if stage.base in STAGES else [])]


def test_the_targets_are_there() -> None:
    assert set(FINAL) < set(STAGES)
    assert set(images.TARGETS) < set(STAGES)


@pytest.mark.parametrize("file", ["Dockerfile", "tests/e2e/image/Dockerfile"])
def test_a_stage_is_built_on_something_that_comes_before(file: str) -> None:
    arguments, found = stages(ROOT / file)
    before = {"scratch", *(f"${{{name}}}" for name in arguments)}
    given = {"models", "requirements"} if file != "Dockerfile" else set()
    for name, stage in found.items():
        assert stage.base in before, name
        for text in stage.of("COPY"):
            for source in re.findall(r"--from=(\S+)", text):
                assert source in before | given, f"{name}: {text}"
        before.add(name)


def test_base_images_are_pinned_by_a_full_version() -> None:
    for name in ("BASE", "CUDA"):
        assert re.search(r":\d+\.\d+\.\d+-", ARGUMENTS[name]), name


def test_every_package_is_locked_by_hash_or_comes_from_a_stage() -> None:
    installs = [
        text for stage in STAGES.values() for text in stage.of("RUN") if re.search(r"pip\b.* (install|wheel) ", text)
    ]
    assert len(installs) == 8
    for text in installs:
        assert "--require-hashes" in text or "--no-index" in text, text


@pytest.mark.parametrize("target", FINAL)
def test_a_final_image_runs_as_nobody_in_particular(target: str) -> None:
    package = target.partition("-")[0]
    assert STAGES[target].of("USER") == ["65532:65532"]
    assert STAGES[target].of("ENTRYPOINT") == [f'["/opt/paddock/bin/python", "-m", "paddock_{package}"]']


@pytest.mark.parametrize("target", FINAL)
def test_a_final_image_adds_its_code_last_and_compiles_nothing(target: str) -> None:
    assert STAGES[target].steps[-1] == ("COPY", f"--from={target.partition('-')[0]}-code /code /opt/paddock/app")
    runs = " ".join(text for stage in lineage(target) for text in stage.of("RUN"))
    assert "build-essential" not in runs
    assert "pip" not in runs


@pytest.mark.parametrize(("stage", "cuda"), [("llama-build", False), ("llama-cuda-build", True)])
def test_llama_is_compiled_for_every_processor(stage: str, cuda: bool) -> None:
    flags = " ".join(STAGES[stage].of("ARG"))
    for flag in ("-DGGML_NATIVE=OFF", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"):
        assert flag in flags
    assert ("-DGGML_CUDA=ON" in flags) is cuda


@pytest.mark.parametrize("stage", ["runtime-libraries", "runtime-cuda-libraries"])
def test_variants_are_kept_where_they_are_looked_for_but_not_the_one_that_faults(stage: str) -> None:
    text = " ".join(STAGES[stage].of("RUN"))
    assert "find bin -name 'libggml-*.so' ! -name '*-sapphirerapids.so' -exec mv -t llama_cpp/lib" in text


def test_what_is_copied_from_the_checkout_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in STAGES.values():
        for text in stage.of("COPY"):
            for source in [] if "--from=" in text else text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.partition("/")[0] in allowed, source
