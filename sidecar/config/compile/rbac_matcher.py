"""``matcher`` of an RBAC filter: a match tree whose actions say what becomes of a request or a connection.

Actions are ``envoy.config.rbac.v3.Action``; what no action is found for is denied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.config.compile.matching import CEL_INPUT, MatcherCompiler
from sidecar.config.compile.network_inputs import NETWORK_INPUTS
from sidecar.config.compile.route_matcher import HTTP_INPUTS
from sidecar.core.matching import Input
from sidecar.core.rbac import MatcherEngine, Subject, Verdict

__all__ = ["compile_rbac_matcher"]

_LOG = 2
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3"
#: Inputs that choose a filter chain and judge nothing after that (refused by Envoy 1.40).
_OF_LISTENERS = {
    f"{_NETWORK}.{name}" for name in ("SourceTypeInput", "TransportProtocolInput", "ApplicationProtocolInput")
}


def compile_rbac_matcher(message: Any, path: str, *, has_requests: bool) -> MatcherEngine:
    """The engine of a Matcher; ``has_requests`` where it judges requests.  Raises: ConfigError."""
    inputs: dict[str, Callable[[Any, str], Input[Subject]]] = {
        name: _of_connection(make) for name, make in NETWORK_INPUTS.items() if name not in _OF_LISTENERS
    }
    if has_requests:
        inputs |= {name: _of_request(make) for name, make in HTTP_INPUTS.items()}
        inputs[CEL_INPUT] = lambda _message, _path: lambda subject: subject.stream
    found: list[Verdict] = []

    def action(message: Any, _path: str) -> Verdict:
        found.append(Verdict(message.action in (0, _LOG), message.name, is_logged=message.action == _LOG))
        return found[-1]

    tree = MatcherCompiler(inputs, {"envoy.config.rbac.v3.Action": action}).tree(message, path)
    return MatcherEngine(tree, is_log=any(each.is_logged for each in found))


def _of_connection(make: Callable[[Any, str], Input[Any]]) -> Callable[[Any, str], Input[Subject]]:
    def compiled(message: Any, path: str) -> Input[Subject]:
        take = make(message, path)
        return lambda subject: take(subject.connection)

    return compiled


def _of_request(make: Callable[[Any, str], Input[Any]]) -> Callable[[Any, str], Input[Subject]]:
    def compiled(message: Any, path: str) -> Input[Subject]:
        take = make(message, path)
        return lambda subject: take((subject.headers, subject.stream))

    return compiled
