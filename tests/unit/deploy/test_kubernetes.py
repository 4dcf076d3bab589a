"""The manifests against Kubernetes' own schemas, in which nothing may stand that they do not know.

PodMonitor is a resource of the Prometheus operator, whose schema no small package carries: of it is tested only that it selects
the pods and names the port that there are.
"""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.needs import ROOT

PLACE = ROOT / "deploy/kubernetes"
VERSION = "1.31"


def manifest(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((PLACE / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(document)


def check(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def pod() -> dict[str, Any]:
    return dict(manifest("daemonset")["spec"]["template"])


def container() -> dict[str, Any]:
    (only,) = pod()["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("name", ["namespace", "daemonset"])
def test_a_manifest_is_as_the_schema_wants_it(name: str) -> None:
    check(manifest(name))


@pytest.mark.parametrize(
    "path",
    [
        "spec.template.spec.hostNetworks",
        "spec.template.spec.containers.0.readOnlyRootFilesystem",
        "spec.template.spec.containers.0.securityContext.capabilities.added",
        "spec.template.spec.containers.0.livenessProbe.httpGet.prot",
    ],
)
def test_a_misspelt_or_misplaced_field_would_be_refused(path: str) -> None:
    document: Any = copy.deepcopy(manifest("daemonset"))
    place = document
    *way, last = path.split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = True
    with pytest.raises(kubernetes_validate.ValidationError, match=last):
        check(document)


def test_the_kustomization_has_the_core_manifests_and_the_image_of_the_pod() -> None:
    document = manifest("kustomization")
    assert document["resources"] == ["namespace.yaml", "daemonset.yaml"]
    assert [image["name"] for image in document["images"]] == [container()["image"]]
    assert {manifest(name)["metadata"].get("namespace") for name in ("daemonset", "podmonitor")} == {document["namespace"]}
    assert manifest("namespace")["metadata"]["name"] == document["namespace"]


@pytest.mark.parametrize("kind", ["daemonset", "podmonitor"])
def test_the_labels_that_are_looked_for_are_those_of_the_pod(kind: str) -> None:
    wanted = manifest(kind)["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= pod()["metadata"]["labels"].items()


def test_every_port_that_is_asked_for_is_one_of_the_container() -> None:
    (endpoint,) = manifest("podmonitor")["spec"]["podMetricsEndpoints"]
    probes = [container()[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert {endpoint["port"], *(probe["port"] for probe in probes)} == {port["name"] for port in container()["ports"]}
    assert {probe["path"] for probe in probes} == {"/healthz"}


def test_every_mount_has_its_volume() -> None:
    assert {mount["name"] for mount in container()["volumeMounts"]} == {volume["name"] for volume in pod()["spec"]["volumes"]}


def test_the_pod_can_ask_the_api_server_for_nothing() -> None:
    assert pod()["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod()["spec"]
