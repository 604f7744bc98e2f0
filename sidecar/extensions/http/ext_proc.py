"""The filter ``envoy.filters.http.ext_proc``: another service sees, changes and answers requests.

What it is sent and answers is :mod:`sidecar.extensions.proc`'s; here are the moments of a stream at which
it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import FixedBody, LocalReply, Message
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import HeaderMap
from sidecar.extensions.proc.bodies import (
    LateBody,
    ObserveStage,
    ReplacedBody,
    TrailersStage,
    feed,
    process_held,
)
from sidecar.extensions.proc.exchange import COUNTERS, Exchange, Settings
from sidecar.extensions.proc.http_processor import HttpProcessor
from sidecar.extensions.proc.modes import (
    BUFFERED,
    BUFFERED_PARTIAL,
    FULL_DUPLEX_STREAMED,
    GRPC,
    NONE,
    OFF,
    STREAMED,
    Mode,
)
from sidecar.extensions.proc.proc_log import ProcLog
from sidecar.extensions.proc.side import Side
from sidecar.net.reactor import Signal
from sidecar.router.grpc_client import GrpcClient

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.router.grpc_service import GrpcService, InitialMetadata
    from sidecar.router.http_client import HttpClient

__all__ = ["ExtProcFilter", "RouteProcessing"]


@dataclass(frozen=True, slots=True)
class RouteProcessing:
    """``ExtProcPerRoute``; None where it says nothing."""

    disabled: bool = False
    mode: Mode | None = None
    service: GrpcService | None = None
    initial_metadata: tuple[InitialMetadata, ...] = ()
    failure_mode_allow: bool | None = None
    forwarding_untyped: tuple[str, ...] | None = None
    forwarding_typed: tuple[str, ...] | None = None
    receiving_untyped: tuple[str, ...] | None = None
    #: What a filter makes of it, once it was asked.
    made: dict[int, tuple[Settings, GrpcClient]] = field(default_factory=dict, compare=False)

    def within(self, outer: RouteProcessing) -> RouteProcessing:
        """The same with what the levels around it say where it says nothing."""

        def own(name: str) -> Any:
            value = getattr(self, name)
            return getattr(outer, name) if value is None else value

        return RouteProcessing(
            self.disabled,
            None if self.disabled else own("mode"),
            own("service"),
            _merged(outer.initial_metadata, self.initial_metadata),
            own("failure_mode_allow"),
            own("forwarding_untyped"),
            own("forwarding_typed"),
            own("receiving_untyped"),
        )

    def over(self, settings: Settings) -> Settings:
        """The filter's settings with these in their place."""
        changed = {
            name: getattr(self, name)
            for name in (
                "mode",
                "failure_mode_allow",
                "forwarding_untyped",
                "forwarding_typed",
                "receiving_untyped",
            )
            if getattr(self, name) is not None
        }
        if self.disabled:
            changed["mode"] = OFF
        return replace(settings, **changed)


def _merged(
    outer: tuple[InitialMetadata, ...], own: tuple[InitialMetadata, ...]
) -> tuple[InitialMetadata, ...]:
    """Both, of which the own replace those of the same name."""
    replaced = {each.name: each for each in own}
    before = [replaced.pop(each.name, each) for each in outer]
    return (*before, *(each for each in own if each.name in replaced))


