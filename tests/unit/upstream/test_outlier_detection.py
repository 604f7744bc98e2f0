"""The arithmetic of outlier detection on recorded sequences; clock and chance are given."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.host import Host
from sidecar.upstream.outlier_detection import Detector, OutlierSettings
from sidecar.upstream.outlier_events import OutlierEvents, event_time


class Lab:
    """A detector over some hosts."""

    def __init__(self, hosts: int = 2, draws: Sequence[int] = (), **settings: object) -> None:
        self.now = 100.0
        self.draws = list(draws)
        self.changes: list[Host] = []
        self.lines: list[str] = []
        self.store = Store()
        self.detector = Detector(
            OutlierSettings(**{"max_ejection_percent": 100, **settings}),  # type: ignore[arg-type]
            self.store.scope("cluster.c"),
            clock=lambda: self.now,
            draw=lambda n: self.draws.pop(0) if self.draws else 0,
            changed=self.changes.append,
        )
        self.detector.event_log = OutlierEvents("c", self.lines.append, now=lambda: 0.25)
        self.hosts = [Host(Address.ip("127.0.0.1", 80 + n)) for n in range(hosts)]
        self.detector.set_hosts(self.hosts)

    def put(self, host: int, *statuses: int) -> None:
        for status in statuses:
            self.hosts[host].outlier.put_status(status)

    def is_ejected(self, host: int = 0) -> bool:
        return self.hosts[host].health_flags_text() == "/failed_outlier_check"

    def tick(self, seconds: float = 10.0) -> None:
        self.now += seconds
        self.detector.tick()

    def count(self, name: str) -> int:
        scope = self.store.scope("cluster.c.outlier_detection")
        return (scope.gauge if name == "ejections_active" else scope.counter)(name).value


def test_five_in_a_row_eject() -> None:
    lab = Lab()
    lab.put(0, 500, 500, 500, 500, 200, 500, 500, 500, 500)
    assert not lab.is_ejected()
    lab.put(0, 599)
    assert lab.is_ejected()
    assert lab.changes == [lab.hosts[0]]
    assert lab.count("ejections_active") == lab.count("ejections_enforced_consecutive_5xx") == 1
    lab.put(0, *[500] * 20)
    assert lab.count("ejections_detected_consecutive_5xx") == 1


def test_gateway_failures_are_counted_apart_and_not_enforced_by_default() -> None:
    lab = Lab(consecutive_5xx=100)
    lab.put(0, 502, 503, 504, 502, 500, 502, 503, 504, 502)
    assert lab.count("ejections_detected_consecutive_gateway_failure") == 0
    lab.put(0, 503)
    assert lab.count("ejections_detected_consecutive_gateway_failure") == 1
    assert not lab.is_ejected()
    assert json.loads(lab.lines[0])["enforced"] is False


def test_a_share_of_ejections_is_enforced() -> None:
    lab = Lab(draws=[40, 39, 0], enforcing_consecutive_5xx=40, consecutive_5xx=1)
    lab.put(0, 500)
    assert not lab.is_ejected()
    lab.put(0, 500)
    assert lab.is_ejected()


@pytest.mark.parametrize(("always", "ejected"), [(False, 0), (True, 1)])
def test_not_too_many_are_ejected(always: bool, ejected: int) -> None:
    lab = Lab(hosts=3, max_ejection_percent=20, always_eject_one_host=always, consecutive_5xx=1)
    for host in range(3):
        lab.put(host, 500)
    assert lab.count("ejections_active") == ejected
    assert lab.count("ejections_overflow") == 3 - ejected


def test_ejections_grow_and_shrink() -> None:
    """30 s, 60 s, 90 s, never more than the maximum; each good interval after a return takes one off."""
    lab = Lab(consecutive_5xx=1, max_ejection_time_s=80.0)
    for length in (30, 60, 80, 80):
        lab.put(0, 500)
        assert lab.is_ejected()
        lab.tick(length - 1)
        assert lab.is_ejected()
        lab.tick(1)
        assert not lab.is_ejected()
    assert lab.hosts[0].outlier.ejected.backoff == 4
    for left in (3, 2, 1, 0, 0):
        lab.tick(10)
        assert lab.hosts[0].outlier.ejected.backoff == left


def test_jitter_is_added_to_the_maximum() -> None:
    lab = Lab(draws=[0, 1500], consecutive_5xx=1, max_ejection_time_s=30.0, max_ejection_time_jitter_s=2.0)
    lab.put(0, 500)
    lab.tick(31.4)
    assert lab.is_ejected()
    lab.tick(0.1)
    assert not lab.is_ejected()


def test_a_return_begins_to_count_anew() -> None:
    lab = Lab(consecutive_5xx=3, consecutive_gateway_failure=2, enforcing_consecutive_gateway_failure=100)
    lab.put(0, 500, 502, 502)
    lab.tick(30)
    lab.put(0, 500, 500)
    assert not lab.is_ejected()


def test_split_local_failures() -> None:
    lab = Lab(split_external_local_origin_errors=True, consecutive_local_origin_failure=2, consecutive_5xx=2)
    monitor = lab.hosts[0].outlier
    monitor.put_connection_failure(was_connected=False)
    monitor.put_timeout(was_connected=True)  # the connection was good: counted anew
    assert not lab.is_ejected()
    lab.put(0, 500)
    monitor.put_connection_failure(was_connected=False)
    assert not lab.is_ejected()
    monitor.put_connection_failure(was_connected=False)
    assert lab.is_ejected()
    assert json.loads(lab.lines[0])["type"] == "CONSECUTIVE_LOCAL_ORIGIN_FAILURE"


def test_joined_local_failures_are_5xx() -> None:
    lab = Lab(consecutive_5xx=2)
    lab.hosts[0].outlier.put_connection_failure(was_connected=False)
    lab.hosts[0].outlier.put_timeout(was_connected=True)
    assert lab.is_ejected()


def test_success_rate_threshold() -> None:
    """Envoy's own example: 50, 100, 100, 100, 100 have the mean 90 and the deviation 20."""
    lab = Lab(hosts=5, enforcing_consecutive_5xx=0)
    for host in range(5):
        lab.put(host, *[200, 500 if host == 0 else 200] * 50)
    lab.tick()
    assert (lab.detector.external.average, lab.detector.external.threshold) == (90.0, 52.0)
    assert [lab.is_ejected(host) for host in range(5)] == [True, False, False, False, False]
    event = json.loads(lab.lines[-1])
    assert event["eject_success_rate_event"] == {
        "host_success_rate": 50,
        "cluster_average_success_rate": 90,
        "cluster_success_rate_ejection_threshold": 52,
    }
    lab.tick()
    assert lab.detector.external.average == -1.0


