"""Clusters whose hosts are names: families, times, failures, and what a logical host is."""

from __future__ import annotations

import re

import dns.rcode
import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..names import Names, serving_names
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "upstream"

RESOLVER = "type.googleapis.com/envoy.extensions.network.dns_resolver"
GETADDRINFO = f"{RESOLVER}.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
DNS_CLUSTER = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
FAMILIES = ("AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL")
NAMES = {"both": ["127.0.0.1", "::1"], "v4": ["127.0.0.1"], "v6": ["::1"], "none": []}


def cares(more: str = "") -> str:
    return (
        f'{{name: x, typed_config: {{"@type": {RESOLVER}.cares.v3.CaresDnsResolverConfig, '
        "resolvers: [{socket_address: {address: 127.0.0.1, port_value: PORT(dns)}}], "
        f"dns_resolver_options: {{no_default_search_domain: true}}{more}}}}}"
    )


def endpoints(name: str, dns_name: str, port: str = "PORT(app)") -> str:
    return (
        f"load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: "
        f"{{socket_address: {{address: {dns_name}, port_value: {port}}}}}}}}}]}}]}}"
    )


def named(
    name: str, dns_name: str, *, kind: str = "STRICT_DNS", rate: str = "0.02s", more: str = "", of: str = ""
) -> dict[str, object]:
    """A cluster of the enum's types; `of` are fields of its resolver."""
    return cluster(
        name,
        extra=f"""
        type: {kind}
        wait_for_warm_on_init: false
        dns_refresh_rate: {rate}
        dns_failure_refresh_rate: {{base_interval: 0.02s, max_interval: 0.02s}}
        typed_dns_resolver_config: {cares(of)}
        {endpoints(name, dns_name)}
        {more}
        """,
    )


def extension(name: str, dns_name: str, fields: str) -> dict[str, object]:
    """The same as the extension `envoy.cluster.dns`."""
    return cluster(
        name,
        extra=f"""
        wait_for_warm_on_init: false
        cluster_type:
          name: envoy.cluster.dns
          typed_config:
            "@type": {DNS_CLUSTER}
            dns_failure_refresh_rate: {{base_interval: 0.02s, max_interval: 0.02s}}
            {fields}
        {endpoints(name, dns_name)}
        """,
    )


def plain(config: dict[str, object]) -> dict[str, object]:
    """Without the type that `cluster` gives, where there is a cluster_type."""
    if "cluster_type" in config:
        del config["type"]
    return config


FAMILY = Setup(
    "dns_families",
    bootstrap(
        [listener("main", routes="- {match: {prefix: /}, route: {cluster: STRICT_DNS_AUTO_v4}}")],
        [
            named(
                f"{kind}_{family}_{name}",
                f"{kind[0]}.{family}.{name}",
                kind=kind,
                rate="60s",
                more=f"dns_lookup_family: {family}",
            )
            for kind in ("STRICT_DNS", "LOGICAL_DNS")
            for family in FAMILIES
            for name in NAMES
        ],
    ),
    {"app": "h1", "dns": "dns"},
)


async def found_hosts(s: Session, pattern: str) -> list[str]:
    """Cluster, address and name of each host whose cluster matches."""
    text = (await s.proxy.admin("GET", "/clusters")).body.decode()
    return sorted(re.findall(rf"^((?:{pattern})::[\[\]\d.:]+)::hostname", text, re.MULTILINE))


async def until_hosts(s: Session, pattern: str, count: int) -> None:
    while len(await found_hosts(s, pattern)) != count:  # noqa: ASYNC110 - another process
        await trio.sleep(POLL_S)


@scenario(FAMILY)
async def dns_families(s: Session) -> None:
    """Which records each family asks for, in which order, and whose addresses become hosts."""
    s.proxy.is_spent = True
    async with serving_names(s, "dns") as names:
        for kind in ("S", "L"):
            for family in FAMILIES:
                for name, addresses in NAMES.items():
                    names.records[f"{kind}.{family}.{name}"] = addresses
        # Four of five families see a name of one kind, all see both; ALL makes two hosts of it.
        await until_hosts(s, ".*", 5 * 2 * 3 - 4 + 1)
        for kind in ("STRICT_DNS", "LOGICAL_DNS"):
            s.see(kind, await found_hosts(s, f"{kind}_.*"))
        asked: dict[str, list[str]] = {}
        for name, record in names.asked:
            if record not in asked.setdefault(name, []):
                asked[name].append(record)
        # Both at once is no order.
        s.see(
            "asked", {name: sorted(asked[name]) if "ALL" in name else asked[name] for name in sorted(asked)}
        )
        s.see("updates", await s.counters(r"_both\.(membership|max_host|default\.total)"))


