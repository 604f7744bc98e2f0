"""``just xds-mesh``: many sidecars and one control plane, endpoints that come and go all the time, and load.

Every sidecar has the same ten services from the control plane; an update takes a host from one or gives it
one.  Clients ask each sidecar for all services in turn.  A host that left its service is there still and
answers, but counts what it is asked for later than an update may take (``late``); no request may fail.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.conformance.configuration import HCM, ROUTER
from tests.conformance.proxy import SIDECAR, Proxy
from tests.conformance.scenario import Setup
from tests.conformance.wire import Ended, Wire

from .peers import get
from .plane import CannotBuild, Plane, pack, plane_binary
from .run import dynamic, memory
from .world import CLUSTER, ENDPOINTS, LISTENER, ROUTES

__all__ = ["Mesh", "Seen", "main"]

_SERVICES = 10
_HOSTS = 12
#: How long after it left a service a host may be asked for it.
_LATE_S = 5.0
_TIMEOUT_S = 30.0
_ADS = {"ads": {}, "resource_api_version": "V3"}


@dataclass(slots=True)
class Seen:
    """What came of it."""

    updates: int = 0
    #: In how many snapshots: what is due together goes together.
    snapshots: int = 0
    #: How long it took to send them.
    churn_s: float = 0.0
    answered: int = 0
    #: Requests on a connection that ended before a byte of the answer came, which a client sends again.
    again: int = 0
    late: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    #: Answers of the control plane that a sidecar took, the fewest and the most.
    taken: tuple[int, int] = (0, 0)
    #: Bytes of the largest sidecar, when the load began and at the end.
    memory: tuple[int, int] = (0, 0)


class Mesh:
    """See the module."""

    def __init__(
        self,
        sidecars: int,
        rate: float,
        seconds: float,
        pause_s: float,
        seed: int,
        *,
        is_delta: bool = False,
    ) -> None:
        """``rate`` of updates a second; ``pause_s`` between two requests of a sidecar's client."""
        self._names = tuple(f"s{number}" for number in range(sidecars))
        self._rate = rate
        self._seconds = seconds
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self._is_delta = is_delta
        self._ports: list[int] = []
        #: Which hosts each service has, and when others left it.
        self._members = {service: set(range(service % 3 + 2)) for service in range(_SERVICES)}
        self._left: dict[tuple[int, int], float] = {}
        #: Packed: the assignments by service, and the rest.
        self._assignments: dict[int, Any] = {}
        self._others: list[Any] = []
        self.seen = Seen()

    async def run(self, directory: Path) -> Seen:
        """Raises: CannotBuild, ProxyFailed."""
        async with trio.open_nursery() as nursery:
            for host in range(_HOSTS):
                serve = functools.partial(trio.serve_tcp, functools.partial(self._serve, host), 0)
                [listener] = await nursery.start(functools.partial(serve, host="127.0.0.1"))
                self._ports.append(listener.socket.getsockname()[1])
            with Plane() as plane:
                plane.set(self._names, "0", self._resources())
                proxies = [
                    Proxy(
                        SIDECAR,
                        Setup(name, dynamic(name, plane.port, is_delta=self._is_delta), is_early=True),
                        directory / name,
                    )
                    for name in self._names
                ]
                try:
                    await self._drive(plane, proxies)
                finally:
                    for proxy in proxies:
                        proxy.stop()
            nursery.cancel_scope.cancel()
        return self.seen

    async def _drive(self, plane: Plane, proxies: list[Proxy]) -> None:
        for proxy in proxies:
            await proxy.start()
            while "main" not in proxy.ports:
                await trio.sleep(0.05)
                await proxy.learn_ports()
        early = max(map(memory, proxies))
        async with trio.open_nursery() as nursery:
            for proxy in proxies:
                nursery.start_soon(self._client, proxy)
            await self._churn(plane)
            await trio.to_thread.run_sync(plane.settle, *self._names)
            nursery.cancel_scope.cancel()
        states = [plane.state(name)["ClusterLoadAssignment"] for name in self._names]
        self.seen.refused = sum(
            each["refusals"] for name in self._names for each in plane.state(name).values()
        )
        self.seen.taken = min(each["responses"] for each in states), max(each["responses"] for each in states)
        self.seen.memory = early, max(map(memory, proxies))

    async def _churn(self, plane: Plane) -> None:
        begin = trio.current_time()
        total = int(self._rate * self._seconds)
        while self.seen.updates < total and trio.current_time() < begin + 2 * self._seconds:
            await trio.sleep_until(begin + (self.seen.updates + 1) / self._rate)
            due = min(total, int((trio.current_time() - begin) * self._rate)) - self.seen.updates
            # Each of another service, so that none takes back what another did.
            left = [self._change(each) for each in self._turn(max(1, due))]
            self.seen.snapshots += 1
            await trio.to_thread.run_sync(plane.set, self._names, str(self.seen.snapshots), self._resources())
            now = time.monotonic()
            self._left.update((each, now) for each in left if each is not None)
            self.seen.updates += len(left)
        self.seen.churn_s = trio.current_time() - begin

    def _turn(self, count: int) -> list[int]:
        return self._random.sample(range(_SERVICES), min(count, _SERVICES))

    def _change(self, service: int) -> tuple[int, int] | None:
        """Take a host from a service, or give it one; which one left."""
        members = self._members[service]
        host = self._random.randrange(_HOSTS)
        if host not in members:
            members.add(host)
            self._left.pop((service, host), None)
        elif len(members) > 1:
            members.remove(host)
            self._assignments[service] = self._assignment(service)
            return service, host
        else:
            members.add((host + 1) % _HOSTS)
            self._left.pop((service, (host + 1) % _HOSTS), None)
        self._assignments[service] = self._assignment(service)
        return None

    async def _serve(self, host: int, stream: trio.SocketStream) -> None:
        """Answer, and see whether this host has the service that is asked for."""
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        data = b""
        try:
            while chunk := await stream.receive_some(65536):
                data += chunk
                while (end := data.find(b"\r\n\r\n")) >= 0:
                    service = int(data.partition(b" ")[2].partition(b" ")[0].rpartition(b"/")[2])
                    left = self._left.get((service, host))
                    self.seen.late += left is not None and time.monotonic() > left + _LATE_S
                    data = data[end + 4 :]
                    await stream.send_all(answer)
        except trio.BrokenResourceError:
            pass

    async def _client(self, proxy: Proxy) -> None:
        wire: Wire | None = None
        number = 0
        try:
            while True:
                number += 1
                outcome, wire = await self._request(proxy, wire, f"/service/{number % _SERVICES}")
                if outcome:
                    self.seen.failed[outcome] += 1
                else:
                    self.seen.answered += 1
                await trio.sleep(self._pause_s)
        finally:
            if wire is not None:
                wire.close()

    async def _request(self, proxy: Proxy, wire: Wire | None, path: str) -> tuple[str, Wire | None]:
        is_kept = wire is not None
        with trio.move_on_after(_TIMEOUT_S):
            try:
                if wire is None:
                    wire = Wire(await trio.open_tcp_stream("127.0.0.1", proxy.ports["main"]))
                reply = await get(wire, "mesh.test", path)
            except (Ended, OSError) as error:
                if wire is not None:
                    wire.close()
                if is_kept and isinstance(error, Ended) and not error.partial:
                    self.seen.again += 1
                    return await self._request(proxy, None, path)
                return f"{type(error).__name__}: {error}", None
            except trio.Cancelled:
                if wire is not None:
                    wire.close()
                raise
            if reply.cut or "close" in reply.values("connection"):
                wire.close()
                wire = None
            if " 200 " not in reply.start_line:
                return f"{reply.start_line} {reply.body[:80]!r}", wire
            return ("cut" if reply.cut else ""), wire
        return "hung", None

    def _resources(self) -> list[Any]:
        if not self._assignments:
            self._assignments = {service: self._assignment(service) for service in self._members}
            self._others = self._all_but_assignments()
        return [*self._others, *self._assignments.values()]

    def _assignment(self, service: int) -> Any:
        places = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in (self._ports[host] for host in sorted(self._members[service]))
        ]
        return pack(ENDPOINTS, {"cluster_name": f"service{service}", "endpoints": [{"lb_endpoints": places}]})

    def _all_but_assignments(self) -> list[Any]:
        made: list[Any] = []
        routes = []
        for service in self._members:
            name = f"service{service}"
            settings = {
                "name": name,
                "type": "EDS",
                "connect_timeout": "5s",
                "eds_cluster_config": {"eds_config": _ADS},
            }
            made.append(pack(CLUSTER, settings))
            routes.append({"match": {"path": f"/service/{service}"}, "route": {"cluster": name}})
        hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
        made.append(pack(ROUTES, {"name": "main", "virtual_hosts": hosts}))
        manager: dict[str, Any] = {
            "@type": HCM,
            "stat_prefix": "main",
            "rds": {"route_config_name": "main", "config_source": _ADS},
            "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        }
        listener = {
            "name": "main",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }
        made.append(pack(LISTENER, listener))
        return made


def main(arguments: list[str]) -> int:
    """Print what was seen; 1 where a request failed, came too late to a host, or an answer was refused."""
    parser = argparse.ArgumentParser(prog="just xds-mesh", description=__doc__)
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0, help="updates a second")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between requests to a sidecar")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--delta", action="store_true", help="send changes, not the state of the world")
    options = parser.parse_args(arguments)
    try:
        plane_binary()
    except CannotBuild as error:
        print(error, file=sys.stderr)
        return 2
    mesh = Mesh(
        options.sidecars,
        options.rate,
        options.seconds,
        options.pause,
        options.seed,
        is_delta=options.delta,
    )
    with tempfile.TemporaryDirectory(prefix="sidecar-mesh-") as name:
        begin = time.monotonic()
        seen = trio.run(mesh.run, Path(name))
    took_s = time.monotonic() - begin
    print(
        f"{options.sidecars} sidecars, {seen.updates} updates in {seen.snapshots} snapshots,"
        f" {seen.updates / seen.churn_s:.1f} a second, {took_s:.0f} s with their start"
    )
    print(
        f"each sidecar took {seen.taken[0]} to {seen.taken[1]} answers with endpoints, {seen.refused} refused"
    )
    print(f"{seen.answered} requests answered, {seen.again} sent again on a new connection, {seen.late} late")
    early, late = (each / 2**20 for each in seen.memory)
    print(f"the largest sidecar has {late:.1f} MiB, {early:.1f} MiB before the load")
    for how, count in seen.failed.items():
        print(f"FAILED {count} of {how}")
    return int(bool(seen.failed or seen.late or seen.refused))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
