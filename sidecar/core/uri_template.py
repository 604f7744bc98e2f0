"""URI templates of ``envoy.path.match.uri_template`` and ``envoy.path.rewrite.uri_template``.

A template is a path of segments, each a literal, ``*`` (one segment), ``**`` (any number, last of the
globs) or a variable, ``{name}`` or ``{name=pattern}``; a literal may stand on either side of a variable, and
behind a glob that ends the template.  It becomes a regular expression (RE2) for whole paths.
"""

from __future__ import annotations

import re
from dataclasses import field

from sidecar.core.dataclass import dataclass

__all__ = ["parse_rewrite", "template_regex"]

_PCHAR = r"a-zA-Z0-9\-._~%!$&'()*+,;=:@"
_LITERAL = re.compile(f"[{_PCHAR}]+")
_REWRITE_LITERAL = re.compile(f"[{_PCHAR}/]+")
_NAME = re.compile("[a-zA-Z][a-zA-Z0-9_]*")
_PRINTABLE = re.compile("/[!-~]*")
_ONE_SEGMENT = f"[{_PCHAR}]+"
_ANY_SEGMENTS = f"[{_PCHAR}/]*"
#: Not the star: Envoy leaves it as it is, so ``a*b`` takes ``aab`` (seen on Envoy 1.40).
_ESCAPED = re.compile(r"[$()+.]")
_MAX_VARIABLES = 5
_MAX_NAME = 16


@dataclass(slots=True)
class _Template:
    names: list[str] = field(default_factory=list)
    seen_any: bool = False

    def glob(self, text: str) -> tuple[str, str]:
        """The expression of the operator that ``text`` begins with, and the rest of it."""
        if self.seen_any:
            raise ValueError("Glob after text glob.")
        if text.startswith("**"):
            self.seen_any = True
            return _ANY_SEGMENTS, text[2:]
        return _ONE_SEGMENT, text[1:]

    def variable(self, text: str) -> str:
        """The group for what stands between two braces."""
        name, equals, pattern = text.partition("=")
        if not _NAME.fullmatch(name):
            raise ValueError(f'Invalid variable name: "{name}"')
        if len(self.names) >= _MAX_VARIABLES:
            raise ValueError(f"Exceeded variable count limit ({_MAX_VARIABLES})")
        if len(name) > _MAX_NAME:
            limits = f"should be at least 1 and no more than {_MAX_NAME}"
            raise ValueError(f'Invalid variable name length (length of "{name}" {limits})')
        if name in self.names:
            raise ValueError("Repeated variable name")
        self.names.append(name)
        if not equals:
            if self.seen_any:
                raise ValueError("Implicit variable path glob after text glob.")
            return f"(?P<{name}>{_ONE_SEGMENT})"
        if not pattern:
            raise ValueError("Empty variable match")
        parts = []
        for part in pattern.split("/"):
            if part.startswith("*"):
                found, rest = self.glob(part)
                if rest:
                    raise ValueError(f'Invalid variable match: "{rest}"')
                parts.append(found)
            else:
                parts.append(_literal(part))
        return f"(?P<{name}>{'/'.join(parts)})"


def template_regex(text: str) -> str:
    """The regular expression that matches the whole of a path that ``text`` takes.

    Raises: ValueError.
    """
    if not _PRINTABLE.fullmatch(text):
        raise ValueError(f'Invalid pattern: "{text}"')
    template = _Template()
    segments: list[str] = []
    rest = text[1:]
    while rest:
        if rest.startswith("*"):
            segment, rest = template.glob(rest)
            if rest and not rest.startswith("/"):
                suffix, slash, _ = rest.partition("/")
                segment += _literal(suffix)
                if slash:
                    raise ValueError("Prefix match not supported.")
                rest = ""
        elif rest.startswith("{"):
            segment, rest = _braced(template, rest, rest)
        else:
            whole, slash, after = rest.partition("/")
            prefix, brace, _ = whole.partition("{")
            if brace and "}" in whole:
                segment, remaining = _braced(template, whole[len(prefix) :], whole)
                segment = _literal(prefix) + segment
                rest = remaining + slash + after
            else:
                segment, rest = _literal(whole), slash + after
        segments.append(segment)
        if rest == "/":
            segments.append("")
            break
        rest = rest[1:]
    return "/" + "/".join(segments)


def _braced(template: _Template, text: str, shown: str) -> tuple[str, str]:
    """The variable that ``text`` begins with and the literal behind it; the rest begins with a slash."""
    inner, brace, rest = text[1:].partition("}")
    if not brace:
        raise ValueError(f'Unmatched variable bracket in "{shown}"')
    segment = template.variable(inner)
    suffix, slash, after = rest.partition("/")
    if suffix:
        if not _LITERAL.fullmatch(suffix):
            raise ValueError(f'Invalid suffix literal: "{suffix}"')
        segment += _escape(suffix)
    return segment, slash + after


def _literal(text: str) -> str:
    if not _LITERAL.fullmatch(text):
        raise ValueError(f'Invalid literal: "{text}"')
    return _escape(text)


def _escape(text: str) -> str:
    return _ESCAPED.sub(r"\\\g<0>", text)


def parse_rewrite(text: str) -> list[tuple[bool, str]]:
    """The pieces of a rewrite template: (whether it is a variable, its name or the literal).

    Raises: ValueError.
    """
    if not text.startswith("/"):
        raise ValueError("Invalid rewrite variable placement")
    if "//" in text:
        raise ValueError("Invalid rewrite literal")
    pieces: list[tuple[bool, str]] = []
    while text:
        literal, brace, text = text.partition("{")
        if literal:
            if not _REWRITE_LITERAL.fullmatch(literal):
                raise ValueError("Invalid rewrite literal pattern")
            pieces.append((False, literal))
        if brace:
            name, closing, text = text.partition("}")
            if not closing:
                raise ValueError("Unmatched variable bracket")
            if not _NAME.fullmatch(name):
                raise ValueError("Invalid variable name")
            pieces.append((True, name))
    return pieces
