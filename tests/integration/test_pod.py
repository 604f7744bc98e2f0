"""Pods in miniature: a network namespace each, application and proxy as users of their own, mutual TLS.

The applications speak plain HTTP.  What is between the pods is TLS with a certificate on both sides, and
nobody but the proxies knows.  Configuration, flags and rules are those that `sidecar inject` writes.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  # threads of another user, who resolve names, could not read it
import http.server
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from namespaces import Namespaces, ask, needs_namespaces
from proxy_process import ROOT, proxy_command

from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import Settings
from tests.support import yaml_text

pytestmark = [needs_namespaces, pytest.mark.oracle]

APPLICATION, PROXY = 4242, 1337
PORT = 8080
TIMEOUT_S = 30.0
#: The proxy's user may read the interpreter wherever it lies, and nothing more.
AS_PROXY = ("setpriv", f"--reuid={PROXY}", f"--regid={PROXY}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
            "--bounding-set=-all,+dac_read_search")  # fmt: skip


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that the proxy's user may read, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="sidecar-pods-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def manifest(name: str, *annotations: str) -> str:
    """A pod as its owner writes it."""
    lines = "".join(f"    {line}\n" for line in annotations)
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations:
    example.com/owner: team
{lines}spec:
  terminationGracePeriodSeconds: 20
  containers:
    - name: app
      image: app:1
      ports:
        - containerPort: {PORT}
      readinessProbe:
        httpGet: {{path: /probe, port: {PORT}}}
"""


@dataclass
class Injected:
    """What the injection made of a manifest."""

    proxy_args: list[str]
    init_args: list[str]
    config: dict[str, Any]
    grace_s: int


def inject(text: str) -> Injected:
    outcome = rewrite.inject_documents(documents.split(text, "pod.yaml"), Settings())
    assert not outcome.errors
    pod, config_map = yaml_text.load_all(outcome.text)
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    named = {item["name"]: item for item in containers}
    return Injected(
        named["sidecar-proxy"]["args"],
        named["sidecar-init"]["command"][1:],
        yaml_text.load(config_map["data"]["bootstrap.yaml"]),
        pod["spec"]["terminationGracePeriodSeconds"],
    )


def with_mutual_tls(config: dict[str, Any], authority: trustme.CA, name: str, directory: Path) -> None:
    """Give the proxy a certificate, which its peers demand, and let it demand theirs."""
    issued = authority.issue_cert(f"{name}.pods")
    (directory / "chain.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    (directory / "key.pem").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(directory / "ca.pem")
    common = {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(directory / "chain.pem")},
                "private_key": {"filename": str(directory / "key.pem")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(directory / "ca.pem")},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"suffix": ".pods"}}],
        },
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
    inbound, outbound = config["static_resources"]["listeners"]
    assert (inbound["name"], outbound["name"]) == ("inbound", "outbound")
    down = {"@type": kind + "DownstreamTlsContext", "common_tls_context": common,
            "require_client_certificate": True}  # fmt: skip
    up = {"@type": kind + "UpstreamTlsContext", "common_tls_context": common}
    for chain in [*inbound["filter_chains"], inbound["default_filter_chain"]]:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": down}
    # Under TLS there is nothing to be seen of HTTP: all of it is.
    inbound["listener_filters"] = inbound["listener_filters"][:1]
    http = next(chain for chain in inbound["filter_chains"] if chain["name"] == "http")
    inbound["filter_chains"] = [chain for chain in inbound["filter_chains"] if chain["name"] != "http"]
    inbound["default_filter_chain"] = {**http, "filter_chain_match": {}}
    del inbound["default_filter_chain"]["filter_chain_match"]
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] == "outbound":
            cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": up}


