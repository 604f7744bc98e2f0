"""EDS from files: when a file is read, what of it is taken, and what stays as it was."""

from __future__ import annotations

import os

import trio

from ..configuration import bootstrap, listener
from ..endpoints import assign, assignment, eds_cluster, endpoint, hosts, locality, move, update_stats
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok

SUBJECT = "upstream"

NAMES = ("one", "json", "named", "mounted", "old")
EDS = Setup(
    "eds_files",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(f"- {{match: {{prefix: /{n}/}}, route: {{cluster: {n}}}}}\n" for n in NAMES),
            )
        ],
        [
            eds_cluster("one"),
            eds_cluster("json", source="path_config_source: {path: FILE(json.json)}"),
            eds_cluster("named", service="other/name"),
            eds_cluster(
                "mounted",
                source="path_config_source: {path: FILE(mount)/eds.yaml, "
                "watched_directory: {path: FILE(mount)}}, initial_fetch_timeout: 0.1s",
            ),
            eds_cluster("old", source="path: FILE(old.yaml)"),
        ],
        extra="node: {id: node1, cluster: cluster1}",
    ),
    {"a": "h1", "b": "h1", "c": "h1"},
    {
        "one.yaml": assignment("one", locality(endpoint("a"))).encode(),
        "json.json": b'{"version_info": "7", "resources": [{"@type": "type.googleapis.com/envoy.config.'
        b'endpoint.v3.ClusterLoadAssignment", "clusterName": "json", "endpoints": [{"lbEndpoints": ['
        b'{"endpoint": {"hostname": "h", "address": '
        b'{"socketAddress": {"address": "127.0.0.1", "portValue": PORT(b)}}}}]}]}]}',
        "named.yaml": assignment("other/name", locality(endpoint("a"))).encode(),
        "mount/eds.yaml": assignment("mounted", locality(endpoint("a"))).encode(),
        "old.yaml": assignment("wrong", locality(endpoint("a"))).encode(),
    },
)
RESOURCE = "type.googleapis.com/envoy.service.discovery.v3.Resource"
ONE = assignment("one", locality(endpoint("a")))


def serve(s: Session) -> None:
    for name in ("a", "b", "c"):
        s.upstream(name).script = answers(ok(name.encode()))


async def text_of_version(s: Session, name: str) -> None:
    text = (await s.proxy.admin("GET", f"/stats?filter=^cluster.{name}.version")).body.decode()
    s.see("version", sorted(text.splitlines()))


@scenario(EDS)
async def eds_first_answer(s: Session) -> None:
    """Hosts are there at start, from YAML and JSON, by the service's name; a wrong file delays nobody."""
    serve(s)
    for name in NAMES:
        await s.get(f"/{name}/x", label=name)
        await hosts(s, name, f"hosts of {name}", ("hostname", "health_flags"))
        await update_stats(s, name, f"stats of {name}")
        await text_of_version(s, name)
    await assign(s, "old", assignment("old", locality(endpoint("c")), version="2"))
    await s.get("/old/x", label="put right")
    await update_stats(s, "old")
    s.proxy.is_spent = True


@scenario(EDS)
async def eds_moves_and_writes(s: Session) -> None:
    """A file that is moved into place is read; one that is written, linked or removed is not."""
    s.proxy.is_spent = True
    serve(s)
    path = s.proxy.directory / "one.yaml"
    other = s.proxy.fill(assignment("one", locality(endpoint("b")), version="2"))
    path.write_text(other)
    await s.get("/one/written")
    path.unlink()
    (s.proxy.directory / "aside").write_text(other)
    os.link(s.proxy.directory / "aside", path)
    await s.get("/one/linked")
    await update_stats(s, "one", "before")
    await assign(s, "one", assignment("one", locality(endpoint("c")), version="3"))
    await s.get("/one/moved")
    await update_stats(s, "one", "after")
    await text_of_version(s, "one")
    # A link that is replaced is a move; another one into its target is none.
    real = s.proxy.directory / "real"
    real.mkdir()
    (real / "eds.yaml").write_text(s.proxy.fill(assignment("one", locality(endpoint("a")))))
    os.symlink("real/eds.yaml", s.proxy.directory / "link")
    os.rename(s.proxy.directory / "link", path)
    await s.until_stats(lambda stats: stats["cluster.one.update_attempt"] == 3, "update_attempt")
    move(s, "real/eds.yaml", assignment("one", locality(endpoint("b"))))
    await s.get("/one/link")
    await update_stats(s, "one", "link")


def swap(s: Session, version: str, text: str) -> None:
    """What Kubernetes does to a mounted ConfigMap."""
    mount = s.proxy.directory / "mount"
    (mount / version).mkdir()
    (mount / version / "eds.yaml").write_text(s.proxy.fill(text))
    os.symlink(version, mount / "..data_tmp")
    os.rename(mount / "..data_tmp", mount / "..data")


