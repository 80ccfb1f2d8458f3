"""What Helm makes of the chart. `python -m tests.unit.chart.render` writes the goldens anew."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.cluster import binaries

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "paddock"
HERE = Path(__file__).parent
GOLDENS = HERE / "goldens"
RELEASE, NAMESPACE = "paddock", "paddock-system"
# Random by design; everything else of a render is the same each time.
_RANDOM = ((re.compile(r"^  (token|key): [A-Za-z0-9+/=]{40,}$", re.MULTILINE), r"  \1: (random)"),
           (re.compile(r"^  generated: .*$", re.MULTILINE), "  generated: (digest of the random key)"))
# The definitions have tests of their own, and goldens should be read by people.
_BULK = re.compile(r"^  ([a-z]+\.paddock\.dev\.json|apply_crds\.py): (\||\").*\n(    .*\n| *\n)*", re.MULTILINE)


def helm() -> str:
    """The one in PATH, or one that is compiled on first use."""
    return shutil.which("helm") or str(binaries.ensure(("helm",)) / "helm")


def run(*arguments: str, check: bool = True) -> str:
    """What helm printed; with `check=False` its complaints too. Of the user's own Helm nothing is read or written."""
    with tempfile.TemporaryDirectory(prefix="paddock-helm-") as folder:
        homes = {f"HELM_{name}_HOME": f"{folder}/{name}" for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False, timeout=300,
                              stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": folder, **homes})
    if check and done.returncode:
        raise AssertionError(f"helm {' '.join(arguments)}: {done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def template(values: Path | None = None, *more: str, check: bool = True) -> str:
    given = ("--values", str(values)) if values is not None else ()
    return run("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.37.0", *given, *more,
               check=check)


def value_sets() -> list[Path]:
    return sorted((HERE / "values").glob("*.yaml"))


def golden_of(values: Path) -> str:
    """The render without what is random, and without the bulk of the definitions."""
    text = _BULK.sub(r"  \1: (left out)\n", template(values))
    for pattern, shown in _RANDOM:
        text = pattern.sub(shown, text)
    return text


if __name__ == "__main__":
    for path in value_sets():
        (GOLDENS / path.name).write_text(golden_of(path))
