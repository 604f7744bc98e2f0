"""Running scenarios: proxies that live as long as their setup is in use, a session per scenario and proxy."""

from __future__ import annotations

import re
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from .client import H1Client, H2Client
from .observe import Normaliser
from .proxy import POLL_S, START_TIMEOUT_S, Proxy, ProxyFailed, run_directory, validation_output
from .scenario import Scenario, Setup
from .upstream import Upstream
from .wire import Message, show_headers

SCENARIO_TIMEOUT_S = 15.0
Observation = dict[str, Any]


class Session:
    """One run of one scenario against one proxy: what a driving function works with."""

    def __init__(self, proxy: Proxy, nursery: trio.Nursery, limit: trio.CancelScope) -> None:
        self.proxy = proxy
        self._limit = limit
        self.sent = bytearray()
        self.upstreams = {name: Upstream(name, kind) for name, kind in proxy.setup.upstreams.items()}
        self._nursery = nursery
        self._seen: Observation = {}
        self._clients: list[H1Client | H2Client] = []

    def see(self, label: str, value: object) -> None:
        """Observe something. A label that was used gets a number."""
        number = 2
        unique = label
        while unique in self._seen:
            unique, number = f"{label} {number}", number + 1
        self._seen[unique] = value

    def upstream(self, name: str = "app") -> Upstream:
        return self.upstreams[name]

    async def connect(self, to: str = "main") -> H1Client:
        """An HTTP/1 connection to a listener."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.proxy.ports[to])
        client = H1Client(self, stream)
        self._clients.append(client)
        return client

    async def connect_h2(self, to: str = "main", *, is_patient: bool = False) -> H2Client:
        """An HTTP/2 connection to a listener, its preface sent and the proxy's settings received.

        ``is_patient``: it goes on after a GOAWAY.
        """
        stream = await trio.open_tcp_stream("127.0.0.1", self.proxy.ports[to])
        client = H2Client(self, stream, is_patient=is_patient)
        self._clients.append(client)
        self._nursery.start_soon(client.peer.run)
        await client.peer.got_settings.wait()
        return client

    async def http(
        self, request: bytes | str, to: str = "main", *, label: str = "reply", has_body: bool = True
    ) -> Message | None:
        """One request on a fresh connection. Observes the reply, and the close where it announces one."""
        client = await self.connect(to)
        await client.send(request.encode("latin-1") if isinstance(request, str) else request)
        reply = await client.reply(label, has_body=has_body)
        if reply and (
            "close" in reply.values("connection") or reply.start_line.startswith("HTTP/1.0") or reply.cut
        ):
            await client.closed(f"{label}, then")
        else:
            client.close()
        return reply

    async def get(
        self, path: str = "/", *headers: str, to: str = "main", label: str = "reply"
    ) -> Message | None:
        """A plain GET on a fresh connection."""
        head = "\r\n".join([f"GET {path} HTTP/1.1", "host: example.com", *headers, "", ""])
        return await self.http(head, to, label=label)

    async def admin(
        self,
        request: str,
        label: str | None = None,
        *,
        body: Callable[[str], object] | None = None,
        headers: bool = True,
        extra: str = "",
    ) -> Message:
        """Ask the admin server (`GET /ready`) and observe the answer; `body` picks from the body.

        `extra` is one more header of the request.
        """
        method, _, path = request.partition(" ")
        reply = await self.proxy.admin(method, path, extra)
        shown: dict[str, object] = {"start": reply.start_line}
        if headers:
            shown["headers"] = show_headers(reply.headers)
        text = reply.body.decode("latin-1")
        shown["body"] = body(text) if body else text
        self.see(label or request, shown)
        return reply

    async def open_admin(self) -> trio.SocketStream:
        """A connection to the admin server."""
        return await trio.open_tcp_stream("127.0.0.1", self.proxy.admin_port)

    async def counters(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose names match."""
        reply = await self.proxy.admin("GET", "/stats")
        pairs = (line.rpartition(": ") for line in reply.body.decode().splitlines())
        return {n: int(v) for n, _, v in pairs if v.isdigit() and re.search(pattern, n)}

    async def until_stats(
        self, condition: Callable[[Mapping[str, int]], bool], pattern: str
    ) -> dict[str, int]:
        """Poll the stats until they fulfil the condition; the scenario's own deadline bounds it."""
        while True:
            if condition(stats := await self.counters(pattern)):
                return stats
            await trio.sleep(POLL_S)

    async def quiet(self) -> None:
        """Close all client connections and wait until the proxy is done with them, its logs written too."""
        for client in self._clients:
            client.close()
        gauges = (
            r"^http\.(?!admin\.)[^.]+\.downstream_(cx|rq)_active$|^cluster\..*\.upstream_rq_active$"
            r"|^filesystem\.write_total_buffered$"
        )
        await self.until_stats(lambda stats: not any(stats.values()), gauges)

    @asynccontextmanager
    async def counting(self, *names: str) -> AsyncIterator[None]:
        """Observe by how much these stats moved inside the block; it begins and ends quiet."""
        await self.quiet()
        before = await self.counters("")
        yield
        await self.quiet()
        after = await self.counters("")
        self.see("stats", {n: after[n] - before.get(n, 0) if n in after else "absent" for n in names})

    @asynccontextmanager
    async def logging(
        self, count: int, name: str = "main", shown: Callable[[str], object] = str
    ) -> AsyncIterator[None]:
        """Observe what the block writes to `FILE(<name>.log)`; waits for that many lines, ends quiet."""
        await self.quiet()
        path = self.proxy.directory / f"{name}.log"
        start = path.stat().st_size if path.exists() else 0
        yield
        while len(_lines_after(path, start)) < count:  # noqa: ASYNC110 - another process writes it
            await trio.sleep(POLL_S)
        await self.quiet()
        self.see(f"log {name}", [shown(line) for line in _lines_after(path, start)])

    async def restart(
        self, change: Callable[[dict[str, Any]], None] | None = None, **options: int
    ) -> int | None:
        """Start the next epoch (`Proxy.next_epoch`); its start does not count for the scenario's time."""
        self.proxy.is_spent = True
        began = trio.current_time()
        self._limit.deadline += START_TIMEOUT_S
        status = await self.proxy.next_epoch(change, **options)
        self._limit.deadline += trio.current_time() - began - START_TIMEOUT_S
        return status

    async def older_exited(self, label: str = "exit of the old epoch") -> None:
        """The same of the epoch before the one that serves."""
        while (status := self.proxy.older_exit_status()) is None:  # noqa: ASYNC110 - another process
            await trio.sleep(POLL_S)
        self.see(label, status)

    async def exited(self, label: str = "exit") -> None:
        """Wait for the end of the proxy's process and observe its status."""
        while (status := self.proxy.exit_status()) is None:  # noqa: ASYNC110 - another process
            await trio.sleep(POLL_S)
        self.see(label, status)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def observation(self) -> Observation:
        """Everything seen, with what the upstreams saw, normalised."""
        seen = dict(self._seen)
        for name, upstream in self.upstreams.items():
            if upstream.seen:
                seen[f"upstream {name}"] = [call.shown() for call in upstream.seen]
        sent = bytes(self.sent) + b"".join(upstream.sent for upstream in self.upstreams.values())
        tree = Normaliser(self.proxy.named_ports(), sent).tree(seen)
        assert isinstance(tree, dict)
        return tree