@scenario(EDS)
async def eds_watched_directory(s: Session) -> None:
    """Any move into the watched directory has the file read again, so a swap of links by Kubernetes does."""
    s.proxy.is_spent = True
    serve(s)
    mount = s.proxy.directory / "mount"
    attempts = "cluster.mounted.update_attempt"

    async def until(count: int) -> None:
        await s.until_stats(lambda stats: stats[attempts] == count, attempts)

    swap(s, "..v1", assignment("mounted", locality(endpoint("b")), version="v1"))
    await until(2)
    await s.get("/mounted/old", label="file itself")
    os.symlink("..data/eds.yaml", mount / "tmp")
    os.rename(mount / "tmp", mount / "eds.yaml")
    await until(3)
    await s.get("/mounted/v1", label="link")
    swap(s, "..v2", assignment("mounted", locality(endpoint("c")), version="v2"))
    await until(4)
    await s.get("/mounted/v2", label="swapped")
    (mount / "..v2" / "eds.yaml").write_text("nothing")
    await s.get("/mounted/v2", label="written in place")
    await update_stats(s, "mounted")


WRONG = {
    "no text": "",
    "no mapping": "text",
    "no YAML": "a: [",
    "wrong type": "version_info: 5",
    "no such type": 'resources: [{"@type": type.googleapis.com/envoy.Nothing}]',
    "no type": "resources: [{cluster_name: one}]",
    "other type": 'resources: [{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: one}]',
    "other name": assignment("two", locality(endpoint("a"))),
    "two of them": ONE + "\n".join(ONE.splitlines()[2:]),
    "port": ONE.replace("PORT(a)", "99999"),
    "no address": assignment("one", "{lb_endpoints: [{endpoint: {}}]}"),
    "no port": ONE.replace(", port_value: PORT(a)", ""),
    "name": ONE.replace("127.0.0.1", "localhost"),
    "priority": ONE.replace("{ lb_endpoints", "{priority: 200, lb_endpoints"),
    "weight": assignment("one", locality(endpoint("a", "load_balancing_weight: 0,"))),
    "overprovisioning": assignment("one", policy="overprovisioning_factor: 0"),
    "stale": assignment("one", policy="endpoint_stale_after: -1s"),
    "leds": assignment("one", "{leds_cluster_locality_config: {leds_config: {ads: {}}}, lb_endpoints: [{}]}"),
}


@scenario(EDS)
async def eds_wrong_files(s: Session) -> None:
    """What cannot be used is counted as failure or rejection, and the hosts that were there go on serving."""
    s.proxy.is_spent = True
    serve(s)
    await assign(s, "one", assignment("one", locality(endpoint("b")), version="good"))
    seen = {}
    before = await s.counters(r"^cluster\.one\.update_(failure|rejected|success|empty)")
    for label, text in WRONG.items():
        await assign(s, "one", text)
        after = await s.counters(r"^cluster\.one\.update_(failure|rejected|success|empty)")
        seen[label] = [key.rpartition(".")[2] for key in after if after[key] != before[key]]
        before = after
    s.see("counted", seen)
    await s.get("/one/x")
    await update_stats(s, "one")
    await text_of_version(s, "one")


@scenario(EDS)
async def eds_unusual_files(s: Session) -> None:
    """No resource changes nothing; unknown fields are passed over; a Resource around it is taken."""
    s.proxy.is_spent = True
    serve(s)
    await assign(s, "one", 'version_info: "empty"')
    await text_of_version(s, "one")
    await s.get("/one/x", label="none")
    await update_stats(s, "one", "none, stats")
    await assign(
        s, "one", assignment("one", locality(endpoint("b", "bogus: 1, other: 2,")), version="unknown")
    )
    await s.get("/one/x", label="unknown")
    await update_stats(s, "one", "unknown, stats")
    wrapped = assignment("one", locality(endpoint("c"))).splitlines()[2:]
    inner = "\n".join(f"    {line.removeprefix('- ').removeprefix('  ')}" for line in wrapped)
    await assign(
        s,
        "one",
        f'version_info: "wrapped"\nresources:\n- "@type": {RESOURCE}\n'
        f'  name: whatever\n  version: "9"\n  resource:\n{inner}\n',
    )
    await s.get("/one/x", label="wrapped")
    await update_stats(s, "one", "wrapped, stats")
    await assign(s, "one", assignment("one", locality(endpoint("c")), version="again"))
    await assign(s, "one", assignment("one", locality(endpoint("c"), endpoint("c")), version="twice"))
    await assign(s, "one", assignment("one", version="nobody"))
    await s.get("/one/x", label="nobody")
    await update_stats(s, "one", "nobody, stats")
    await hosts(s, "one")


@scenario(EDS)
async def eds_host_that_stays(s: Session) -> None:
    """A host that is named again keeps its connection and counters; one that is dropped ends its request."""
    s.proxy.is_spent = True
    gone = trio.Event()

    async def slow(call: Call) -> None:
        if call.path.endswith("slow"):
            await gone.wait()
        await call.send(ok(b"a"))

    serve(s)
    s.upstream("a").script = slow
    await s.get("/one/1", label="first")
    await assign(
        s, "one", assignment("one", locality(endpoint("a"), endpoint("b", "health_status: UNHEALTHY,")))
    )
    await s.get("/one/2", label="second")
    await hosts(s, "one", "stayed", ("cx_total", "rq_total", "rq_success", "health_flags"))
    client = await s.connect()
    await client.send(b"GET /one/slow HTTP/1.1\r\nhost: h\r\n\r\n")
    await s.upstream("a").arrivals(3)
    await assign(s, "one", assignment("one", locality(endpoint("c"))))
    await s.get("/one/3", label="third")
    gone.set()
    await client.reply("slow")
    await hosts(s, "one", "left")
    await update_stats(s, "one")
    s.see("connections of a", s.upstream("a").connections)
