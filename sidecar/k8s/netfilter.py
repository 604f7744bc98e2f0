"""Putting the rules of interception into the kernel, taking them out, and proving that they work."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import shutil
import socket
import struct
import subprocess
from pathlib import Path

from sidecar.k8s.interception import (
    CHAINS,
    IPV4,
    IPV6,
    JUMPS,
    NFT_TABLE,
    Rules,
    jumps,
    nft_script,
    restore_script,
)

__all__ = ["InterceptionError", "apply", "backend", "check", "clean", "missing_capability"]

_IPTABLES = {IPV4: "iptables", IPV6: "ip6tables"}
_LOCK_S = "5"
#: Addresses for documentation (RFC 5737, RFC 3849), where nobody answers: who is connected was intercepted.
_NOWHERE = {IPV4: "192.0.2.1", IPV6: "2001:db8::1"}
_PROBED_PORT = 80
_TIMEOUT_S = 2.0
_SO_ORIGINAL_DST = 80
_SOL_IPV6 = 41
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}


class InterceptionError(Exception):
    """The rules cannot be written, or do not work.  One line."""


def backend(wanted: str = "auto") -> str:
    """``iptables``, or ``nft`` where it is absent.

    :raises InterceptionError: what is wanted is not installed.
    """
    found = [name for name in ("iptables", "nft") if shutil.which(name)]
    if wanted == "auto":
        if not found:
            raise InterceptionError("neither iptables nor nft is installed")
        return found[0]
    if wanted not in found:
        raise InterceptionError(f"{wanted} is not installed")
    return wanted


def missing_capability(needed: tuple[str, ...] = ("CAP_NET_ADMIN",)) -> str:
    """The first of the capabilities that this process lacks, or nothing."""
    text = Path("/proc/self/status").read_text()
    effective = int(text.partition("CapEff:")[2].split()[0], 16)
    return next((name for name in needed if not effective >> _CAPABILITIES[name] & 1), "")


def apply(rules: Rules, families: tuple[int, ...], which: str) -> None:
    """Write the rules; what an earlier run has written is replaced in one step.

    :raises InterceptionError: a capability is missing, or the kernel refuses.
    """
    if name := missing_capability():
        raise InterceptionError(f"{name} is missing: the init container's securityContext has to add it")
    if which == "nft":
        _run(["nft", "-f", "-"], nft_script(rules, families))
        return
    for family in families:
        program = _IPTABLES[family]
        _run([f"{program}-restore", "--noflush", "-w", _LOCK_S], restore_script(rules, family))
        for chain, rule in JUMPS:
            wanted = (chain, rule) in jumps(rules)
            there = _try([program, "-w", _LOCK_S, "-t", "nat", "-C", chain, *rule.split()])
            if wanted != there:
                action = "-A" if wanted else "-D"
                _run([program, "-w", _LOCK_S, "-t", "nat", action, chain, *rule.split()])


def clean(families: tuple[int, ...], which: str) -> None:
    """Take the rules out, all of them and no others; nothing happens where there are none.

    :raises InterceptionError: a capability is missing, or the kernel refuses.
    """
    if name := missing_capability():
        raise InterceptionError(f"{name} is missing")
    for family in families:
        if which == "nft":
            table = ["ip" if family == IPV4 else "ip6", NFT_TABLE]
            if _try(["nft", "list", "table", *table]):
                _run(["nft", "delete", "table", *table])
            continue
        program = _IPTABLES[family]
        for chain, rule in JUMPS:
            while _try([program, "-w", _LOCK_S, "-t", "nat", "-D", chain, *rule.split()]):
                pass
        for command in ("-F", "-X"):
            for chain in CHAINS:
                _try([program, "-w", _LOCK_S, "-t", "nat", command, chain])


def check(rules: Rules, families: tuple[int, ...]) -> list[str]:
    """Prove it by a connection to an address where nobody is; what was seen, a line for each family.

    The proxy may run or not: where its port is free, this listens there itself and asks the kernel where the
    connection was going.  What comes in can be proven from outside alone.

    :raises InterceptionError: a connection was not intercepted.
    """
    return [_check(rules, family) for family in families]


def _check(rules: Rules, family: int) -> str:
    address, kind = _NOWHERE[family], socket.AF_INET if family == IPV4 else socket.AF_INET6
    port = _intercepted_port(rules, family, address)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(kind))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.settimeout(_TIMEOUT_S)
        try:
            listening.bind(("127.0.0.1" if family == IPV4 else "::1", rules.outbound_port))
            listening.listen()
            is_ours = True
        except OSError:
            is_ours = False  # the proxy's
        client = stack.enter_context(socket.socket(kind))
        client.settimeout(_TIMEOUT_S)
        what = f"IPv{family}: a connection to {_shown(address, port)}"
        try:
            client.connect((address, port))
        except OSError as error:
            raise InterceptionError(_failure(what, error)) from None
        if not is_ours:
            return f"{what} was taken by what listens on port {rules.outbound_port}"
        try:
            taken = stack.enter_context(listening.accept()[0])
        except TimeoutError:
            raise InterceptionError(f"{what} went elsewhere than port {rules.outbound_port}") from None
        found = _original_destination(taken, family)
        if found != (address, port):
            raise InterceptionError(f"{what} arrived, but the kernel says it was going to {_shown(*found)}")
        return f"{what} came to port {rules.outbound_port}, and the kernel knows where it was going"


def _failure(what: str, error: OSError) -> str:
    if name := missing_capability():
        return f"{what} failed ({error}), and {name} is missing, without which no rule was written"
    if error.errno == errno.ENETUNREACH:
        return f"{what} has no route, so nothing can be proven"
    return f"{what} was not intercepted: {error}"


def _intercepted_port(rules: Rules, family: int, address: str) -> int:
    """A port that the rules intercept at this address.

    :raises InterceptionError: they intercept none.
    """
    there = ipaddress.ip_address(address)

    def has(ranges: tuple[str, ...]) -> bool:
        return any(item == "*" or there in ipaddress.ip_network(item) for item in ranges)

    if has(rules.include_outbound_ranges) and not has(rules.exclude_outbound_ranges):
        return next(
            port for port in range(_PROBED_PORT, 65536) if not _is_in(port, rules.exclude_outbound_ports)
        )
    for item in rules.include_outbound_ports:
        low = int(item.partition("-")[0])
        if not _is_in(low, rules.exclude_outbound_ports):
            return low
    raise InterceptionError(
        f"IPv{family}: these rules intercept nothing at {address}, so nothing can be proven"
    )


def _is_in(port: int, ranges: tuple[str, ...]) -> bool:
    for item in ranges:
        low, _, high = item.partition("-")
        if int(low) <= port <= int(high or low):
            return True
    return False


def _original_destination(sock: socket.socket, family: int) -> tuple[str, int]:
    if family == IPV4:
        data = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        port, packed = struct.unpack_from("!2xH4s", data)
        return socket.inet_ntop(socket.AF_INET, packed), port
    data = sock.getsockopt(_SOL_IPV6, _SO_ORIGINAL_DST, 28)
    port, packed = struct.unpack_from("!2xH4x16s", data)
    return socket.inet_ntop(socket.AF_INET6, packed), port


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _run(command: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(  # noqa: S603  # words of ours
            command, input=text, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise InterceptionError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise InterceptionError(f"{' '.join(command)}: {said or f'status {done.returncode}'}")


def _try(command: list[str]) -> bool:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # words of ours
    return done.returncode == 0
