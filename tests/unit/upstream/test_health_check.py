"""What the outcomes of health checks make of a host, and when the next is due."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.health_check import HealthCheckSettings, HealthStats, HostChecks, Outcome
from sidecar.upstream.health_grpc import AnswerReader
from sidecar.upstream.health_probes import matches
from sidecar.upstream.host import HealthFlag, Host

WELL, NETWORK, ACTIVE = Outcome(), Outcome("NETWORK"), Outcome("ACTIVE")


class Lab:
    """One host that has failed until it was asked."""

    def __init__(self, *, traffic: bool = True, **settings: Any) -> None:
        self.host = Host(Address.ip("127.0.0.1", 80))
        self.host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
        self.changes = 0
        self.stats = HealthStats(Store().scope("health_check"))
        given: dict[str, Any] = {
            "unhealthy_interval_s": 2.0,
            "unhealthy_edge_interval_s": 3.0,
            "healthy_edge_interval_s": 4.0,
            "no_traffic_interval_s": 60.0,
            "no_traffic_healthy_interval_s": 50.0,
            **settings,
        }
        self.checks = HostChecks(
            HealthCheckSettings("HTTP", 1.0, 1.0, 2, 3, **given),
            self.stats,
            self.host,
            draw=lambda n: n - 1,
            had_traffic=lambda: traffic,
            told=self._told,
        )

    def _told(self, has_changed: bool, is_well: bool) -> None:
        self.changes += has_changed

    def take(self, *outcomes: Outcome) -> list[tuple[float, str]]:
        return [(self.checks.take(each), self.host.health_flags_text()) for each in outcomes]


FAILED = "/failed_active_hc"


def test_the_first_check_decides_at_once() -> None:
    assert Lab().take(WELL) == [(1.0, "healthy")]
    assert Lab().take(ACTIVE) == [(2.0, FAILED)]


def test_thresholds_and_intervals() -> None:
    lab = Lab()
    assert lab.take(WELL, NETWORK, WELL, NETWORK, NETWORK, NETWORK, WELL, WELL, WELL, WELL) == [
        (1.0, "healthy"),
        (3.0, "healthy"),
        (1.0, "healthy"),
        (3.0, "healthy"),
        (2.0, FAILED),
        (2.0, FAILED),
        (4.0, FAILED),
        (4.0, FAILED),
        (1.0, "healthy"),
        (1.0, "healthy"),
    ]
    assert lab.changes == 3
    assert (lab.stats.success.value, lab.stats.failure.value, lab.stats.network_failure.value) == (6, 4, 4)


def test_a_bad_answer_fails_at_once_but_a_retriable_one() -> None:
    assert Lab().take(WELL, ACTIVE)[-1][1] == FAILED
    retriable = Outcome("ACTIVE", is_retriable=True)
    assert [flags for _, flags in Lab().take(WELL, retriable, retriable)] == ["healthy", "healthy", FAILED]


def test_timeouts_show_while_failed() -> None:
    late = Outcome("NETWORK_TIMEOUT")
    found = [flags for _, flags in Lab().take(WELL, late, late, NETWORK, late, WELL, WELL, WELL)]
    both = FAILED + "/active_hc_timeout"
    assert found == ["healthy", "healthy", both, FAILED, both, both, both, "healthy"]


def test_without_traffic() -> None:
    lab = Lab(traffic=False)
    assert [delay for delay, _ in lab.take(WELL, NETWORK, NETWORK, WELL)] == [50.0, 60.0, 60.0, 60.0]


def test_jitter() -> None:
    lab = Lab(interval_jitter_s=0.5, interval_jitter_percent=10)
    assert lab.take(WELL)[0][0] == pytest.approx(1.0 + 0.099 + 0.499)
    assert Lab(initial_jitter_s=0.5).checks.initial_delay_s() == pytest.approx(0.499)


def test_degraded_and_immediate() -> None:
    lab = Lab()
    lab.take(Outcome(is_degraded=True))
    assert lab.host.health_flags_text() == "/degraded_active_hc"
    lab.checks.fail_immediately()
    assert lab.host.excluded
    assert lab.stats.passive_failure.value == 1
    lab.take(WELL, WELL, WELL)
    assert lab.host.health_flags_text() == "healthy"
    lab.take(Outcome("ACTIVE", is_immediate=True))
    assert lab.host.excluded


def test_the_end() -> None:
    lab = Lab()
    lab.take(Outcome(is_degraded=True))
    lab.checks.close()
    assert (lab.stats.healthy.value, lab.stats.degraded.value) == (0, 0)


def test_payloads() -> None:
    assert matches((b"PO", b"NG"), b"xPO..NG")
    assert not matches((b"PO", b"NG"), b"NGPO")
    assert not matches((b"aa", b"ab"), b"aab")


def serves(*pieces: bytes) -> bool | None:
    """What a reader makes of the frames; None where it had enough."""
    reader = AnswerReader()
    return reader.is_serving if all(reader.feed(piece) for piece in pieces) else None


def test_answers_of_grpc() -> None:
    frame = b"\0\0\0\0\2\x08\1"
    assert serves(frame)
    assert serves(*(frame[at : at + 1] for at in range(len(frame))))
    assert serves(b"\0\0\0\0\0" + frame)
    assert serves(b"\0\0\0\0\6\x12\1a\x08\x81\0")
    assert serves(b"\0\0\0\0\2\x08\2") is False
    assert serves(b"") is False
    assert serves(frame[:-1]) is False
    assert serves(frame, frame) is None
    assert serves(b"\1" + frame[1:]) is None
    assert serves(b"\0\0\1\0\1") is None
    for broken in (b"\x08", b"\x08\x80", b"\x12\5a", b"\0\1", b"\x0b\1", b"\x0d\0"):
        assert serves(b"\0\0\0\0" + bytes((len(broken),)) + broken) is None, broken
