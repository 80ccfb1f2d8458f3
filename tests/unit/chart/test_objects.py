"""What the chart brings: rights, pods, wiring. The goldens are compared with Helm's own output in tests/integration."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from paddock_api.manifest import parse
from paddock_api.runtime_pool import RuntimePool
from paddock_gateway.settings import describe_settings
from paddock_operator.settings import table
from tests.unit.chart.objects import SETS, Object, named, objects, of_kind, pods
from tests.unit.chart.policy import matches
from tests.unit.chart.render import CHART, NAMESPACE

each_set = pytest.mark.parametrize("name", SETS)


@each_set
def test_no_right_is_a_star_and_secrets_are_never_listed(name: str) -> None:
    roles = [role for role in objects(name) if role["kind"] in ("ClusterRole", "Role")]
    assert len(roles) >= 3
    for role in roles:
        for rule in role["rules"]:
            assert not any("*" in word for part in ("apiGroups", "resources", "verbs") for word in rule[part]), rule
            assert "nonResourceURLs" not in rule
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            assert not any(resource.startswith(("pods/", "nodes", "serviceaccounts")) for resource in rule["resources"])
            if "secrets" in rule["resources"]:
                assert rule["resources"] == ["secrets"]
                assert not {"list", "watch", "delete", "update"} & set(rule["verbs"])
                assert "get" not in rule["verbs"] or (rule["verbs"] == ["get"] and rule["resourceNames"])


def test_hub_tokens_are_readable_by_name_and_only_where_they_are_named() -> None:
    readable = {(role["metadata"]["namespace"], *rule["resourceNames"]) for role in of_kind(objects("full"), "Role")
                for rule in role["rules"] if rule["resources"] == ["secrets"]}
    assert readable == {("team-a", "hub-token", "other-token"), (NAMESPACE, "hub-token")}
    for name in ("default", "bare"):
        assert not any("secrets" in rule["resources"] for role in of_kind(objects(name), "Role")
                       for rule in role["rules"])


@each_set
def test_bindings_give_each_account_its_own_roles(name: str) -> None:
    found = objects(name)
    roles = {(role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"])
             for role in found if role["kind"] in ("ClusterRole", "Role")}
    accounts = {account["metadata"]["name"] for account in of_kind(found, "ServiceAccount")}
    bound = set()
    for binding in (each for each in found if each["kind"] in ("ClusterRoleBinding", "RoleBinding")):
        reference = binding["roleRef"]
        bound.add((reference["kind"], binding["metadata"].get("namespace"), reference["name"]))
        [subject] = binding["subjects"]
        assert subject["name"] in accounts - {"paddock-runtime"}
        assert subject["namespace"] == NAMESPACE
    assert bound == roles


@each_set
def test_every_pod_fits_pod_security_restricted_and_writes_nowhere(name: str) -> None:
    for owner, pod in pods(objects(name)):
        spec = pod["spec"]
        security = spec["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 65532, 65532), owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert all(set(volume) - {"name"} <= {"secret", "emptyDir", "configMap"} for volume in spec.get("volumes", ()))
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]
        writable = {mount["name"] for mount in container.get("volumeMounts", ()) if not mount.get("readOnly")}
        assert writable <= {"tmp"}
        assert all(mount["name"] in {volume["name"] for volume in spec["volumes"]}
                   for mount in container.get("volumeMounts", ()))


@each_set
def test_only_who_speaks_with_the_api_server_has_a_token(name: str) -> None:
    found = objects(name)
    assert all(account["automountServiceAccountToken"] is False for account in of_kind(found, "ServiceAccount"))
    mounting = {owner for owner, pod in pods(found) if pod["spec"]["automountServiceAccountToken"]}
    assert mounting == {owner for owner, _ in pods(found)} - {"Pod/paddock-test"}
    assert {pod["spec"].get("serviceAccountName") for owner, pod in pods(found) if owner in mounting} <= {
        "paddock-operator", "paddock-gateway", "paddock-crds"}


@each_set
def test_deployments_are_probed_spread_and_budgeted(name: str) -> None:
    found = objects(name)
    for deployment in of_kind(found, "Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "admin"}
        assert "admin" in ports
        [spread] = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert spread["labelSelector"] == deployment["spec"]["selector"]
        assert matches(deployment["spec"]["selector"], labels)
        budgets = [budget for budget in of_kind(found, "PodDisruptionBudget")
                   if matches(budget["spec"]["selector"], labels)]
        assert [budget["spec"]["maxUnavailable"] for budget in budgets] == ([] if name == "bare" else [1])


def test_two_of_each_by_default() -> None:
    assert {each["metadata"]["name"]: each["spec"]["replicas"] for each in of_kind(objects("default"), "Deployment")} \
        == {"paddock-operator": 2, "paddock-gateway": 2}


@each_set
def test_services_reach_just_their_pods_and_the_public_one_has_one_port(name: str) -> None:
    found = objects(name)
    templates = {owner.split("/")[1]: pod["metadata"]["labels"] for owner, pod in pods(found)}
    for service in of_kind(found, "Service"):
        reached = {owner for owner, labels in templates.items()
                   if matches({"matchLabels": service["spec"]["selector"]}, labels)}
        assert reached == {service["metadata"]["name"].removesuffix("-admin")}
    public = named(found, "Service", "paddock-gateway")["spec"]
    assert [(port["name"], port["targetPort"]) for port in public["ports"]] == [("http", "http")]


def _environment(found: list[Object], part: str) -> dict[str, Any]:
    [container] = named(found, "Deployment", f"paddock-{part}")["spec"]["template"]["spec"]["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    return {each["name"]: each.get("value") for each in container["env"]}


@each_set
def test_every_variable_is_a_setting_of_the_program(name: str) -> None:
    found = objects(name)
    assert _environment(found, "operator").keys() <= {variable for variable, _, _ in table()}
    assert _environment(found, "gateway").keys() <= {setting.variable for setting in describe_settings()}


@each_set
def test_operator_gateway_and_pool_agree(name: str) -> None:
    found = objects(name)
    operator, gateway = _environment(found, "operator"), _environment(found, "gateway")
    assert operator["PADDOCK_DEFAULT_POOL"] == gateway["PADDOCK_DEFAULT_POOL"]
    pools = [f"{pool['metadata']['namespace']}/{pool['metadata']['name']}" for pool in of_kind(found, "RuntimePool")]
    assert pools == ([] if name == "bare" else [operator["PADDOCK_DEFAULT_POOL"]])
    secrets = {part: [volume["secret"] for volume in named(found, "Deployment", f"paddock-{part}")[
        "spec"]["template"]["spec"]["volumes"] if volume["name"] == "root-token"] for part in ("operator", "gateway")}
    assert secrets["operator"] == secrets["gateway"]
    made = {secret["metadata"]["name"] for secret in of_kind(found, "Secret")}
    assert (secrets["operator"][0]["secretName"] in made) == (name != "bare")


@pytest.mark.parametrize("name", ["default", "full"])
def test_the_default_pool_is_a_good_one(name: str) -> None:
    [document] = of_kind(objects(name), "RuntimePool")
    pool = parse(RuntimePool, document)
    assert pool.spec.service_account_name == "paddock-runtime"
    assert [secret.name for secret in pool.spec.image_pull_secrets] == ([] if name == "default" else ["registry"])
    assert pool.spec.allowed_namespaces is not None
    assert pool.spec.allowed_namespaces.all == (name == "default")


def test_settings_of_the_hub_reach_the_operator() -> None:
    operator = _environment(objects("full"), "operator")
    assert operator["PADDOCK_HF_ENDPOINT"] == "https://hub.example"
    assert operator["PADDOCK_ALLOWED_HOSTS"] == "hub.example,files.example"
    assert operator["PADDOCK_RUNTIME_IMAGE"] == "registry.example/paddock/runtime:cuda"
    assert "PADDOCK_HF_ENDPOINT" not in _environment(objects("default"), "operator")


def test_keys_are_kept_as_digests_and_nobody_is_let_in_without_one() -> None:
    records = named(objects("full"), "Secret", "paddock-api-keys")["stringData"]
    assert json.loads(records["team-a"]) == {"sha256": "b" * 64, "namespaces": ["team-a"], "tenant": "a"}
    assert set(records) == {"team-a", "all"}
    for name in SETS:
        gateway = _environment(objects(name), "gateway")
        assert (gateway["PADDOCK_KEYS_DIR"], gateway["PADDOCK_ALLOW_ANONYMOUS"]) == ("/etc/paddock/keys", "false")
    for owner, pod in pods(objects("default")):
        shown = json.dumps(pod["spec"])
        assert ("paddock-api-key\"" in shown) == (owner == "Pod/paddock-test"), "the key itself is for its reader only"


@each_set
def test_all_that_an_uninstall_must_remove_is_the_release_s_own(name: str) -> None:
    """The Lease too, which the operator writes. Hooks remove themselves, whatever becomes of them."""
    found = objects(name)
    assert named(found, "Lease", "paddock-operator")["metadata"]["namespace"] == NAMESPACE
    for each in found:
        annotations = each["metadata"].get("annotations") or {}
        assert "helm.sh/resource-policy" not in annotations
        if annotations.get("helm.sh/hook", "test") != "test":
            assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded,hook-failed"
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "paddock"


def test_definitions_follow_install_upgrade_and_rollback_before_all_else() -> None:
    found = objects("default")
    hooks = {each["kind"]: each["metadata"]["annotations"] for each in found
             if (each["metadata"].get("annotations") or {}).get("helm.sh/hook", "test") != "test"}
    assert set(hooks) == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Job"}
    assert {hook["helm.sh/hook"] for hook in hooks.values()} == {"pre-install,pre-upgrade,pre-rollback"}
    assert max(hooks, key=lambda kind: int(hooks[kind]["helm.sh/hook-weight"])) == "Job"
    [role] = [each for each in of_kind(found, "ClusterRole") if each["metadata"]["name"].endswith("crds")]
    definitions = sorted(path.stem for path in (CHART / "crds").glob("*.yaml"))
    assert sorted(role["rules"][0]["resourceNames"]) == definitions
    assert {name.removesuffix(".json") for name in named(found, "ConfigMap", "paddock-crds")["data"]} \
        == {*definitions, "apply_crds.py"}
    assert not any(each["metadata"]["name"].endswith("crds") for each in objects("bare"))


def test_every_value_has_a_place_in_the_schema_and_a_comment_where_its_name_does_not_say_it() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(value: Any, part: Any, path: str) -> None:
        part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        if not isinstance(value, dict) or "properties" not in part or path == ".pool.spec":
            return
        assert part["additionalProperties"] is False, path
        assert value.keys() == part["properties"].keys() - {"global"}, path
        for name, inner in value.items():
            check(inner, part["properties"][name], f"{path}.{name}")

    image, resources = schema["definitions"]["image"], schema["definitions"]["resources"]
    assert image["additionalProperties"] is resources["additionalProperties"] is False
    check(values, schema, "")


def test_the_definitions_of_the_chart_are_those_of_the_types() -> None:
    ours = {path.read_text() for path in (CHART.parents[1] / "crds").glob("*.yaml")}
    assert {path.read_text() for path in (CHART / "crds").glob("*.yaml")} == ours
    assert {yaml.safe_load(path.read_text())["metadata"]["name"] for path in (CHART / "crds").glob("*.yaml")} \
        == {path.stem for path in (CHART / "crds").glob("*.yaml")}
