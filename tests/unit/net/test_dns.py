"""Names resolved against a real DNS server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import dns.rcode
import dns.resolver
import pytest
from dns_peer import DnsPeer

from sidecar.net.dns import DnsResolver, HostsFile, ResolverSettings
from sidecar.observability.stats import Scope, Store
from tests.support.cancelling import cancel_at_every_step


@pytest.fixture
async def peer() -> AsyncIterator[DnsPeer]:
    async with DnsPeer().running() as running:
        running.records = {
            ("both.test", "A"): ["192.0.2.1", "192.0.2.2"],
            ("both.test", "AAAA"): ["2001:db8::1"],
            ("four.test", "A"): ["192.0.2.4"],
        }
        yield running


def make_resolver(
    peer: DnsPeer,
    *,
    hosts: HostsFile | None = None,
    stats: Scope | None = None,
    clock: Callable[[], float] = monotonic,
    **options: Any,
) -> DnsResolver:
    settings = ResolverSettings(servers=(("127.0.0.1", peer.port),), **options)
    return DnsResolver(settings, hosts=hosts or HostsFile("/nonexistent"), stats=stats, clock=clock)


@pytest.mark.parametrize(
    ("family", "expected", "asked"),
    [
        ("AUTO", ["2001:db8::1"], ["AAAA"]),
        ("V4_ONLY", ["192.0.2.1", "192.0.2.2"], ["A"]),
        ("V6_ONLY", ["2001:db8::1"], ["AAAA"]),
        ("V4_PREFERRED", ["192.0.2.1", "192.0.2.2"], ["A"]),
        ("ALL", ["192.0.2.1", "192.0.2.2", "2001:db8::1"], ["A", "AAAA"]),
    ],
)
async def test_resolve_asks_for_the_records_of_the_family(
    peer: DnsPeer, family: str, expected: list[str], asked: list[str]
) -> None:
    answer = await make_resolver(peer).resolve("both.test", family)
    # The server shuffles the records of one type.
    assert sorted(answer.addresses) == sorted((ip, 60) for ip in expected)
    assert answer.ok is True
    assert [kind for _, _, kind in peer.questions] == asked


async def test_resolve_auto_without_v6_records_falls_back_to_v4(peer: DnsPeer) -> None:
    answer = await make_resolver(peer).resolve("four.test", "AUTO")
    assert answer.addresses == (("192.0.2.4", 60),)
    assert [kind for _, _, kind in peer.questions] == ["AAAA", "A"]


async def test_resolve_of_a_name_that_does_not_exist_is_an_empty_answer(peer: DnsPeer) -> None:
    answer = await make_resolver(peer).resolve("none.test", "AUTO")
    assert (answer.ok, answer.addresses) == (True, ())


async def test_resolve_when_the_server_fails_is_not_ok(peer: DnsPeer) -> None:
    peer.failures["both.test"] = dns.rcode.SERVFAIL
    answer = await make_resolver(peer).resolve("both.test", "V4_ONLY")
    assert (answer.ok, answer.addresses) == (False, ())
    assert answer.detail


async def test_resolve_when_nobody_answers_is_not_ok(peer: DnsPeer) -> None:
    peer.silent = True
    store = Store()
    resolver = make_resolver(peer, stats=store.scope("dns.cares"), query_timeout_s=0.02, query_tries=2)
    answer = await resolver.resolve("both.test", "V4_ONLY")
    assert answer.ok is False
    assert peer.questions
    assert store.counter("dns.cares.timeouts").value == 1


async def test_resolve_asks_again_over_tcp_when_truncated(peer: DnsPeer) -> None:
    peer.truncate = True
    answer = await make_resolver(peer).resolve("four.test", "V4_ONLY")
    assert answer.addresses == (("192.0.2.4", 60),)
    assert [transport for transport, _, _ in peer.questions] == ["udp", "tcp"]


async def test_resolve_with_use_tcp_asks_over_tcp_alone(peer: DnsPeer) -> None:
    answer = await make_resolver(peer, use_tcp=True).resolve("four.test", "V4_ONLY")
    assert answer.addresses == (("192.0.2.4", 60),)
    assert [transport for transport, _, _ in peer.questions] == ["tcp"]


async def test_resolve_of_an_ip_asks_nobody(peer: DnsPeer) -> None:
    answer = await make_resolver(peer).resolve("192.0.2.9", "AUTO")
    assert answer.addresses == (("192.0.2.9", 0),)
    assert peer.questions == []


@pytest.mark.parametrize(("family", "ip"), [("AUTO", "::1"), ("V4_ONLY", "127.0.0.1")])
async def test_resolve_localhost_asks_nobody(peer: DnsPeer, family: str, ip: str) -> None:
    assert (await make_resolver(peer).resolve("localhost", family)).addresses == ((ip, 0),)
    assert peer.questions == []


async def test_resolve_takes_the_hosts_file_before_dns(peer: DnsPeer, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.77 Four.test other # comment\nnot-an-ip four.test\n::2 six\n")
    resolver = make_resolver(peer, hosts=HostsFile(str(path)))
    assert (await resolver.resolve("four.test", "V4_ONLY")).addresses == (("192.0.2.77", 0),)
    assert (await resolver.resolve("six", "V6_ONLY")).addresses == (("::2", 0),)
    assert peer.questions == []
    path.write_text("192.0.2.78 four.test and more\n")
    assert (await resolver.resolve("four.test", "V4_ONLY")).addresses == (("192.0.2.78", 0),)


async def test_resolve_counts_under_the_resolvers_name(peer: DnsPeer) -> None:
    store = Store()
    resolver = make_resolver(peer, stats=store.scope("dns.cares"))
    await resolver.resolve("four.test", "V4_ONLY")
    await resolver.resolve("none.test", "V4_ONLY")
    peer.failures["four.test"] = dns.rcode.REFUSED
    await resolver.resolve("four.test", "V4_ONLY")
    names = ("resolve_total", "not_found", "get_addr_failure")
    assert [store.counter(f"dns.cares.{name}").value for name in names] == [3, 1, 1]
    assert store.gauge("dns.cares.pending_resolutions").value == 0


async def test_resolve_keeps_answers_for_the_ttl_where_it_may(peer: DnsPeer) -> None:
    now = [100.0]
    resolver = make_resolver(peer, cache_ttl_s=90, clock=lambda: now[0])
    for passed, questions in ((0, 1), (59, 1), (2, 2), (1, 2)):
        now[0] += passed
        assert (await resolver.resolve("four.test", "V4_ONLY")).addresses == (("192.0.2.4", 60),)
        assert len(peer.questions) == questions
    resolver = make_resolver(peer, cache_ttl_s=5, clock=lambda: now[0])
    await resolver.resolve("four.test", "V4_ONLY")
    now[0] += 6
    await resolver.resolve("four.test", "V4_ONLY")
    assert len(peer.questions) == 4


@pytest.mark.parametrize("name", ["", "b\u00fccher.test", "four.test:80", " four.test", "fe80::1%lo"])
async def test_resolve_of_no_name_fails_without_a_question(peer: DnsPeer, name: str) -> None:
    assert (await make_resolver(peer).resolve(name, "ALL")).ok is False
    assert peer.questions == []


@pytest.mark.parametrize(
    ("literal", "family", "ok"),
    [("::1", "V4_ONLY", False), ("::1", "AUTO", True), ("192.0.2.9", "V6_ONLY", True)],
)
async def test_resolve_of_a_literal_is_as_with_c_ares(
    peer: DnsPeer, literal: str, family: str, ok: bool
) -> None:
    answer = await make_resolver(peer).resolve(literal, family)
    assert (answer.ok, answer.addresses) == (ok, ((literal, 0),) if ok else ())


async def test_resolve_leaves_out_families_that_no_interface_has(
    peer: DnsPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.net.dns.has_route", lambda is_v6: not is_v6)
    resolver = make_resolver(peer, filter_unroutable_families=True)
    assert len((await resolver.resolve("both.test", "ALL")).addresses) == 2
    assert (await resolver.resolve("both.test", "V6_ONLY")).addresses == ()
    assert [kind for _, _, kind in peer.questions] == ["A"]


async def test_resolve_of_both_families_counts_one_name_that_is_not_found(peer: DnsPeer) -> None:
    store = Store()
    resolver = make_resolver(peer, stats=store.scope("dns.cares"))
    await resolver.resolve("four.test", "ALL")
    await resolver.resolve("none.test", "ALL")
    assert store.counter("dns.cares.not_found").value == 1
    await resolver.resolve("none.test", "AUTO")
    assert store.counter("dns.cares.not_found").value == 3


async def test_resolve_counts_a_fresh_start_after_a_timeout(peer: DnsPeer) -> None:
    store = Store()
    peer.silent = True
    resolver = make_resolver(
        peer,
        stats=store.scope("dns.cares"),
        query_timeout_s=0.01,
        query_tries=1,
        reinit_on_timeout=True,
        edns0_payload_bytes=1232,
        rotate_nameservers=True,
    )
    assert (await resolver.resolve("four.test", "V4_ONLY")).ok is False
    assert (store.counter("dns.cares.timeouts").value, store.counter("dns.cares.reinits").value) == (1, 1)


async def test_resolver_without_name_servers_of_the_system_asks_its_own(
    peer: DnsPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*args: object, **kwargs: object) -> object:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("dns.asyncresolver.Resolver.read_resolv_conf", nothing)
    resolver = make_resolver(peer, servers_are_fallback=True)
    assert (await resolver.resolve("four.test", "V4_ONLY")).addresses == (("192.0.2.4", 60),)


async def test_resolve_is_cancelled_at_any_step(peer: DnsPeer) -> None:
    store = Store()
    resolver = make_resolver(peer, stats=store.scope("dns.cares"))

    async def work() -> None:
        await resolver.resolve("four.test", "AUTO")

    def check() -> None:
        assert store.gauge("dns.cares.pending_resolutions").value == 0

    assert await cancel_at_every_step(work, check) > 1
