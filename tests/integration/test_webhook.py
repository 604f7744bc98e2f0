"""The admission webhook as a cluster uses it: real reviews over TLS, with certificates that rotate."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import trustme
from proxy_process import ROOT

from tests.support import yaml_text
from tests.support.kubernetes import VERSIONS, validate

HOST = "trio-sidecar-webhook.trio-sidecar.svc"
POD = {
    "metadata": {
        "generateName": "shop-7c9d-",
        "labels": {"app": "shop", "pod-template-hash": "7c9d"},
        "annotations": {"example.com/a/b~c": "kept"},
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "image": "app:1",
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 10},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
            }
        ],
        "volumes": [{"name": "token", "projected": {"sources": []}}],
        "serviceAccountName": "default",
    },
}


def review(pod: object, uid: str = "1", kind: str = "Pod") -> dict[str, Any]:
    """What an API server sends when a pod is made."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": kind},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "prod",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": None,
            "dryRun": False,
        },
    }


@dataclass
class Running:
    """A webhook of its own process."""

    process: subprocess.Popen[str]
    authority: trustme.CA
    lines: list[str]
    port: int = 0
    plain_port: int = 0

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=20, context=context)
        connection.connect()
        return connection

    def answer(
        self, message: object, connection: http.client.HTTPSConnection | None = None
    ) -> dict[str, Any]:
        used = connection or self.connect()
        used.request("POST", "/inject?timeout=5s", json.dumps(message), {"content-type": "application/json"})
        response = used.getresponse()
        body = response.read()
        assert response.status == 200, body
        if connection is None:
            used.close()
        found = json.loads(body)
        assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        result: dict[str, Any] = found["response"]
        return result

    def plain(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", self.plain_port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        with contextlib.closing(connection):
            return response.status, response.read().decode()

    def until_said(self, pattern: str) -> str:
        deadline = time.monotonic() + 30
        while True:
            for line in list(self.lines):
                if re.search(pattern, line):
                    return line
            assert time.monotonic() < deadline, f"{pattern} is not in {self.lines}"
            time.sleep(0.02)


@contextlib.contextmanager
def webhook(directory: Path, *flags: str) -> Iterator[Running]:
    authority = trustme.CA()
    write(authority, directory)
    arguments = ["--host", "localhost", "--port", "0", "--plain-port", "0", *flags]
    files = ["--certificate", str(directory / "tls.crt"), "--key", str(directory / "tls.key")]
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "webhook", "serve", *arguments, *files],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Running(process, authority, [])

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            running.lines.append(line)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        line = running.until_said("reviews on port")
        running.port, running.plain_port = map(int, re.findall(r"port (\d+)", line))
        yield running
    finally:
        process.terminate()
        process.wait(20)
        thread.join(20)
        assert process.stderr is not None
        process.stderr.close()


def write(authority: trustme.CA, directory: Path) -> None:
    """A certificate of the authority, in place of the one that is there."""
    issued = authority.issue_cert("localhost", HOST)
    new = directory / "new"
    new.write_bytes(issued.private_key_pem.bytes())
    new.replace(directory / "tls.key")
    new.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    new.replace(directory / "tls.crt")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with webhook(tmp_path_factory.mktemp("webhook"), "--image", "sidecar:test") as found:
        yield found


def patched(pod: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    assert response["patchType"] == "JSONPatch"
    result: dict[str, Any] = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(response["patch"])))
    return result


def test_a_pod_is_injected_by_a_patch(running: Running) -> None:
    response = running.answer(review(POD, "the uid"))
    assert (response["uid"], response["allowed"]) == ("the uid", True)
    assert "warnings" not in response
    pod = patched(POD, response)
    spec = pod["spec"]
    assert [item["name"] for item in spec["initContainers"]] == ["sidecar-init", "sidecar-proxy"]
    assert [item["name"] for item in spec["containers"]] == ["app"]
    assert spec["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/app-health/app/readiness"
    assert [item["name"] for item in spec["volumes"]] == ["token", "sidecar-tmp"]
    assert pod["metadata"]["annotations"]["example.com/a/b~c"] == "kept"
    assert "-c" not in spec["initContainers"][1]["args"]
    validate({"apiVersion": "v1", "kind": "Pod", **pod}, VERSIONS[-1])
    # The API server asks again when another webhook has changed the pod.
    again = running.answer(review(pod))
    assert again["allowed"]
    assert "patch" not in again or patched(pod, again) == pod


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"annotations": {"trio-sidecar/inject": "false"}}, "no sidecar: trio-sidecar/inject is 'false'"),
        (
            {"annotations": {"trio-sidecar/log-levl": "info"}},
            "no sidecar: trio-sidecar/log-levl: no such annotation 'trio-sidecar/log-levl', "
            "did you mean 'trio-sidecar/log-level'?",
        ),
    ],
)
def test_why_a_pod_has_none_is_in_warnings_and_log(
    running: Running, change: dict[str, Any], warning: str
) -> None:
    pod = {**POD, "metadata": {"name": "odd", **change}}
    response = running.answer(review(pod))
    assert response == {"uid": "1", "allowed": True, "warnings": [f"trio-sidecar: {warning}"]}
    running.until_said(re.escape(f"prod/odd: {warning}"))


def test_what_is_no_pod_is_let_be(running: Running) -> None:
    assert running.answer(review({"metadata": {}}, kind="Service")) == {"uid": "1", "allowed": True}


