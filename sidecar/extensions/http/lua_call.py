"""httpCall() of the Lua filter: a request to a cluster, and its answer as a script sees it.

Envoy's: whatever goes wrong looks like an answer.  A request that the router would not send, or that meets
nobody, has the router's local reply; an answer that breaks off has the status 503 and ``upstream failure``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody
from sidecar.core.errors import LuaError, SidecarError
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.header_edits import header_name, invalid_field
from sidecar.http.local_reply import reply_for

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.router.http_client import ClientResponse, HttpCall, HttpClient

__all__ = ["Answer", "LuaCall"]

#: Headers in their order, and the body.
Answer = tuple[list[tuple[bytes, bytes]], bytes]

#: The longest body that a script may get.
_MOST_BYTES = 16 * 1024 * 1024
_FAILURE: Answer = ([(b":status", b"503")], b"upstream failure")


class LuaCall:
    """One httpCall()."""

    __slots__ = ("_answer", "_body", "_call", "_headers", "keeps_all")

    def __init__(self, flat: list[bytes], body: bytes | None, *, keeps_all: bool) -> None:
        """``flat`` are names and values in turn.  Raises: LuaError."""
        #: Whether repeated names make lists.
        self.keeps_all = keeps_all
        self._answer: Answer | None = None
        self._call: HttpCall | None = None
        headers, problem = _head(flat)
        if headers.path is None or headers.method is None or headers.authority is None:
            raise LuaError("http call headers must include ':path', ':method', and ':authority'")
        if body is not None:
            headers.set(b"content-length", b"%d" % len(body))
        if problem:
            self._answer = _local(503, problem.encode())
        self._headers = headers
        self._body = body

    def start(
        self,
        get_client: Callable[[], HttpClient],
        cluster: str,
        timeout_ms: int,
        *,
        send_xff: bool,
        span: Any,
    ) -> None:
        """Send it, if it can be sent; ``span`` is that of the request."""
        if self._answer is not None:
            return
        self._call = get_client().call(
            cluster,
            self._headers,
            FixedBody(self._body) if self._body else None,
            timeout_s=timeout_ms / 1000,
            keep_bytes=_MOST_BYTES + 1,
            send_xff=send_xff,
            span=span,
        )
        self._call.start()

    async def answer(self) -> Answer:
        """Wait for the answer.  If cancelled: the call is given up."""
        call = self._call
        if call is None:
            assert self._answer is not None
            return self._answer
        try:
            response = await call.result()
        except SidecarError as error:
            if not call.is_done:
                call.cancel()
                raise
            return self._failed(call, error)
        except BaseException:
            call.cancel()
            raise
        return self._answered(response)

    def _answered(self, response: ClientResponse) -> Answer:
        if len(response.body) > _MOST_BYTES:
            return _FAILURE
        headers = response.headers
        return [(b":status", b"%d" % headers.status), *headers.fields], response.body

    def _failed(self, call: HttpCall, error: SidecarError) -> Answer:
        if call.stream.response is not None:
            return _FAILURE  # it broke off
        reply: LocalReply = reply_for(error, call.stream)
        return _local(reply.status, reply.body, reply.headers)


def _local(status: int, body: bytes, more: Any = ()) -> Answer:
    fields = [(b":status", b"%d" % status), *more]
    if body:
        fields += [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    return fields, body


def _head(flat: list[bytes]) -> tuple[RequestHeaders, str]:
    """The request's head, and why it cannot be sent, or nothing."""
    headers = RequestHeaders(None, None, None, b"http")
    problem = ""
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        lower = key.lower()
        if lower == b"content-length":
            continue  # the body's
        problem = problem or invalid_field(lower, value)
        name = header_name(key)
        if name == b"host":
            name = b":authority"
        if name[0] == 58:
            headers.set(name, value)
        elif name[0]:
            headers.add(name, value)
    return headers, problem
