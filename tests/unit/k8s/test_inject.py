"""What an injection refuses, where it says so, and what the command writes."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli.inject import settings_table
from sidecar.cli.main import main
from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import PARSERS, SettingError, Settings, with_texts

POD = """\
# a pod
apiVersion: v1
kind: Pod
metadata:
  name: app
  annotations:
    example.com/own: "1"
{annotations}spec:
  containers:
    - name: app
      image: app:1
{more}"""


def pod(*annotations: str, more: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in annotations)
    return POD.format(annotations=lines, more=more)


def refused(text: str) -> list[str]:
    outcome = rewrite.inject_documents(documents.split(text, "pod.yaml"), Settings())
    return outcome.errors


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            'trio-sidecar/exclude-inbound-port: "80"',
            "trio-sidecar/exclude-inbound-port: no such annotation 'trio-sidecar/exclude-inbound-port', "
            "did you mean 'trio-sidecar/exclude-inbound-ports'?",
        ),
        (
            'trio-sidecar/exclude-inbound-ports: "80,90-70"',
            "trio-sidecar/exclude-inbound-ports: the range '90-70' ends before it begins",
        ),
        (
            "trio-sidecar/exclude-outbound-ranges: 10.0.0.1/8",
            "trio-sidecar/exclude-outbound-ranges: '10.0.0.1/8' is no range of addresses: "
            "10.0.0.1/8 has host bits set",
        ),
        (
            "trio-sidecar/native: yes please",
            "trio-sidecar/native: 'yes please' is neither 'true' nor 'false'",
        ),
        ("trio-sidecar/inject: maybe", "trio-sidecar/inject: 'maybe' is neither 'true' nor 'false'"),
        (
            "trio-sidecar/log-level: debugg",
            "trio-sidecar/log-level: 'debugg' is none of trace, debug, info, warning, warn, error, critical, "
            "off; did you mean 'debug'?",
        ),
        ("trio-sidecar/admin-port: '0'", "trio-sidecar/admin-port: '0' is no number from 1 to 65535"),
        ("trio-sidecar/cpu-limit: some", "trio-sidecar/cpu-limit: 'some' is no quantity, as 100m or 128Mi"),
        (
            "trio-sidecar/wasm: guard",
            "trio-sidecar/wasm: 'guard' is none of configmap:NAME, pvc:NAME, image:REFERENCE",
        ),
        ("trio-sidecar/lua: Edits", "trio-sidecar/lua: 'Edits' is no name of an object"),
        (
            "trio-sidecar/mounts: certificates",
            "trio-sidecar/mounts: 'certificates' is no VOLUME:PATH, as certificates:/etc/certificates",
        ),
        ("trio-sidecar/secrets: a b", "trio-sidecar/secrets: 'a b' is no name of an object"),
        (
            "trio-sidecar/health-port: '15000'",
            "trio-sidecar/health-port: port 15000 is that of admin-port already",
        ),
    ],
)
def test_a_wrong_annotation_is_named_with_its_place(line: str, error: str) -> None:
    assert refused(pod(line)) == [f"pod.yaml:8:5: {error}"]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (
            "    - {name: sidecar-proxy, image: other}\n",
            "a container 'sidecar-proxy' is there that no injection has added",
        ),
        (
            "  volumes:\n    - {name: sidecar-tmp, emptyDir: {}}\n",
            "a volume 'sidecar-tmp' is there already",
        ),
        (
            "      securityContext: {runAsUser: 1337}\n",
            "container 'app' runs as user 1337 too: what the proxy's user sends is not intercepted. "
            "Give the proxy another user",
        ),
        (
            "      ports:\n        - {containerPort: 15020}\n",
            "port 15020 of container 'app' is the proxy's health port",
        ),
    ],
)
def test_a_pod_that_is_in_the_way_is_named_with_its_place(more: str, error: str) -> None:
    assert refused(pod(more=more)) == [f"pod.yaml:8:1: Pod app: {error}"]


def test_a_volume_that_the_pod_lacks_is_named() -> None:
    found = refused(pod("trio-sidecar/mounts: spire:/run/spire"))
    assert found == ["pod.yaml:8:5: trio-sidecar/mounts: the pod has no volume 'spire'"]


def test_text_that_is_no_yaml_is_refused_with_its_place() -> None:
    found = refused("a: 1\n---\nkind: [Pod\n")
    assert len(found) == 1
    assert found[0].startswith("pod.yaml:4:1: ")
    assert refused('{"kind": "Pod",\n "spec": }') == ["pod.yaml:2:10: Expecting value"]


def test_a_refused_file_leaves_all_files_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(pod())
    bad.write_text(pod("trio-sidecar/nativ: 'true'"))
    assert main(["inject", "--in-place", str(tmp_path)]) == 1
    assert (good.read_text(), bad.read_text()) == (pod(), pod("trio-sidecar/nativ: 'true'"))
    out = capsys.readouterr()
    assert out.out == ""
    assert f"{bad}:8:5: trio-sidecar/nativ: no such annotation" in out.err


def test_in_place_and_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "pod.yml"
    file.parent.mkdir()
    file.write_text(pod())
    (tmp_path / "notes.txt").write_text("no manifest")
    assert main(["inject", "-i", str(tmp_path)]) == 0
    once = file.read_text()
    assert "sidecar-proxy" in once
    assert main(["inject", "-i", str(tmp_path)]) == 0
    assert file.read_text() == once
    assert main(["inject", "-i", "--undo", str(tmp_path)]) == 0
    assert file.read_text() == pod()


def test_a_folder_is_written_elsewhere_by_its_names(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "base").mkdir(parents=True)
    (source / "base" / "pod.yaml").write_text(pod())
    (source / "service.yaml").write_text("kind:   Service\n")
    assert main(["inject", str(source), "-o", str(target)]) == 0
    assert "sidecar-proxy" in (target / "base" / "pod.yaml").read_text()
    assert (target / "service.yaml").read_text() == "kind:   Service\n"
    assert (source / "base" / "pod.yaml").read_text() == pod()


def test_the_difference_is_shown_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(pod())
    assert main(["inject", "--diff", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"--- {file}\n+++ {file}\n")
    assert not [line for line in shown.splitlines()[2:] if line.startswith("-")]
    assert file.read_text() == pod()


def test_standard_input_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(pod()))
    assert main(["inject", "--image", "mine:2", "--native", "false"]) == 0
    assert "image: mine:2" in capsys.readouterr().out


def test_only_labelled_pods_are_asked_for_by_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(pod())
    assert main(["inject", "--only-labelled", str(file)]) == 0
    out = capsys.readouterr()
    assert out.out == pod()
    assert "not changed: nothing asks for it (trio-sidecar/inject)" in out.err
    file.write_text(pod("trio-sidecar/inject: 'true'"))
    assert main(["inject", "--only-labelled", str(file)]) == 0
    assert "sidecar-proxy" in capsys.readouterr().out


def test_a_wrong_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "--concurrency", "many", "-"]) == 1
    assert capsys.readouterr().err == "--concurrency: 'many' is no number from 0 to 1024\n"


def test_other_settings_than_before_replace_the_sidecar() -> None:
    """A second injection is a new one, not another sidecar."""
    first = rewrite.inject_documents(documents.split(pod(), "p"), Settings(concurrency=1)).text
    second = rewrite.inject_documents(documents.split(first, "p"), Settings(concurrency=7)).text
    straight = rewrite.inject_documents(documents.split(pod(), "p"), Settings(concurrency=7)).text
    assert second == straight != first


def test_every_setting_has_a_parser_and_takes_its_default() -> None:
    defaults = Settings()
    assert set(PARSERS) == {item.name for item in fields(Settings)}
    for item in fields(Settings):
        value = getattr(defaults, item.name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(value, tuple) and value != "":
            assert getattr(with_texts(defaults, {item.name: text}), item.name) == value


@given(st.sampled_from(sorted(PARSERS)), st.text(max_size=12))
def test_a_setting_is_taken_or_refused_by_name(name: str, text: str) -> None:
    refusals = []
    try:
        with_texts(Settings(), {name: text})
    except SettingError as error:
        refusals.append(error.name)
    assert refusals in ([], [name]) or refusals[0].endswith("_port")


def test_probes_of_a_pod_that_nothing_intercepts_stay() -> None:
    text = pod(more="      livenessProbe: {httpGet: {path: /, port: 80}}\n")
    outcome = rewrite.inject_documents(documents.split(text, "p"), Settings(interception="none"))
    assert "livenessProbe: {httpGet: {path: /, port: 80}}" in outcome.text


def test_a_status_of_somebody_else_is_refused() -> None:
    assert refused(pod("trio-sidecar/status: nonsense")) == [
        "pod.yaml:8:5: trio-sidecar/status: trio-sidecar/status is not what an injection writes"
    ]


def test_json_stays_json() -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a"}]},
    }
    text = json.dumps(manifest, indent=2) + "\n"
    outcome = rewrite.inject_documents(documents.split(text, "p.json"), Settings())
    assert [c["name"] for c in json.loads(outcome.text)["spec"]["initContainers"]] == [
        "sidecar-init",
        "sidecar-proxy",
    ]
    assert rewrite.undo_documents(documents.split(outcome.text, "p.json")).text == text


def test_the_page_has_every_setting() -> None:
    page = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text()
    _, _, rest = page.partition("<!-- settings -->\n")
    table, _, _ = rest.partition("\n<!-- end of settings -->")
    assert table == settings_table()


def test_concurrency_of_0_is_left_to_the_proxy_to_count() -> None:
    text = rewrite.inject_documents(documents.split(pod(), "p"), Settings(concurrency=0)).text
    assert "--shutdown-deadline-s" in text
    assert "--concurrency" not in text


@pytest.mark.parametrize("group", ["containers", "initContainers"])
def test_a_pod_of_another_mesh_is_left_as_it_is(group: str) -> None:
    name = "istio-proxy"
    more = (
        f"  initContainers:\n    - name: {name}\n" if group == "initContainers" else f"    - name: {name}\n"
    )
    text = pod('trio-sidecar/inject: "true"', more=more)
    outcome = rewrite.inject_documents(documents.split(text, "pod.yaml"), Settings())
    [note] = outcome.notes
    assert "not changed: container 'istio-proxy' is another mesh's proxy" in note
    assert outcome.errors == []
