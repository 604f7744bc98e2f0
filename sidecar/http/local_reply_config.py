"""``local_reply_config``: what becomes of the answers that the proxy makes itself.

envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig, compiled by
:mod:`sidecar.config.compile.local_reply`.  Asked by :func:`sidecar.http.local_reply.build_response` for every
local reply, direct responses and redirects of routes among them, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import ResponseMessage
from sidecar.core.dataclass import dataclass
from sidecar.observability.formatter import encoded
from sidecar.router.header_mutation import HeaderMutations

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import ResponseHeaders

__all__ = ["BodyFormat", "LocalReplyConfig", "ResponseMapper"]


@dataclass(frozen=True, slots=True)
class BodyFormat:
    """``body_format``: a text made of the stream, and its type."""

    render: Callable[[Stream], str]
    content_type: bytes


@dataclass(frozen=True, slots=True)
class ResponseMapper:
    """One of ``mappers``."""

    matches: Callable[[Stream], bool]
    status: int | None
    body: bytes | None
    body_format: BodyFormat | None
    additions: HeaderMutations


@dataclass(frozen=True, slots=True)
class LocalReplyConfig:
    """The first mapper that matches changes the reply; then the body is formatted."""

    mappers: tuple[ResponseMapper, ...]
    body_format: BodyFormat | None

    def rewrite(self, stream: Stream, headers: ResponseHeaders, body: bytes) -> tuple[bytes, bytes]:
        """Change ``headers``, whose status among them; the body, and the type that belongs to it.

        Mappers and formats see the status before and after the change, and the headers as far as they are.
        """
        stream.response = ResponseMessage(headers)
        stream.response_code = headers.status
        body_format = self.body_format
        for mapper in self.mappers:
            if mapper.matches(stream):
                if mapper.body is not None:
                    body = mapper.body
                mapper.additions.apply(headers, stream)
                if mapper.status is not None:
                    headers.status = stream.response_code = mapper.status
                if mapper.body_format is not None:
                    body_format = mapper.body_format
                break
        if body_format is None:
            return body, b"text/plain"
        stream.local_reply_body = body
        text = encoded(body_format.render(stream))
        stream.local_reply_body = b""
        return text, body_format.content_type
