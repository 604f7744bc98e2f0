"""The reactor: one edge-triggered epoll, and the coroutines that it steps.

What a connection does is one coroutine, a *strand*.  While a strand waits for a socket or a signal it
belongs to the reactor, which steps it with ``send(None)`` when the wait is over: no task is woken, no
system call registers anything.  When the strand needs trio (a nursery, a timer, a filter that awaits)
it enters ``async with adopted()``: its owner, a trio task, continues the very same coroutine object, and
at the first wait outside that block hands it back ("step then adopt", docs/adr/0007).

Three kinds of strand: one driven by a parked trio task (:func:`drive`), one that gets an owner for as long
as it needs one (:meth:`Reactor.spawn`: an HTTP/2 stream, a request pump, a connect), and one that gets an
owner when it first needs one, or is cancelled, and keeps it to its end (:meth:`Reactor.begin`: a downstream
connection).

Rules that hold here and nowhere else:

* Only ``readable``, ``writable``, ``turn``, signals and ``adopted`` may be awaited outside an ``adopted()``
  block.  Anything else is caught in the same step and raised in the strand as RuntimeError.
* A strand waits for one thing at a time; it is disarmed before it is stepped or rescheduled.
* For strands with a parked owner the reactor only ever sends; Cancelled, disconnects and deadlines are
  thrown by the owner, so that cleaning up may use trio.
* Descriptors are closed at the end of the reactor's pass: a reused number would get a stale hang-up.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any

import outcome
import trio
from trio.lowlevel import Abort, checkpoint, current_task, reschedule, wait_readable, wait_task_rescheduled

from sidecar.core.errors import Disconnected
from sidecar.net.deadlines import SWEEP_INTERVAL_S, Deadlines
from sidecar.net.pipes import PipePool

if TYPE_CHECKING:
    import socket

    from sidecar.net.timer import Timer

__all__ = ["Reactor", "Signal", "Strand", "Transport", "adopted", "drive", "open_reactor", "turn"]

logger = logging.getLogger("sidecar.connection")

_HANGUP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_IN = select.EPOLLIN | _HANGUP
_OUT = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_REGISTER = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

#: Rounds of strands made ready by other strands that one pass runs before it looks at sockets again.
_ROUNDS_PER_PASS = 8
#: A pass with so many events, or that took so long, is followed by others at once, for about _STAY_S.
_BUSY_EVENTS = 2
_BUSY_S = 0.0002
_STAY_S = 0.002
#: So many connections' output waits at most before it leaves, however long the pass is.
_MOST_OUTGOING = 32
#: A pause goes on for so long at most while nothing happens.
_LONGEST_PAUSE_S = 1.0


class _Trap:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_ADOPT = _Trap("adopt")
_TURN = _Trap("turn")


class _Entry:
    """A strand in the ready queue: the thing it is parked on until the queue is run."""

    __slots__ = ("error", "strand")

    def __init__(self, strand: Strand, error: BaseException | None) -> None:
        self.strand: Strand | None = strand
        self.error = error

    def disarm(self) -> None:
        self.strand = None

    def take_error(self) -> BaseException:
        """The error to throw, held by nobody else: frames that it will pass lead back to here."""
        error, self.error = self.error, None
        assert error is not None
        return error


class Signal:
    """A level that one strand can wait for; ``fire`` before ``wait`` is kept."""

    __slots__ = ("is_set", "reactor", "strand")

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.strand: Strand | None = None
        self.is_set = False

    def arm(self, strand: Strand) -> None:
        self.strand = strand

    def disarm(self) -> None:
        self.strand = None

    def fire(self) -> None:
        """Let the waiting strand go on at the end of this pass, or the next ``wait`` return at once."""
        strand = self.strand
        if strand is None:
            self.is_set = True
        else:
            self.strand = None
            self.reactor.make_ready(strand)

    @types.coroutine
    def wait(self) -> Generator[Any, Any, None]:
        """Wait for ``fire``.  If cancelled: the signal is untouched."""
        if self.is_set:
            self.is_set = False
            return
        yield self


class _WritePark:
    """The write side of a transport as a thing to wait for."""

    __slots__ = ("transport",)

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def arm(self, strand: Strand) -> None:
        self.transport.writer = strand

    def disarm(self) -> None:
        self.transport.writer = None


class Transport:
    """A non-blocking socket registered once, edge-triggered, for both directions.

    ``recv`` and ``send`` are the socket's own, to be tried first.  OSErrors pass through: who uses the
    transport knows whether it is a downstream or an upstream and maps them.
    """

    #: What is known of a peer by its TLS.
    facts: Any = None
    #: What epoll is to tell of the socket.
    events = _REGISTER
    #: How much a read, or a splice, brings at most.
    limit: int = 1024 * 1024

    __slots__ = (
        "fd",
        "hangup",
        "is_closed",
        "is_full",
        "on_half_close",
        "on_idle_event",
        "queued",
        "reactor",
        "reader",
        "ready",
        "recv",
        "send",
        "sock",
        "watcher",
        "writer",
    )

    def __init__(self, sock: socket.socket, reactor: Reactor, replaced: Transport | None = None) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[Any], int] = sock.send
        self.reactor = reactor
        self.reader: Strand | None = None
        self.writer: Strand | None = None
        #: Whose request fails with Disconnected when the peer leaves while nobody reads.
        self.watcher: Strand | None = None
        #: Called when something happens while nobody reads (an idle upstream connection).
        self.on_idle_event: Callable[[], None] | None = None
        #: Called before a half is closed: it may still send, and raises BlockingIOError until all has gone.
        self.on_half_close: Callable[[], None] | None = None
        #: What was put off by ``send_soon``: it goes before anything else that is sent.
        self.queued = b""
        #: The socket did not take all of it.
        self.is_full = False
        #: A read may give something: an edge was seen, or the last read was full.
        self.ready = False
        #: The peer has closed its side, or the connection broke.
        self.hangup = False
        self.is_closed = False
        if replaced is None:
            reactor.register(self)
        else:
            # Another layer on the same descriptor (TLS): what the edges said so far stays known.
            self.ready = replaced.ready
            self.hangup = replaced.hangup
            reactor.replace(replaced, self)

    @property
    def is_plain(self) -> bool:
        """Whether nobody stands between the socket and who uses it."""
        sock = self.sock
        is_bare = self.recv == sock.recv and self.send == sock.send
        return type(self) is Transport and is_bare and not self.queued

    def arm(self, strand: Strand) -> None:
        self.reader = strand

    def disarm(self) -> None:
        self.reader = None

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for the next edge: until a read may give something, whatever is known now."""
        yield self

    @types.coroutine
    def receive(self, size: int = 65536) -> Generator[Any, Any, bytes]:
        """Up to ``size`` bytes, ``b""`` at the end of the stream.

        Raises: OSError.  If cancelled: nothing was read.
        """
        recv = self.recv
        while True:
            if self.ready:
                self.ready = False
            else:
                yield self
            try:
                data = recv(size)
            except (BlockingIOError, InterruptedError):
                continue
            if len(data) == size or self.hangup:
                self.ready = True
            return data

    @types.coroutine
    def readable(self) -> Generator[Any, Any, None]:
        """Wait until a read may give something."""
        if self.ready:
            self.ready = False
            return
        yield self

    @types.coroutine
    def writable(self) -> Generator[Any, Any, None]:
        """Wait for room in the send buffer."""
        # Made for each wait: kept, it would hold the transport in a cycle, and with it all of its connection.
        yield _WritePark(self)

    def send_soon(self, data: bytes) -> None:
        """Send at the end of a busy pass, with what other strands have to say; errors are left to reading.

        A peer that sleeps is woken once for all of it, which costs less than half; Envoy writes then, too.
        For little at a time: what the socket does not take stays here.
        """
        if self.queued:
            self.queued += data
            return
        self.queued = data
        reactor = self.reactor
        outgoing = reactor.outgoing
        outgoing.append(self)
        if not reactor.puts_off or len(outgoing) >= _MOST_OUTGOING:
            reactor.send_outgoing()

    def flush_queued(self) -> None:
        """Send what was put off, as far as it fits; the next room for it is noticed by the reactor."""
        data = self.queued
        if not data:
            return
        try:
            sent = self.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = len(data)  # reading finds out
        self.queued = data[sent:]
        self.is_full = sent < len(data)

    def try_send(self, data: bytes) -> memoryview | None:
        """Send what fits now; the rest, or None when all is gone.  Raises: OSError."""
        if self.queued:
            data = self.queued + data
            self.queued = b""
            self.is_full = False
        try:
            sent = self.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        return None if sent == len(data) else memoryview(data)[sent:]

    def try_send_parts(self, *parts: bytes) -> memoryview | None:
        """The same for one piece behind another: the socket gathers them, so that they need not be copied."""
        if (
            self.queued or getattr(self.send, "__self__", None) is not self.sock
        ):  # TLS, or filters stand between
            return self.try_send(b"".join(parts))
        try:
            sent = self.sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            sent = 0
        return None if sent == sum(map(len, parts)) else memoryview(b"".join(parts))[sent:]

    async def finish_send(self, rest: memoryview) -> None:
        """Send ``rest``, waiting for room.  Raises: OSError.  If cancelled: part of it may be gone."""
        while rest:
            await self.writable()
            try:
                rest = rest[self.send(rest) :]
            except (BlockingIOError, InterruptedError):
                continue

    async def send_all(self, data: bytes) -> None:
        """Send everything.  Raises: OSError.  If cancelled: part of it may be gone."""
        rest = self.try_send(data)
        if rest is not None:
            await self.finish_send(rest)

    def half_close(self) -> None:
        """Say that nothing more will be sent.  Raises: OSError."""
        if self.on_half_close is not None:
            self.on_half_close()
        self.sock.shutdown(SHUT_WR)

    async def end(self) -> None:
        """The same, behind what network filters still have to send.  Raises: OSError."""
        while True:
            try:
                self.half_close()
            except (BlockingIOError, InterruptedError):
                await self.writable()
            else:
                return

    def close(self) -> None:
        """Close the descriptor (at the end of the reactor's pass).  Waiters get Disconnected."""
        if self.is_closed:
            return
        self.is_closed = True
        self.hangup = True
        # No event will come any more: who reads or writes from now on must not wait for one.
        self.ready = True
        self.recv = self.send = _raise_closed
        self.queued = b""
        self.is_full = False
        self.reactor.unregister(self)
        for strand in (self.reader, self.writer):
            if strand is not None:
                strand.fail(Disconnected("closed under a waiter"))