class Application(http.server.BaseHTTPRequestHandler):
    """Plain HTTP/1.1; ``/slow`` takes a while."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(1.0)
        body = f"{self.server.server_address[0]} saw {self.client_address[0]}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname()[:2], Application, bind_and_activate=False)
        self.socket.close()
        self.socket = listening


@dataclass
class Pod:
    """One pod: its namespace, its application, and a proxy that is started as the kubelet would."""

    namespaces: Namespaces
    name: str
    address: str
    kind: str
    directory: Path
    injected: Injected
    process: subprocess.Popen[bytes] | None = None
    server: _Server | None = None
    log: list[str] = field(default_factory=list)

    def init(self) -> None:
        """The init container."""

        def run() -> None:
            subprocess.run([sys.executable, "-m", "sidecar", *self.injected.init_args], cwd=ROOT, check=True)

        self.namespaces.inside(self.name, run)

    def start_proxy(self) -> None:
        """The sidecar container: without a capability but to read the interpreter."""
        file = self.directory / "bootstrap.yaml"
        file.write_text(yaml_text.dump(self.injected.config))
        args = list(self.injected.proxy_args)
        args[args.index("-c") + 1] = str(file)
        known = {"$(POD_NAME)": self.name, "$(POD_NAMESPACE)": "test", "$(POD_IP)": self.address}
        for name, value in known.items():
            args = [item.replace(name, value) for item in args]
        if self.kind == "envoy":
            for flag in ("--shutdown-deadline-s", "--shutdown-grace-s"):
                if flag in args:
                    at = args.index(flag)
                    del args[at : at + 2]
        output = (self.directory / "output").open("wb")

        def run() -> subprocess.Popen[bytes]:
            command = [*AS_PROXY, *proxy_command(self.kind), *args, "--use-dynamic-base-id"]
            return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

        with output:
            self.process = self.namespaces.inside(self.name, run)

    def wait(self) -> None:
        """What a postStart hook runs."""

        def run() -> int:
            command = [sys.executable, "-m", "sidecar", "wait", "--timeout", str(TIMEOUT_S)]
            return subprocess.run(command, cwd=ROOT, check=False).returncode

        assert self.namespaces.inside(self.name, run) == 0, self.output()

    def start_application(self) -> None:
        def listen() -> socket.socket:
            return socket.create_server((self.address, PORT), backlog=128)

        self.server = _Server(self.namespaces.inside(self.name, listen, APPLICATION))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def output(self) -> str:
        return (self.directory / "output").read_text()

    def get(self, address: str, path: str = "/") -> str:
        """What this pod's application is answered."""
        with self.namespaces.connect(self.name, address, PORT, APPLICATION) as sock:
            sock.settimeout(20)
            return ask(sock, path)

    def stats(self) -> dict[str, int]:
        def read() -> str:
            with socket.create_connection(("127.0.0.1", 15000), timeout=10) as sock:
                return ask(sock, "/stats?format=json")

        text = self.namespaces.inside(self.name, read)
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return {item["name"]: item["value"] for item in found["stats"] if "value" in item}

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)


@contextlib.contextmanager
def pods(directory: Path, kinds: dict[str, str], *annotations: str) -> Iterator[Callable[[str], Pod]]:
    """Pods on one switch, with mutual TLS between their proxies; ``kinds`` is the proxy of each."""
    authority = trustme.CA()
    with contextlib.ExitStack() as stack:
        namespaces = stack.enter_context(Namespaces("switch", *kinds))
        namespaces.run("switch", "ip link add bridge type bridge")
        namespaces.run("switch", "ip link set bridge up")
        made = {}
        for number, (name, kind) in enumerate(kinds.items(), 1):
            namespaces.link(f"pod{number}", ("switch", f"{100 + number}.1"), (name, f"{100 + number}.2"))
            namespaces.run("switch", f"ip addr flush dev pod{number}")
            namespaces.run("switch", f"ip link set pod{number} master bridge")
            namespaces.run(name, f"ip addr add 10.9.0.{number}/24 dev pod{number}")
            own = directory / name
            own.mkdir()
            injected = inject(manifest(name, *annotations))
            with_mutual_tls(injected.config, authority, name, own)
            for file in own.iterdir():
                file.chmod(0o644)
            made[name] = Pod(namespaces, name, f"10.9.0.{number}", kind, own, injected)
            stack.callback(made[name].close)
        yield made.__getitem__