def _lines_after(path: Path, start: int) -> list[str]:
    return path.read_bytes()[start:].decode("latin-1").splitlines() if path.exists() else []


async def drive(scenario: Scenario, proxy: Proxy) -> Observation:
    """Run the scenario against a running proxy and return the observation.

    Raises: ProxyFailed when the proxy died or the scenario did not end in time.
    """
    with trio.move_on_after(SCENARIO_TIMEOUT_S) as limit:
        try:
            async with trio.open_nursery() as nursery:
                session = Session(proxy, nursery, limit)
                for name, upstream in session.upstreams.items():
                    if upstream.kind not in ("dead", "dns", "udp"):
                        sock = trio.socket.from_stdlib_socket(proxy.listening[name].dup())
                        listeners = [trio.SocketListener(sock)]
                        nursery.start_soon(trio.serve_listeners, upstream.serve, listeners)
                try:
                    await scenario.drive(session)
                finally:
                    session.close()
                for upstream in session.upstreams.values():
                    await upstream.finish()
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:  # what the proxy did is more than the scenario's peers can take
            trace = "".join(traceback.format_exception(group))
            raise ProxyFailed(
                f"{scenario.name} on {proxy.kind} broke off:\n{trace}\n{proxy.output()}"
            ) from group
        return session.observation()
    what = "hangs" if proxy.is_running() else "has lost its proxy"
    raise ProxyFailed(
        f"{scenario.name} on {proxy.kind} {what}; seen so far: {session.observation()}\n{proxy.output()}"
    )


class Lab:
    """Keeps the proxies of the setup in use running, from one scenario to the next."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, Proxy] = {}
        self._said: dict[Setup, str] = {}

    async def observe(
        self, scenario: Scenario, kinds: tuple[str, ...]
    ) -> dict[str, Observation | ProxyFailed]:
        """Run the scenario against proxies of these kinds at the same time."""
        outcome: dict[str, Observation | ProxyFailed] = {}

        async def one(kind: str) -> None:
            try:
                outcome[kind] = await drive(scenario, await self._proxy(kind, scenario))
            except ProxyFailed as failure:
                outcome[kind] = failure
                self._stop(kind)

        async with trio.open_nursery() as nursery:
            for kind in kinds:
                nursery.start_soon(one, kind)
        return outcome

    def said_of(self, setup: Setup) -> str:
        """What sidecar says when it validates this setup's configuration."""
        if setup not in self._said:
            self._said[setup] = validation_output(setup, run_directory(self._directory, "validate", setup))
        return self._said[setup]

    async def _proxy(self, kind: str, scenario: Scenario) -> Proxy:
        proxy = self._running.get(kind)
        if proxy is not None and proxy.setup is scenario.setup and proxy.is_running() and not proxy.is_spent:
            return proxy
        self._stop(kind)
        proxy = Proxy(kind, scenario.setup, run_directory(self._directory, kind, scenario.setup))
        self._running[kind] = proxy
        await proxy.start()
        return proxy

    def _stop(self, kind: str) -> None:
        if proxy := self._running.pop(kind, None):
            proxy.stop()

    def close(self) -> None:
        for kind in list(self._running):
            self._stop(kind)