def _raise_closed(_: Any) -> Any:
    raise OSError(errno.EBADF, "the transport is closed")


@types.coroutine
def turn() -> Generator[Any, Any, None]:
    """Let the other strands have their turn (every few buffered requests, every 64 chunks)."""
    yield _TURN


@types.coroutine
def _trap(trap: _Trap) -> Generator[Any, Any, Any]:
    return (yield trap)


class adopted:
    """``async with adopted() as scope``: the block runs in the strand's owner task, all of trio is allowed.

    The scope also carries disconnects and deadlines into trio's own waits, which the reactor cannot see:
    they come out of the block as Disconnected and DeadlineExceeded.
    """

    __slots__ = ("_scope", "_strand")

    async def __aenter__(self) -> trio.CancelScope:
        strand: Strand = await _trap(_ADOPT)
        self._strand = strand
        strand.take_pending()
        strand.depth += 1
        scope = self._scope = trio.CancelScope()
        scope.__enter__()
        strand.scopes = (*strand.scopes, scope)
        return scope

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> bool:
        strand = self._strand
        strand.scopes = strand.scopes[:-1]
        strand.depth -= 1
        swallowed = bool(self._scope.__exit__(kind, error, tb))
        if not strand.scopes and (error is None or swallowed):
            strand.take_pending()
        return swallowed


