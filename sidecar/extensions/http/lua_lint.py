"""What can be said of a Lua script without running it (``sidecar lint``).

Syntax is LuaJIT's word.  Beyond that the text is read once, token by token: variables that hold the filter's
objects are followed (``local headers = handle:headers()``), so that methods which their object does not have
are named, and calls that cannot work where they stand.  What is not understood is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from sidecar.config.nearest import nearest
from sidecar.core.dataclass import dataclass

__all__ = ["Finding", "lint_script"]

_LOGS = "logTrace logDebug logInfo logWarn logErr logCritical"
#: Methods by kind of object.
METHODS: dict[str, frozenset[str]] = {
    kind: frozenset(f"{names} {_LOGS}".split())
    for kind, names in {
        "handle": "headers body bodyChunks trailers metadata httpCall respond streamInfo connection "
        "connectionStreamInfo setUpstreamOverrideHost clearRouteCache filterContext "
        "virtualHost route importPublicKey verifySignature base64Escape base64Decode "
        "timestamp timestampString stats requestHeaders",
        "headers": "add get getAtIndex getNumValues remove replace setHttp1ReasonPhrase",
        "trailers": "add get getAtIndex getNumValues remove replace setHttp1ReasonPhrase",
        "buffer": "length getBytes setBytes",
        "metadata": "get",
        "dynamic metadata": "get set",
        "connection metadata": "get",
        "filter state": "get set",
        "stream info": "protocol routeName virtualClusterName downstreamLocalAddress "
        "downstreamDirectLocalAddress downstreamRemoteAddress downstreamDirectRemoteAddress "
        "downstreamSslConnection requestedServerName dynamicMetadata dynamicTypedMetadata "
        "filterState drainConnectionUponCompletion",
        "connection stream info": "dynamicMetadata dynamicTypedMetadata",
        "connection": "ssl",
        "ssl": "peerCertificatePresented peerCertificateValidated uriSanLocalCertificate "
        "dnsSansLocalCertificate oidsLocalCertificate uriSanPeerCertificate "
        "dnsSansPeerCertificate oidsPeerCertificate sha256PeerCertificateDigest "
        "serialNumberPeerCertificate issuerPeerCertificate subjectPeerCertificate "
        "subjectLocalCertificate parsedSubjectPeerCertificate "
        "urlEncodedPemEncodedPeerCertificate urlEncodedPemEncodedPeerCertificateChain "
        "validFromPeerCertificate expirationPeerCertificate sessionId ciphersuiteId "
        "ciphersuiteString tlsVersion",
        "parsed subject": "commonName organizationName",
        "route": "metadata",
        "stats": "counter gauge histogram",
        "counter": "inc add value",
        "gauge": "inc dec add sub set value",
        "histogram": "recordValue",
        "public key": "get",
    }.items()
}
#: What a method gives, where that is an object.
RETURNS: dict[tuple[str, str], str] = {
    ("handle", "headers"): "headers",
    ("handle", "requestHeaders"): "headers",
    ("handle", "trailers"): "trailers",
    ("handle", "body"): "buffer",
    ("handle", "metadata"): "metadata",
    ("handle", "filterContext"): "metadata",
    ("handle", "streamInfo"): "stream info",
    ("handle", "connection"): "connection",
    ("handle", "connectionStreamInfo"): "connection stream info",
    ("handle", "virtualHost"): "route",
    ("handle", "route"): "route",
    ("handle", "stats"): "stats",
    ("handle", "importPublicKey"): "public key",
    ("route", "metadata"): "metadata",
    ("stream info", "dynamicMetadata"): "dynamic metadata",
    ("stream info", "filterState"): "filter state",
    ("stream info", "downstreamSslConnection"): "ssl",
    ("connection stream info", "dynamicMetadata"): "connection metadata",
    ("connection", "ssl"): "ssl",
    ("ssl", "parsedSubjectPeerCertificate"): "parsed subject",
    ("stats", "counter"): "counter",
    ("stats", "gauge"): "gauge",
    ("stats", "histogram"): "histogram",
}
_ENTRIES = {"envoy_on_request": "request", "envoy_on_response": "response"}
#: Objects that a wait does not end.
_LASTING = ("handle", "counter", "gauge", "histogram")
_TOKEN = re.compile(
    r"""(?P<space>\s+|--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
    |(?P<string>\[(?P<s>=*)\[.*?\](?P=s)\]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>0[xX][\da-fA-F.]+|\d[\w.]*)
    |(?P<op>\.\.\.|\.\.|==|~=|<=|>=|::|.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` and ``column`` count from 1."""

    line: int
    column: int
    severity: str
    text: str


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


@dataclass(slots=True)
class _Block:
    """A block that ``end`` or ``until`` closes."""

    kind: str
    number: int
    #: Of a function: ``request``, ``response``, or empty.
    phase: str = ""
    #: Kinds of objects by the names that hold them, and when they were got.
    names: dict[str, tuple[str, int] | None] = field(default_factory=dict)


def lint_script(code: str) -> list[Finding]:
    """All findings of a script, in their order."""
    problem = _syntax(code.encode("utf-8", "surrogateescape"))
    if problem is not None:
        return [problem]
    reader = _Reader(list(_tokens(code)))
    reader.read()
    found = reader.findings
    for name, token in reader.functions:
        meant = nearest(name, _ENTRIES)
        if meant is not None and name not in _ENTRIES and meant not in reader.entries:
            text = f"{name}() is never called: did you mean {meant}()?"
            found.append(Finding(token.line, token.column, "error", text))
    if not reader.entries and not found:
        text = "the script defines neither envoy_on_request() nor envoy_on_response()"
        found.append(Finding(1, 1, "warning", text))
    return sorted(found, key=lambda each: (each.line, each.column))


def _syntax(code: bytes) -> Finding | None:
    import lupa.luajit21 as lupa

    lua = lupa.LuaRuntime(
        encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False
    )
    loaded: Any = lua.globals()[b"loadstring"](code, b"=script")
    if not isinstance(loaded, tuple):
        return None
    text = loaded[1].decode("utf-8", "replace")
    match = re.match(r"script:(\d+): (.*)", text, re.DOTALL)
    return Finding(int(match[1]), 1, "error", match[2]) if match else Finding(1, 1, "error", text)


def _tokens(code: str) -> Iterator[_Token]:
    line, start = 1, 0
    for match in _TOKEN.finditer(code):
        if match["space"] is None:
            kind = str(match.lastgroup if match.lastgroup != "s" else "string")
            yield _Token(kind, match[0], line, match.start() - start + 1)
        breaks = match[0].count("\n")
        if breaks:
            line += breaks
            start = match.start() + match[0].rfind("\n") + 1


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self.findings: list[Finding] = []
        self.entries: set[str] = set()
        self.functions: list[tuple[str, _Token]] = []
        self._tokens = tokens
        self._at = 0
        self._count = 0
        self._blocks = [_Block("chunk", 0)]
        #: Waits and other calls of the running function: (name, when, the block that it stands in).
        self._calls: list[tuple[str, int, _Block]] = []

    # -- tokens -----------------------------------------------------------------------------------
    def _text(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _kind(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at].kind if at < len(self._tokens) else ""

    def _say(self, token: _Token, severity: str, text: str) -> None:
        self.findings.append(Finding(token.line, token.column, severity, text))

    # -- blocks -----------------------------------------------------------------------------------
    def read(self) -> None:
        """Read everything."""
        while self._at < len(self._tokens):
            self._statement_or_token()

    def _open(self, kind: str, **more: Any) -> None:
        self._count += 1
        self._blocks.append(_Block(kind, self._count, **more))

    def _statement_or_token(self) -> None:
        text, kind = self._text(), self._kind()
        if kind != "name":
            self._at += 1
            return
        if text == "function":
            self._function()
        elif text == "local":
            self._local()
        elif text == "for":
            self._for()
        elif text == "if":
            self._open("if")
            self._at += 1
        elif text in ("else", "elseif"):
            if len(self._blocks) > 1:
                self._blocks.pop()
            self._open("if")
            self._at += 1
        elif text in ("do", "repeat"):
            # Of `while … do` and `for … do` the `do` alone opens.
            if not (text == "do" and self._blocks[-1].kind == "for head"):
                self._open(text)
            else:
                self._blocks[-1].kind = "for"
            self._at += 1
        elif text in ("end", "until"):
            if len(self._blocks) > 1:
                closed = self._blocks.pop()
                if closed.kind == "function":
                    self._calls = [call for call in self._calls if call[2].number < closed.number]
            self._at += 1
        elif self._text(1) == "=" and self._text(-1) not in (".", ":"):
            self._assign(text)
        else:
            self._chain()

    def _function(self) -> None:
        token = self._tokens[self._at]
        before = self._text(-2) if self._text(-1) == "=" else ""
        self._at += 1
        name = before
        while self._kind() == "name" or self._text() in (".", ":"):
            name = self._text()
            if self._text() not in (".", ":") and self._text(1) == "(" and self._text(-1) == "function":
                self.functions.append((name, self._tokens[self._at]))
            self._at += 1
        names: dict[str, tuple[str, int] | None] = {}
        parameters: list[str] = []
        if self._text() == "(":
            self._at += 1
            while self._text() not in (")", ""):
                if self._kind() == "name":
                    parameters.append(self._text())
                self._at += 1
            self._at += 1
        phase = self._phase()
        for parameter in parameters:
            names[parameter] = None
        if len(self._blocks) == 1 and name in _ENTRIES:
            self.entries.add(name)
            phase = _ENTRIES[name]
            if parameters:
                names[parameters[0]] = ("handle", self._count)
        elif before and len(self._blocks) == 1:
            self.functions.append((before, token))
        self._open("function", phase=phase, names=names)

    def _phase(self) -> str:
        return next((block.phase for block in reversed(self._blocks) if block.phase), "")

    def _local(self) -> None:
        self._at += 1
        if self._text() == "function":
            return
        names: list[str] = []
        while self._kind() == "name":
            names.append(self._text())
            self._at += 1
            if self._text() != ",":
                break
            self._at += 1
        kind = None
        if self._text() == "=":
            self._at += 1
            if self._kind() == "name" and self._text() != "function":
                kind = self._chain(whole=True)
        for index, name in enumerate(names):
            self._blocks[-1].names[name] = (kind, self._count) if kind and index == 0 else None

    def _assign(self, name: str) -> None:
        self._at += 2
        kind = None
        if self._kind() == "name" and self._text() != "function":
            kind = self._chain(whole=True)
        for block in reversed(self._blocks):
            if name in block.names:
                block.names[name] = (kind, self._count) if kind else None
                return

    def _for(self) -> None:
        self._at += 1
        names: list[str] = []
        while self._kind() == "name" and self._text() != "in":
            names.append(self._text())
            self._at += 1
            if self._text() == ",":
                self._at += 1
        is_chunks = False
        if self._text() == "in":
            self._at += 1
            is_chunks = self._text(1) == ":" and self._text(2) == "bodyChunks"
            if self._kind() == "name":
                self._chain()
        kind = ("buffer", self._count + 1) if is_chunks else None
        self._open("for head", names=dict.fromkeys(names, kind))

    # -- calls ------------------------------------------------------------------------------------
    def _find(self, name: str) -> tuple[str, int] | None:
        for block in reversed(self._blocks):
            if name in block.names:
                return block.names[name]
        return None

    def _chain(self, *, whole: bool = False) -> str | None:
        """A name and the calls behind it; the kind of object that comes of it, if it ends the expression."""
        token = self._tokens[self._at]
        is_part = self._text(-1) in (".", ":")
        self._at += 1
        found = None if is_part else self._find(token.text)
        if found is None:
            return None
        kind: str | None = found[0]
        self._check_life(token, found)
        while kind is not None:
            mark, method = self._text(), self._text(1)
            if mark == ":" and self._kind(1) == "name":
                called = self._tokens[self._at + 1]
                self._at += 2
                self._check_method(called, kind, method)
                count = self._arguments()
                self._check_call(called, kind, method, count)
                kind = RETURNS.get((kind, method))
            elif mark == "." and self._kind(1) == "name" and method in METHODS[kind]:
                text = f"{method}() of a {kind} object is called with a dot: write :{method}()"
                self._say(self._tokens[self._at + 1], "error", text)
                self._at += 2
                kind = None
            else:
                break
        after = self._text()
        is_operator = self._kind() == "op" and after in "+-*/%^<>:"
        if whole and (is_operator or after in (".", "[", "(", "..", "or", "and", "==", "~=")):
            return None
        return kind

    def _arguments(self) -> int | None:
        """Read the arguments of a call; how many there are, None where that is not known."""
        if self._text() != "(":
            if self._kind() == "string":
                self._at += 1
                return 1
            return None if self._text() == "{" else 0
        depth, count, is_open, is_known = 0, 0, False, True
        while self._at < len(self._tokens):
            text = self._text()
            if text in ("(", "{", "["):
                depth += 1
                is_open = is_open or depth > 1
                self._at += 1
            elif text in (")", "}", "]"):
                depth -= 1
                self._at += 1
                if depth == 0:
                    break
            elif text == "," and depth == 1:
                count += 1
                self._at += 1
            elif self._kind() == "name":
                is_open = True
                if text == "function":
                    is_known = False
                    self._skip_function()
                else:
                    self._chain()
                    is_known = is_known and self._text() != "("
            else:
                is_open = True
                is_known = is_known and text != "..."
                self._at += 1
        return count + is_open if is_known or count > 3 else None

    def _skip_function(self) -> None:
        depth = len(self._blocks)
        self._function()
        while len(self._blocks) > depth and self._at < len(self._tokens):
            self._statement_or_token()

    # -- findings ---------------------------------------------------------------------------------
    def _check_method(self, token: _Token, kind: str, method: str) -> None:
        if method in METHODS[kind]:
            return
        meant = nearest(method, METHODS[kind])
        others = sorted(other for other, methods in METHODS.items() if method in methods)
        hint = f": did you mean {meant}()?" if meant else f": a {others[0]} object has it" if others else ""
        self._say(token, "error", f"a {kind} object has no method {method}(){hint}")

    def _check_life(self, token: _Token, found: tuple[str, int]) -> None:
        kind, since = found
        if kind in _LASTING:
            return
        for name, when, block in self._calls:
            if when > since and block in self._blocks and name in ("httpCall", "trailers", "bodyChunks"):
                text = f"this {kind} object was got before {name}(), which ended it: get it again"
                self._say(token, "error", text)
                return

    def _check_call(self, token: _Token, kind: str, method: str, count: int | None) -> None:
        phase = self._phase()
        if kind == "headers" and method == "setHttp1ReasonPhrase" and phase == "request":
            self._say(token, "warning", "setHttp1ReasonPhrase() does nothing in a request")
        if kind == "headers" and method in ("add", "replace", "remove"):
            self._check_continued(token, method)
        if kind != "handle":
            return
        if method == "respond":
            if phase == "response":
                self._say(token, "error", "respond() cannot be called in envoy_on_response()")
            else:
                self._check_continued(token, "respond")
        elif method in ("setUpstreamOverrideHost", "clearRouteCache") and phase == "response":
            self._say(
                token, "warning", f"{method}() does nothing in envoy_on_response(): the request is gone"
            )
        elif method == "httpCall" and count is not None and count < 4:
            self._say(
                token, "error", "httpCall() needs a cluster, headers, a body or nil, and a timeout or options"
            )
        elif method == "body":
            self._check_order(token, "body", ("bodyChunks", "trailers"), "the body has gone on")
        elif method == "bodyChunks":
            self._check_order(token, "bodyChunks", ("body",), "the body has been read whole")
        if method == "trailers" and any(name == "body" for name, _, _ in self._calls):
            return  # all of it is there: nothing waits
        if method in ("body", "bodyChunks", "trailers", "httpCall"):
            self._count += 1
            self._calls.append((method, self._count, self._blocks[-1]))
            self._count += 1

    def _check_continued(self, token: _Token, method: str) -> None:
        self._check_order(token, method, ("bodyChunks",), "the headers have gone on")

    def _check_order(self, token: _Token, method: str, before: tuple[str, ...], why: str) -> None:
        for name, _, block in self._calls:
            if name in before and block in self._blocks:
                self._say(token, "error", f"{method}() cannot work behind {name}(): {why}")
                return
