"""A processor that is asked by HTTP (``http_service``): a POST for each head, with JSON in both directions.

It stands where an exchange expects a stream to the processor.  There is no stream: each question is a call of
its own (``source/extensions/filters/http/ext_proc/http_client``).
"""

from __future__ import annotations

from collections.abc import Callable
from random import getrandbits
from typing import TYPE_CHECKING, Any

from sidecar.api.message import FixedBody
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.router.http_client import HttpCall

if TYPE_CHECKING:
    from sidecar.net.timer import Timer
    from sidecar.router.http_client import HttpClient

__all__ = ["HttpConversation", "HttpProcessor"]


@dataclass(frozen=True, slots=True)
class HttpProcessor:
    """``ExtProcHttpService``."""

    client: HttpClient
    cluster: str
    authority: bytes
    path: bytes
    timeout_s: float

    def stream(self, _method: bytes, **_: Any) -> HttpConversation:
        """What one stream and the processor have to say to each other."""
        return HttpConversation(self)


class HttpConversation:
    """The questions about one stream; one is under way at a time."""

    is_by_http = True
    is_done = False
    status = None

    def __init__(self, processor: HttpProcessor) -> None:
        self._processor = processor
        self._id = b"%d" % getrandbits(64)
        self._call: HttpCall | None = None
        self._answer: bytes | None = None
        self.on_event: Callable[[Any], None] | None = None
        #: Told where there is no answer that could be read.
        self.on_error: Callable[[], None] | None = None

    def ask(self, data: bytes) -> None:
        """Send a question at the end of this pass."""
        processor = self._processor
        head = RequestHeaders(b"POST", processor.path, processor.authority, b"http")
        head.append(b"content-type", b"application/json")
        head.append(b"x-request-id", self._id)
        client = processor.client
        stream = client.stream_for(
            processor.cluster,
            head,
            FixedBody(data),
            timeout_s=processor.timeout_s,
            send_internal=False,
            send_xff=False,
        )
        call = HttpCall(client, stream, client.buffer_limit_bytes)
        call.on_done = self._over
        self._call = call
        call.start()

    def _over(self, call: HttpCall) -> None:
        if call is not self._call:
            return
        response = call.response
        if response is None or response.headers.status != 200:
            if self.on_error is not None:
                self.on_error()
            return
        self._answer = response.body
        if self.on_event is not None:
            self.on_event(self)

    def take_message(self) -> bytes | None:
        """The answer, once."""
        answer, self._answer = self._answer, None
        return answer

    def after(self, seconds: float, fire: Callable[[], None], name: str) -> Timer:
        """Have ``fire`` called unless the question is answered before."""
        assert self._call is not None
        return self._call.after(seconds, fire, name)

    def forget(self, timer: Timer) -> None:
        """It is answered."""
        if self._call is not None:  # else its timers are over with it
            self._call.forget(timer)

    def cancel(self) -> None:
        """The answer is not wanted any more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
