"""`paddock history`, `diff` and `rollback` against a server on this machine, as their user runs them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.integration.test_cli_serve import run
from tests.integration.test_restart import A_DAY, ENGINE, complete, history, serving, states
from tests.pod_kit import eventually

Tiny = Callable[[int], Path]


def manifests(folder: Path, path: Path, **spec: object) -> None:
    """Two Models in one file, with words of their author."""
    folder.mkdir(exist_ok=True)
    body = yaml.safe_dump({"spec": {"source": {"file": {"path": str(path)}}, "engine": ENGINE, "loading": A_DAY,
                                    **spec}})
    (folder / "models.yaml").write_text(
        f"# by hand\napiVersion: paddock.dev/v1alpha1\nkind: Model\nmetadata: {{name: a}}\n{body}---\n# the other\n"
        f"apiVersion: paddock.dev/v1alpha1\nkind: Model\nmetadata: {{name: other}}\n{body}")


def test_history_diff_and_rollback(tmp_path: Path, tiny: Tiny) -> None:
    models = tmp_path / "models"
    manifests(models, tiny(0))
    with serving(tmp_path) as (_, url):
        def paddock(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
            result = run(*arguments, "--server", url, tmp=tmp_path)
            assert result.returncode == code, result.stderr
            return result

        assert complete(url, "a").status_code == 200
        assert paddock("diff", "a", code=1).stderr.startswith("paddock: default/a has one revision only")
        manifests(models, tiny(0), defaults={"temperature": 0.25})
        eventually(lambda: states(url)["a"]["active_revision"] == history(url, "a")["revisions"][-1]["id"]
                   and len(history(url, "a")["revisions"]) == 2)
        shown = paddock("history", "a").stdout.splitlines()
        assert shown[0].split() == ["REVISION", "ID", "TIME", "STATE", "CAUSE"]
        assert [line.split()[0] for line in shown[1:3]] == ["1", "2"]
        assert "desired,active,lastGood" in shown[2]
        assert [line.split()[2] for line in shown[5:]] == ["load", "switch"]
        assert paddock("diff", "a").stdout.splitlines()[:2] == ["--- revision 1", "+++ revision 2"]
        assert "+  temperature: 0.25" in paddock("diff", "default/a").stdout.splitlines()
        assert "-  temperature: 0.25" in paddock("diff", "a", "2", "1").stdout.splitlines()

        done = paddock("rollback", "a")
        assert done.stdout == (f"default/a is at revision 1 again: {models / 'models.yaml'} was changed, the server "
                               "took it over as revision 3\n")
        text = (models / "models.yaml").read_text()
        assert text.startswith("# by hand\n")
        assert "# the other\n" in text
        assert [each["spec"].get("defaults") for each in yaml.safe_load_all(text)] == [None, {"temperature": 0.25}]
        found = history(url, "a")
        assert [(each["number"], each["cause"], each["text"]) for each in found["revisions"]] == [
            (2, "configuration", "the spec changed"), (3, "rollback", "back to revision 1")]
        assert [each["number"] for each in history(url, "other")["revisions"]] == [1, 2]
        assert complete(url, "a").json()["system_fingerprint"] == found["desired"]
        assert paddock("rollback", "a", "3", code=1).stderr == \
            "paddock: revision 3 is what default/a is at already\n"
        assert "there are: 2, 3" in paddock("rollback", "a", "9", code=1).stderr
        assert "does not exist" in paddock("history", "nobody", code=1).stderr


def test_a_bad_revision_is_shown_and_rolled_back_from(tmp_path: Path, tiny: Tiny) -> None:
    models = tmp_path / "models"
    manifests(models, tiny(0))
    with serving(tmp_path) as (_, url):
        assert complete(url, "a").status_code == 200
        manifests(models, tiny(0), engine={**ENGINE, "chatTemplate": "{% for"})
        eventually(lambda: history(url, "a")["revisions"][-1]["bad"])
        assert complete(url, "a").status_code == 200  # by the last good one
        shown = run("history", "a", "--server", url, tmp=tmp_path).stdout
        assert "desired,bad" in shown
        assert "active,lastGood" in shown
        assert "revision 2 is bad: invalid_spec: spec.engine.chatTemplate" in shown
        assert run("rollback", "a", "--server", url, tmp=tmp_path).returncode == 0
        assert history(url, "a")["desired"] == history(url, "a")["last_good"]


def test_who_asks_wrongly_is_told_the_remedy(tmp_path: Path) -> None:
    nobody = run("history", "a", "--server", "http://127.0.0.1:9", tmp=tmp_path)
    assert (nobody.returncode, nobody.stderr) == (
        1, ("paddock: no server answers at http://127.0.0.1:9: start one with `paddock serve`, name another with "
            "--server, or a cluster with --namespace\n"))
    both = run("diff", "a", "--server", "http://127.0.0.1:9", "--context", "x", tmp=tmp_path)
    assert (both.returncode, "leave one out" in both.stderr) == (2, True)
    twice = run("rollback", "team/a", "--namespace", "other", tmp=tmp_path)
    assert (twice.returncode, "leave one out" in twice.stderr) == (2, True)
