"""``envoy.config.rbac.v3.RBAC`` compiled to an engine (:mod:`sidecar.core.rbac`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.config.compile.cel import cel_options, compile_cel_tree
from sidecar.config.compile.matchers import compile_header_matcher, compile_string_matcher
from sidecar.config.compile.uri_templates import compile_template
from sidecar.config.compile.value_matchers import compile_metadata_matcher
from sidecar.core.address import compile_addresses, split_address
from sidecar.core.errors import ConfigError
from sidecar.core.rbac import Engine, Rule, Subject

__all__ = ["compile_rbac"]

_ACTIONS = ("ALLOW", "DENY", "LOG")
_PORTS = 65_536


def compile_rbac(message: Any, path: str, *, has_requests: bool) -> Engine:
    """The engine of an RBAC message; ``has_requests`` where it judges requests.  Raises: ConfigError."""
    if not has_requests:
        _check_no_headers(message, path)
    policies = []
    for name, policy in message.policies.items():
        at = f'{path}.policies["{name}"]'
        permissions = _all(policy.permissions, f"{at}.permissions", _permission)
        principals = _all(policy.principals, f"{at}.principals", _principal)
        rule = _both(_any(permissions), _any(principals))
        condition = _condition(policy, at)
        policies.append((name, rule if condition is None else _both(rule, condition)))
    return Engine(_ACTIONS[message.action], policies)


def _condition(policy: Any, path: str) -> Rule | None:
    """What CEL says of it; ``checked_condition`` is not looked at, as in Envoy."""
    if not policy.HasField("condition"):
        return None
    at = f"{path}.condition"
    expression = compile_cel_tree(policy.condition, at, cel_options(policy), has_node=False)
    return lambda subject: expression.matches(subject.stream or subject.connection.stream)


def _check_no_headers(message: Any, path: str) -> None:
    for name, value in message.ListFields():
        if name.message_type is None:
            continue
        at = f"{path}.{name.name}"
        if name.name == "header":
            raise ConfigError(at, f"Found header({value}) rule,not supported by RBAC network filter")
        if name.message_type.GetOptions().map_entry:
            for key in value:
                _check_no_headers(value[key], f'{at}["{key}"]')
        elif name.is_repeated:
            for index, each in enumerate(value):
                _check_no_headers(each, f"{at}[{index}]")
        else:
            _check_no_headers(value, at)


def _all(messages: Sequence[Any], path: str, one: Callable[[Any, str], Rule]) -> list[Rule]:
    return [one(each, f"{path}[{index}]") for index, each in enumerate(messages)]


def _any(rules: Sequence[Rule]) -> Rule:
    return lambda subject: any(rule(subject) for rule in rules)


def _every(rules: Sequence[Rule]) -> Rule:
    return lambda subject: all(rule(subject) for rule in rules)


def _both(first: Rule, second: Rule) -> Rule:
    return lambda subject: first(subject) and second(subject)


def _not(rule: Rule) -> Rule:
    return lambda subject: not rule(subject)


def _permission(message: Any, path: str) -> Rule:
    kind = message.WhichOneof("rule")
    value = getattr(message, kind)
    at = f"{path}.{kind}"
    if kind == "and_rules":
        return _every(_all(value.rules, f"{at}.rules", _permission))
    if kind == "or_rules":
        return _any(_all(value.rules, f"{at}.rules", _permission))
    if kind == "not_rule":
        return _not(_permission(value, at))
    if kind == "destination_ip":
        return _address(value, at, "local_address")
    if kind == "destination_port":
        wanted = int(value)
        return lambda subject: split_address(subject.connection.local_address)[1] == wanted
    if kind == "destination_port_range":
        start, end = value.start, value.end
        if not 0 <= start < end <= _PORTS:
            raise ConfigError(at, f"range of ports from {start} to below {end} is not one")
        return lambda subject: start <= (split_address(subject.connection.local_address)[1] or 0) < end
    if kind == "requested_server_name":
        test = compile_string_matcher(value, at)
        return lambda subject: bool(test(subject.connection.requested_server_name.encode()))
    return _common(kind, value, at)


def _principal(message: Any, path: str) -> Rule:
    kind = message.WhichOneof("identifier")
    value = getattr(message, kind)
    at = f"{path}.{kind}"
    if kind == "and_ids":
        return _every(_all(value.ids, f"{at}.ids", _principal))
    if kind == "or_ids":
        return _any(_all(value.ids, f"{at}.ids", _principal))
    if kind == "not_id":
        return _not(_principal(value, at))
    if kind == "remote_ip":
        return _trusted_address(value, at)
    if kind == "source_ip":
        return _address(value, at, "remote_address")
    if kind == "filter_state":
        return _filter_state(value, at)
    if kind == "direct_remote_ip":
        return _address(value, at, "direct_remote_address")
    if kind == "authenticated":
        return _authenticated(value, at)
    return _common(kind, value, at)


def _common(kind: str, value: Any, path: str) -> Rule:
    """What permissions and principals have in common."""
    if kind == "any":
        return lambda subject: True
    if kind == "header":
        matches = compile_header_matcher(value, path)
        return lambda subject: bool(matches(subject.headers))
    if kind == "url_path":
        test = compile_string_matcher(value.path, f"{path}.path")

        def has_path(subject: Subject) -> bool:
            target = subject.headers.get(b":path")
            return target is not None and bool(test(target.partition(b"?")[0].partition(b"#")[0]))

        return has_path
    if kind == "metadata":
        holds = compile_metadata_matcher(value, path)
        return lambda subject: holds(subject.dynamic_metadata)
    if kind == "sourced_metadata":
        return _sourced_metadata(value, path)
    if kind == "uri_template":
        template = compile_template(value, path)

        def fits(subject: Subject) -> bool:
            target = subject.headers.get(b":path")
            path = None if target is None else target.partition(b"?")[0].partition(b"#")[0]
            return path is not None and template.fullmatch(path) is not None

        return fits
    raise ConfigError(path, f"rule of kind '{kind}' is not supported")


def _address(message: Any, path: str, field: str, owner: str = "connection") -> Rule:
    try:
        contains = compile_addresses([(message.address_prefix, message.prefix_len.value)])
    except ValueError as error:
        raise ConfigError(path, str(error)) from error
    return lambda subject: contains(split_address(getattr(getattr(subject, owner), field))[0])


def _trusted_address(message: Any, path: str) -> Rule:
    """The client's, of a request that which is believed of those it tells."""
    of_connection = _address(message, path, "remote_address")
    of_stream = _address(message, path, "remote_address", "stream")
    return lambda subject: (of_connection if subject.stream is None else of_stream)(subject)