class Strand:
    """One coroutine, stepped by the reactor or driven by its owner."""

    # Defaults on the class instead of slots: a stream's strand changes few of these.
    owner: trio.lowlevel.Task | None = None
    parked: Any = None
    #: How many ``adopted()`` blocks it is in; below zero it rests (:mod:`sidecar.net.deadlines`).
    depth = 0
    done = False
    running = False
    _cancel: Any = None
    scopes: Sequence[trio.CancelScope] = ()
    pending: BaseException | None = None
    #: time.monotonic() after which DeadlineExceeded("total") is raised; 0.0 for none.
    deadline = 0.0
    #: The same for DeadlineExceeded("idle").
    idle_deadline = 0.0
    #: Further deadlines (:mod:`sidecar.net.timer`); most strands have none.
    timers: list[Timer] | None = None
    is_lazy = False
    nursery: trio.Nursery | None = None
    #: Where its owner will be, once it has one to its end; None for other kinds.
    home: trio.Nursery | None = None
    #: Whether it waits for that owner, to go on in trio.
    is_expecting = False
    #: Of that owner.
    own_scope: trio.CancelScope | None = None
    on_done: Callable[[BaseException | None], None] | None = None

    def __init__(self, reactor: Reactor, name: str | int) -> None:
        self.reactor = reactor
        #: The number of the connection that it serves, or a name.
        self.named = name
        self.coroutine: Coroutine[Any, Any, Any]
        self._send: Callable[[Any], Any]

    @property
    def name(self) -> str:
        """For logs and dumps."""
        return self.named if isinstance(self.named, str) else f"connection {self.named}"

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self._send = coroutine.send

    # -- failing from outside -------------------------------------------------------------------
    def fail(self, error: BaseException) -> None:
        """Raise ``error`` where the strand stands.  The first error wins; a finished strand ignores it."""
        if self.done:
            return
        parked = self.parked
        if parked is not None:
            if parked.__class__ is _Entry and parked.error is not None:
                return
            self.stir()
            parked.disarm()
            self.parked = None
            if self.owner is None:
                self.reactor.make_ready(self, error)
            else:
                reschedule(self.owner, outcome.Error(error))
        elif self.pending is None:
            self.pending = error
            if self.scopes:
                self.scopes[0].cancel()

    def stir(self) -> None:
        """Its first deadline is another's doing: look at it again."""
        if self.depth < 0:
            self.reactor.deadlines.stir(self)
        self.reactor.end_pauses()

    @property
    def is_ready(self) -> bool:
        """Whether it waits for nothing but its turn."""
        return self.parked.__class__ is _Entry

    def take_pending(self) -> None:
        """Raise the error that arrived while nothing could be thrown."""
        error = self.pending
        if error is not None:
            self.pending = None
            raise error

    def abort(self, raise_cancel: Callable[[], Any]) -> Abort:
        """Trio cancels the parked owner; the owner throws Cancelled into the coroutine, never the reactor."""
        if self.running:
            self._cancel = raise_cancel
            return Abort.FAILED
        if self.parked is not None:
            self.stir()
            self.parked.disarm()
            self.parked = None
        return Abort.SUCCEEDED

    # -- the reactor's side ---------------------------------------------------------------------
    def resume(self) -> None:
        """The wait is over (and disarmed): go on, here or in the owner."""
        if self.depth > 0:
            self.parked = None
            assert self.owner is not None
            reschedule(self.owner)
        else:
            self.stir()
            self.step()

    def step(self) -> None:
        """Run the coroutine in the caller's stack until it waits again."""
        self.parked = None
        self.running = True
        try:
            trap = self._send(None)
        except StopIteration as stop:
            self.running = False
            if self.owner is None:
                self.end(None)
            else:
                self.finish(stop)
            return
        except BaseException as error:
            self.running = False
            self.finish(error)
            return
        self.running = False
        if (
            isinstance(trap, Transport)
            and self.pending is None
            and self._cancel is None
            and not self.reactor.is_disturbed()
        ):
            # The common wait, without a call.
            trap.reader = self
            self.parked = trap
        else:
            self.handle(trap)

    def throw(self, error: BaseException) -> None:
        """Raise ``error`` in a strand without an owner."""
        self.parked = None
        self.running = True
        try:
            trap = self.coroutine.throw(error)
        except BaseException as raised:
            self.running = False
            self.finish(raised)
            return
        finally:
            del error  # its traceback holds this frame
        self.running = False
        self.handle(trap)

    def finish(self, error: BaseException) -> None:
        self.done = True
        if self.owner is not None:
            if isinstance(error, StopIteration):
                reschedule(self.owner, outcome.Value(error.value))
            else:
                reschedule(self.owner, outcome.Error(error))
            return
        self.end(None if isinstance(error, StopIteration) else error)

    def end(self, error: BaseException | None) -> None:
        """A lazily owned strand is over."""
        self.done = True
        self.reactor.deadlines.discard(self)
        on_done = self.on_done
        if on_done is not None:
            self.on_done = None  # whom it belongs to may hold the strand: no cycle is left behind
            on_done(error)
        elif error is not None:
            self.reactor.report(self, error)

    def handle(self, trap: Any) -> None:
        """What the coroutine waits for decides who has it next."""
        reactor = self.reactor
        while True:
            if reactor.is_disturbed():
                trap = None  # a trio scope was left open in the reactor's own stack: unwind in this very step
            elif self.pending is not None and trap is not _ADOPT:
                error, self.pending = self.pending, None
                if self.owner is None:
                    reactor.make_ready(self, error)
                else:
                    reschedule(self.owner, outcome.Error(error))
                return
            elif self._cancel is not None and trap is not _ADOPT:
                raise_cancel, self._cancel = self._cancel, None
                assert self.owner is not None
                reschedule(self.owner, outcome.capture(raise_cancel))
                return
            elif trap.__class__ in _PARKS or isinstance(trap, Transport):
                trap.arm(self)
                self.parked = trap
                return
            elif trap is _ADOPT:
                self._cancel = None
                if self.owner is None:
                    try:
                        if self.home is not None:
                            self.is_expecting = True
                            self.home.start_soon(self.keep, name=self.name)
                            return
                        assert self.nursery is not None
                        self.nursery.start_soon(self.own, name=self.name)
                    except RuntimeError as error:
                        # The nursery is over: the strand is too, and nobody else.
                        self.throw(error)
                else:
                    reschedule(self.owner, outcome.Value(self))
                return
            elif trap is _TURN:
                reactor.make_ready(self)
                return
            # Somebody awaited trio outside adopted(): unwind now, while current_task() is the one it saw.
            self.running = True
            try:
                trap = self.coroutine.throw(RuntimeError("trio used outside adopted()"))
            except BaseException as error:
                self.running = False
                self.finish(error)
                return
            self.running = False

    # -- a lazily owned strand inside trio ------------------------------------------------------------
    async def own(self) -> None:
        """The task that a strand without an owner gets while it needs trio."""
        self.owner = current_task()
        try:
            await _drive(self, self)
        except BaseException as error:
            self.owner = None
            if isinstance(error, trio.Cancelled):
                self.end(error)
                raise
            self.end(error)
        else:
            self.owner = None
            if self.done:
                self.end(None)

    # -- a connection's ---------------------------------------------------------------------------------
    def cancel(self) -> None:
        """Cancel a strand that was begun: Cancelled is raised where it stands, in a task of its own."""
        if self.done:
            return
        if self.own_scope is not None:
            self.own_scope.cancel()
        else:
            assert self.home is not None
            self.home.start_soon(self.keep, True, name=self.name)

    async def keep(self, is_cancelled: bool = False) -> None:
        """The task that a strand which was begun gets, and keeps to its end."""
        if self.done:
            return
        if self.own_scope is not None:
            # It got one in the meantime.
            if is_cancelled:
                self.own_scope.cancel()
            return
        with trio.CancelScope() as scope:
            self.own_scope = scope
            self.owner = current_task()
            self.is_lazy = False
            error: BaseException | None = None
            if self.is_expecting:
                self.is_expecting = False
                if is_cancelled:
                    scope.cancel()
            else:
                assert self.parked is not None
                self.stir()
                self.parked.disarm()
                self.parked = None
                scope.cancel()
                try:
                    await checkpoint()
                except trio.Cancelled as cancelled:
                    error = cancelled
            run: Any = _drive(self, self, error)
            try:
                await run
            except BaseException as raised:
                self.end(raised)
                if not isinstance(raised, Exception):
                    raise
            else:
                self.end(None)


