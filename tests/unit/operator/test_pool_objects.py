"""What a RuntimePool is made of, held against what is written down, and when it is written again."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from paddock_api import cluster_names as names
from paddock_api.pool import PoolConfig, PoolEntry
from paddock_api.revision import Resolution, revision_of
from paddock_api.shards import COUNT, join
from paddock_operator.objects.differ import differs, marked, with_version
from paddock_operator.objects.pod import PodSettings, template
from paddock_operator.objects.shards import Shards, by_index, config_map, cut
from paddock_operator.objects.workload import disruption_budget, service, stateful_set, token_secret
from tests.unit.operator.kit import golden, model, pool

SETTINGS = PodSettings(image="registry.example/paddock-runtime:1", hub_endpoint="https://hub.example",
                       allowed_hosts="files.internal")
RICH = pool(
    "gpu", "team-a", replicas=3, memory="20Gi", disk="100Gi", image="registry.example/own:2",
    imagePullPolicy="Always", imagePullSecrets=[{"name": "pull"}],
    resources={"requests": {"cpu": 4}, "limits": {"cpu": "8", "nvidia.com/gpu": 1}},
    cache={"volumeClaimTemplate": {"size": "200Gi", "storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}},
    nodeSelector={"gpu": "yes"}, tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    runtimeClassName="nvidia", priorityClassName="high", serviceAccountName="runner",
    podLabels={"team": "a"}, podAnnotations={"example.com/note": "x"}, drainSeconds=120,
    volumes=[{"name": "files", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "own", "emptyDir": {}}],
    credentials=[{"name": "hf", "secretName": "hf-token", "key": "hf", "endpoint": "https://hub.example"}],
    updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "partition": 0}})


def test_a_plain_pool() -> None:
    plain = pool()
    golden("pool-plain", [service(plain), disruption_budget(plain), stateful_set(plain, SETTINGS, 1)])


def test_a_rich_pool() -> None:
    golden("pool-rich", stateful_set(RICH, SETTINGS, 3))


def test_the_token_goes_into_the_pools_own_secret() -> None:
    golden("pool-token", token_secret(pool(), "f" * 64))


@pytest.mark.parametrize("given", [pool(), RICH, pool(cache={"emptyDir": {"sizeLimit": "5Gi"}}),
                                   pool(cache={"persistentVolumeClaim": {"claimName": "c"}})])
def test_pods_are_fit_for_pod_security_restricted_and_hold_no_api_token(given: Any) -> None:
    pod = template(given, SETTINGS)["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    (container,) = pod["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                            "capabilities": {"drop": ["ALL"]}}
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "projected", "secret", "persistentVolumeClaim"}
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written - {"/volumes/own"} == {"/cache", "/tmp"}  # what is empty is filled through the container
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted - {"cache"} == {volume["name"] for volume in pod["volumes"]} - {"cache"}
    assert "token" not in json.dumps(container["env"]).replace("PADDOCK_TOKEN_FILE", "").replace("/token/token", "")


@pytest.mark.parametrize(("limits", "memory", "wanted"), [
    (None, "8Gi", "8704Mi"), ({"memory": "10Gi"}, "8Gi", "10Gi"), ({"cpu": 2}, 10**9, "1536870912"),
])
def test_memory_is_limited_to_the_budget_and_what_the_pod_needs(limits: Any, memory: Any, wanted: str) -> None:
    resources: dict[str, Any] = {} if limits is None else {"resources": {"limits": limits}}
    given = pool(memory=memory, **resources)
    assert template(given, SETTINGS)["spec"]["containers"][0]["resources"]["limits"]["memory"] == wanted


def test_a_shared_claim_gives_each_pod_a_folder_of_its_own() -> None:
    given = template(pool(cache={"persistentVolumeClaim": {"claimName": "c"}}), SETTINGS)["spec"]
    mount = next(each for each in given["containers"][0]["volumeMounts"] if each["name"] == "cache")
    assert mount["subPathExpr"] == "$(PADDOCK_POD)"


def stored(document: Any, version: int = 1) -> Any:
    """As the API server gives it back: with defaults, amounts in its own form, and without what is empty."""
    found = json.loads(json.dumps(document))
    found["metadata"] |= {"uid": "u", "resourceVersion": str(version), "generation": 1, "managedFields": []}
    if found["kind"] == "StatefulSet":
        pod = found["spec"]["template"]["spec"]
        pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
        resources = pod["containers"][0]["resources"]
        resources["limits"]["memory"] = "20992Mi"
        resources["requests"]["cpu"] = "4000m"
        found["status"] = {"replicas": 3}
    if found["kind"] == "Service":
        del found["spec"]["publishNotReadyAddresses"]
        found["spec"] |= {"clusterIPs": ["None"], "type": "ClusterIP", "sessionAffinity": "None"}
    return found


def test_what_is_there_as_wanted_is_not_written_again() -> None:
    for wanted in (stateful_set(RICH, SETTINGS, 3), service(RICH), disruption_budget(RICH)):
        assert differs(wanted, None)
        assert not differs(wanted, stored(wanted))


@pytest.mark.parametrize(("change", "noticed"), [
    (lambda found: _pod(found)["containers"][0].update(image="evil"), True),
    (lambda found: _pod(found)["containers"][0]["resources"]["limits"].update(cpu="9"), True),
    (lambda found: _pod(found)["containers"][0]["resources"]["limits"].update(cpu="8000m"), False),
    (lambda found: _pod(found)["containers"].append({"name": "sidecar"}), True),
    (lambda found: _pod(found).pop("volumes"), True),
    (lambda found: _pod(found).pop("enableServiceLinks"), False),  # what is false may be left out
    (lambda found: _pod(found).update(enableServiceLinks=True), True),
    (lambda found: found["spec"].update(replicas=7), True),
    (lambda found: found["metadata"]["labels"].clear(), True),
    (lambda found: found["metadata"].pop("ownerReferences"), True),
    (lambda found: found["metadata"]["annotations"].update(other="x"), False),
])
def test_what_somebody_changed_is_written_again(change: Any, noticed: bool) -> None:
    wanted = stateful_set(RICH, SETTINGS, 3)
    found = stored(wanted)
    change(found)
    assert differs(wanted, found) is noticed


def _pod(found: Any) -> Any:
    return found["spec"]["template"]["spec"]


def test_a_field_that_is_wanted_no_more_is_noticed() -> None:
    before = stored(stateful_set(RICH, SETTINGS, 3))
    fewer = copy.deepcopy(stateful_set(RICH, SETTINGS, 3))
    del fewer["spec"]["template"]["spec"]["runtimeClassName"]
    del fewer["metadata"]["annotations"]
    assert differs(marked(fewer), before)


def test_an_object_is_written_only_over_the_one_that_was_looked_at() -> None:
    wanted = service(RICH)
    assert with_version(wanted, None) == wanted
    assert with_version(wanted, stored(wanted, 12))["metadata"]["resourceVersion"] == "12"


def entry(name: str, **more: Any) -> PoolEntry:
    given = model(name)
    return PoolEntry(namespace="team-a", name=name, desired=revision_of(given.spec, Resolution(sha256="a" * 64)),
                     **more)


def config(*found: PoolEntry) -> PoolConfig:
    return PoolConfig(generation=0, models={str(each.id): each for each in found})


def write(shards: Shards, indexes: Any = range(COUNT)) -> dict[int, Any]:
    return {index: config_map(pool(), shards, index) for index in indexes}


ONE, TWO = config(entry("a")), config(entry("a"), entry("b"))


def test_shards_are_whole_and_found_by_their_names() -> None:
    shards = cut(TWO, {}, 0)
    found = by_index(pool(), [*write(shards).values(), {"metadata": {"name": "other"}}])
    assert sorted(found) == list(range(COUNT))
    assert join(dict(enumerate(shards.data))).models == TWO.models
    assert shards.generation == 1
    assert found[3]["metadata"]["name"] == names.config_map("default", 3)


def test_an_interrupted_write_is_finished_under_its_generation() -> None:
    first = cut(ONE, {}, 0)
    second = cut(TWO, write(first), 0)
    assert second.generation == 2
    torn = {**write(first), **write(second, range(5))}
    again = cut(TWO, torn, 1)
    assert again == second
    assert [index for index in range(COUNT) if differs(config_map(pool(), again, index), torn[index])] \
        == list(range(5, COUNT))


def test_a_torn_set_of_something_else_is_superseded() -> None:
    first, second = cut(ONE, {}, 0), cut(TWO, {}, 1)
    torn = {**write(first), **write(second, range(5))}
    assert cut(ONE, torn, 0).generation == 3


def test_a_generation_never_comes_back() -> None:
    assert cut(ONE, {}, 41).generation == 42
    forged = write(cut(ONE, {}, 0))
    forged[2] = {**forged[2], "binaryData": {"shard.json.gz": "bm90aGluZw=="}}
    assert cut(ONE, forged, 0).generation == 2


def test_the_same_content_keeps_its_generation() -> None:
    first = cut(TWO, {}, 0)
    assert cut(TWO, write(first), first.generation) == first
