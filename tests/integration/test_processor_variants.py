"""A library that holds a kind of processor's code is found beside llama.cpp, and asked how well it fits this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llama_cpp
import llama_wheel
import pytest

_PROBE = """
#include <stdio.h>
#include <stdlib.h>
int ggml_backend_score(void) {
    FILE *answer = fopen(getenv("PROBE_ANSWER"), "a");
    fputs("asked\\n", answer);
    fclose(answer);
    return 0; /* "I do not run here" */
}
"""
_START = "from paddock_runtime.engine.llama import native; native.start(); native.start()"


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """The real libraries, in a folder that may be added to."""
    folder = tmp_path / "lib"
    folder.mkdir()
    for library in (Path(llama_cpp.__file__).parent / "lib").iterdir():
        (folder / library.name).symlink_to(library)
    return folder


def _asked(libraries: Path) -> str:
    answer = libraries / "answer"
    paths = {"LLAMA_CPP_LIB_PATH": str(libraries), "PROBE_ANSWER": str(answer)}
    subprocess.run([sys.executable, "-c", _START], env={**os.environ, **paths}, check=True, timeout=120)
    return answer.read_text() if answer.exists() else ""


def test_a_variant_beside_the_library_is_asked_once(libraries: Path, tmp_path: Path) -> None:
    llama_wheel.need_compiler()
    (tmp_path / "probe.c").write_text(_PROBE)
    made = str(libraries / "libggml-cpu-probe.so")
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", made, str(tmp_path / "probe.c")]
    subprocess.run(command, check=True, timeout=60)
    assert _asked(libraries) == "asked\n"


def test_a_build_for_one_processor_asks_nobody(libraries: Path) -> None:
    assert _asked(libraries) == ""