@pytest.mark.parametrize(("hosts", "requests"), [(4, 100), (5, 99)])
def test_success_rate_wants_hosts_and_volume(hosts: int, requests: int) -> None:
    lab = Lab(hosts=hosts, enforcing_consecutive_5xx=0)
    for host in range(hosts):
        lab.put(host, *[500 if host == 0 else 200] * requests)
    lab.tick()
    assert lab.count("ejections_detected_success_rate") == 0
    assert lab.detector.external.average == -1.0


def test_failure_percentage() -> None:
    lab = Lab(
        hosts=5, enforcing_consecutive_5xx=0, enforcing_failure_percentage=100, enforcing_success_rate=0
    )
    for host in range(5):
        lab.put(host, *[500] * (8 if host else 9), *[200] * (2 if host else 1), *[200 if host else 500] * 40)
    lab.tick()
    assert lab.is_ejected(0)
    assert lab.count("ejections_detected_failure_percentage") == 1
    assert json.loads(lab.lines[-1])["eject_failure_percentage_event"] == {"host_success_rate": 2}


def test_hosts_that_leave() -> None:
    lab = Lab(consecutive_5xx=1)
    lab.put(0, 500)
    monitor = lab.hosts[1].outlier
    lab.detector.set_hosts(lab.hosts[1:])
    assert lab.count("ejections_active") == 0
    assert lab.hosts[0].outlier is None
    assert lab.hosts[1].outlier is monitor


def test_a_passed_health_check_brings_the_host_back() -> None:
    for may in (True, False):
        lab = Lab(consecutive_5xx=1, successful_active_health_check_uneject_host=may)
        lab.put(0, 500)
        lab.detector.on_health_check_passed(lab.hosts[0])
        assert lab.is_ejected() is not may


def test_events() -> None:
    lab = Lab(consecutive_5xx=1)
    lab.put(0, 500)
    lab.tick(30)
    assert lab.lines == [
        '{"type":"CONSECUTIVE_5XX","timestamp":"1970-01-01T00:00:00.250Z","cluster_name":"c",'
        '"upstream_url":"127.0.0.1:80","action":"EJECT","num_ejections":1,"enforced":true,'
        '"eject_consecutive_event":{}}\n',
        '{"type":"CONSECUTIVE_5XX","timestamp":"1970-01-01T00:00:00.250Z","secs_since_last_action":"30",'
        '"cluster_name":"c","upstream_url":"127.0.0.1:80","action":"UNEJECT","num_ejections":1,'
        '"enforced":false}\n',
    ]
    assert event_time(3.0) == "1970-01-01T00:00:03Z"


def test_degraded_hosts_have_times_of_their_own() -> None:
    lab = Lab(detect_degraded_hosts=True, consecutive_5xx=1)
    host = lab.hosts[0]
    monitor = host.outlier
    monitor.put_degraded()
    monitor.put_degraded()
    assert (host.health_flags_text(), host.health) == ("/degraded_outlier_detection", "degraded")
    lab.put(0, 500)
    assert host.health_flags_text() == "/failed_outlier_check/degraded_outlier_detection"
    assert (monitor.degraded.backoff, monitor.ejected.backoff) == (1, 1)
    lab.tick(30)
    assert host.health_flags_text() == "healthy"
    monitor.put_degraded()
    assert (monitor.degraded.backoff, monitor.ejected.backoff) == (2, 1)
    lab.tick(30)
    assert (host.health_flags_text(), monitor.ejected.backoff) == ("/degraded_outlier_detection", 0)
    lab.tick(30)
    assert host.health_flags_text() == "healthy"
    assert (lab.count("ejections_detected_degradation"), lab.count("ejections_active")) == (2, 0)
    assert [json.loads(line)["type"] for line in lab.lines] == [
        *("DEGRADED", "CONSECUTIVE_5XX", "CONSECUTIVE_5XX", "CONSECUTIVE_5XX", "DEGRADED", "CONSECUTIVE_5XX")
    ]