_PARKS: frozenset[Any] = frozenset({Transport, _WritePark, Signal})


def _parked() -> Any:
    """The class of what ``wait_task_rescheduled`` yields to trio, which answers with an outcome.

    An idle connection that awaited it would keep two coroutines and a generator of trio's, 0.4 KiB.
    """
    coroutine = wait_task_rescheduled(lambda _: Abort.SUCCEEDED)  # noqa: ASYNC105 - looked at, not awaited
    message = coroutine.send(None)
    coroutine.close()
    return type(message)


_PARKED = _parked()


@types.coroutine
def _drive(strand: Strand, value: Any, error: BaseException | None = None) -> Generator[Any, Any, Any]:
    """The owner's side: run the coroutine, lending it to the reactor while it waits outside ``adopted()``.

    It goes on with ``value``, or with ``error``, which is raised in it.

    For a lazily owned strand this returns at the first such wait, with ``strand.done`` False.  A driven one
    is over with it, however it ends.
    """
    coroutine = strand.coroutine
    try:
        while True:
            try:
                if error is None:
                    trap = strand._send(value)
                else:
                    raised, error = error, None
                    try:
                        trap = coroutine.throw(raised)
                    finally:
                        del raised  # its traceback holds this frame
            except StopIteration as stop:
                strand.done = True
                return stop.value
            except BaseException:
                strand.done = True
                raise
            value = None
            if trap.__class__ in _PARKS or isinstance(trap, Transport):
                if strand.pending is not None:
                    error, strand.pending = strand.pending, None
                    continue
                trap.arm(strand)
                strand.parked = trap
                if strand.is_lazy and not strand.depth:
                    return None
                try:
                    value = (yield _PARKED(strand.abort)).unwrap()
                except BaseException as raised:
                    if strand.done:
                        raise
                    error = raised
                else:
                    if strand.done:
                        return value
            elif trap is _ADOPT:
                value = strand
            elif trap is _TURN:
                try:
                    yield from checkpoint().__await__()  # noqa: ASYNC105 - as it is awaited
                except BaseException as raised:
                    error = raised
            else:
                try:
                    value = yield trap
                except BaseException as raised:
                    error = raised
    finally:
        if not strand.is_lazy:
            strand.done = True
            strand.reactor.deadlines.discard(strand)
            coroutine.close()


