"""``envoy.config.rbac.v3.RBAC`` compiled to an engine (:mod:`sidecar.core.rbac`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.config.compile.cel import cel_options, compile_cel_tree
from sidecar.config.compile.filter_state_matcher import compile_filter_state_matcher
from sidecar.config.compile.matchers import compile_header_matcher, compile_string_matcher
from sidecar.config.compile.uri_templates import compile_template
from sidecar.config.compile.value_matchers import compile_metadata_matcher
from sidecar.core.address import parse_range, split_address
from sidecar.core.address_ranges import compile_ranges, ip_of_socket
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
        permissions = _one_of(policy.permissions, f"{at}.permissions", _permission)
        principals = _one_of(policy.principals, f"{at}.principals", _principal)
        rule = _both(permissions, principals)
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


def _one_of(messages: Sequence[Any], path: str, one: Callable[[Any, str], Rule]) -> Rule:
    """Whether one of them holds.  Ranges of one kind of address are asked all at once, and first."""
    rules: list[Rule] = []
    ranges: dict[str, list[tuple[Any, str]]] = {}
    for index, each in enumerate(messages):
        kind = each.WhichOneof(each.DESCRIPTOR.oneofs[0].name)
        at = f"{path}[{index}]"
        if kind in _ADDRESSES:
            ranges.setdefault(kind, []).append((getattr(each, kind), f"{at}.{kind}"))
        else:
            rules.append(one(each, at))
    return _any([*(_address(kind, found) for kind, found in ranges.items()), *rules])


def _any(rules: Sequence[Rule]) -> Rule:
    if len(rules) == 1:
        return rules[0]

    def holds(subject: Subject) -> bool:
        for rule in rules:  # noqa: SIM110 - a generator costs as much as a rule
            if rule(subject):
                return True
        return False

    return holds


def _every(rules: Sequence[Rule]) -> Rule:
    def holds(subject: Subject) -> bool:
        for rule in rules:  # noqa: SIM110 - a generator costs as much as a rule
            if not rule(subject):
                return False
        return True

    return holds


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
        return _one_of(value.rules, f"{at}.rules", _permission)
    if kind == "not_rule":
        return _not(_permission(value, at))
    if kind in _ADDRESSES:
        return _address(kind, [(value, at)])
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
        return _one_of(value.ids, f"{at}.ids", _principal)
    if kind == "not_id":
        return _not(_principal(value, at))
    if kind in _ADDRESSES:
        return _address(kind, [(value, at)])
    if kind == "filter_state":
        return _filter_state(value, at)
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
            target = subject.headers.path
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


def _address(kind: str, ranges: Sequence[tuple[Any, str]]) -> Rule:
    """An address in one of ``ranges``, each a ``CidrRange`` with its path."""
    for message, path in ranges:
        try:
            parse_range(message.address_prefix, message.prefix_len.value)
        except ValueError as error:
            raise ConfigError(path, str(error)) from error
    contains = compile_ranges([(each.address_prefix, each.prefix_len.value) for each, _ in ranges])
    address = _ADDRESSES[kind]

    def holds(subject: Subject) -> bool:
        ip = ip_of_socket(address(subject))
        return ip is not None and contains(ip)

    return holds


def _trusted_address(subject: Subject) -> str:
    """The client's, of a request that which is believed of those it tells."""
    stream = subject.stream
    return (subject.connection if stream is None else stream).remote_address  # type: ignore[no-any-return]


#: What ranges are asked about, by the kind of the rule.
_ADDRESSES: dict[str, Callable[[Subject], str]] = {
    "destination_ip": lambda subject: subject.connection.local_address,
    "direct_remote_ip": lambda subject: subject.connection.direct_remote_address,
    "remote_ip": _trusted_address,
    "source_ip": lambda subject: subject.connection.remote_address,
}


def _filter_state(message: Any, path: str) -> Rule:
    matches = compile_filter_state_matcher(message, path)
    key = message.key
    return lambda subject: matches((subject.filter_state or {}).get(key))


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
