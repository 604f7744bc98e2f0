"""What the modules of our own Lua filter do (lua_modules.lua is their Lua half).

JSON, digests, URLs, identifiers, RE2 and dictionaries that streams share.  Functions take and give bytes;
problems that a script should hear of are given as text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit
from uuid import UUID

import re2

if TYPE_CHECKING:
    from sidecar.extensions.http.lua_script import Script

__all__ = ["module_callbacks"]

_DIGESTS = {
    b"sha1": hashlib.sha1,
    b"sha256": hashlib.sha256,
    b"sha384": hashlib.sha384,
    b"sha512": hashlib.sha512,
}
_MOST_DEPTH = 100
#: Bytes that a replacement may make.
_MOST_MADE = 16 * 1024 * 1024
#: Captures in a replacement.
_REFERENCE = re.compile(rb"\\([0-9])")
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="


def module_callbacks(script: Script, lua: Any) -> dict[bytes, Callable[..., Any]]:
    """The functions for lua_modules.lua, which work on the stream that ``script`` runs now."""

    def json_decode(text: bytes, null: Any, empty: Any) -> Any:
        if not script.has_room(24 * len(text)):
            return None, b"json: the text is too long"
        try:
            value = json.loads(text, parse_constant=_no_constant)
            return _table(lua, value, null, empty)
        except (ValueError, RecursionError) as error:
            return None, f"json: {error}".encode()

    def url_parse(text: bytes) -> Any:
        try:
            parts = urlsplit(text.decode("latin-1"))
            port = parts.port
        except ValueError as error:
            return None, str(error).encode()
        found: dict[bytes, Any] = {
            name.encode(): value.encode("latin-1")
            for name in ("scheme", "netloc", "path", "query", "fragment")
            if (value := getattr(parts, name))
        }
        if parts.hostname:
            found[b"host"] = parts.hostname.encode("latin-1")
        if port is not None:
            found[b"port"] = port
        return lua.table_from(found)

    def url_parse_query(text: bytes) -> Any:
        if not script.has_room(64 * len(text)):
            return None, b"url: the query is too long"
        found: dict[bytes, Any] = {}
        for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True, encoding="latin-1"):
            key, one = name.encode("latin-1"), value.encode("latin-1")
            if key not in found:
                found[key] = one
            elif isinstance(found[key], list):
                found[key].append(one)
            else:
                found[key] = [found[key], one]
        return lua.table_from(
            {key: lua.table_from(value) if isinstance(value, list) else value for key, value in found.items()}
        )

    def jwt(token: bytes, provider: bytes) -> Any:
        name = provider.decode("utf-8", "replace")
        own = script.host.jwt_providers.get(name)
        judged = _by_filters(script.stream, name, token) if own is None else own.verify(token)
        if judged is None:
            return None, b"jwt: no provider is called " + provider
        claims, problem = judged
        if claims is None:
            return None, b"jwt: " + problem.encode()
        return _table(lua, claims, None, None)

    def shared(verb: bytes, dictionary: bytes, key: bytes, *args: Any) -> Any:
        found = script.host.dictionaries.get(dictionary.decode("utf-8", "replace"))
        if found is None:
            return b"shared: no dictionary is called " + dictionary
        if any(not isinstance(each, bytes | int | float | None.__class__) for each in args):
            return b"shared: values are strings, numbers and booleans"
        try:
            result = getattr(found, "set" if verb == b"delete" else verb.decode())(
                key, *((None,) if verb == b"delete" else args)
            )
        except (TypeError, ValueError) as error:
            return f"shared: {error}".encode()
        return None, result

    return {
        b"m_base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
        b"m_base64url_decode": _base64url_decode,
        b"m_digest": lambda name, data: _DIGESTS[name](data).digest(),
        b"m_equals": hmac.compare_digest,
        b"m_hmac": lambda name, key, data: hmac.digest(key, data, name.decode()),
        b"m_json_decode": json_decode,
        b"m_jwt": jwt,
        b"m_re_find": _re_find,
        b"m_re_gsub": _re_gsub,
        b"m_re_match": _re_match,
        b"m_shared": shared,
        b"m_url_escape": lambda text: quote(text, safe="").encode(),
        b"m_url_parse": url_parse,
        b"m_url_parse_query": url_parse_query,
        b"m_url_unescape": lambda text: unquote_to_bytes(text.replace(b"+", b" ")),
        b"m_uuid4": lambda: str(UUID(bytes=os.urandom(16), version=4)).encode(),
    }


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _table(lua: Any, value: Any, null: Any, empty: Any, depth: int = 0) -> Any:
    """What JSON holds as Lua values."""
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict):
        return lua.table_from(
            {
                key.encode("utf-8", "surrogatepass"): _table(lua, one, null, empty, depth + 1)
                for key, one in value.items()
            }
        )
    if isinstance(value, list):
        if not value and empty is not None:
            return empty
        return lua.table_from([_table(lua, one, null, empty, depth + 1) for one in value])
    if value is None:
        return null
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 53:
        return float(value)
    return value


def _base64url_decode(text: bytes) -> bytes | None:
    if text.translate(None, _BASE64URL):
        return None
    try:
        return base64.urlsafe_b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4))
    except binascii.Error:
        return None


@lru_cache(maxsize=256)
def _expression(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 8 << 20
    return re2.compile(pattern, options)


def _problem(error: Exception) -> bytes:
    text = error.args[0] if error.args else b""
    return b"re: " + (text if isinstance(text, bytes) else str(text).encode())


def _re_find(text: bytes, pattern: bytes, init: float) -> Any:
    try:
        match = _expression(pattern).search(text, max(int(init) - 1, 0))
    except re2.error as error:
        return _problem(error)
    return (None, None) if match is None else (None, match.start() + 1, match.end())


def _re_match(text: bytes, pattern: bytes) -> Any:
    try:
        match = _expression(pattern).search(text)
    except re2.error as error:
        return _problem(error)
    if match is None:
        return None, None
    return (None, *(match.groups() or (match.group(),)))


def _re_gsub(text: bytes, pattern: bytes, replacement: bytes) -> Any:
    try:
        expression = _expression(pattern)
    except re2.error as error:
        return _problem(error)
    parts = _REFERENCE.split(replacement)
    if any(int(part) > expression.groups for part in parts[1::2]):
        return b"re: the replacement names a capture that is not there"

    room = _MOST_MADE

    def replace(match: Any) -> bytes:
        nonlocal room
        made = b"".join(
            (match.group(int(part)) or b"") if index % 2 else part for index, part in enumerate(parts)
        )
        room -= len(made)
        if room < 0:
            raise OverflowError
        return made

    try:
        made, count = expression.subn(replace, text)
    except OverflowError:
        return b"re: the result is too long"
    return None, made, count


def _by_filters(stream: Any, name: str, token: bytes) -> tuple[dict[str, Any] | None, str] | None:
    """The judgement of the chain's ``jwt_authn`` filters; None where none has such a provider."""
    for each in stream.hcm.filters:
        verify = getattr(each, "verify_token", None)
        if verify is not None and (judged := verify(name, token)) is not None:
            return judged  # type: ignore[no-any-return]  # of a filter that is not imported here
    return None
