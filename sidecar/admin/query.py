"""Query strings and JSON texts as the admin API has them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import re2

__all__ = ["RegexError", "compile_filter", "parse_query", "pretty_json"]


class RegexError(Exception):
    """A query's regular expression is none; the message is RE2's."""


def parse_query(query: str) -> dict[str, str]:
    """Parameters, percent-decoded (a plus sign is itself); of one name the first counts."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(unquote(name), unquote(value))
    return found


def compile_filter(pattern: str) -> Any:
    """An RE2 expression.  Raises: RegexError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise RegexError(text) from error


def pretty_json(value: Any) -> bytes:
    """As Envoy prints messages: one space of indentation, a line feed at the end."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return (text + "\n").encode("utf-8", "surrogateescape")
