"""Objects of the filter state: what is made of a text, and how it is read back.

What filters keep is text (``str`` or ``bytes``), a number, a boolean, a dict of fields, or one of the classes
here.  Scripts, guests and ``set_filter_state`` make objects by the names of Envoy's factories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.address import is_ip
from sidecar.core.destination import ORIGINAL_DST_STATE, parse_destination

__all__ = [
    "ALPN_STATE",
    "FACTORIES",
    "NAMES_STATE",
    "SNI_STATE",
    "AddressText",
    "HashableText",
    "IpText",
    "PlainText",
    "ShortNumber",
    "TextList",
    "bytes_of",
    "field_of",
    "text_of",
]

#: What a connection to an upstream asks for in its handshake, in place of what the cluster says.
SNI_STATE = "envoy.network.upstream_server_name"
ALPN_STATE = "envoy.network.application_protocols"
NAMES_STATE = "envoy.network.upstream_subject_alt_names"


class HashableText(str):
    """Text that a hash policy of the filter state may look at (``envoy.hashable_string``)."""

    __slots__ = ()


class PlainText(str):
    """Text that shows as it is alone, being no message to Envoy (``envoy.tcp_proxy.cluster``)."""

    __slots__ = ()


class IpText(PlainText):
    """``10.0.0.1:0``: an address that matchers of addresses look at."""

    __slots__ = ()

    @property
    def ip(self) -> str:
        """The address alone."""
        return self.rpartition(":")[0].removeprefix("[").removesuffix("]")


class AddressText(PlainText):
    """``10.0.0.1:80``, with the fields ``ip`` and ``port``."""

    __slots__ = ()

    def get(self, name: str) -> str | int | None:
        """The field of this name."""
        host, _, port = self.rpartition(":")
        if name == "ip":
            return host.removeprefix("[").removesuffix("]")
        return int(port) if name == "port" else None


class ShortNumber(int):
    """A number that shows as one: Envoy's message of a longer one is text in JSON."""

    __slots__ = ()


class TextList(tuple[str, ...]):
    """Texts that do not show."""

    __slots__ = ()


def _boolean(text: str) -> bool | None:
    """As Abseil reads one."""
    text = text.lower()
    if text in ("true", "t", "yes", "y", "1"):
        return True
    return False if text in ("false", "f", "no", "n", "0") else None


def _number(text: str) -> int | None:
    text = text.strip()
    if not text.isascii() or not text.removeprefix("+").isdigit():
        return None
    return number if (number := int(text)) < 1 << 64 else None


def _short_number(text: str) -> ShortNumber | None:
    number = _number(text)
    return None if number is None or number >= 1 << 32 else ShortNumber(number)


def _ip(text: str) -> IpText | None:
    if not is_ip(text):
        return None
    return IpText(f"[{text}]:0" if ":" in text else f"{text}:0")


def _address(text: str) -> AddressText | None:
    return None if parse_destination(text) is None else AddressText(text)


#: By the names of Envoy's factories: the object of a text, None where there is none.
FACTORIES: dict[str, Callable[[str], Any]] = {
    "envoy.string": str,
    "envoy.hashable_string": HashableText,
    "envoy.bool": _boolean,
    "envoy.network.ip": _ip,
    "envoy.network.network_namespace": PlainText,
    SNI_STATE: PlainText,
    ALPN_STATE: lambda text: TextList(text.split(",") if text else ()),
    NAMES_STATE: PlainText,
    ORIGINAL_DST_STATE: _address,
    "envoy.filters.listener.original_dst.local_ip": _address,
    "envoy.filters.listener.original_dst.remote_ip": _address,
    "envoy.tcp_proxy.cluster": PlainText,
    "envoy.tcp_proxy.disable_tunneling": lambda text: text == "true",
    "envoy.tcp_proxy.per_connection_idle_timeout_ms": _number,
    "envoy.upstream.dynamic_host": str,
    "envoy.upstream.dynamic_port": _short_number,
    "envoy.ratelimit.hits_addend": _short_number,
}


def text_of(value: Any) -> str | bytes | None:
    """An object as text; None for one that has none."""
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    found: str | None = getattr(value, "plain", None)
    return found


def field_of(value: Any, name: str) -> Any:
    """A field of an object; None where there is no such field."""
    return value.get(name) if isinstance(value, dict | AddressText) else None


def bytes_of(value: Any) -> bytes | None:
    """An object's text as bytes; None for one that has none."""
    text = text_of(value)
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
