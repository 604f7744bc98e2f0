# ruff: noqa: E501  (a route or a cluster is a line of a table)
"""Hash policies, and the hosts that RING_HASH and MAGLEV choose by them, key by key."""

from __future__ import annotations

import re

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call

SUBJECT = "upstream"

_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"
SPREAD = "hash_policy: [{header: {header_name: x-key}}]"
#: Clusters by name: fields beside their endpoints.
CLUSTERS = {
    "ring": "lb_policy: RING_HASH",
    "ring-small": "{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 7, maximum_ring_size: 11}}",
    "ring-murmur": "{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 300, hash_function: MURMUR_HASH_2}}",
    "ring-large": "{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10000}}",
    "ring-names": "{lb_policy: RING_HASH, common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}}",
    "ring-weights": "lb_policy: RING_HASH",
    "ring-keys": "lb_policy: RING_HASH",
    "ring-extension": f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: a, typed_config: {{'@type': {_LB}.ring_hash.v3.RingHash, hash_function: MURMUR_HASH_2, minimum_ring_size: 200}}}}}}]}}",
    "ring-own-policy": f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: a, typed_config: {{'@type': {_LB}.ring_hash.v3.RingHash, consistent_hashing_lb_config: {{use_hostname_for_hashing: true, hash_policy: [{{header: {{header_name: x-other}}}}]}}}}}}}}]}}",
    "maglev": "lb_policy: MAGLEV",
    "maglev-small": "{lb_policy: MAGLEV, maglev_lb_config: {table_size: 13}}",
    "maglev-names": "{lb_policy: MAGLEV, maglev_lb_config: {table_size: 1009}, common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}}",
    "maglev-weights": "{lb_policy: MAGLEV, maglev_lb_config: {table_size: 1009}}",
    "maglev-extension": f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: a, typed_config: {{'@type': {_LB}.maglev.v3.Maglev, table_size: 101}}}}}}]}}",
    "priorities": "lb_policy: RING_HASH",
    "panic": "lb_policy: RING_HASH",
    "degraded": "lb_policy: RING_HASH",
}
POLICIES = {
    "two-headers": "{header: {header_name: x-key}}, {header: {header_name: x-other}}",
    "terminal": "{header: {header_name: x-key}, terminal: true}, {header: {header_name: x-other}}",
    "same-twice": "{header: {header_name: x-key}}, {header: {header_name: x-key}}",
    "rewritten": '{header: {header_name: x-key, regex_rewrite: {pattern: {regex: "^k([0-9])[0-9]*$"}, substitution: "\\\\1"}}}',
    "query": "{query_parameter: {name: key}}",
    "cookie": "{cookie: {name: key}}",
    "source": "{connection_properties: {source_ip: true}}",
    "source-and-header": "{header: {header_name: x-key}}, {connection_properties: {source_ip: true}, terminal: true}",
    "path": '{header: {header_name: ":path"}}',
    "host": "{header: {header_name: host}}",
}


def endpoint(number: int, name: str) -> str:
    extra = ""
    if name.endswith("weights"):
        extra = f"load_balancing_weight: {number * number + 1}, "
    elif name.endswith("keys"):
        extra = f"metadata: {{filter_metadata: {{envoy.lb: {{hash_key: key-{number}}}}}}}, "
    elif (name == "panic" and number > 1) or (name == "priorities" and number == 1):
        extra = "health_status: UNHEALTHY, "
    elif name == "degraded" and number < 3:
        extra = "health_status: DEGRADED, "
    address = f"address: {{socket_address: {{address: 127.0.1.{number}, port_value: 1}}}}"
    return f"{{{extra}endpoint: {{hostname: name-{number}, {address}}}}}"


