"""The rules as text, and what the command refuses; the kernel has its part elsewhere."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from sidecar.cli.main import main
from sidecar.k8s import netfilter
from sidecar.k8s.interception import IPV4, IPV6, Rules, nft_script, restore_script

MANY = Rules(
    inbound_port=1006,
    outbound_port=1001,
    proxy_uid=77,
    include_inbound_ports=("8080", "9000-9010"),
    exclude_inbound_ports=("9005",),
    include_outbound_ports=("5432",),
    exclude_outbound_ports=("25",),
    include_outbound_ranges=("10.0.0.0/8", "fd00::/8"),
    exclude_outbound_ranges=("10.0.0.1/32",),
    exclude_users=("999",),
    dns_port=1053,
)


def test_rules_that_say_nothing_intercept_everything() -> None:
    assert (
        restore_script(Rules(), IPV4)
        == """\
*nat
:SIDECAR_INBOUND - [0:0]
:SIDECAR_OUTPUT - [0:0]
:SIDECAR_IN_REDIRECT - [0:0]
:SIDECAR_REDIRECT - [0:0]
-A SIDECAR_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A SIDECAR_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SIDECAR_INBOUND -p tcp -j SIDECAR_IN_REDIRECT
-A SIDECAR_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SIDECAR_OUTPUT -o lo -j RETURN
-A SIDECAR_OUTPUT -p tcp -j SIDECAR_REDIRECT
COMMIT
"""
    )


def test_every_rule_for_each_family() -> None:
    rules = [line for line in restore_script(MANY, IPV4).splitlines() if line.startswith("-A SIDECAR_")]
    assert rules[2:] == [
        "-A SIDECAR_INBOUND -p tcp --dport 9005 -j RETURN",
        "-A SIDECAR_INBOUND -p tcp --dport 8080 -j SIDECAR_IN_REDIRECT",
        "-A SIDECAR_INBOUND -p tcp --dport 9000:9010 -j SIDECAR_IN_REDIRECT",
        "-A SIDECAR_OUTPUT -m owner --uid-owner 77 -j RETURN",
        "-A SIDECAR_OUTPUT -m owner --uid-owner 999 -j RETURN",
        "-A SIDECAR_OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 1053",
        "-A SIDECAR_OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 1053",
        "-A SIDECAR_OUTPUT -o lo -j RETURN",
        "-A SIDECAR_OUTPUT -p tcp --dport 25 -j RETURN",
        "-A SIDECAR_OUTPUT -d 10.0.0.1/32 -j RETURN",
        "-A SIDECAR_OUTPUT -p tcp --dport 5432 -j SIDECAR_REDIRECT",
        "-A SIDECAR_OUTPUT -p tcp -d 10.0.0.0/8 -j SIDECAR_REDIRECT",
    ]
    six = restore_script(MANY, IPV6)
    assert "-d fd00::/8" in six
    assert "10.0.0" not in six
    nft = nft_script(MANY, (IPV4, IPV6))
    assert "    tcp dport 9000-9010 jump SIDECAR_IN_REDIRECT\n" in nft
    assert nft.count("udp dport 53 redirect to :1053") == 2
    assert "ip6 daddr fd00::/8 jump SIDECAR_REDIRECT" in nft


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (
            ["--exclude-inbound-ports", "http"],
            "--exclude-inbound-ports: 'http' is no port and no range of ports",
        ),
        (
            ["--include-outbound-ranges", "10.0.0"],
            "--include-outbound-ranges: '10.0.0' is no range of addresses",
        ),
        (["--exclude-users", "proxy"], "--exclude-users: 'proxy' is no number of a user"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iptables", "apply", "--dry-run", *flags]) == 1
    assert capsys.readouterr().err.startswith(error)


@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_a_dry_run_prints_the_rules(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--exclude-inbound-ports=15020,9000-9010", "--include-inbound-ports", "*", "--ipv6=false"]
    assert main(["iptables", "apply", "--dry-run", "--backend", backend, *arguments]) == 0
    rules = Rules(exclude_inbound_ports=("15020", "9000-9010"))
    want = restore_script(rules, IPV4) if backend == "iptables" else nft_script(rules, (IPV4,))
    assert capsys.readouterr().out == want


@pytest.mark.parametrize("action", ["apply", "clean"])
def test_a_missing_capability_is_named_in_one_line(
    action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(netfilter, "missing_capability", lambda: "CAP_NET_ADMIN")
    monkeypatch.setattr(netfilter, "backend", lambda wanted: "iptables")
    assert main(["iptables", action]) == 1
    assert capsys.readouterr().err.startswith("CAP_NET_ADMIN is missing")


def test_without_a_program_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["iptables", "apply"]) == 1
    assert main(["iptables", "apply", "--backend", "nft"]) == 1
    assert capsys.readouterr().err == "neither iptables nor nft is installed\nnft is not installed\n"


def test_what_rules_do_not_intercept_cannot_be_proven(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iptables", "check", "--include-outbound-ranges", "10.0.0.0/8", "--ipv6", "false"]) == 1
    assert capsys.readouterr().err == (
        "IPv4: these rules intercept nothing at 192.0.2.1, so nothing can be proven\n"
    )


@pytest.fixture
def admin() -> Iterator[tuple[int, list[int]]]:
    """An admin API that answers these statuses, one after the other, and then the last again."""
    statuses = [503, 503, 200]

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()
            self.wfile.write(b"PRE_INITIALIZING\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], statuses
    server.shutdown()
    server.server_close()


def test_wait_ends_when_the_proxy_is_ready(admin: tuple[int, list[int]]) -> None:
    port, statuses = admin
    assert main(["wait", "--admin-port", str(port), "--timeout", "30"]) == 0
    assert statuses == [200]


def test_wait_says_what_it_saw_last(admin: tuple[int, list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    port, statuses = admin
    statuses[:] = [503]
    assert main(["wait", "--admin-port", str(port), "--timeout", "0"]) == 1
    assert capsys.readouterr().err == (
        f"not ready after 0 s: http://127.0.0.1:{port}/ready: 503 PRE_INITIALIZING\n"
    )