@pytest.mark.parametrize(
    ("method", "path", "kind", "body", "status", "text"),
    [
        ("POST", "/inject", "application/json", "{", 400, "no JSON: "),
        ("POST", "/inject", "application/json", "{}", 400, "kind is not AdmissionReview"),
        ("POST", "/inject", "application/json", '{"kind": "AdmissionReview", "apiVersion": "v1"}',
         400, "apiVersion is 'v1', and not admission.k8s.io/v1"),
        ("POST", "/inject", "application/json",
         '{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', 400, "request.uid is missing"),
        ("POST", "/inject", "text/plain", "{}", 415, "content-type is not application/json"),
        ("GET", "/inject", "application/json", "", 405, "POST an AdmissionReview"),
        ("POST", "/other", "application/json", "{}", 404, "there is POST /inject"),
        ("GET", "/healthz", "", "", 200, "ok"),
    ],
)  # fmt: skip
def test_what_is_no_review_is_refused(
    running: Running, method: str, path: str, kind: str, body: str, status: int, text: str
) -> None:
    connection = running.connect()
    connection.request(method, path, body, {"content-type": kind})
    response = connection.getresponse()
    assert response.status == status
    assert response.read().decode().startswith(text)
    # And the connection serves on.
    assert running.answer(review(POD), connection)["allowed"]
    connection.close()


def test_what_is_longer_than_an_object_is_refused_unread(running: Running) -> None:
    connection = running.connect()
    connection.putrequest("POST", "/inject")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(4 << 20))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()


def test_no_http_and_no_tls_end_their_connection_alone(running: Running) -> None:
    for data in (b"nonsense\r\n\r\n", b"\x16\x03\x01\x00\x05hello"):
        connection = running.connect()
        connection.sock.sendall(data)
        assert b"400" in connection.sock.recv(1000) or data[:1] == b"\x16"
        connection.close()
    assert running.answer(review(POD))["allowed"]


def test_many_reviews_on_one_connection(running: Running) -> None:
    connection = running.connect()
    patches = {running.answer(review(POD, str(number)), connection)["patch"] for number in range(100)}
    assert len(patches) == 1
    connection.close()


def test_metrics_count_what_became_of_reviews(tmp_path: Path) -> None:
    with webhook(tmp_path, "--deny-errors", "--default", "skip") as mine:
        assert mine.plain("/readyz") == (200, "ok\n")
        mine.answer(review(POD))
        mine.answer(review({**POD, "metadata": {"labels": {"trio-sidecar/inject": "true"}}}))
        denied = mine.answer(
            review(
                {
                    **POD,
                    "metadata": {"annotations": {"trio-sidecar/inject": "true", "trio-sidecar/user": "x"}},
                }
            )
        )
        text = "no sidecar: trio-sidecar/user: 'x' is no number from 1 to 2147483647"
        assert denied == {
            "uid": "1",
            "allowed": False,
            "status": {"code": 422, "reason": "Invalid", "message": text},
        }
        status, page = mine.plain("/metrics")
        assert status == 200
        found = dict(
            re.findall(r'^sidecar_webhook_reviews_total\{outcome="(\w+)"\} (\d+)$', page, re.MULTILINE)
        )
        assert found == {"injected": "1", "skipped": "1", "wrong": "0", "denied": "1", "malformed": "0"}
        assert "sidecar_webhook_review_seconds_count 3\n" in page


def test_certificates_rotate_and_bad_ones_are_not_taken(tmp_path: Path) -> None:
    with webhook(tmp_path) as mine:
        mine.answer(review(POD))
        kept = mine.connect()
        (tmp_path / "tls.key").write_text("no key")
        deadline = time.monotonic() + 30
        while not any("cannot be used, the last stay" in line for line in mine.lines):
            assert time.monotonic() < deadline
            mine.answer(review(POD))
        old, mine.authority = mine.authority, trustme.CA()
        write(mine.authority, tmp_path)
        while True:
            assert time.monotonic() < deadline
            with contextlib.suppress(ssl.SSLCertVerificationError):
                mine.answer(review(POD))
                break
        mine.answer(review(POD), kept)
        kept.close()
        mine.authority = old
        with pytest.raises(ssl.SSLCertVerificationError):
            mine.connect()


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with webhook(tmp_path) as mine:
        mine.process.send_signal(signal.SIGTERM)
        assert mine.process.wait(20) == 0


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with webhook(tmp_path) as mine:
        command = [sys.executable, "-m", "sidecar", "webhook", "serve", "--host", "localhost", "--port"]
        files = ["--certificate", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key")]
        ports = [str(mine.port), "--plain-port", "0"]
        done = subprocess.run([*command, *ports, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"sidecar webhook: ports {mine.port} and 0: Address already in use\n"


def test_without_a_certificate_it_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sidecar", "webhook", "serve"]
    done = subprocess.run(
        [*command, "--certificate", "none.crt", "--key", "none.key"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "sidecar webhook: none.crt, none.key: No such file or directory\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("certificates", ["generated", "cert-manager"])
def test_manifests_are_valid_and_belong_together(certificates: str, version: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sidecar", "webhook", "manifests", "--certificates", certificates]
    flags = ["--namespace", "trio-sidecar", "--native", "false", "--deny-errors"]
    text = subprocess.run([*command, *flags], capture_output=True, text=True, check=True).stdout
    objects = {item["kind"]: item for item in yaml_text.load_all(text)}
    for item in objects.values():
        if not item["apiVersion"].startswith("cert-manager.io/"):
            validate(item, version)
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"--native=false", "--deny-errors"} <= set(container["args"])
    [hook] = objects["MutatingWebhookConfiguration"]["webhooks"]
    if certificates == "cert-manager":
        assert objects["Certificate"]["spec"]["dnsNames"][0] == HOST
        assert "caBundle" not in hook["clientConfig"]
        return
    data = objects["Secret"]["data"]
    for name, value in data.items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cadata=base64.b64decode(hook["clientConfig"]["caBundle"]).decode())
    shake_hands(server, client, HOST)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """As an API server would, which checks the name of the service."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert ends[0].getpeercert()