def localities(name: str) -> str:
    if name == "priorities":
        first = ", ".join(endpoint(number, name) for number in range(2))
        second = ", ".join(endpoint(number, name) for number in range(2, 5))
        return f"[{{lb_endpoints: [{first}]}}, {{priority: 1, lb_endpoints: [{second}]}}]"
    return f"[{{lb_endpoints: [{', '.join(endpoint(number, name) for number in range(5))}]}}]"


def hashed(name: str, fields: str) -> dict[str, object]:
    """A cluster of five hosts that refuse: which one was chosen stands in the answer."""
    lines = fields.strip()
    lines = lines[1:-1] if lines.startswith("{") else lines
    kind = "type: STRICT_DNS, dns_lookup_family: V4_ONLY, " if "use_hostname" in fields else ""
    assignment = f"load_assignment: {{cluster_name: {name}, endpoints: {localities(name)}}}"
    return cluster(name, extra=f"{{{kind}{lines}, {assignment}}}")


BOUNDED = {
    "bounded": "lb_policy: RING_HASH, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 120}}",
    "bounded-maglev": "lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}",
}


def bounded(name: str, fields: str) -> dict[str, object]:
    """A cluster of three hosts that live, with keys of their own and unequal weights."""
    hosts = ", ".join(
        f"{{load_balancing_weight: {number + 1}, metadata: {{filter_metadata: {{envoy.lb: {{hash_key: host-{number}}}}}}},"
        f" endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT(b{number})}}}}}}}}"
        for number in range(3)
    )
    return cluster(
        name,
        extra=f"{{{fields}, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{hosts}]}}]}}}}",
    )


SHOWN = 'response_headers_to_add: [{header: {key: x-host, value: "%UPSTREAM_HOST%"}}]'
ROUTES = (
    "".join(
        f"- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}, {SPREAD}}}, {SHOWN}}}\n"
        for name in CLUSTERS
    )
    + "".join(
        f"- {{match: {{prefix: /by-{name}/}}, route: {{cluster: ring, hash_policy: [{policy}]}}, {SHOWN}}}\n"
        for name, policy in POLICIES.items()
    )
    + f"""
- match: {{prefix: /weighted/}}
  {SHOWN}
  route:
    weighted_clusters: {{use_hash_policy: true, clusters: [{{name: w0, weight: 1}}, {{name: w1, weight: 2}}, {{name: w2, weight: 3}}]}}
    hash_policy: [{{header: {{header_name: x-key}}}}]
- match: {{prefix: /weighted-cookie/}}
  {SHOWN}
  route:
    weighted_clusters: {{use_hash_policy: true, clusters: [{{name: w0, weight: 1}}, {{name: w1, weight: 2}}, {{name: w2, weight: 3}}]}}
    hash_policy: [{{cookie: {{name: session, ttl: 5s}}}}]
- {{match: {{prefix: /live/}}, route: {{cluster: live, hash_policy: [{{cookie: {{name: session, ttl: 3600s, path: /app}}}}]}}, response_headers_to_add: [{{header: {{key: x-cookie, value: "%RESP(set-cookie)%"}}}}]}}
- {{match: {{prefix: /live-attributes/}}, route: {{cluster: live, hash_policy: [{{cookie: {{name: session, ttl: 0.9s, attributes: [{{name: SameSite, value: Strict}}, {{name: Secure}}]}}}}]}}}}
- {{match: {{prefix: /live-two/}}, route: {{cluster: live, hash_policy: [{{cookie: {{name: session, ttl: 5s}}}}, {{cookie: {{name: other, ttl: 5s}}}}]}}}}
- {{match: {{prefix: /live-no-ttl/}}, route: {{cluster: live, hash_policy: [{{cookie: {{name: session}}}}]}}}}
- {{match: {{prefix: /live-refused/}}, route: {{cluster: ring, hash_policy: [{{cookie: {{name: session, ttl: 5s}}}}]}}}}
- {{match: {{prefix: /live-own/}}, route: {{cluster: live-own}}}}
- {{match: {{prefix: /bounded/}}, route: {{cluster: bounded, {SPREAD}}}}}
- {{match: {{prefix: /bounded-maglev/}}, route: {{cluster: bounded-maglev, {SPREAD}}}}}
- {{match: {{prefix: /round-robin/}}, route: {{cluster: even, hash_policy: [{{cookie: {{name: session, ttl: 5s}}}}]}}}}
"""
)
HASHING = Setup(
    "hashing",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            *(hashed(name, fields) for name, fields in CLUSTERS.items()),
            *(
                cluster(
                    f"w{number}",
                    extra=f"load_assignment: {{cluster_name: w{number}, endpoints: [{{lb_endpoints: [{endpoint(number, '')}]}}]}}",
                )
                for number in range(3)
            ),
            cluster("live", "app", extra="lb_policy: RING_HASH"),
            cluster(
                "live-own",
                "app",
                extra=CLUSTERS["ring-own-policy"]
                .replace("use_hostname_for_hashing: true, ", "")
                .replace("header: {header_name: x-other}", "cookie: {name: session, ttl: 7s}"),
            ),
            cluster("even", "app"),
            *(bounded(name, fields) for name, fields in BOUNDED.items()),
        ],
    ),
    {"app": "h1", "b0": "h1", "b1": "h1", "b2": "h1"},
)


