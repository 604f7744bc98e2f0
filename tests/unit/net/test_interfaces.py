"""The machine's own address, in network namespaces whose addresses are known."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from sidecar.net.interfaces import local_address

_ASK = "from sidecar.net.interfaces import local_address; print(local_address())"


def _in_namespace(setup: str) -> subprocess.CompletedProcess[str]:
    script = f"ip link set lo up; {setup} exec {sys.executable} -c '{_ASK}'"
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def _can_have_namespaces() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return _in_namespace("").returncode == 0


@pytest.mark.skipif(not _can_have_namespaces(), reason="needs unshare, ip and user namespaces")
@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("", "127.0.0.1"),
        ("ip addr add 2001:db8::1/128 dev lo;", "127.0.0.1"),
        ("ip addr add 192.0.2.5/32 dev lo; ip addr add 198.51.100.1/32 dev lo;", "192.0.2.5"),
        ("ip addr add 127.0.0.9/8 dev lo;", "127.0.0.9"),
    ],
)
def test_local_address_is_the_first_that_is_not_the_loopbacks(setup: str, expected: str) -> None:
    done = _in_namespace(setup)
    assert (done.stdout.strip(), done.stderr) == (expected, "")


def test_local_address_is_an_ipv4_address() -> None:
    parts = local_address().split(".")
    assert len(parts) == 4
    assert all(0 <= int(part) < 256 for part in parts)
