"""A pod of a pool in its own process: who may speak with it, what gateways say, what it says of files and Models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from paddock_api.revision import Resolution
from tests.integration.conftest import descendants
from tests.pod_kit import PodThread, eventually, write_model
from tests.runtime_kit import POD, TOKEN, RuntimePod, digest, revision

Tiny = Callable[[int], Path]
GETS = ["/state", "/events", "/metrics", "/v1/models", "/v1/models/a", "/nowhere", "/"]
POSTS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/models/team/a:load", "/models/team/a:unload",
         "/models/team/a:prefetch"]
ROUTES = [("GET", path) for path in GETS] + [("POST", path) for path in POSTS]


@pytest.fixture(autouse=True, scope="module")
def no_process_left_behind() -> Iterator[None]:
    """In place of the check after each test: this module's pod keeps its engines until the end."""
    before = set(descendants(os.getpid()))
    yield
    eventually(lambda: not set(descendants(os.getpid())) - before)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Iterator[RuntimePod]:
    """With the Model `a`, which every test may load."""
    pod = RuntimePod(tmp_path_factory.mktemp("pod"))
    pod.put("a.gguf", tiny(0))
    pod.push(pod.entry("a", pod.in_volume("a.gguf")))
    with pod:
        yield pod


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer"])
def test_every_route_but_the_probes_needs_the_token(
    pod: RuntimePod, method: str, path: str, given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = httpx.request(method, f"{pod.url}{path}", headers=headers, json={"model": "a", "prompt": "x"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert TOKEN not in answer.text


def test_the_probes_are_open(pod: RuntimePod) -> None:
    assert [httpx.get(f"{pod.url}{path}").status_code for path in ("/livez", "/readyz")] == [200, 200]


def test_two_authorizations_are_none(pod: RuntimePod) -> None:
    twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
    assert httpx.get(f"{pod.url}/state", headers=twice).status_code == 401


def test_a_rotated_token_counts_at_once_and_a_lost_one_changes_nothing(pod: RuntimePod) -> None:
    try:
        pod.token_file.with_name("next").write_text("another-token")
        pod.token_file.with_name("next").rename(pod.token_file)
        assert pod.get("/state").status_code == 401
        other = {"Authorization": "Bearer another-token"}
        assert pod.get("/state", headers=other).status_code == 200
        pod.token_file.write_text("")
        assert pod.get("/state", headers=other).status_code == 200
        pod.token_file.unlink()
        assert pod.get("/state", headers=other).status_code == 200
    finally:
        pod.token_file.write_text(TOKEN)
    assert pod.get("/state").status_code == 200


def test_the_gateway_says_which_model_is_meant_and_the_client_s_word_is_echoed(pod: RuntimePod) -> None:
    answer = pod.complete("a")
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "as-the-client-wrote-it"


def test_a_model_that_is_not_configured_is_a_404_that_names_the_configuration(pod: RuntimePod) -> None:
    answer = pod.complete("missing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert answer.headers["paddock-config-generation"] == str(pod.state()["config_generation"])
    assert pod.post("/models/team/missing:load").headers["paddock-config-generation"] == str(pod.generation)


@pytest.mark.parametrize(("name", "value"), [
    ("paddock-model", "a"), ("paddock-model", "team/a/b"), ("paddock-hold", "soon"), ("paddock-hold", "-1"),
    ("paddock-hold", "nan"), ("paddock-deadline", "1e9"), ("paddock-tenant", ""), ("paddock-tenant", "x" * 300),
])
def test_a_gateway_that_says_nonsense_hears_which_header(pod: RuntimePod, name: str, value: str) -> None:
    answer = pod.complete("a", headers={name: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_a_deadline_is_kept(pod: RuntimePod) -> None:
    answer = pod.complete("a", tokens=400, headers={"paddock-deadline": "0.05"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")


def cached(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return count


def test_a_prefix_is_shared_within_a_tenant_only(pod: RuntimePod) -> None:
    prompt = "the quick brown fox jumps over the lazy dog and runs away from here " * 3

    def ask(tenant: str) -> int:
        return cached(pod.complete("a", prompt, tokens=2, headers={"paddock-tenant": tenant}))

    assert ask("one") == 0
    assert ask("one") > 20
    assert ask("two") == 0
    assert ask("one") > 20


def test_models_are_loaded_and_unloaded_by_hand(pod: RuntimePod) -> None:
    assert pod.post("/models/team/a:load").status_code == 202
    pod.until_model("a", lambda model: model["phase"] == "Ready")
    assert pod.post("/models/team/a:unload").status_code == 202
    pod.until_model("a", lambda model: model["phase"] == "Cached")
    assert pod.post("/models/team/a:prefetch").status_code == 202


def test_a_file_in_a_volume_is_described(pod: RuntimePod, tiny: Tiny) -> None:
    facts = pod.until_model("a", lambda model: model["facts"] and model["facts"]["architecture"])["facts"]
    assert facts == {
        "sha256": digest(tiny(0)), "sha256s": [digest(tiny(0))], "size": tiny(0).stat().st_size,
        "architecture": "llama", "parameters": 127296, "quantization": "F32", "context_length": 8192}


def test_once_resolved_the_same_file_goes_on_serving_without_a_load(tmp_path: Path, tiny: Tiny) -> None:
    """The operator learns the digest from the pod, and makes a revision with it."""
    pod = RuntimePod(tmp_path)
    path = pod.put("a.gguf", tiny(0))
    first = pod.in_volume("a.gguf")
    pod.push(pod.entry("a", first))
    with pod:
        assert pod.complete("a").json()["system_fingerprint"] == first.id
        resolved = pod.in_volume("a.gguf", sha256=digest(path), size=path.stat().st_size)
        pod.apply(pod.entry("a", resolved, last_good=first))
        pod.until_model("a", lambda model: model["active_revision"] == resolved.id)
        assert pod.complete("a").json()["system_fingerprint"] == resolved.id
        assert pod.model("a")["loads"] == 1
        assert len([line for line in pod.log() if line["message"] == "engine_started"]) == 1


def test_a_replaced_file_is_not_served_as_the_revision_it_is_not(tmp_path: Path, tiny: Tiny) -> None:
    """Its facts tell the operator what is there now."""
    pod = RuntimePod(tmp_path)
    path = pod.put("a.gguf", tiny(0))
    known = pod.in_volume("a.gguf", sha256=digest(path), size=path.stat().st_size)
    pod.push(pod.entry("a", known))
    with pod:
        assert pod.complete("a").status_code == 200
        pod.post("/models/team/a:unload")
        pod.until_model("a", lambda model: model["phase"] == "Cached")
        pod.put("a.gguf", tiny(1))
        answer = pod.complete("a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "checksum_mismatch")
        model = pod.model("a")
        assert model["bad_revisions"] == [known.id]
        assert model["facts"]["sha256"] == digest(tiny(1))
        pod.put("a.gguf", tiny(0))
        pod.until_model("a", lambda model: model["phase"] == "Cached")
        assert pod.complete("a").json()["system_fingerprint"] == known.id


def test_files_outside_of_volumes_are_refused(tmp_path: Path, tiny: Tiny) -> None:
    pod = RuntimePod(tmp_path)
    outside = revision({"file": {"path": str(tiny(0))}}, Resolution(files=[str(tiny(0))]))
    pod.push(pod.entry("a", outside))
    with pod:
        answer = pod.complete("a")
        assert answer.json()["error"]["code"] == "source_refused"
        assert "volume" in answer.json()["error"]["message"]


def test_assigned_models_are_loaded_without_a_request(tmp_path: Path, tiny: Tiny) -> None:
    pod = RuntimePod(tmp_path)
    entries = []
    for number, (policy, pods) in enumerate([
        ("Pinned", [POD]), ("Preload", [POD, "default-runtime-1"]), ("OnDemand", [POD]),
        ("Pinned", ["default-runtime-1"]), ("Preload", []), ("OnDemand", []),
    ]):
        pod.put(f"m{number}.gguf", tiny(number))
        wanted = pod.in_volume(f"m{number}.gguf", loading={"policy": policy, "idleTimeout": "0s"})
        entries.append(pod.entry(f"m{number}", wanted, assigned=pods))
    pod.push(*entries)
    with pod:
        phases = pod.until(lambda state: {
            model["name"]: model["phase"] for model in state["models"]} == {
                "m0": "Ready", "m1": "Ready", "m2": "Ready", "m3": "Cached", "m4": "Cached", "m5": "Cached"})
        assert {model["name"] for model in phases["models"] if model["assigned"]} == {"m0", "m1", "m2"}


# Everything read-only but the two folders, by mounts of our own; then another user, by a mapping of our own.
RESTRICT = """
for folder in "$1/cache" "$1/tmp"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
shift
exec unshare --user --map-user=65532 --map-group=65532 -- "$@"
"""


def test_a_pod_runs_as_any_user_on_a_read_only_root(tmp_path: Path, tiny: Tiny) -> None:
    """As in a container: uid 65532, no HOME, and nothing to write to but the cache and the temporary folder."""
    namespace = ["--mount"] if os.getuid() == 0 else ["--user", "--map-root-user", "--mount"]
    pod = RuntimePod(tmp_path, launcher=["unshare", *namespace, "sh", "-euc", RESTRICT, "sh", str(tmp_path)])
    pod.environment = {name: value for name, value in pod.environment.items() if not name.startswith("COVERAGE_")}
    pod.put("a.gguf", tiny(0))
    pod.push(pod.entry("a", pod.in_volume("a.gguf")))
    with pod:
        assert pod.process is not None
        assert Path(f"/proc/{pod.process.pid}/uid_map").read_text().split()[0] == "65532"
        root = [line.split() for line in Path(f"/proc/{pod.process.pid}/mounts").read_text().splitlines()]
        assert "ro" in next(options for _, place, _, options, *_ in root if place == "/").split(",")
        assert pod.complete("a").status_code == 200
        chat = pod.post("/v1/chat/completions", headers={"paddock-model": "team/a"}, json={
            "model": "a", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2})
        assert chat.status_code == 200, chat.text
        assert pod.stop() == 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
            "blobs", "index", "locks", "partial", "prompts", "record"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"PADDOCK_MEMORY": ""}, ["PADDOCK_MEMORY is not set", "8Gi"]),
    ({"PADDOCK_MEMORY": "8Gb"}, ["PADDOCK_MEMORY", "8Gb", "8Gi"]),
    ({"PADDOCK_TOKEN_FILE": "/nowhere"}, ["PADDOCK_TOKEN_FILE", "/nowhere", "Secret"]),
    ({"PADDOCK_LISTEN": "8080"}, ["PADDOCK_LISTEN", "host:port"]),
    ({"PADDOCK_CACHE": "/proc/nowhere"}, ["PADDOCK_CACHE", "/proc/nowhere", "write"]),
])
def test_what_can_not_start_says_which_setting_and_what_helps(
    tmp_path: Path, changes: dict[str, str], words: list[str]
) -> None:
    pod = RuntimePod(tmp_path)
    pod.environment |= changes
    ended = subprocess.run([sys.executable, "-m", "paddock_runtime"], env=pod.environment, capture_output=True,
                           timeout=60, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.decode().splitlines()
    assert [word for word in words if word not in line] == []


def test_what_clients_of_paddock_serve_say_in_these_headers_counts_for_nothing(tmp_path: Path, tiny: Tiny) -> None:
    write_model(tmp_path, "a", tiny(0), engine={"contextLength": 512, "cacheTokens": 1024})
    write_model(tmp_path, "b", tiny(1), engine={"contextLength": 512, "cacheTokens": 1024})
    with PodThread(tmp_path, tmp_path / "cache") as pod:
        answer = httpx.post(
            f"{pod.url}/v1/completions", timeout=60, json={"model": "a", "prompt": "x", "max_tokens": 1},
            headers={"paddock-model": "default/b", "paddock-hold": "0", "paddock-deadline": "nonsense"})
        assert answer.status_code == 200, answer.text
        eventually(lambda: pod.model("a")["loads"] == 1)
        assert pod.model("b")["loads"] == 0