async def chosen(s: Session, path: str, *heads: tuple[str, ...], host: str = "a") -> str:
    """Which host each of the requests went to, a digit for each; all on one connection."""
    found = []
    client = await s.connect()
    for head in heads:
        await client.send("\r\n".join([f"GET {path} HTTP/1.1", f"host: {host}", *head, "", ""]).encode())
        await client.wire.line()
        size, place = 0, "?"
        while line := (await client.wire.line()).decode():
            name, _, value = line.partition(": ")
            if name == "content-length":
                size = int(value)
            elif name == "x-host":
                place = value.removeprefix("127.0.1.").partition(":")[0]
        await client.wire.exactly(size)
        found.append(place)
    client.close()
    return "".join(found)


def keys(count: int, form: str = "x-key: k%d") -> list[tuple[str, ...]]:
    return [(form % number,) for number in range(count)]


@scenario(HASHING)
async def hashing_chooses_hosts(s: Session) -> None:
    """The same host for the same key, for rings and tables of every kind."""
    for name in CLUSTERS:
        if name == "ring-own-policy":
            continue  # it does not look at x-key
        s.see(name, await chosen(s, f"/{name}/", *keys(250)))
    s.see("own policy", await chosen(s, "/ring-own-policy/", *keys(100, "x-other: o%d")))


@scenario(HASHING)
async def hashing_stats(s: Session) -> None:
    """The gauges of rings and tables."""
    found = await s.counters(r"\.(ring_hash_lb|maglev_lb)\.")
    s.see("stats", {name: found[name] for name in sorted(found)})


