"""Each file of examples/kubernetes is injected, valid, and configures both proxies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from proxy_process import PROXIES, ROOT, proxy_command

from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import Settings

EXAMPLES = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_injected_and_valid(path: Path) -> None:
    outcome = rewrite.inject_documents(documents.load(path), Settings())
    assert not outcome.errors
    assert outcome.workloads == 1
    for item in yaml.safe_load_all(outcome.text):
        kubernetes_validate.validate(item, "1.37", strict=True)
    undone = rewrite.undo_documents(documents.split(outcome.text, "again"))
    assert list(yaml.safe_load_all(undone.text)) == list(yaml.safe_load_all(path.read_text()))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_configures_the_proxy(path: Path, kind: str, tmp_path: Path) -> None:
    outcome = rewrite.inject_documents(documents.load(path), Settings())
    maps = {}
    args: list[str] = []
    for item in yaml.safe_load_all(outcome.text):
        if item["kind"] == "ConfigMap":
            maps[item["metadata"]["name"]] = item["data"]
        else:
            containers = item["spec"]["template"]["spec"]["initContainers"]
            args = next(each["args"] for each in containers if each["name"] == "sidecar-proxy")
            config = item["spec"]["template"]["metadata"]["annotations"]["trio-sidecar/config-map"]
    for name, data in maps.items():
        for key, text in data.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / key).write_text(text.replace("/etc/sidecar-lua", str(tmp_path)))
    overlay = args[args.index("--config-yaml") + 1].replace("$(POD_IP)", "127.0.0.1")
    command = [
        *proxy_command(kind),
        "-c",
        str(tmp_path / config / "bootstrap.yaml"),
        "--config-yaml",
        overlay,
    ]
    done = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
