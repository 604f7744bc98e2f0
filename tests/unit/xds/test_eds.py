"""EDS over files: what is read, what it does to the hosts, and that nothing is left when it is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.messages import message_class
from sidecar.config.registry import Registry
from sidecar.core.errors import XdsError
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig, EdsSettings, PathSource
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.host import Health
from sidecar.upstream.local_zone import LocalZone
from sidecar.xds.eds import EdsDiscovery, assignment_kind
from sidecar.xds.filesystem import FileTransport, ResponseUnreadable, read_response
from sidecar.xds.subscription import ResponseRejected
from tests.support.cancelling import cancel_at_every_step

ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def endpoint(number: int, more: str = "") -> str:
    socket = f"{{socket_address: {{address: 192.0.2.{number}, port_value: 80}}}}"
    return f"{{endpoint: {{address: {socket}}}{more}}}"


def text(*endpoints: str, name: str = "c", policy: str = "", version: str = "1") -> str:
    lines = [
        f'version_info: "{version}"',
        "resources:",
        f'- "@type": {ASSIGNMENT}',
        f"  cluster_name: {name}",
        f"  endpoints: [{{lb_endpoints: [{', '.join(endpoints)}]}}]",
        f"  policy: {{{policy}}}",
    ]
    return "\n".join(lines) + "\n"


class Bed:
    def __init__(self, path: Path) -> None:
        self.path = path / "eds.yaml"
        self.path.write_text(text(endpoint(1), endpoint(2)))
        self.store = Store()
        cls = message_class("envoy.config.bootstrap.v3.Bootstrap")
        assert cls is not None
        self.bootstrap: Any = cls()
        self.context = FactoryContext(
            stats=self.store,
            root_stats=self.store,
            node=NodeInfo(),
            path="",
            warn=lambda path, reason: None,
            read_data_source=lambda message, path: b"",
            on_close=lambda close: None,
            find_cluster=lambda name: None,
        )
        self.kind = assignment_kind(self.context)
        self.files = FileTransport(self.bootstrap, Registry(()), self.store.counter("unknown"))
        self.manager = ClusterManager(self.store)
        self.manager.make_eds = self._make
        settings = EdsSettings("c", PathSource(str(self.path)))
        self.cluster = Cluster(ClusterConfig("c", type="EDS", eds=settings), self.store)

    def _make(self, cluster: Cluster) -> EdsDiscovery:
        settings = cluster.config.eds
        assert settings is not None
        assert settings.source is not None
        source = settings.source
        return EdsDiscovery(
            cluster,
            settings,
            self.kind,
            lambda subscriber, stats: self.files.subscribe(source, subscriber, stats),
        )

    def read(self, content: str) -> Any:
        self.path.write_text(content)
        return read_response(str(self.path), self.kind, self.bootstrap, Registry(()))

    def move(self, content: str) -> None:
        fresh = self.path.with_name("fresh")
        fresh.write_text(content)
        fresh.rename(self.path)

    def addresses(self) -> list[str]:
        return [host.address for host in self.cluster.hosts]

    async def run(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.files.watcher.run)
        await nursery.start(self.manager.run)
        await self.manager.initial_resolution()

    async def attempts(self, count: int) -> None:
        while self.cluster.stats.update_attempt.value < count:  # noqa: ASYNC110 - a file is read in a thread
            await trio.sleep(0.001)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(tmp_path)
    yield bed
    bed.files.close()


def test_mistake_in_a_file_is_told_by_line_and_column(bed: Bed) -> None:
    with pytest.raises(ResponseUnreadable, match=r"eds\.yaml:1:15 version_info: .*not the number 5"):
        bed.read("version_info: 5\n")
    wrong = text(endpoint(1)).replace("192.0.2.1", "localhost")
    reason = r"eds\.yaml:5:\d+ resources\[0\]\.endpoints\[0\].*malformed IP address: localhost"
    with pytest.raises(ResponseRejected, match=reason):
        bed.read(wrong)
    with pytest.raises(ResponseRejected, match=r"eds\.yaml:6:12 .*must be greater than 0"):
        bed.read(text(endpoint(1), policy="overprovisioning_factor: 0"))
    with pytest.raises(ResponseUnreadable, match="unable to read file"):
        read_response("/nowhere/eds.yaml", bed.kind, bed.bootstrap, Registry(()))


def test_field_that_is_not_implemented_refuses_the_file_by_name(bed: Bed) -> None:
    leds = "leds_cluster_locality_config: {leds_config: {ads: {}}, leds_collection_name: a}"
    wrong = text().replace("endpoints: [{lb_endpoints: []}]", f"endpoints: [{{{leds}}}]")
    with pytest.raises(ResponseRejected, match=r"leds_cluster_locality_config: known to .*, not implemented"):
        bed.read(wrong)


def test_unknown_field_is_passed_over_and_told(bed: Bed) -> None:
    response = bed.read(text(endpoint(1, ", bogus: 1")))
    assert response.has_unknown_fields
    assert [str(each) for each in response.warnings if "bogus" in each.reason]
    assert len(response.resources[0].value.endpoints) == 1


async def test_cluster_starts_with_the_hosts_of_its_file_and_follows_moves(bed: Bed) -> None:
    bed.manager.add(bed.cluster)
    assert bed.addresses() == ["192.0.2.1:80", "192.0.2.2:80"]
    async with trio.open_nursery() as nursery:
        await bed.run(nursery)
        second = bed.cluster.hosts[1]
        bed.move(text(endpoint(3), endpoint(2, ", load_balancing_weight: 4"), version="2"))
        await bed.attempts(2)
        assert bed.addresses() == ["192.0.2.3:80", "192.0.2.2:80"]
        assert bed.cluster.hosts[1] is second
        assert second.weight == 4
        assert bed.store.text_readout("cluster.c.version_text").value == "2"
        nursery.cancel_scope.cancel()
    assert bed.files.watcher._watches == {}


async def test_wrong_file_leaves_the_hosts_as_they_are(bed: Bed) -> None:
    bed.manager.add(bed.cluster)
    async with trio.open_nursery() as nursery:
        await bed.run(nursery)
        hosts = bed.cluster.hosts
        for count, content in enumerate(("[", text(endpoint(3), name="other"), text("{}")), 2):
            bed.move(content)
            await bed.attempts(count)
            assert bed.cluster.hosts is hosts
        counts = [bed.store.counter(f"cluster.c.update_{name}").value for name in ("failure", "rejected")]
        assert counts == [1, 2]
        nursery.cancel_scope.cancel()


def test_first_file_that_is_wrong_keeps_nobody_waiting(bed: Bed) -> None:
    bed.path.write_text("nothing")
    bed.manager.add(bed.cluster)
    assert bed.manager._discoveries["c"].initialized.is_set()
    assert bed.cluster.hosts == ()


def test_response_of_two_resources_is_refused(bed: Bed) -> None:
    bed.manager.add(bed.cluster)
    discovery: Any = bed.manager._discoveries["c"]
    one = bed.read(text(endpoint(1))).resources[0]
    with pytest.raises(XdsError, match="Unexpected EDS resource length: 2"):
        discovery.on_update([one, one], "")


def test_local_cluster_has_one_priority(bed: Bed) -> None:
    bed.manager = ClusterManager(bed.store, local=LocalZone(cluster_name="c"))
    bed.manager.make_eds = bed._make
    bed.manager.add(bed.cluster)
    discovery: Any = bed.manager._discoveries["c"]
    wrong = bed.read(text(endpoint(1)).replace("[{lb_endpoints", "[{priority: 1, lb_endpoints")).resources
    with pytest.raises(XdsError, match="Unexpected non-zero priority for local cluster 'c'"):
        discovery.on_update(wrong, "")
    assert len(bed.cluster.hosts) == 2


async def test_stale_assignment_ends_and_a_newer_one_restarts_the_clock(
    bed: Bed, autojump_clock: MockClock
) -> None:
    bed.manager.add(bed.cluster)
    discovery: Any = bed.manager._discoveries["c"]
    stale = bed.read(text(endpoint(1), policy="endpoint_stale_after: 10s")).resources
    stats = bed.cluster.stats
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bed.manager.run)
        await wait_all_tasks_blocked()
        discovery.on_update(stale, "")
        await trio.sleep(9)
        discovery.on_update(stale, "")
        await trio.sleep(9)
        assert len(bed.cluster.hosts) == 1
        await trio.sleep(2)
        assert (bed.cluster.hosts, stats.assignment_stale.value) == ((), 1)
        discovery.on_update(stale, "")
        await trio.sleep(1)
        discovery.on_update(bed.read(text(endpoint(1))).resources, "")
        await trio.sleep(20)
        assert len(bed.cluster.hosts) == 1
        assert (stats.assignment_stale.value, stats.assignment_timeout_received.value) == (1, 3)
        nursery.cancel_scope.cancel()


def test_health_of_the_assignment_is_taken_in_place(bed: Bed) -> None:
    bed.manager.add(bed.cluster)
    discovery: Any = bed.manager._discoveries["c"]
    first = bed.cluster.hosts[0]
    stats = bed.cluster.stats
    for status, health, excluded in (
        ("UNHEALTHY", Health.UNHEALTHY, 0),
        ("HEALTHY", Health.HEALTHY, 0),
        ("DEGRADED", Health.DEGRADED, 0),
        ("DRAINING", Health.UNHEALTHY, 1),
        ("TIMEOUT", Health.UNHEALTHY, 1),
        ("UNKNOWN", Health.HEALTHY, 0),
    ):
        discovery.on_update(bed.read(text(endpoint(1, f", health_status: {status}"))).resources, "")
        assert bed.cluster.hosts == (first,)
        # Between states that are both unhealthy nothing is computed anew, as in Envoy.
        assert (first.health, stats.membership_excluded.value) == (health, excluded)


async def test_cancelled_at_any_step_no_watch_and_no_task_is_left(tmp_path: Path) -> None:
    beds: list[Bed] = []

    async def work() -> None:
        bed = Bed(tmp_path)
        beds.append(bed)
        bed.manager.add(bed.cluster)
        async with trio.open_nursery() as nursery:
            await bed.run(nursery)
            bed.move(text(endpoint(3), policy="endpoint_stale_after: 0.001s"))
            await bed.attempts(2)
            while bed.cluster.hosts:  # noqa: ASYNC110 - time passes
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    def check() -> None:
        bed = beds.pop()
        started = "c" in bed.manager._scopes
        assert bed.files.watcher._watches == {} or not started
        bed.files.close()

    assert await cancel_at_every_step(work, check) > 10
