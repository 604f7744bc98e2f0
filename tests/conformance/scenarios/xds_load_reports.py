# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Load reports (LRS): what a management server is told of the requests to clusters."""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf import json_format

from sidecar.config.messages import message_class

from ..configuration import bootstrap, cluster, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok

SUBJECT = "xds"

_PACKAGE = "envoy.service.load_stats.v3"


def located(name: str, zone: str, port: str, more: str = "") -> str:
    return f"{{locality: {{region: r, zone: {zone}}}, {more}lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({port})}}}}}}}}]}}"


LRS = Setup(
    "load_reports",
    bootstrap(
        [
            listener(
                "main",
                routes="""
- {match: {prefix: /other}, route: {cluster: other}}
- {match: {prefix: /dropped}, route: {cluster: dropped}}
- {match: {prefix: /full}, route: {cluster: full}}
- {match: {prefix: /}, route: {cluster: app}}
""",
            )
        ],
        [
            cluster("lrs", "lrs", http2=True),
            parse(
                f"{{name: app, type: STATIC, connect_timeout: 1s, load_assignment: {{cluster_name: app, endpoints: [{located('app', 'a', 'app')}, {located('app', 'b', 'app')}, {located('app', 'c', 'other', 'priority: 1, ')}]}}}}"
            ),
            cluster("other", "other"),
            cluster(
                "dropped",
                "other",
                extra="load_assignment: {cluster_name: dropped, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}], policy: {drop_overloads: [{category: drops, drop_percentage: {numerator: 100}}]}}",
            ),
            cluster(
                "full",
                "other",
                extra="circuit_breakers: {thresholds: [{max_requests: 0, max_pending_requests: 0, max_connections: 0}]}",
            ),
        ],
        """
node: {id: node, cluster: cluster}
cluster_manager:
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: lrs}}]
""",
    ),
    {"lrs": "h2", "app": "h1", "other": "h1"},
)


class Reports:
    """Serves the stream, and takes down what comes."""

    def __init__(self, s: Session) -> None:
        self.taken: list[Any] = []
        self.paths: list[str] = []
        self._call: H2Call | None = None
        self._arrived = trio.Event()
        self._upstream = s.upstream("lrs")
        self._upstream.h2_script = self._serve

    async def _serve(self, call: H2Call) -> None:
        self._upstream.seen.clear()
        self._call = call
        self.paths.append(call.path)
        await call.answer_open([(":status", "200"), ("content-type", "application/grpc")])
        taken = 0
        while True:
            grew = call.stream.grew
            body = bytes(call.stream.body)
            while len(body) >= taken + 5:
                size = int.from_bytes(body[taken + 1 : taken + 5], "big")
                if len(body) < taken + 5 + size:
                    break
                cls = message_class(f"{_PACKAGE}.LoadStatsRequest")
                assert cls is not None
                request = cls()
                request.MergeFromString(body[taken + 5 : taken + 5 + size])
                taken += 5 + size
                self.taken.append(request)
                self._arrived.set()
                self._arrived = trio.Event()
            if call.stream.ended.is_set():
                return
            await grew.wait()

    async def count(self, number: int) -> None:
        while len(self.taken) < number:
            await self._arrived.wait()

    async def ask(self, **fields: Any) -> None:
        """Answer with what is to be reported."""
        cls = message_class(f"{_PACKAGE}.LoadStatsResponse")
        assert cls is not None
        response: Any = json_format.ParseDict(fields, cls())
        data = response.SerializeToString()
        assert self._call is not None
        await self._call.peer.data(self._call.stream, b"\0" + len(data).to_bytes(4, "big") + data)

    async def summed(self, number: int, enough: Any) -> dict[str, Any]:
        """All reports behind the first so many, summed up, once they say enough; in whatever interval each came."""
        total: dict[str, Any] = {}
        while True:
            await self.count(number + 1)
            for request in self.taken[number:]:
                _add(total, request)
            number = len(self.taken)
            if enough(total):
                return total


def _add(total: dict[str, Any], request: Any) -> None:
    for stats in request.cluster_stats:
        mine = total.setdefault(stats.cluster_name, {"dropped": 0})
        mine["dropped"] += stats.total_dropped_requests
        assert stats.HasField("load_report_interval")
        for drop in stats.dropped_requests:
            mine[f"drop {drop.category}"] = mine.get(f"drop {drop.category}", 0) + drop.dropped_count
        for each in stats.upstream_locality_stats:
            key = f"{each.locality.region}/{each.locality.zone}/{each.priority}"
            # What was in progress when a report went is chance.
            found = mine.setdefault(key, [0, 0, 0])
            found[0] += each.total_successful_requests
            found[1] += each.total_error_requests
            found[2] += each.total_issued_requests
            for one in each.upstream_endpoint_stats:
                hosts = mine.setdefault("hosts", [])
                if one.address.socket_address.address not in hosts:
                    hosts.append(one.address.socket_address.address)


def _issued(total: dict[str, Any], name: str) -> int:
    return sum(each[2] for key, each in total.get(name, {}).items() if "/" in key)


@scenario(LRS)
async def load_reports_of_clusters(s: Session) -> None:
    """The first request, then reports per locality and host, of some clusters and of all."""
    s.proxy.is_spent = True
    reports = Reports(s)
    failed = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
    s.upstream("app").script = answers(ok(b"a"), ok(b"b"), ok(b"c"), failed)
    s.upstream("other").script = answers(ok(b"x"), ok(b"y"))
    await reports.count(1)
    first = reports.taken[0]
    s.see("path", list(reports.paths))
    s.see("node", [first.node.id, first.node.cluster, list(first.node.client_features)])
    s.see("first", len(first.cluster_stats))
    await reports.ask(
        clusters=["app", "full", "dropped", "nobody"],
        load_reporting_interval="0.1s",
        report_endpoint_granularity=True,
    )
    await reports.count(2)
    for label in ("a", "b", "c", "d", "other", "dropped", "full"):
        await s.get(f"/{label}", label=label)
    some = await reports.summed(
        1,
        lambda total: (
            _issued(total, "app") == 4 and total["full"]["dropped"] > 0 and "drop drops" in total["dropped"]
        ),
    )
    # Which of two localities is first is drawn.
    parts = [each for key, each in some["app"].items() if "/" in key]
    s.see("app", [[sum(each) for each in zip(*parts, strict=True)], some["app"]["hosts"]])
    s.see("some", {name: each for name, each in sorted(some.items()) if name != "app"})
    await reports.ask(sendAllClusters=True, load_reporting_interval="0.1s")
    number = len(reports.taken)
    await reports.count(number + 2)
    number = len(reports.taken)
    await s.get("/other", label="of all")
    found = await reports.summed(
        number, lambda total: _issued(total, "other") == 1 and total["other"]["//0"][0] == 1
    )
    s.see("all", {name: each for name, each in sorted(found.items()) if name != "lrs"})
