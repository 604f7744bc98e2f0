"""HTTP filters written in Python (``sidecar.filters.http.python``): loading them, and a guard around them.

A filter is a class with the hooks of :class:`sidecar.api.filters.HttpFilter`; the configuration names it and
gives it settings.  What it raises harms the request that it was called for: the answer is 500 (or a reset), a
counter and the last error's text stand among the stats.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import BodyStage, FixedBody, LocalReply, Message, wrap_stages
from sidecar.api.python_filters import LastException, PythonFilterStatus
from sidecar.api.stream import Stream
from sidecar.core.errors import ExtensionError, LocalProtocolError, SidecarError
from sidecar.core.headers import HeaderMap, RequestHeaders

__all__ = ["ENTRY_POINTS", "FilterLoadError", "Guard", "Services", "guarded", "load_filter"]

#: The group of entry points that filters are published in.
ENTRY_POINTS = "sidecar.http_filters"

#: Of a traceback that is kept: its innermost frames, and characters of a text.
_MOST_FRAMES, _MOST_TEXT = 20, 500

_HOOKS = ("decode_headers", "encode_headers", "on_complete")


class FilterLoadError(SidecarError):
    """A filter that cannot be found, or is none."""


class Services:
    """What a filter gets besides its settings."""

    def __init__(self, name: str, stats: Any, get_client: Any, find_cluster: Any) -> None:
        #: The filter's name in the configuration.
        self.name = name
        #: A scope (``http.<prefix>.python.<name>.``) for ``counter``, ``gauge`` and ``histogram``.
        self.stats = stats
        self.logger = logging.getLogger("sidecar.python")
        self._get_client = get_client
        self._find_cluster = find_cluster

    async def request(
        self,
        cluster: str,
        method: str,
        path: str,
        *,
        authority: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout_s: float = 15.0,
    ) -> Any:
        """Ask a cluster: its ``headers`` (with ``status``), ``body`` and ``trailers``.

        Raises: LookupError for an unknown cluster; UpstreamError, DeadlineExceeded.
        If cancelled, as the client leaves, the request is given up.
        """
        if self._find_cluster(cluster) is None:
            raise LookupError(f"no cluster is called {cluster}")
        head = RequestHeaders(method.encode(), path.encode(), (authority or cluster).encode(), b"http")
        for name, value in headers:
            head.add(name.lower().encode("latin-1"), value.encode("latin-1"))
        if body is not None:
            head.set(b"content-length", b"%d" % len(body))
        call = self._get_client().call(
            cluster, head, FixedBody(body) if body else None, timeout_s=timeout_s, keep_bytes=None
        )
        call.start()
        try:
            return await call.result()
        except BaseException:
            if not call.is_done:
                call.cancel()
            raise


def load_filter(name: str) -> type[HttpFilter]:
    """The class that ``name`` names: ``module:Class``, ``path/to/file.py:Class``, or an entry point.

    Raises: FilterLoadError.
    """
    where, colon, attribute = name.rpartition(":")
    found: Any
    try:
        found = getattr(_module(where), attribute, None) if colon else _entry_point(name).load()
    except FilterLoadError:
        raise
    except Exception as error:  # the filter's own module runs here: a sandbox's boundary
        raise FilterLoadError(f"'{name}' cannot be loaded: {type(error).__name__}: {error}") from error
    if found is None:
        raise FilterLoadError(f"{where} has no class '{attribute}'")
    if not isinstance(found, type) or not issubclass(found, HttpFilter):
        raise FilterLoadError(f"'{name}' is no class that derives from sidecar.api.filters.HttpFilter")
    return found


def _entry_point(name: str) -> importlib.metadata.EntryPoint:
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        return point
    raise FilterLoadError(f"no entry point of the group {ENTRY_POINTS} is called '{name}'")


def _module(where: str) -> Any:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    path = Path(where).resolve()
    known = f"sidecar_filter_{path.stem}_{abs(hash(str(path))):x}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FilterLoadError(f"there is no file {where}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


class Guard:
    """Counts and tells what a filter raises."""

    def __init__(self, name: str, stats: Any) -> None:
        self.name = name
        self.requests = stats.counter("requests")
        self.errors = stats.counter("errors")
        #: What the status page shows; None where nobody looks.
        self.status: PythonFilterStatus | None = None
        self._last = stats.text_readout("last_error")
        self._logger = logging.getLogger("sidecar.python")

    def failed(self, error: Exception, where: str, stream: Stream) -> None:
        """Take an exception down."""
        self.errors.value += 1
        text = f"{type(error).__name__}: {error}"
        self._last.set(f"{where}: {text}"[:500])
        if self.status is not None:
            request_id = stream.request.headers.get(b"x-request-id") or b""
            lines = traceback.format_exception(error, limit=-_MOST_FRAMES)
            self.status.last = LastException(
                time.time(),
                request_id.decode("latin-1"),
                where,
                text[:_MOST_TEXT],
                "".join(lines)[-_MOST_TEXT * 8 :],
            )
        self._logger.error("filter %s, %s: %s", self.name, where, text, exc_info=error)


def guarded(inner: HttpFilter, guard: Guard) -> HttpFilter:
    """A filter that calls ``inner``, and lets nothing out but this proxy's own errors.

    Hooks that ``inner`` does not override are not there, so they cost nothing.
    """
    name = guard.name
    overridden = [where for where in _HOOKS if getattr(type(inner), where) is not getattr(HttpFilter, where)]

    def run(hook: Any, where: str, stream: Stream) -> Any:
        before = stream.request.body, None if stream.response is None else stream.response.body
        try:
            result = hook(stream)
        except (SidecarError, LocalProtocolError):
            raise
        except Exception as error:
            guard.failed(error, where, stream)
            raise ExtensionError(f"filter {name} failed") from error
        if result is None or isinstance(result, LocalReply):
            _watch(stream, before, guard)
            return result
        return wait(result, where, stream, before)

    async def wait(result: Awaitable[Any], where: str, stream: Stream, before: Any) -> Any:
        try:
            reply = await result
        except SidecarError:
            raise
        except Exception as error:
            guard.failed(error, where, stream)
            raise ExtensionError(f"filter {name} failed") from error
        _watch(stream, before, guard)
        return reply

    def on_complete(self: Any, stream: Stream) -> None:
        try:
            inner.on_complete(stream)
        except Exception as error:
            guard.failed(error, "on_complete", stream)

    def hooked(where: str) -> Any:
        if where == "on_complete":
            return on_complete
        hook = getattr(inner, where)
        return lambda self, stream: run(hook, where, stream)

    def counted(hook: Any) -> Any:
        requests = guard.requests

        def called(self: Any, stream: Stream) -> Any:
            requests.value += 1
            return hook(self, stream)

        return called

    hooks: dict[str, Any] = {where: hooked(where) for where in overridden}
    for first in overridden[:1]:
        hooks[first] = counted(hooks[first])
    made: HttpFilter = type("GuardedFilter", (_Guarded,), hooks)()
    made.uses_trio = inner.uses_trio
    made.__dict__["inner"] = inner
    return made


class _Guarded(HttpFilter):
    """What hooks are added to; the slot is the inner filter's, too."""

    inner: HttpFilter

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("slot", "config_name", "is_disabled"):
            setattr(self.inner, name, value)


