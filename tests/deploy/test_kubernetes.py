"""The manifests of deploy/kubernetes: valid, consistent with one another, and with what the service is."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from app.main import create_app
from app.settings import Settings
from tests.deploy.support import KUBERNETES, documents, secret_variables, variables

pytestmark = pytest.mark.any_postgres

_BASE, _EXAMPLE = KUBERNETES / "base", KUBERNETES / "overlays" / "example"
_VERSIONS = ("1.34", "1.37")  # preStop.sleep is stable since the first


def _kustomization(folder: Path) -> dict[str, Any]:
    (document,) = documents(folder / "kustomization.yaml")
    return document


def _objects(folder: Path = _BASE) -> list[dict[str, Any]]:
    return [found for name in _kustomization(folder)["resources"] for found in documents(folder / name)]


def _one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (o for o in _objects() if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def _pods() -> dict[str, dict[str, Any]]:
    """The pod templates by their component."""
    templates = [o["spec"]["template"] for o in _objects() if o["kind"] in ("Deployment", "Job")]
    return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t["spec"] for t in templates}


def _settings() -> dict[str, str]:
    return dict(line.split("=", 1) for line in (_BASE / "settings.env").read_text().splitlines())


@pytest.mark.parametrize("version", _VERSIONS)
def test_each_object_is_valid_and_has_no_unknown_field(version: str, subtests: pytest.Subtests) -> None:
    for found in _objects():
        with subtests.test(f"{found['kind']} {found['metadata']['name']}"):
            kubernetes_validate.validate(found, version, strict=True)
    wrong = _one("Deployment", "bf-api")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize("folder", [_BASE, _EXAMPLE], ids=["base", "example"])
def test_each_file_is_listed_and_each_listed_file_is_there(folder: Path) -> None:
    listed = _kustomization(folder)
    files = [name for name in listed["resources"] if not name.startswith("../")]
    files += [patch["path"] for patch in listed.get("patches", [])]
    files += [name for made in listed.get("configMapGenerator", []) for name in made["envs"]]
    there = {path.name for path in folder.iterdir() if path.is_file()} - {"kustomization.yaml"}
    assert sorted(files) == sorted(there)
    for name in listed["resources"]:
        assert (folder / name).exists()


def test_there_is_one_upgrade_and_two_of_each_other() -> None:
    assert _pods().keys() == {"api", "worker", "upgrade"}
    assert [_one("Deployment", name)["spec"]["replicas"] for name in ("bf-api", "bf-worker")] == [2, 2]
    commands = {name: pod["containers"][0].get("args") for name, pod in _pods().items()}
    assert commands == {"api": None, "worker": ["worker"], "upgrade": ["upgrade"]}


def test_pods_are_locked_down(subtests: pytest.Subtests) -> None:
    for name, pod in _pods().items():
        with subtests.test(name):
            assert pod["automountServiceAccountToken"] is False
            assert pod["serviceAccountName"] == _one("ServiceAccount", "bf")["metadata"]["name"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] == 10001
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert container["image"] == "apg-bf-tenant-admin", "an overlay names the version"
            mounted = {volume["name"] for volume in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_settings_exist_and_secrets_come_from_files() -> None:
    settings, example = _settings(), _kustomization(_EXAMPLE)
    assert settings.keys() <= variables()
    assert not settings.keys() & secret_variables()
    files = {Path(value) for name, value in settings.items() if name.removesuffix("_FILE") in secret_variables()}
    (generated,) = example["secretGenerator"]
    assert {path.name for path in files} == {Path(name).name for name in generated["files"]}
    described = re.findall(r"^\| `(\w+)` \|", (_EXAMPLE / "secrets" / "README.md").read_text(), re.MULTILINE)
    assert {path.name for path in files} == set(described)
    (configured,) = _kustomization(_BASE)["configMapGenerator"]
    for pod in _pods().values():
        (container,) = pod["containers"]
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(path.parent) for path in files} == {places["secrets"]}
        assert pod["volumes"][0]["secret"]["secretName"] == generated["name"]
        assert container["envFrom"] == [{"configMapRef": {"name": configured["name"]}}]
        assert "env" not in container


def test_probes_ask_what_the_api_answers_and_a_worker_has_none() -> None:
    (api,) = _pods()["api"]["containers"]
    probes = {name: api[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: get["path"] for name, get in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {get["path"] for get in probes.values()} <= create_app(Settings()).openapi()["paths"].keys()
    ports = {port["name"] for port in api["ports"]}
    (service,) = _one("Service", "bf-api")["spec"]["ports"]
    assert {get["port"] for get in probes.values()} | {service["targetPort"]} == ports
    for name in ("worker", "upgrade"):
        assert not [key for key in _pods()[name]["containers"][0] if key.endswith("Probe")]


def test_the_drain_ends_before_the_kill() -> None:
    drain = float(_settings()["BF_DRAIN_TIMEOUT"])
    api = _pods()["api"]
    pause = api["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert api["terminationGracePeriodSeconds"] > pause + drain
    assert _pods()["worker"]["terminationGracePeriodSeconds"] > drain


def test_budgets_services_and_spreads_select_the_pods_they_are_for() -> None:
    for component in ("api", "worker"):
        wanted = {"app.kubernetes.io/component": component}
        assert _one("PodDisruptionBudget", f"bf-{component}")["spec"]["selector"]["matchLabels"] == wanted
        assert _one("Deployment", f"bf-{component}")["spec"]["selector"]["matchLabels"] == wanted
        spreads = _pods()[component]["topologySpreadConstraints"]
        assert [spread["labelSelector"]["matchLabels"] for spread in spreads] == [wanted] * len(spreads)
        budget = _one("PodDisruptionBudget", f"bf-{component}")["spec"]["minAvailable"]
        assert budget < _one("Deployment", f"bf-{component}")["spec"]["replicas"], "a node can be drained"
    assert _one("Service", "bf-api")["spec"]["selector"] == {"app.kubernetes.io/component": "api"}


def test_the_network_is_closed_but_for_the_api_the_database_and_names() -> None:
    deny = _one("NetworkPolicy", "bf-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = [o["spec"] for o in _objects() if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] != "bf-deny"]
    into = {p["port"] for spec in opened for rule in spec.get("ingress", []) for p in rule["ports"]}
    out = {p["port"] for spec in opened for rule in spec.get("egress", []) for p in rule["ports"]}
    assert (into, out) == ({8080}, {5432, 6432, 53, 443})


def test_the_example_patches_what_is_there_and_pins_a_version() -> None:
    names = {(o["kind"], o["metadata"]["name"]) for o in _objects()}
    example = _kustomization(_EXAMPLE)
    for patch in example["patches"]:
        for document in documents(_EXAMPLE / patch["path"]):
            assert (document["kind"], document["metadata"]["name"]) in names
    (image,) = example["images"]
    assert image["name"] == "apg-bf-tenant-admin"
    assert re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"])
    assert (_EXAMPLE / "secrets" / ".gitignore").read_text().splitlines() == ["*", "!.gitignore", "!README.md"]