#: Names that are none, literals, and names that look like one or the other.
ODD = (
    "127.0.0.1",
    '"::1"',
    "UP.test",
    "dot.test.",
    "under_score.test",
    '"*.test"',
    "a..test",
    "x" * 70,
    "127.1",
    '"2130706433"',
    "b\u00fccher.test",
    '"a.test:80"',
    '" a.test"',
    '"fe80::1%lo"',
    "256.1.1.1",
    '"[::1]"',
)
ODD_FAMILIES = ("V4_ONLY", "V6_ONLY", "ALL")
ODD_NAMES = Setup(
    "dns_odd_names",
    bootstrap(
        [listener("main", routes="- {match: {prefix: /}, route: {cluster: V4_ONLY_0}}")],
        [
            named(
                f"{family}_{number}",
                name,
                rate="60s",
                more=f"dns_lookup_family: {family}\n"
                "        dns_failure_refresh_rate: {base_interval: 60s, max_interval: 60s}",
            )
            for family in ODD_FAMILIES
            for number, name in enumerate(ODD)
        ],
    ),
    {"app": "h1", "dns": "dns"},
)


@scenario(ODD_NAMES)
async def dns_odd_names(s: Session) -> None:
    """What is asked for, what is an address already, and what fails without a question."""
    s.proxy.is_spent = True
    async with serving_names(s, "dns", "127.0.0.3", "::3") as names:
        for family in ODD_FAMILIES:
            pattern = rf"^cluster\.{family}_\d+\.update_(success|failure)$"
            stats = await s.until_stats(lambda stats: sum(stats.values()) >= len(ODD), pattern)
            failures = [stats[f"cluster.{family}_{number}.update_failure"] for number in range(len(ODD))]
            s.see(f"{family}: fails", [name for name, fails in zip(ODD, failures, strict=True) if fails])
            found = await found_hosts(s, f"{family}_\\d+")
            s.see(f"{family}: hosts", [re.sub(r"\d+$", "<port>", each) for each in found])
        asked = sorted({name.lower() for name, _ in names.asked})
        s.see("asked", asked)


FIELDS = Setup(
    "dns_fields",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(
                    f"- {{match: {{prefix: /{n}/}}, route: {{cluster: {n}}}}}\n"
                    for n in ("strict", "logical", "extension", "system")
                ),
            )
        ],
        [
            named("strict", "strict.test"),
            named("logical", "logical.test", kind="LOGICAL_DNS"),
            plain(
                extension(
                    "extension",
                    "extension.test",
                    "dns_refresh_rate: 0.02s\n            all_addresses_in_single_endpoint: true\n"
                    f"            typed_dns_resolver_config: {cares()}",
                )
            ),
            plain(
                extension(
                    "system",
                    "localhost",
                    "dns_lookup_family: V4_ONLY\n            typed_dns_resolver_config: "
                    f'{{name: x, typed_config: {{"@type": {GETADDRINFO}}}}}',
                )
            ),
            named("ttl", "ttl.test", more="respect_dns_ttl: true\n        dns_lookup_family: V4_ONLY"),
            plain(
                extension(
                    "least",
                    "least.test",
                    "respect_dns_ttl: true\n            dns_min_refresh_rate: 3s\n"
                    "            dns_lookup_family: V4_ONLY\n"
                    f"            typed_dns_resolver_config: {cares()}",
                )
            ),
            named("kept", "kept.test", of=", qcache_max_ttl: 60", more="dns_lookup_family: V4_ONLY"),
            named("often", "often.test", more="dns_lookup_family: V4_ONLY"),
        ],
    ),
    {"app": "h1", "dns": "dns"},
)