def _watch(stream: Stream, before: tuple[Any, Any], guard: Guard) -> None:
    """Guard the stages that the hook installed."""
    messages: tuple[Message | None, ...] = (stream.request, stream.response)
    for message, body in zip(messages, before, strict=True):
        if message is not None and message.body is not body:
            wrap_stages(message.body, body, lambda stage: _GuardedStage(stage, guard, stream))


class _GuardedStage:
    """A stage of a filter's, whose errors are the stream's."""

    __slots__ = ("_guard", "_stage", "_stream")

    def __init__(self, stage: BodyStage, guard: Guard, stream: Stream) -> None:
        self._stage = stage
        self._guard = guard
        self._stream = stream

    def push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        return self._run(self._stage.push, data, end_stream)

    def end(self, trailers: HeaderMap) -> bytes | Awaitable[bytes]:
        return self._run(self._stage.end, trailers)

    def _run(self, call: Any, *args: Any) -> bytes | Awaitable[bytes]:
        try:
            result: bytes | Awaitable[bytes] = call(*args)
        except SidecarError:
            raise
        except Exception as error:
            self._guard.failed(error, "body", self._stream)
            raise ExtensionError("a body's filter failed") from error
        return result if isinstance(result, bytes) else self._wait(result)

    async def _wait(self, result: Awaitable[bytes]) -> bytes:
        try:
            return await result
        except SidecarError:
            raise
        except Exception as error:
            self._guard.failed(error, "body", self._stream)
            raise ExtensionError("a body's filter failed") from error
