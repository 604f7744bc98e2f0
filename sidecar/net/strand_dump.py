"""What every strand of a reactor does: where it waits, until when, for which connection and stream.

Parked owners show nothing but themselves in a dump of trio's tasks, so this looks at the coroutines.  Called
by the admin API (``/strands``) and on SIGUSR2; it reads and changes nothing.  Frames give file, line and
function, a stream gives numbers and names of the configuration: never a header or what else a peer sent.
"""

from __future__ import annotations

import gc
import types
from dataclasses import asdict, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import Stream
from sidecar.core.dataclass import dataclass
from sidecar.net.reactor import Signal, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.net.reactor import Reactor, Strand

__all__ = ["StrandStatus", "StreamStatus", "dump_strands", "strands_json", "strands_text"]

#: A chain that is longer than this goes round in circles.
_MAX_FRAMES = 100


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The stream that a strand runs."""

    connection_id: int
    #: 0 over HTTP/1.
    stream_id: int
    protocol: str
    #: Empty before the router has chosen.
    cluster: str
    upstream_host: str
    response_started: bool


@dataclass(frozen=True, slots=True)
class StrandStatus:
    """One strand, at one moment."""

    name: str
    #: ``running``, ``ready``, ``reads``, ``writes``, ``waits for a signal``, ``in trio`` or ``starts``.
    state: str
    #: Whether its owner, a trio task, runs it now.
    is_adopted: bool
    #: Whether it has an owner: strands get one when they need trio, and a connection keeps it.
    has_owner: bool
    #: From the outermost to where it stands: ``sidecar/http/serve.py:71 serve_http``.
    frames: list[str]
    #: Seconds from now by name; below zero is late.
    deadlines: dict[str, float] = field(default_factory=dict)
    #: The class of an error that waits to be raised in it.
    pending: str = ""
    #: The stream that it runs, where it runs one.
    stream: StreamStatus | None = None


def dump_strands(reactor: Reactor) -> list[StrandStatus]:
    """Every strand, by connection, stream and name."""
    now = reactor.clock()
    found = [_status(strand, now) for strand in list(reactor.strands)]
    found.sort(key=_order)
    return found


def _order(each: StrandStatus) -> tuple[int, int, str]:
    stream = each.stream
    return (0, 0, each.name) if stream is None else (stream.connection_id, stream.stream_id, each.name)


def strands_json(found: list[StrandStatus]) -> dict[str, Any]:
    """For ``/strands?format=json``."""
    return {"strands": [asdict(each) for each in found]}


def strands_text(found: list[StrandStatus]) -> str:
    """For ``/strands`` and the log."""
    lines = [f"{len(found)} strands"]
    for each in found:
        marks = [each.state]
        if each.is_adopted:
            marks.append("adopted")
        if each.pending:
            marks.append(f"{each.pending} pending")
        lines.append(f"{each.name}: {', '.join(marks)}")
        if each.stream is not None:
            lines.append(_stream_text(each.stream))
        if each.deadlines:
            lines.append(
                "  " + ", ".join(f"{name} in {seconds:.3f} s" for name, seconds in each.deadlines.items())
            )
        lines.extend(f"    {frame}" for frame in each.frames)
    return "\n".join(lines) + "\n"


def _status(strand: Strand, now: float) -> StrandStatus:
    frames = list(_frames(strand.coroutine))
    streams = (stream for frame in frames if (stream := _stream_of(frame)) is not None)
    stream = next(streams, None)
    pending = strand.pending
    return StrandStatus(
        name=strand.name,
        state=_state(strand),
        is_adopted=strand.depth > 0,
        has_owner=strand.owner is not None,
        frames=[_place(frame) for frame in frames],
        deadlines=_deadlines(strand, now),
        pending="" if pending is None else type(pending).__name__,
        stream=None if stream is None else _stream_status(stream),
    )


def _stream_status(stream: Stream) -> StreamStatus:
    return StreamStatus(
        stream.connection.connection_id,
        stream.stream_id,
        stream.protocol,
        "" if stream.cluster is None else stream.cluster.name,
        "" if stream.upstream_host is None else str(stream.upstream_host.address),
        stream.response_started,
    )


def _stream_text(stream: StreamStatus) -> str:
    upstream = f", cluster {stream.cluster}, host {stream.upstream_host or '-'}" if stream.cluster else ""
    started = "begun" if stream.response_started else "not begun"
    return (
        f"  connection {stream.connection_id}, stream {stream.stream_id}, {stream.protocol}{upstream}, "
        f"response {started}"
    )


def _state(strand: Strand) -> str:
    parked = strand.parked
    if strand.running:
        return "running"
    if isinstance(parked, Transport):
        return "reads"
    if isinstance(parked, Signal):
        return "waits for a signal"
    if parked is not None:
        return "ready" if hasattr(parked, "error") else "writes"
    return "in trio" if strand.depth else "starts"


def _deadlines(strand: Strand, now: float) -> dict[str, float]:
    found: dict[str, float] = {}
    if strand.deadline:
        found["deadline"] = strand.deadline - now
    if strand.idle_deadline:
        found["idle"] = strand.idle_deadline - now
    for timer in strand.timers or ():
        found[timer.name] = timer.when - now
    return {name: round(seconds, 3) for name, seconds in found.items()}


def _frames(awaited: Any) -> Iterator[types.FrameType]:
    """The frames of a coroutine and of what it awaits, down to where it stands."""
    for _ in range(_MAX_FRAMES):
        if isinstance(awaited, types.CoroutineType):
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif isinstance(awaited, types.GeneratorType):
            frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
        elif type(awaited).__name__ == "coroutine_wrapper":
            # What ``__await__`` of a coroutine gives hides it from all but the collector.
            inner = [each for each in gc.get_referents(awaited) if isinstance(each, types.CoroutineType)]
            if not inner:
                return
            awaited = inner[0]
            continue
        else:
            return
        if frame is not None:
            yield frame


def _stream_of(frame: types.FrameType) -> Stream | None:
    for value in frame.f_locals.values():
        if isinstance(value, Stream):
            return value
    return None


def _place(frame: types.FrameType) -> str:
    code = frame.f_code
    parts = PurePath(code.co_filename).parts
    for package in ("sidecar", "wasm_abi", "trio"):
        if package in parts:
            at = len(parts) - 1 - parts[::-1].index(package)
            parts = parts[at:]
            break
    else:
        parts = parts[-2:]
    return f"{'/'.join(parts)}:{frame.f_lineno} {code.co_qualname}"