class ExtProcFilter(HttpFilter):
    """Has a processor see requests and responses."""

    uses_trio = False

    def __init__(
        self,
        settings: Settings,
        service: GrpcService | None,
        http_client: HttpClient,
        stats: Any,
        prefix: str,
        http_processor: HttpProcessor | None = None,
    ) -> None:
        """``stats``: the scope ``http.<prefix>.ext_proc.``; ``prefix`` is the filter's own."""
        self._settings = settings
        self._service = service
        self._http_client = http_client
        self._client: Any = http_processor if service is None else GrpcClient(http_client, service)
        self._counters: Mapping[str, Any] = {name: stats.counter(f"{prefix}{name}") for name in COUNTERS}

    # -- hooks ----------------------------------------------------------------------------------
    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        exchange = self._begin(stream)
        side = exchange.request
        message = stream.request
        if side.is_untouched:
            return None
        return self._process(exchange, side, message, message.headers)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        exchange: Exchange | None = stream.get_slot(self.slot)
        if exchange is None:
            exchange = self._begin(stream)
        message = stream.response
        if exchange.is_complete or message is None:
            return None
        side = exchange.response
        if side.is_untouched:
            return None
        return self._process(exchange, side, message, message.headers)

    def on_complete(self, stream: Stream) -> None:
        exchange: Exchange | None = stream.get_slot(self.slot)
        if exchange is not None:
            exchange.finish()

    def _begin(self, stream: Stream) -> Exchange:
        route = stream.find_route()
        settings, client = self._settings, self._client
        if route is not None:
            of_route: RouteProcessing | None = route.per_filter_config.get(self.config_name)
            if of_route is not None:
                settings, client = self._made(of_route)
        if stream.filter_state is None:
            stream.filter_state = {}
        log = stream.filter_state.setdefault(self.config_name, ProcLog())
        exchange = Exchange(stream, settings, client, self._counters, log)
        stream.set_slot(self.slot, exchange)
        return exchange

    def _made(self, of_route: RouteProcessing) -> tuple[Settings, GrpcClient]:
        made = of_route.made.get(id(self))
        if made is None:
            service = of_route.service or self._service
            client = self._client
            if service is not None and (of_route.service is not None or of_route.initial_metadata):
                metadata = _merged(service.initial_metadata, of_route.initial_metadata)
                client = GrpcClient(self._http_client, replace(service, initial_metadata=metadata))
            made = of_route.made[id(self)] = (of_route.over(self._settings), client)
        return made

    # -- one direction --------------------------------------------------------------------------
    async def _process(
        self, exchange: Exchange, side: Side, message: Message, headers: HeaderMap
    ) -> LocalReply | None:
        if exchange.settings.observability_mode:
            await _observe(exchange, side, message, headers)
            return None
        if side.sends_headers:
            await _process_headers(exchange, side, message, headers)
        else:
            if exchange.main is None:
                exchange.main = await _own_strand(exchange.reactor)
            _drop_length(exchange, side, headers)
            if message.body is not None:
                _process_later(side, message)
        return None


async def _process_headers(exchange: Exchange, side: Side, message: Message, headers: HeaderMap) -> None:
    """Have the head seen, and what of the body is seen before it goes on.  Raises: StreamAborted."""
    if not exchange.open():
        return
    body = message.body
    side.headers = headers
    await exchange.send_headers(side, headers, end_of_stream=body is None)
    _drop_length(exchange, side, headers)
    goes_at_once = (
        exchange.settings.send_body_without_waiting_for_header_response and side.body_mode == STREAMED
    )
    is_fed = body is not None and (goes_at_once or side.body_mode == FULL_DUPLEX_STREAMED)
    if is_fed:
        feed(side, message)
    try:
        await side.answered()
    except StreamAborted:
        if body is not None and body.whole:
            await body.receive()  # it has come meanwhile: an answer need not close the connection
        raise
    common, side.common = side.common, None
    if common is not None and common.replaces:
        _replace(side, message, headers, common.body if common.has_body else None)
    elif body is not None and not is_fed and not exchange.is_complete:
        mode = side.body_mode
        if mode in (BUFFERED, BUFFERED_PARTIAL) or (mode in (STREAMED, GRPC) and body.whole is not None):
            await process_held(side, message)
        else:
            _process_later(side, message)
    side.headers = None


def _process_later(side: Side, message: Message) -> None:
    """See to what of the body is shown when its head has gone on; there is a body."""
    assert message.body is not None
    mode = side.body_mode
    if mode in (BUFFERED, BUFFERED_PARTIAL):
        message.body = LateBody(side, message.body)
    elif mode in (STREAMED, FULL_DUPLEX_STREAMED):
        feed(side, message)
    elif side.sends_trailers:
        message.pipe_body(TrailersStage(side))


def _replace(side: Side, message: Message, headers: HeaderMap, data: bytes | None) -> None:
    """CONTINUE_AND_REPLACE: nothing more of this side is shown; ``data`` is its body, where it is given."""
    side.body_mode = NONE
    side.sends_trailers = False
    if data is None:
        return
    headers.remove(b"content-length")
    body = message.body
    message.body = FixedBody(data) if body is None else ReplacedBody(data, body)


def _drop_length(exchange: Exchange, side: Side, headers: HeaderMap) -> None:
    """Nobody knows how long a body is that may still be changed."""
    if not exchange.is_complete and side.removes_length:
        headers.remove(b"content-length")


async def _observe(exchange: Exchange, side: Side, message: Message, headers: HeaderMap) -> None:
    """Send a copy of what passes."""
    if side.sends_headers and exchange.open():
        await exchange.send_headers(side, headers, end_of_stream=message.body is None)
    if side.body_mode == STREAMED or side.sends_trailers:
        message.pipe_body(ObserveStage(side))


async def _own_strand(reactor: Reactor) -> Strand | None:
    """The strand that this is awaited in."""
    here = Signal(reactor)
    found: list[Strand | None] = []

    def at_flush() -> None:
        found.append(here.strand)
        here.fire()

    reactor.call_at_flush(at_flush)
    await here.wait()
    return found[0]