def _filter_state(message: Any, path: str) -> Rule:
    kind = message.WhichOneof("matcher")
    if kind != "string_match":
        raise ConfigError(path, f"'{kind}' of an object in the filter state is not supported")
    test = compile_string_matcher(message.string_match, f"{path}.string_match")
    key = message.key

    def holds(subject: Subject) -> bool:
        value = (subject.filter_state or {}).get(key)
        if value is None:
            return False
        return bool(test(value.encode() if isinstance(value, str) else value))

    return holds


def _sourced_metadata(message: Any, path: str) -> Rule:
    holds = compile_metadata_matcher(message.metadata_matcher, f"{path}.metadata_matcher")
    if message.metadata_source == 0:
        return lambda subject: holds(subject.dynamic_metadata)

    def of_route(subject: Subject) -> bool:
        route = None if subject.stream is None else subject.stream.route
        return holds(None if route is None else route.metadata)

    return of_route


def _authenticated(message: Any, path: str) -> Rule:
    """A client with a certificate: its URIs, then its DNS names, then its subject are its name."""
    if not message.HasField("principal_name"):
        return lambda subject: subject.connection.tls is not None
    test = compile_string_matcher(message.principal_name, f"{path}.principal_name")

    def is_named(subject: Subject) -> bool:
        tls = subject.connection.tls
        if tls is None:
            return False
        leaf = tls.peer
        if leaf is None:
            return bool(test(b""))
        names = [*leaf.sans("URI"), *leaf.sans("DNS")] or [leaf.subject]
        return any(test(name.encode()) for name in names)

    return is_named