@scenario(HASHING)
async def hashing_policies(s: Session) -> None:
    """What is hashed: headers in any order, rewritten, the query, a cookie, the client's address."""
    for name in ("two-headers", "terminal", "same-twice", "rewritten", "source-and-header"):
        heads = [
            (f"x-key: k{n}", f"x-other: o{n % 7}", f"x-forwarded-for: 10.0.0.{n % 5}") for n in range(60)
        ]
        s.see(name, await chosen(s, f"/by-{name}/", *heads))
        s.see(
            f"{name} without the first",
            await chosen(s, f"/by-{name}/", *[head[1:] for head in heads[:20]])
            if name in ("two-headers", "terminal")
            else "",
        )
    two = [(f"x-key: {a}", f"x-key: {b}") for a, b in ("ab", "ba", "aa", "bc", "cb", "xy", "yx")]
    s.see("two values", await chosen(s, "/by-two-headers/", *two))
    s.see("source", await chosen(s, "/by-source/", *[(f"x-forwarded-for: 10.{n}.0.1",) for n in range(60)]))
    s.see(
        "source of six",
        await chosen(s, "/by-source/", *[(f"x-forwarded-for: fd00::{n}",) for n in range(1, 30)]),
    )
    for query in ("?key=a", "?key=b&key=a", "?x=y&key=c", "?key=", "?key=%61", "?key=d#", "?key=e=f"):
        s.see(f"query {query}", await chosen(s, f"/by-query/{query.rstrip('#')}", (), (), ()))
    cookies = (
        "key=a",
        'key="a"',
        "x=y; key=b",
        "key=b; key=c",
        "x=y;key=c",
        "keyed=1; key=d",
        "key=e=f",
        "key= g",
    )
    s.see("cookies", await chosen(s, "/by-cookie/", *[(f"cookie: {cookie}",) for cookie in cookies]))
    s.see("cookies of two lines", await chosen(s, "/by-cookie/", ("cookie: x=1", "cookie: key=z")))
    s.see("path", "".join([await chosen(s, f"/by-path/{n}", ()) for n in range(20)]))
    s.see("host", "".join([await chosen(s, "/by-host/", (), host=f"host-{n}") for n in range(20)]))


@scenario(HASHING)
async def hashing_weighted_clusters(s: Session) -> None:
    """use_hash_policy takes the place of chance, and makes no cookie."""
    s.see("chosen", await chosen(s, "/weighted/", *keys(100)))
    s.see("by cookie", await chosen(s, "/weighted-cookie/", *keys(20, "cookie: session=s%d")))
    # Without a cookie it is chance, not the hash of one that would be made.
    s.see("by chance", "?" in await chosen(s, "/weighted-cookie/", *[()] * 10))


async def cookie_of(s: Session, path: str, *head: str) -> list[str]:
    client = await s.connect()
    await client.send("\r\n".join([f"GET {path} HTTP/1.1", "host: a", *head, "", ""]).encode())
    found = [(await client.wire.line()).decode()]
    while line := (await client.wire.line()).decode():
        if line.lower().startswith(("set-cookie", "x-cookie")):
            found.append(re.sub(r'"[0-9a-f]{16}"', '"<16 digits>"', line))
    client.close()
    return found


@scenario(HASHING)
async def hashing_makes_cookies(s: Session) -> None:
    """A cookie with a ttl is made where the client has none, and only where the cluster hashes."""
    paths = "live live-attributes live-two live-no-ttl live-refused live-own round-robin weighted-cookie"
    for path in (f"/{name}/" for name in paths.split()):
        s.see(path, await cookie_of(s, path))
        s.see(f"{path} with", await cookie_of(s, path, "cookie: session=mine"))
        s.see(f"{path} empty", await cookie_of(s, path, "cookie: session="))


@scenario(HASHING)
async def hashing_bounded_load(s: Session) -> None:
    """hash_balance_factor: a host with more than its share of what is under way passes requests on."""
    hosts = [s.upstream(f"b{number}") for number in range(3)]

    async def stall(call: Call) -> None:
        await call.gone()

    for host in hosts:
        host.script = stall
    for name in BOUNDED:
        for key in ("one", "two", "three"):
            found = ""
            clients = []
            before = [len(host.seen) for host in hosts]
            for _ in range(12):
                clients.append(await s.connect())
                await clients[-1].send(f"GET /{name}/ HTTP/1.1\r\nhost: a\r\nx-key: {key}\r\n\r\n".encode())
                while sum(len(host.seen) for host in hosts) == sum(before):  # noqa: ASYNC110 - whoever gets it
                    await trio.sleep(0.001)
                after = [len(host.seen) for host in hosts]
                found += str(next(i for i in range(3) if after[i] > before[i]))
                before = after
            s.see(f"{name} {key}", found)
            for client in clients:
                client.close()
            await s.quiet()
    for host in hosts:
        host.seen.clear()