def drive(
    reactor: Reactor, name: str | int, body: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
) -> Awaitable[Any]:
    """Run ``body(*arguments, strand)`` with this task as its owner; what it returns or raises comes out here.

    ``name``: the number of the connection that it serves is one.

    To be awaited at once.  If cancelled: Cancelled is raised in the coroutine where it stands, in this task.
    """
    strand = Strand(reactor, name)
    strand.owner = current_task()
    strand.start(body(*arguments, strand))
    reactor.deadlines.watched.add(strand)
    reactor.end_pauses()
    # Not awaited here: a coroutine for that would be kept by every idle connection.
    return _drive(strand, None)


class Reactor:
    """Owns the epoll, the ready queue and the deadlines.  One per process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._epoll = select.epoll()
        self._transports: dict[int, Transport] = {}
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN | select.EPOLLET)
        self._woken = False
        self._ready: list[_Entry] = []
        self._flush: list[Callable[[], None]] = []
        self.outgoing: list[Transport] = []
        #: A pass runs that may have more than one thing to send.
        self.puts_off = False
        self._dead: list[Transport] = []
        self._in_pass = False
        #: How many there were: who remembers it knows later whether something was waited for.
        self.passes = 0
        self._task: Any = None
        self._base: Any = None
        self.deadlines = Deadlines()
        #: Ends the pauses of what looks around now and then.
        self._something: trio.Event | None = None
        self._stirred = 0
        #: For bodies that pass by.
        self.pipes = PipePool()
        self.clock = clock
        #: Where lazily owned strands get their task, and where their errors surface.
        self.nursery: trio.Nursery | None = None

    @property
    def strands(self) -> set[Strand]:
        """All of them."""
        return set(self.deadlines)

    # -- transports ---------------------------------------------------------------------------------
    def register(self, transport: Transport) -> None:
        self._transports[transport.fd] = transport
        self._epoll.register(transport.fd, transport.events)

    def replace(self, old: Transport, new: Transport) -> None:
        """Give the events of ``old`` to ``new``; ``old`` counts as closed, its descriptor lives on."""
        old.is_closed = True
        self._transports[new.fd] = new

    def unregister(self, transport: Transport) -> None:
        if self._transports.get(transport.fd) is transport:
            # The epoll forgets a descriptor that is closed; what it still has to say of it reaches nobody.
            del self._transports[transport.fd]
        if self._in_pass:
            self._dead.append(transport)
        else:
            transport.sock.close()

    # -- scheduling ---------------------------------------------------------------------------------
    def make_ready(self, strand: Strand, error: BaseException | None = None) -> None:
        """Step ``strand`` at the end of this pass (or the next one), raising ``error`` in it."""
        if strand.depth < 0:
            self.deadlines.stir(strand)
        elif strand.depth:
            strand.parked = None
            assert strand.owner is not None
            reschedule(strand.owner, outcome.Value(None) if error is None else outcome.Error(error))
            return
        entry = _Entry(strand, error)
        strand.parked = entry
        self._ready.append(entry)
        if not self._in_pass:
            self.wake()

    def call_at_flush(self, callback: Callable[[], None]) -> None:
        """Call once at the end of this pass, when every ready strand has run."""
        self._flush.append(callback)
        if not self._in_pass:
            self.wake()

    def send_outgoing(self) -> None:
        """Send what was put off, as far as it fits."""
        outgoing, self.outgoing = self.outgoing, []
        for transport in outgoing:
            data = transport.queued
            if not data:
                continue
            try:
                sent = transport.send(data)
            except OSError:
                transport.flush_queued()  # finds out again, and knows what it means
                continue
            if sent == len(data):
                transport.queued = b""
            else:
                transport.queued = data[sent:]
                transport.is_full = True

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            os.eventfd_write(self._wakeup, 1)

    def spawn(
        self,
        name: str,
        body: Callable[[Strand], Coroutine[Any, Any, Any]],
        *,
        on_done: Callable[[BaseException | None], None] | None = None,
        nursery: trio.Nursery | None = None,
        now: bool = True,
    ) -> Strand:
        """Start a strand that gets an owner task, in ``nursery``, only when it first needs trio.

        ``on_done(error_or_None)`` is called when it is over; without it an error goes to the log and
        the strand's end is silent.  ``now`` steps it before this call returns.
        """
        strand = Strand(self, name)
        strand.is_lazy = True
        strand.nursery = nursery or self.nursery
        strand.on_done = on_done
        coroutine = strand.coroutine = body(strand)
        strand._send = coroutine.send
        self.deadlines.watched.add(strand)
        if now:
            strand.step()
        else:
            self.make_ready(strand)
        return strand

    def begin(
        self, name: str | int, nursery: trio.Nursery, on_done: Callable[[BaseException | None], None]
    ) -> Strand:
        """A strand for a connection, to be started and stepped: it has no task as long as it needs no trio.

        ``nursery``: where it gets one.  Who cancels that nursery has to call :meth:`Strand.cancel`, since a
        strand without a task would not know of it.
        """
        strand = Strand(self, name)
        strand.is_lazy = True
        strand.home = nursery
        strand.on_done = on_done
        self.deadlines.watched.add(strand)
        self.end_pauses()
        return strand

    def report(self, strand: Strand, error: BaseException) -> None:
        if isinstance(error, trio.Cancelled | Disconnected):
            return
        logger.error("%s ended with an error", strand.name, exc_info=error)

    def is_disturbed(self) -> bool:
        """Whether a step left a trio scope open in the reactor's stack (read-only use of one private)."""
        return self._in_pass and self._task is not None and self._task._cancel_status is not self._base

    # -- the loop -----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Steps strands until cancelled."""
        epoll_fd = self._epoll.fileno()
        self._task = current_task()
        self._base = getattr(self._task, "_cancel_status", None)
        clock = time.monotonic
        try:
            while True:
                if self._ready or self._flush:
                    await checkpoint()
                else:
                    await wait_readable(epoll_fd)
                if self._something is not None:
                    self.end_pauses()
                self._in_pass = True
                # Under load the peers answer while a pass runs: look again before going back to trio, whose
                # way here costs as much as half a request.  Its tasks wait no longer than that.
                began = clock()
                found = self._pass()
                if found and (found >= _BUSY_EVENTS or clock() - began > _BUSY_S):
                    until = clock() + _STAY_S
                    while self._pass() and clock() < until:
                        pass
                self._in_pass = False
        finally:
            self._in_pass = False

    def _pass(self) -> int:
        """Step whoever waits for what happened since the last pass; how much that was."""
        get = self._transports.get
        me = self._task
        base = self._base
        self.passes += 1
        found = self._epoll.poll(0, 256)
        # What follows a single event is sent at once: there is nothing to send it with.
        self.puts_off = len(found) > 1
        for fd, events in found:
            transport = get(fd)
            if transport is None:
                if fd == self._wakeup:
                    self._drain_wakeup()
                continue
            if events & _IN:
                strand = transport.reader
                if events & _HANGUP:
                    transport.hangup = True
                if strand is not None:
                    transport.reader = None
                    strand.parked = None
                    if strand.depth:
                        strand.resume()
                    else:  # strand.step(), inlined
                        strand.running = True
                        try:
                            trap = strand._send(None)
                        except BaseException as error:
                            strand.running = False
                            strand.finish(error)
                        else:
                            strand.running = False
                            if (
                                isinstance(trap, Transport)
                                and strand._cancel is None
                                and strand.pending is None
                                and me._cancel_status is base
                            ):
                                trap.reader = strand
                                strand.parked = trap
                            else:
                                strand.handle(trap)
                else:
                    transport.ready = True
                    idle = transport.on_idle_event
                    if idle is not None:
                        idle()
                    elif transport.hangup:
                        watcher = transport.watcher
                        if watcher is not None:
                            watcher.fail(Disconnected("the peer closed the connection"))
            if events & _OUT:
                strand = transport.writer
                if strand is not None:
                    transport.writer = None
                    strand.resume()
                elif transport.is_full:
                    transport.flush_queued()
        self._run_ready()
        if self._dead:
            for transport in self._dead:
                transport.sock.close()
            self._dead.clear()
        return len(found)

    def _run_ready(self) -> None:
        rounds = 0
        while (self._ready or self._flush) and rounds < _ROUNDS_PER_PASS:
            rounds += 1
            if self._ready:
                entries, self._ready = self._ready, []
                for entry in entries:
                    strand = entry.strand
                    if strand is None:
                        continue
                    if entry.error is not None:
                        strand.throw(entry.take_error())
                    else:
                        strand.step()
            if not self._ready and self._flush:
                callbacks, self._flush = self._flush, []
                for callback in callbacks:
                    callback()
        if self.outgoing:
            self.send_outgoing()
        self.puts_off = False

    def _drain_wakeup(self) -> None:
        self._woken = False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakeup)

    # -- what is looked at now and then -----------------------------------------------------------
    async def sweep(self) -> None:
        """Looks at the deadlines of strands."""
        soonest = 0.0
        while True:
            await self.pause(SWEEP_INTERVAL_S, soonest - self.clock())
            soonest = self.deadlines.look(self.clock())

    async def pause(self, seconds: float, longest: float = _LONGEST_PAUSE_S) -> None:
        """Sleep; longer as long as nothing happens: ``longest`` seconds in all, or _LONGEST_PAUSE_S."""
        passes, stirred = self.passes, self._stirred
        await trio.sleep(seconds)
        more = min(longest, _LONGEST_PAUSE_S) - seconds
        if more > 0.0 and passes == self.passes and stirred == self._stirred and not self._ready:
            if self._something is None:
                self._something = trio.Event()
            with trio.move_on_after(more):
                await self._something.wait()

    def end_pauses(self) -> None:
        """Something happens."""
        self._stirred += 1
        if self._something is not None:
            self._something.set()
            self._something = None

    def close(self) -> None:
        """Close what is left: every transport, the epoll, the eventfd; strands that still wait unwind."""
        for transport in list(self._transports.values()):
            transport.close()
        for strand in self.strands:
            if strand.owner is None:
                strand.coroutine.close()
                strand.end(Disconnected("the reactor is closed"))
        self.pipes.close()
        self._epoll.close()
        os.close(self._wakeup)


@contextlib.asynccontextmanager
async def open_reactor(reactor: Reactor | None = None) -> AsyncIterator[Reactor]:
    """A running reactor for the body of the block; what the block leaves open is closed."""
    reactor = reactor or Reactor()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run, name="reactor")
            nursery.start_soon(reactor.sweep, name="deadline sweep")
            async with trio.open_nursery() as strands:
                reactor.nursery = strands
                yield reactor
                strands.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        reactor.close()


async def run_adopted(awaitable: Awaitable[Any]) -> Any:
    """Await something that needs trio from a strand: a user's ``async def`` hook."""
    try:
        async with adopted():
            return await awaitable
    except BaseException:
        # The strand may have ended before the hook began, which would complain that nobody awaited it.
        close = getattr(awaitable, "close", None)
        if close is not None:
            close()
        raise
