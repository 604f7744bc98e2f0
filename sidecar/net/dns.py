"""Name resolution without blocking: /etc/hosts, ``localhost`` and DNS over trio.

dnspython speaks the protocol (RFC 1035, search lists of resolv.conf, retries over the name servers, TCP
where an answer was truncated); which record types are asked for and what counts as a failure are
Envoy's (``c-ares`` resolver, ``dns_lookup_family``).  Discovery calls it; nothing on the data path does.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.core.address import is_ip
from sidecar.core.dataclass import dataclass
from sidecar.net.interfaces import has_route

if TYPE_CHECKING:
    from sidecar.observability.stats import Scope

__all__ = ["DnsAnswer", "DnsResolver", "HostsFile", "ResolverSettings"]

#: What c-ares asks for at all (``ares_is_hostname``).
_NAME = re.compile(r"[A-Za-z0-9._/*-]+\Z")

#: dns_lookup_family → the record types, and whether the second is asked only after the first gave nothing.
_PLANS: dict[str, tuple[tuple[str, ...], bool]] = {
    "AUTO": (("AAAA", "A"), True),
    "V4_ONLY": (("A",), False),
    "V6_ONLY": (("AAAA",), False),
    "V4_PREFERRED": (("A", "AAAA"), True),
    "ALL": (("A", "AAAA"), False),
}


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Whom to ask, and how: ``CaresDnsResolverConfig``, or ``GetAddrInfoDnsResolverConfig``.

    ``udp_max_queries`` and ``max_udp_channel_duration`` have no place here: each question has a socket of
    its own.
    """

    #: ``cares``, or ``getaddrinfo`` (:mod:`sidecar.net.getaddrinfo`).
    kind: str = "cares"
    #: ``(ip, port)``; without any the system's are asked.
    servers: tuple[tuple[str, int], ...] = ()
    #: ``use_resolvers_as_fallback``: the system's are asked, where it has any.
    servers_are_fallback: bool = False
    use_tcp: bool = False
    no_default_search_domain: bool = False
    filter_unroutable_families: bool = False
    rotate_nameservers: bool = False
    #: How long one try takes, and how many there are.
    query_timeout_s: float = 5.0
    query_tries: int = 4
    #: ``edns0_max_payload_size``; 0 for none.
    edns0_payload_bytes: int = 0
    #: ``qcache_max_ttl``: answers are kept so many seconds at most; 0 not at all.
    cache_ttl_s: int = 0
    #: Count a fresh start after a timeout.
    reinit_on_timeout: bool = False
    #: Of getaddrinfo; None without end.
    num_retries: int | None = None


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """``ok`` with no addresses: the name does not exist, or has no such records."""

    ok: bool
    #: ``(ip, ttl in seconds)`` in the server's order; a TTL of 0 is unknown.
    addresses: tuple[tuple[str, int], ...] = ()
    #: Why it failed, for the log.
    detail: str = ""


class HostsFile:
    """/etc/hosts, read again when it changes."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def lookup(self, name: str, record_type: str) -> tuple[str, ...]:
        """The addresses of ``name`` for ``A`` or ``AAAA``."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._names = _parse_hosts(file.read())
                self._stamp = stamp
        except OSError:
            self._names = {}
        colon = record_type == "AAAA"
        return tuple(ip for ip in self._names.get(name, ()) if (":" in ip) is colon)


