"""The chart and the kustomize tree of examples/kubernetes, as helm and kustomize render them."""

from __future__ import annotations

import json
import shutil
from functools import cache
from typing import Any

import pytest

from sidecar._version import __version__
from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import Settings
from sidecar.k8s.webhook_manifests import Deployment, Issued, manifests
from tests.golden.kubernetes.render import CHART, COMMANDS, NAMESPACE, RENDERED, render, source_of
from tests.support import yaml_text
from tests.support.kubernetes import VERSIONS, validate

Object = dict[str, Any]


@cache
def text_of(name: str) -> str:
    return (RENDERED / f"{name}.yaml").read_text()


def objects(text: str) -> dict[str, Object]:
    return {item["kind"]: item for item in yaml_text.load_all(text) if item is not None}


@pytest.mark.parametrize("name", COMMANDS)
def test_rendering_is_of_the_files_that_there_are(name: str) -> None:
    said = text_of(name).partition("\n")[0]
    assert said == f"# of {source_of(name)}", "python -m tests.golden.kubernetes.render"


@pytest.mark.parametrize("name", COMMANDS)
def test_rendering_is_what_the_program_makes(name: str) -> None:
    if shutil.which(COMMANDS[name][0]) is None:
        pytest.skip(f"there is no {COMMANDS[name][0]} here")
    assert render(name) == text_of(name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", COMMANDS)
def test_rendering_is_valid_for_kubernetes(name: str, version: str) -> None:
    for item in objects(text_of(name)).values():
        if item["apiVersion"] != "cert-manager.io/v1":
            validate(item, version)


def without_labels(item: Object) -> Object:
    """Objects have the labels of whoever installs them."""
    item = json.loads(json.dumps(item))
    for metadata in (item["metadata"], item.get("spec", {}).get("template", {}).get("metadata", {})):
        metadata.pop("labels", None)
    return item


def test_chart_installs_what_the_command_writes() -> None:
    image = f"trio-sidecar/sidecar:{__version__}"
    deployment = Deployment(image, NAMESPACE, arguments=(f"--image={image}",))
    made = b"made"
    wanted = objects(manifests(deployment, Issued(made, made, made)))
    # Helm makes the namespace itself.
    del wanted["Namespace"]
    # Upgrades find the authority in the Secret.
    wanted["Secret"]["data"]["ca.crt"] = wanted["Secret"]["data"]["tls.crt"]
    found = objects(text_of("chart"))
    assert {kind: without_labels(item) for kind, item in found.items()} == {
        kind: without_labels(item) for kind, item in wanted.items()
    }


def test_chart_with_cert_manager_and_other_values() -> None:
    image = "registry.example/sidecar:v7"
    arguments = (f"--image={image}", "--native=false", "--deny-errors")
    deployment = Deployment(image, NAMESPACE, "Fail", is_cert_manager=True, replicas=3, arguments=arguments)
    wanted = objects(manifests(deployment, None))
    del wanted["Namespace"]
    pod = wanted["Deployment"]["spec"]["template"]["spec"]
    pod["containers"][0]["imagePullPolicy"] = "Always"
    pod["nodeSelector"] = {"zone": "a"}
    found = objects(text_of("chart_cert_manager"))
    assert {kind: without_labels(item) for kind, item in found.items()} == {
        kind: without_labels(item) for kind, item in wanted.items()
    }


def test_chart_is_of_this_version() -> None:
    assert yaml_text.load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
    values = yaml_text.load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["kustomize_staging", "kustomize_production"])
def test_overlays_are_injected(name: str, version: str) -> None:
    """The annotation names the ConfigMap by the name that kustomize gave it."""
    outcome = rewrite.inject_documents(documents.split(text_of(name), name), Settings())
    assert not outcome.errors
    assert outcome.workloads == 1
    found = objects(outcome.text)
    for item in found.values():
        validate(item, version)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [config] = [each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "sidecar-config"]
    assert config == found["ConfigMap"]["metadata"]["name"]
    assert config.startswith("catalog-proxy-")
    [proxy] = [each for each in pod["initContainers"] if each["name"] == "sidecar-proxy"]
    if name == "kustomize_staging":
        assert proxy["args"][proxy["args"].index("--log-level") + 1] == "debug"
    else:
        assert proxy["args"][proxy["args"].index("--concurrency") + 1] == "2"
        assert proxy["resources"]["limits"]["memory"] == "512Mi"
        assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "catalog"
