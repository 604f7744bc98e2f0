"""The rules that send a pod's connections to its proxy, for iptables and for nft.

Inbound: what comes to the pod from outside goes to the inbound port.  Outbound: what leaves the pod goes to
the outbound port, but for what the proxy itself sends (by the user of its sockets) and what stays on the
loopback.  The proxy learns where a connection was going from the kernel (``SO_ORIGINAL_DST``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from sidecar.core.dataclass import dataclass

__all__ = ["CHAINS", "IPV4", "IPV6", "JUMPS", "NFT_TABLE", "Rules", "nft_script", "restore_script"]

IPV4, IPV6 = 4, 6
ALL = "*"
INBOUND, OUTPUT = "SIDECAR_INBOUND", "SIDECAR_OUTPUT"
IN_REDIRECT, REDIRECT = "SIDECAR_IN_REDIRECT", "SIDECAR_REDIRECT"
CHAINS = (INBOUND, OUTPUT, IN_REDIRECT, REDIRECT)
NFT_TABLE = "sidecar"
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Rules:
    """What is intercepted.  Ports are texts, ``8080`` or ``9000-9010``; `ALL` is all of them."""

    inbound_port: int = 15006
    outbound_port: int = 15001
    proxy_uid: int = 1337
    include_inbound_ports: tuple[str, ...] = (ALL,)
    exclude_inbound_ports: tuple[str, ...] = ()
    include_outbound_ports: tuple[str, ...] = ()
    exclude_outbound_ports: tuple[str, ...] = ()
    include_outbound_ranges: tuple[str, ...] = (ALL,)
    exclude_outbound_ranges: tuple[str, ...] = ()
    exclude_users: tuple[str, ...] = ()
    #: The proxy's port for DNS, over UDP and TCP; 0 leaves queries alone.
    dns_port: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it looks at, each by its own option, and where it sends a packet."""

    chain: str
    target: str
    protocol: str = ""
    port: str = ""
    address: str = ""
    user: str = ""
    on_loopback: bool = False
    to_port: int = 0


def _rules(rules: Rules, family: int) -> Iterator[Rule]:
    yield Rule(IN_REDIRECT, "redirect", "tcp", to_port=rules.inbound_port)
    yield Rule(REDIRECT, "redirect", "tcp", to_port=rules.outbound_port)
    for port in rules.exclude_inbound_ports:
        yield Rule(INBOUND, "return", "tcp", port)
    for port in rules.include_inbound_ports:
        yield Rule(INBOUND, IN_REDIRECT, "tcp", "" if port == ALL else port)
    for user in (str(rules.proxy_uid), *rules.exclude_users):
        yield Rule(OUTPUT, "return", user=user)
    if rules.dns_port:
        # The resolver may be on the loopback, so this comes first.
        for protocol in ("udp", "tcp"):
            yield Rule(OUTPUT, "redirect", protocol, str(DNS_PORT), to_port=rules.dns_port)
    yield Rule(OUTPUT, "return", on_loopback=True)
    for port in rules.exclude_outbound_ports:
        yield Rule(OUTPUT, "return", "tcp", port)
    for address in _of_family(rules.exclude_outbound_ranges, family):
        yield Rule(OUTPUT, "return", address=address)
    for port in rules.include_outbound_ports:
        yield Rule(OUTPUT, REDIRECT, "tcp", port)
    for address in _of_family(rules.include_outbound_ranges, family):
        yield Rule(OUTPUT, REDIRECT, "tcp", address="" if address == ALL else address)


def _of_family(addresses: tuple[str, ...], family: int) -> Iterator[str]:
    for address in addresses:
        if address == ALL or ipaddress.ip_network(address).version == family:
            yield address


#: From the kernel's chains into ours, as iptables has them: the chain, and the rest of the rule.
def jumps(rules: Rules) -> tuple[tuple[str, str], ...]:
    found = [("PREROUTING", f"-p tcp -j {INBOUND}"), ("OUTPUT", f"-p tcp -j {OUTPUT}")]
    if rules.dns_port:
        found.append(("OUTPUT", f"-p udp -j {OUTPUT}"))
    return tuple(found)


#: Every jump that there may be, to remove.
JUMPS = jumps(Rules(dns_port=1))


def restore_script(rules: Rules, family: int) -> str:
    """The input of ``iptables-restore --noflush``: our chains as a whole, in the place of what they were."""
    lines = ["*nat", *(f":{chain} - [0:0]" for chain in CHAINS)]
    lines += [f"-A {rule.chain} {_rendered(rule, family, _IPTABLES)}" for rule in _rules(rules, family)]
    return "\n".join([*lines, "COMMIT", ""])


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a tool says the parts of a rule."""

    protocol: str
    protocol_and_port: str
    range_mark: str
    address: str
    user: str
    on_loopback: str
    redirect: str
    leave: str
    jump: str


_IPTABLES = _Dialect(
    protocol="-p {protocol}",
    protocol_and_port="-p {protocol} --dport {port}",
    range_mark=":",
    address="-d {address}",
    user="-m owner --uid-owner {user}",
    on_loopback="-o lo",
    redirect="-j REDIRECT --to-ports {to_port}",
    leave="-j RETURN",
    jump="-j {target}",
)
_NFT = _Dialect(
    protocol="meta l4proto {protocol}",
    protocol_and_port="{protocol} dport {port}",
    range_mark="-",
    address="{ip} daddr {address}",
    user="meta skuid {user}",
    on_loopback="oif lo",
    redirect="redirect to :{to_port}",
    leave="return",
    jump="jump {target}",
)


def _rendered(rule: Rule, family: int, dialect: _Dialect) -> str:
    words = []
    if rule.port:
        words.append(dialect.protocol_and_port)
    elif rule.protocol:
        words.append(dialect.protocol)
    words += [dialect.address] * bool(rule.address)
    words += [dialect.user] * bool(rule.user)
    words += [dialect.on_loopback] * rule.on_loopback
    words.append({"redirect": dialect.redirect, "return": dialect.leave}.get(rule.target, dialect.jump))
    return " ".join(words).format(
        protocol=rule.protocol,
        port=rule.port.replace("-", dialect.range_mark),
        ip="ip" if family == IPV4 else "ip6",
        address=rule.address,
        user=rule.user,
        to_port=rule.to_port,
        target=rule.target,
    )


def nft_script(rules: Rules, families: tuple[int, ...]) -> str:
    """The input of ``nft -f``: one table of our own per family, made anew in one transaction."""
    parts = []
    for family in families:
        table = f"{'ip' if family == IPV4 else 'ip6'} {NFT_TABLE}"
        # Named once before it is deleted, so that there is something to delete.
        lines = [f"table {table} {{}}", f"delete table {table}", f"table {table} {{"]
        # A chain has to be there before a rule jumps to it.
        for chain in (IN_REDIRECT, REDIRECT, INBOUND, OUTPUT):
            body = [
                f"    {_rendered(rule, family, _NFT)}"
                for rule in _rules(rules, family)
                if rule.chain == chain
            ]
            lines += [f"  chain {chain} {{", *body, "  }"]
        lines += [
            "  chain prerouting {",
            "    type nat hook prerouting priority -100; policy accept;",
            f"    meta l4proto tcp jump {INBOUND}",
            "  }",
            "  chain output {",
            "    type nat hook output priority -100; policy accept;",
            f"    meta l4proto {'{ tcp, udp }' if rules.dns_port else 'tcp'} jump {OUTPUT}",
            "  }",
            "}",
        ]
        parts += lines
    return "\n".join([*parts, ""])