class DnsResolver:
    """Asks the name servers of its settings, or those of /etc/resolv.conf."""

    def __init__(
        self,
        settings: ResolverSettings = ResolverSettings(),  # noqa: B008 - it is frozen
        *,
        hosts: HostsFile | None = None,
        stats: Scope | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        #: Answers that may be used again, by name and type, until a time.
        self._cache: dict[tuple[str, str], tuple[float, DnsAnswer]] = {}
        self._hosts = hosts if hosts is not None else HostsFile()
        self._resolver: Any = None
        self._stats = None if stats is None else _DnsStats(stats)

    async def resolve(self, name: str, family: str) -> DnsAnswer:
        """The addresses of ``name``.  A failure is an answer that is not ``ok``; nothing is raised for it."""
        record_types, in_turn = _PLANS[family]
        stats = self._stats
        if stats is not None:
            stats.resolve_total.value += 1
        if is_ip(name) and "%" not in name:
            # An IPv4 address is taken for every family, as by c-ares.
            is_fitting = family != "V4_ONLY" or ":" not in name
            return DnsAnswer(ok=is_fitting, addresses=((name, 0),) if is_fitting else ())
        if not _NAME.match(name):
            if stats is not None:
                stats.get_addr_failure.value += 1
            return DnsAnswer(ok=False, detail=f"'{name}' is no name")
        if self._settings.filter_unroutable_families:
            record_types = tuple(each for each in record_types if has_route(each == "AAAA"))
            if not record_types:
                return DnsAnswer(ok=True)
        if stats is not None:
            stats.pending_resolutions.inc()
        try:
            answers: list[DnsAnswer] = []
            for record_type in record_types:
                if answers and in_turn and stats is not None:
                    # As in Envoy, to fall back is to resolve once more; ALL is one resolution.
                    stats.resolve_total.value += 1
                answer = await self._lookup(name.rstrip(".").lower(), name, record_type)
                answers.append(answer)
                if in_turn and answer.addresses:
                    break
        finally:
            if stats is not None:
                stats.pending_resolutions.dec()
        if stats is not None:
            # To ask for both families at once is one question that may find nothing.
            empty = sum(1 for answer in answers if answer.ok and not answer.addresses)
            if in_turn or len(answers) == 1:
                stats.not_found.value += empty
            elif empty == len(answers):
                stats.not_found.value += 1
        addresses = tuple(address for answer in answers for address in answer.addresses)
        ok = bool(addresses) or all(answer.ok for answer in answers)
        return DnsAnswer(ok, addresses, "; ".join(answer.detail for answer in answers if answer.detail))

    async def _lookup(self, key: str, name: str, record_type: str) -> DnsAnswer:
        local = self._hosts.lookup(key, record_type)
        if not local and (key == "localhost" or key.endswith(".localhost")):
            # RFC 6761 §6.3: these names never leave the machine.
            local = ("::1",) if record_type == "AAAA" else ("127.0.0.1",)
        if local:
            return DnsAnswer(ok=True, addresses=tuple((ip, 0) for ip in local))
        ttl_s = self._settings.cache_ttl_s
        if not ttl_s:
            return await self._ask(name, record_type)
        kept = self._cache.get((key, record_type))
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        answer = await self._ask(name, record_type)
        if answer.addresses:
            ttl_s = min(ttl_s, *(ttl for _, ttl in answer.addresses))
            self._cache[key, record_type] = (self._clock() + ttl_s, answer)
        return answer

    async def _ask(self, name: str, record_type: str) -> DnsAnswer:
        # dnspython is wanted by those alone who have a name to resolve.
        import dns.exception
        import dns.resolver

        resolver = self._resolver
        if resolver is None:
            resolver = self._resolver = self._make_resolver()
        stats = self._stats
        try:
            answer = await resolver.resolve(
                name,
                record_type,
                tcp=self._settings.use_tcp,
                raise_on_no_answer=False,
                search=not self._settings.no_default_search_domain,
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            return DnsAnswer(ok=True, detail=str(error))
        except dns.exception.Timeout as error:
            if stats is not None:
                stats.timeouts.value += 1
                stats.get_addr_failure.value += 1
                stats.reinits.value += self._settings.reinit_on_timeout
            return DnsAnswer(ok=False, detail=str(error))
        except (dns.exception.DNSException, OSError) as error:
            if stats is not None:
                stats.get_addr_failure.value += 1
            return DnsAnswer(ok=False, detail=str(error))
        rrset = answer.rrset
        if rrset is None:
            return DnsAnswer(ok=True)
        # The TTL that counts is the least one on the way, aliases among them (RFC 2308 §5).
        ttl = min(each.ttl for each in answer.response.answer)
        return DnsAnswer(ok=True, addresses=tuple((record.address, ttl) for record in rrset))

    def _make_resolver(self) -> Any:
        import dns.asyncresolver
        import dns.nameserver
        import dns.resolver

        settings = self._settings
        resolver = dns.asyncresolver.Resolver(configure=False)
        if not settings.servers or settings.servers_are_fallback:
            with contextlib.suppress(dns.resolver.NoResolverConfiguration):
                resolver = dns.asyncresolver.Resolver()
        if not resolver.nameservers:
            # Without any c-ares asks a server on this machine.
            servers = settings.servers or (("127.0.0.1", 53),)
            resolver.nameservers = [dns.nameserver.Do53Nameserver(ip, port) for ip, port in servers]
        resolver.timeout = settings.query_timeout_s
        resolver.lifetime = settings.query_timeout_s * settings.query_tries
        resolver.rotate = settings.rotate_nameservers
        if settings.edns0_payload_bytes:
            resolver.use_edns(0, 0, settings.edns0_payload_bytes)
        return resolver


class _DnsStats:
    """``dns.cares.``, named after Envoy's resolver so that dashboards find them."""

    def __init__(self, scope: Scope) -> None:
        self.resolve_total = scope.counter("resolve_total")
        self.pending_resolutions = scope.gauge("pending_resolutions")
        self.not_found = scope.counter("not_found")
        self.get_addr_failure = scope.counter("get_addr_failure")
        self.timeouts = scope.counter("timeouts")
        self.reinits = scope.counter("reinits")


def _parse_hosts(text: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2 or not is_ip(words[0]):
            continue
        for name in words[1:]:
            names.setdefault(name.rstrip(".").lower(), []).append(words[0])
    return names