@scenario(FIELDS)
async def dns_answers_that_change(s: Session) -> None:
    """Hosts come and go with their addresses; a failure changes nothing, a name that is gone does."""
    s.proxy.is_spent = True
    s.upstream().script = answers(ok(b"app"))
    async with serving_names(s, "dns", "127.0.0.1") as names:
        await until_hosts(s, "strict", 1)
        await s.get("/strict/first", label="first")
        names.addresses = ["127.0.0.1", "127.0.0.9"]
        await until_hosts(s, "strict", 2)
        names.addresses = ["127.0.0.1"]
        await until_hosts(s, "strict", 1)
        await s.get("/strict/stayed", label="stayed")
        names.rcode = dns.rcode.SERVFAIL
        failures = (await s.counters(r"^cluster\.strict\.update_failure"))["cluster.strict.update_failure"]
        await s.until_stats(
            lambda stats: stats["cluster.strict.update_failure"] > failures + 2, "update_failure"
        )
        await s.get("/strict/failing", label="failing")
        s.see("hosts", await found_hosts(s, "strict"))
        names.rcode = dns.rcode.NXDOMAIN
        await until_hosts(s, "strict", 0)
        await s.get("/strict/gone", label="gone")
        names.rcode = None
        await until_hosts(s, "strict", 1)
        await s.get("/strict/back", label="back")
        s.see("membership", await s.counters(r"^cluster\.strict\.(membership|max_host)"))


async def until_address(s: Session, name: str, address: str) -> None:
    while not any(f"::{address}:" in each for each in await found_hosts(s, name)):  # noqa: ASYNC110
        await trio.sleep(POLL_S)


@scenario(FIELDS)
async def dns_logical_host(s: Session) -> None:
    """The addresses of a logical host are tried in turn; others make another host; none keep the last."""
    s.proxy.is_spent = True
    s.upstream().script = answers(ok(b"app"))
    async with serving_names(s, "dns") as names:
        for name in ("logical", "extension"):
            names.records[f"{name}.test"] = ["127.0.0.9", "127.0.0.1"]
            await until_address(s, name, "127.0.0.9")
            await s.get(f"/{name}/second", label=f"{name}: second address")
            s.see(
                f"{name}: cx",
                await s.counters(rf"^cluster\.{name}\.upstream_cx_(connect|active|destroy)"),
            )
            names.records[f"{name}.test"] = ["127.0.0.1"]
            await until_address(s, name, "127.0.0.1")
            await s.get(f"/{name}/changed", label=f"{name}: changed")
            names.records[f"{name}.test"] = []
            failures = (await s.counters(rf"^cluster\.{name}\.update_failure"))[
                f"cluster.{name}.update_failure"
            ]
            await s.until_stats(
                lambda stats, name=name, failures=failures: (
                    stats[f"cluster.{name}.update_failure"] > failures + 2
                ),
                "update_failure",
            )
            await s.get(f"/{name}/kept", label=f"{name}: kept")
            s.see(f"{name}: hosts", await found_hosts(s, name))
            s.see(
                f"{name}: stats",
                await s.counters(rf"^cluster\.{name}\.(membership|max_host|upstream_cx_connect)"),
            )


def count(names: Names, name: str) -> int:
    return sum(1 for asked, _ in names.asked if asked == name)


@scenario(FIELDS)
async def dns_times(s: Session) -> None:
    """A TTL is waited for where it is respected, but not less than the least; a kept answer asks nobody."""
    s.proxy.is_spent = True
    async with serving_names(s, "dns", "127.0.0.1") as names:
        await until_hosts(s, "ttl|least|kept|often", 4)
        before = {name: count(names, f"{name}.test") for name in ("ttl", "least", "kept", "often")}
        while count(names, "ttl.test") == before["ttl"]:  # noqa: ASYNC110 - another process asks
            await trio.sleep(POLL_S)
        more = {name: count(names, f"{name}.test") - before[name] for name in before}
        s.see("asked again", {name: min(number, 10) for name, number in more.items() if name != "kept"})
        s.see("kept asked no more than the TTL says", more["kept"] <= 2)


@scenario(FIELDS)
async def dns_of_the_system(s: Session) -> None:
    """getaddrinfo is asked where the configuration says so."""
    s.upstream().script = answers(ok(b"app"))
    await until_hosts(s, "system", 1)
    await s.get("/system/x")
    s.see("hosts", await found_hosts(s, "system"))
