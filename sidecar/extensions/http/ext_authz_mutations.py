"""What an answer of the authorization service changes in a request, as far as that is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import SidecarError
from sidecar.core.headers import Field, RequestHeaders
from sidecar.core.mutation_rules import APPEND, FAIL, OK, REMOVE, SET, MutationRules
from sidecar.extensions.http.header_edits import BAD_VALUE, invalid_field, invalid_value, unsendable_reply

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.extensions.authz.decision import Decision, Pair

__all__ = ["Rejected", "RequestMutations", "is_field", "sendable", "unsendable"]

_is_name = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
#: What may stand in a query parameter (``PercentEncoding::queryParameterIsUrlEncoded``).
_is_parameter = re.compile(rb"[A-Za-z0-9*\-._]*").fullmatch


_PSEUDO = frozenset((b":authority", b":method", b":path", b":scheme", b":protocol"))


class Rejected(SidecarError):
    """The answer asks for what is not allowed: it counts as none.

    ``is_too_much``: the request would have more headers than one may have.
    """

    is_too_much = False


def is_field(name: bytes, value: bytes) -> bool:
    """Whether a field can be sent at all."""
    return _is_name(name) is not None and BAD_VALUE.search(value) is None


def sendable(fields: Iterable[Field]) -> list[Field]:
    """Those that can be sent to a client, their names in lower case."""
    return [(name.lower(), value) for name, value in fields if is_field(name, value)]


def unsendable(decision: Decision) -> LocalReply | None:
    """Envoy's answer to a request whose new headers, or whose path, cannot be sent upstream."""
    for pair in decision.query_to_set:
        if any(BAD_VALUE.search(part) for part in pair):
            return unsendable_reply(invalid_value(b":path"))
    for group in (decision.to_set, decision.to_add, decision.to_append):
        for name, value in group:
            problem = invalid_field(name.lower(), value)
            if problem:
                return unsendable_reply(problem)
    return None


@dataclass(frozen=True, slots=True)
class RequestMutations:
    """``validate_mutations`` and ``decoder_header_mutation_rules``."""

    validates: bool = False
    rules: MutationRules | None = None

    def changes_request(self, decision: Decision, looked_at: frozenset[bytes] = frozenset()) -> bool:
        """Whether the route may be another one afterwards, where it depends on these headers or on any."""
        if looked_at and not (decision.query_to_set or decision.query_to_remove):
            changed = {name.lower() for name, _ in (*decision.to_set, *decision.to_append)}
            return not looked_at.isdisjoint(changed.union(map(bytes.lower, decision.to_remove)))
        return bool(
            decision.to_set
            or decision.to_append
            or decision.to_remove
            or decision.query_to_set
            or decision.query_to_remove
        )

    def apply(self, stream: Stream, decision: Decision) -> None:
        """Change the request.  Raises: Rejected, with what was done before done."""
        headers = stream.request.headers
        self._apply(headers, decision)
        hcm = stream.hcm
        if (decision.to_add or self.changes_request(decision)) and (
            len(headers) > hcm.max_headers_count or headers.byte_size() > hcm.max_request_headers_bytes
        ):
            error = Rejected()
            error.is_too_much = True
            raise error

    def _apply(self, headers: RequestHeaders, decision: Decision) -> None:
        for name, value in decision.to_set:
            if self._may(SET, name, value):
                _set(headers, name.lower(), value)
        for name, value in decision.to_add:
            if self._may(SET, name, value):
                headers.append(_known(name.lower()), value)
        for name, value in decision.to_append:
            if self._may(APPEND, name, value):
                _append(headers, _known(name.lower()), value)
        for name in decision.to_remove:
            self._remove(headers, name)
        for group in (
            decision.response_to_add,
            decision.response_to_set,
            decision.response_to_add_if_absent,
            decision.response_to_overwrite,
        ):
            self.check(group)
        if decision.query_to_set or decision.query_to_remove:
            path = headers.path or b""
            headers.path = self._query(path, decision.query_to_set, decision.query_to_remove)

    def check(self, fields: Iterable[Field]) -> None:
        """Look at headers for the client.  Raises: Rejected."""
        if self.validates and not all(is_field(name, value) for name, value in fields):
            raise Rejected

    def _may(self, operation: int, name: bytes, value: bytes) -> bool:
        """Whether to do it; no with what is to be ignored.  Raises: Rejected."""
        if self.validates and not is_field(name, value):
            raise Rejected
        if self.rules is None:
            return True
        found = self.rules.check(operation, name.lower())
        if found == FAIL:
            raise Rejected
        return found == OK

    def _remove(self, headers: RequestHeaders, name: bytes) -> None:
        lower = name.lower()
        if self.rules is None:
            if lower[:1] != b":" and lower != b"host":
                headers.remove(lower)
        elif self._may_remove(self.rules, lower):
            headers.remove(lower)

    def _may_remove(self, rules: MutationRules, name: bytes) -> bool:
        if self.validates and _is_name(name) is None:
            return False
        found = rules.check(REMOVE, name)
        if found == FAIL:
            raise Rejected
        return found == OK

    def _query(self, path: bytes, to_set: list[Pair], to_remove: list[bytes]) -> bytes:
        """The path with its query written anew: sorted by name, every name with a ``=``."""
        plain, _, query = path.partition(b"?")
        parameters: dict[bytes, list[bytes]] = {}
        for pair in query.split(b"&") if query else ():
            name, _, value = pair.partition(b"=")
            parameters.setdefault(name, []).append(value)
        for name, value in to_set:
            if self.validates and not (_is_parameter(name) and _is_parameter(value)):
                raise Rejected
            parameters[name] = [value]
        for name in to_remove:
            parameters.pop(name, None)
        pairs = [name + b"=" + value for name in sorted(parameters) for value in parameters[name]]
        return plain + b"?" + b"&".join(pairs) if pairs else plain


def _known(name: bytes) -> bytes:
    """``host`` is ``:authority``, as in Envoy."""
    return b":authority" if name == b"host" else name


def _set(headers: RequestHeaders, name: bytes, value: bytes) -> None:
    name = _known(name)
    if name[:1] != b":" or name in _PSEUDO:  # another pseudo header is sent by nobody
        headers.replace(name, value)


def _append(headers: RequestHeaders, name: bytes, value: bytes) -> None:
    """Join to what is there, and to nothing."""
    before = headers.get(name)
    if before is not None:
        headers.set(name, before + b"," + value if before else value)
