"""A claim as a request header (``JwtProvider.claim_to_headers``)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from sidecar.extensions.jwt.claims import find
from sidecar.extensions.jwt.proto_json import proto_json

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["ClaimHeader", "claim_text"]

_MOST = float(2**64)


class ClaimHeader:
    """One header and the path to its claim."""

    __slots__ = ("name", "path")

    def __init__(self, name: bytes, path: tuple[str, ...]) -> None:
        self.name = name
        self.path = path

    def add(self, payload: dict[str, Any], headers: RequestHeaders) -> bool:
        """Add the header, where the claim is there and is not empty."""
        text = claim_text(find(payload, self.path))
        if not text:
            return False
        headers.append(self.name, text)
        return True


def claim_text(value: Any) -> bytes:
    """What a claim is in a header: text and numbers as they are, lists and objects as JSON in base64."""
    kind = type(value)
    if kind is str:
        return value.encode()  # type: ignore[no-any-return]
    if kind is float:
        if 0 <= value < _MOST and value == int(value):
            return b"%d" % int(value)
        return b"%f" % value
    if kind is bool:
        return b"true" if value else b"false"
    if kind in (dict, list):
        return b64encode(proto_json(value).encode())
    return b""