@pytest.mark.parametrize(
    ("client", "server"), [("sidecar", "sidecar"), ("envoy", "sidecar"), ("sidecar", "envoy")]
)
def test_two_pods_talk_mutual_tls_and_their_applications_know_nothing(
    client: str, server: str, shared: Path
) -> None:
    with pods(shared, {"a": client, "b": server}) as pod:
        a, b = pod("a"), pod("b")
        for each in (a, b):
            each.init()
            each.start_proxy()
        b.wait()
        b.start_application()
        # The order of a kubelet: the proxy is ready, an init container uses the network, then comes the rest.
        a.wait()
        assert a.get(b.address) == f"{b.address} saw {b.address}"
        a.start_application()
        assert a.get(b.address) == f"{b.address} saw {b.address}"
        assert a.get(b.address, "/slow") == f"{b.address} saw {b.address}"
        stats = b.stats()
        assert stats["http.inbound.downstream_rq_2xx"] == 3
        assert stats["listener.0.0.0.0_15006.ssl.handshake"] >= 1
        assert a.stats()["cluster.outbound.ssl.handshake"] >= 1
        # Whoever has no certificate is turned away: here, what leaves the switch has no proxy.
        with a.namespaces.connect("a", b.address, PORT, PROXY) as sock:
            assert ask(sock) in ("closed", "ConnectionResetError")
        # The kubelet, which has none either, still learns of the application's health.
        with a.namespaces.connect("a", b.address, 15020, PROXY) as sock:
            assert ask(sock, "/app-health/app/readiness") == f"{b.address} saw {b.address}"


@dataclass
class Load:
    """Requests of one pod to others, on connections that are kept, until it is told to stop."""

    pod: Pod
    addresses: list[str]
    stopping: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    failures: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        count = number
        while not self.stopping.is_set():
            count += 1
            address = self.addresses[count % len(self.addresses)]
            try:
                answer = self.pod.get(address, "/slow" if count % 20 == 0 else "/")
            except OSError as error:
                answer = repr(error)
            if answer == f"{address} saw {address}":
                self.done += 1
            else:
                self.failures.append(f"{address}: {answer}")

    def until(self, more: int) -> None:
        """Wait for so many answers more."""
        target, deadline = self.done + more, time.monotonic() + TIMEOUT_S
        while self.done < target:
            assert time.monotonic() < deadline, f"{self.done} of {target}: {self.failures[:3]}"
            time.sleep(0.02)


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_pod_that_ends_under_load_fails_no_request(native: str, shared: Path) -> None:
    kinds = {"client": "sidecar", "old": "sidecar", "new": "sidecar"}
    with pods(shared, kinds, f'trio-sidecar/native: "{native}"', 'trio-sidecar/shutdown-grace: "2"') as pod:
        client, old, new = (pod(name) for name in kinds)
        for each in (client, old, new):
            each.init()
            each.start_proxy()
        for each in (client, old, new):
            each.wait()
            each.start_application()
        with Load(client, [old.address, new.address]) as load:
            load.until(40)
            assert old.process is not None
            if native == "true":
                # The endpoint is gone before the application ends, and the sidecar is told last.
                load.addresses = [new.address]
                load.until(20)
                old.process.send_signal(signal.SIGTERM)
            else:
                # Both are told at once, and who calls learns it late.
                old.process.send_signal(signal.SIGTERM)
                load.until(10)
                load.addresses = [new.address]
            assert old.process.wait(old.injected.grace_s) == 0, old.output()
            load.until(40)
        assert not load.failures
        assert load.done >= 100


def test_a_job_ends(shared: Path) -> None:
    """A native sidecar is told when the job's container has ended; a plain one by its quit endpoint."""
    with pods(shared, {"job": "sidecar"}) as pod:
        job = pod("job")
        job.init()
        job.start_proxy()
        job.wait()
        assert job.process is not None
        assert job.process.poll() is None

        def quit_() -> str:
            with socket.create_connection(("127.0.0.1", 15000), timeout=10) as sock:
                sock.sendall(b"POST /quitquitquit HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                return sock.recv(1000).decode()

        assert " 200 " in job.namespaces.inside("job", quit_, APPLICATION)
        assert job.process.wait(20) == 0
