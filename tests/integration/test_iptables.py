"""`sidecar iptables` in network namespaces: rules written, proven, used by both proxies, and taken out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import Namespaces, Server, ask, needs_namespaces
from proxy_process import PROXIES, ROOT

from sidecar.k8s.bootstrap import bootstrap, overlay
from sidecar.k8s.containers import merged
from sidecar.k8s.settings import Settings
from tests.support import yaml_text

pytestmark = [needs_namespaces, pytest.mark.oracle]

BACKENDS = ["iptables", "nft"]
APPLICATION, PROXY = 4242, 0
POD, OTHER = "10.6.0.1", "10.6.0.2"
FLAGS = [f"--proxy-uid={PROXY}", "--exclude-inbound-ports=15020,7000-7001"]


@pytest.fixture
def pod() -> Iterator[Namespaces]:
    """Two namespaces with a cable, and a way from the pod to everywhere."""
    with Namespaces("pod", "other") as made:
        made.link("pod0", ("pod", "6.1"), ("other", "6.2"))
        made.run("pod", "ip route add default via 10.6.0.2")
        made.run("pod", "ip -6 route add default via fd00:6::2")
        yield made


def rules(pod: Namespaces, backend: str) -> str:
    """All NAT rules of the pod."""
    commands = {
        "iptables": [("iptables-save", "-t", "nat"), ("ip6tables-save", "-t", "nat")],
        "nft": [("nft", "list", "ruleset")],
    }

    def read() -> str:
        return "".join(
            subprocess.run(each, capture_output=True, text=True, check=True).stdout
            for each in commands[backend]
        )

    # Without comments, which have the time.
    return "".join(line for line in pod.inside("pod", read).splitlines(True) if not line.startswith("#"))


def command(pod: Namespaces, *arguments: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run `sidecar iptables` inside; its status and what it said."""

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [*before, sys.executable, "-m", "sidecar", "iptables", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return pod.inside("pod", run)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_are_written_once_and_taken_out_whole(pod: Namespaces, backend: str) -> None:
    flags = ["--backend", backend]
    # Whoever lists the chains makes them.
    rules(pod, backend)
    before = rules(pod, backend)
    assert command(pod, "apply", *flags, *FLAGS) == (0, "")
    once = rules(pod, backend)
    assert "15006" in once
    assert command(pod, "apply", *flags, *FLAGS) == (0, "")
    assert rules(pod, backend) == once
    assert command(pod, "apply", *flags, *FLAGS, "--dns-port=1053") == (0, "")
    assert "1053" in rules(pod, backend)
    assert command(pod, "apply", *flags, *FLAGS) == (0, "")
    assert rules(pod, backend) == once
    assert command(pod, "clean", *flags) == (0, "")
    assert rules(pod, backend) == before
    assert command(pod, "clean", *flags) == (0, "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_proves_it_by_a_connection(pod: Namespaces, backend: str) -> None:
    status, said = command(pod, "check")
    assert status == 1
    assert said.startswith("IPv4: a connection to 192.0.2.1:80 was not intercepted: ")
    command(pod, "apply", "--backend", backend)
    port = "came to port 15001, and the kernel knows where it was going"
    assert command(pod, "check") == (
        0,
        f"IPv4: a connection to 192.0.2.1:80 {port}\nIPv6: a connection to [2001:db8::1]:80 {port}\n",
    )


def test_a_check_beside_a_running_proxy(pod: Namespaces) -> None:
    command(pod, "apply", "--ipv6", "false")
    server = Server(pod, "pod", "0.0.0.0", 15001)
    try:
        assert command(pod, "check", "--ipv6", "false") == (
            0,
            "IPv4: a connection to 192.0.2.1:80 was taken by what listens on port 15001\n",
        )
    finally:
        server.close()


def test_whoever_may_not_write_rules_is_told_in_one_line(pod: Namespaces) -> None:
    without = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    status, said = command(pod, "apply", before=without)
    assert status == 1
    assert said == "CAP_NET_ADMIN is missing: the init container's securityContext has to add it\n"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", PROXIES)
def test_the_injected_configuration_takes_both_directions(
    pod: Namespaces, kind: str, backend: str, tmp_path: Path
) -> None:
    settings = Settings(admin_port=9901, user=PROXY)
    config = merged(bootstrap(settings), overlay(settings, []))
    assert command(pod, "apply", "--backend", backend, *FLAGS) == (0, "")
    servers = [
        Server(pod, "pod", "0.0.0.0", 80),
        Server(pod, "pod", "0.0.0.0", 7000),
        Server(pod, "other", OTHER, 80),
        Server(pod, "other", "fd00:6::2", 80),
    ]
    try:
        with pod.proxy("pod", kind, yaml_text.dump(config), tmp_path) as page:
            # In: the proxy comes from the pod's own address.
            with pod.connect("other", POD, 80) as sock:
                assert ask(sock) == f"{POD} > {POD}:80"
            # A port that is left alone.
            with pod.connect("other", POD, 7000) as sock:
                assert ask(sock) == f"{OTHER} > {POD}:7000"
            # Out, by both families.
            with pod.connect("pod", OTHER, 80, APPLICATION) as sock:
                assert ask(sock) == f"{POD} > {OTHER}:80"
            with pod.connect("pod", "fd00:6::2", 80, APPLICATION) as sock:
                assert ask(sock) == "fd00:6::1 > fd00:6::2:80"
            # To itself, by loopback and by the address of the pod: past the proxy.
            for address in ("127.0.0.1", POD):
                with pod.connect("pod", address, 80, APPLICATION) as sock:
                    assert ask(sock) == f"{address} > {address}:80"
            with pod.connect("other", POD, 15020) as sock:
                assert "LIVE" in ask(sock, "/healthz/ready")
            lines = page("/stats?filter=downstream_rq_2xx").splitlines()
            stats = dict(line.split(": ") for line in lines if ": " in line)
            assert stats["http.inbound.downstream_rq_2xx"] == "1"
            assert stats["http.outbound.downstream_rq_2xx"] == "2"
            # Straight to the proxy's own ports: no circle.
            with pod.connect("other", POD, 15006) as sock:
                assert ask(sock) in ("closed", "ConnectionResetError")
            with pod.connect("other", POD, 15001) as sock:
                assert ask(sock).startswith("503 ")
    finally:
        for server in servers:
            server.close()
