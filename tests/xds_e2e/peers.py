"""The peers of the two proxies: hosts that say who they are, clients that ask all the time, and probes."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterable

import trio

from tests.conformance.proxy import Proxy
from tests.conformance.wire import Ended, Message, TlsWire, Wire, read_response

from .world import ADDRESSES, HOSTS, PATHS

__all__ = ["Load", "probe", "serve_host"]

#: Longer than a machine with much else to do may keep a process waiting.
_TIMEOUT_S = 30.0
#: As often as every number of hosts up to three divides.
_TURNS = 6
_HIDDEN = ("date", "x-envoy-upstream-service-time")


async def serve_host(name: str, stream: trio.SocketStream) -> None:
    """Answer each request with the host's name."""
    body = name.encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    data = b""
    try:
        while chunk := await stream.receive_some(65536):
            data += chunk
            while (end := data.find(b"\r\n\r\n")) >= 0:
                data = data[end + 4 :]
                await stream.send_all(answer)
    except trio.BrokenResourceError:
        pass


async def get(wire: Wire, host: str, path: str, *headers: str) -> Message:
    """One request.  Raises: Ended."""
    lines = "".join(f"{each}\r\n" for each in headers)
    await wire.send(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode())
    return await read_response(wire)


class Load:
    """Clients of the route that always works; each keeps its connection until it is told to close it."""

    def __init__(self, proxy: Proxy, clients: int = 2, pause_s: float = 0.01) -> None:
        self._proxy = proxy
        self._clients = clients
        self._pause_s = pause_s
        self.answered = 0
        #: Requests on a connection that ended before a byte of the answer came, which a client sends again.
        self.again = 0
        self.failed: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._clients):
                nursery.start_soon(self._client)

    async def _client(self) -> None:
        wire: Wire | None = None
        try:
            while True:
                outcome, wire = await self._request(wire)
                if outcome == "200":
                    self.answered += 1
                else:
                    self.failed[outcome] += 1
                await trio.sleep(self._pause_s)
        finally:
            if wire is not None:
                wire.close()

    async def _request(self, wire: Wire | None) -> tuple[str, Wire | None]:
        is_kept = wire is not None
        with trio.move_on_after(_TIMEOUT_S):
            try:
                if wire is None:
                    wire = Wire(await trio.open_tcp_stream("127.0.0.1", self._proxy.ports["main"]))
                reply = await get(wire, "load.test", "/steady")
            except (Ended, OSError) as error:
                if wire is not None:
                    wire.close()
                if is_kept and isinstance(error, Ended) and not error.partial:
                    self.again += 1
                    return await self._request(None)
                return f"{type(error).__name__}: {error}", None
            except trio.Cancelled:
                if wire is not None:
                    wire.close()
                raise
            if reply.cut or "close" in reply.values("connection"):
                wire.close()
                wire = None
            status = reply.start_line.split(" ")[1]
            if status != "200":
                return f"{status} {reply.body[:80]!r}", wire
            return ("cut" if reply.cut else "200"), wire
        return "hung", None


async def probe(proxy: Proxy) -> dict[str, object]:
    """What a proxy answers to a fixed set of questions."""
    await proxy.learn_ports()
    seen: dict[str, object] = {"listeners": sorted(proxy.ports.keys() & await _names(proxy))}
    seen["main /steady"] = await _ask(proxy, "main", [("load.test", "/steady", ())], is_loaded=True)
    for host in HOSTS:
        for path in PATHS:
            asked: list[tuple[str, str, tuple[str, ...]]] = [(host, path, ())] * _TURNS
            seen[f"main {host}{path}"] = await _ask(proxy, "main", asked)
    for path in PATHS:
        asked = [("a.test", path, ("x-probe: 1",))] * _TURNS
        seen[f"main probe {path}"] = await _ask(proxy, "main", asked)
    fault: list[tuple[str, str, tuple[str, ...]]] = [("a.test", "/steady", ("x-fault: 1",))]
    seen["main fault"] = await _ask(proxy, "main", fault, is_loaded=True)
    second: list[tuple[str, str, tuple[str, ...]]] = [("a.test", PATHS[0], ())] * _TURNS
    seen["second"] = await _ask(proxy, "second", second) if "second" in await _names(proxy) else None
    seen["tls"] = await _certificate(proxy)
    return seen


async def _names(proxy: Proxy) -> set[str]:
    """The listeners that there are now."""
    text = (await proxy.admin("GET", "/listeners")).body.decode()
    return {line.partition("::")[0] for line in text.splitlines()}


async def _ask(
    proxy: Proxy, to: str, asked: Iterable[tuple[str, str, tuple[str, ...]]], *, is_loaded: bool = False
) -> object:
    """The answers, whatever their order; ``is_loaded``: whose turn it is at the hosts depends on others."""
    answers: Counter[str] = Counter()
    wire: Wire | None = None
    try:
        wire = Wire(await trio.open_tcp_stream(ADDRESSES[to], proxy.ports[to]))
        for host, path, headers in asked:
            reply = await get(wire, host, path, *headers)
            shown = [f"{name}: {value}" for name, value in reply.headers if name not in _HIDDEN]
            answers[f"{reply.start_line} {shown} {b'' if is_loaded else reply.body!r}"] += 1
            if "close" in reply.values("connection"):
                wire.close()
                wire = Wire(await trio.open_tcp_stream(ADDRESSES[to], proxy.ports[to]))
    except (Ended, OSError) as error:
        return f"{type(error).__name__}"
    finally:
        if wire is not None:
            wire.close()
    return dict(sorted(answers.items()))


async def _certificate(proxy: Proxy) -> object:
    """Whose certificate the TLS listener has, and that it serves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        stream = trio.SSLStream(await trio.open_tcp_stream(ADDRESSES["tls"], proxy.ports["tls"]), context)
        await stream.do_handshake()
        reply = await get(TlsWire(stream), "load.test", "/steady")
        certificate = stream.getpeercert(binary_form=True)
    except (Ended, OSError, trio.BrokenResourceError, ssl.SSLError) as error:
        return type(error).__name__
    await trio.aclose_forcefully(stream)
    return [reply.start_line, hash(certificate)]
