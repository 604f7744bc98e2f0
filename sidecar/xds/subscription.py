"""What transports and subscribers agree on: resources, their kinds, and how an update is refused.

A transport calls :meth:`ResourceKind.decode` for what a response holds, wherever it likes (a thread: it
touches nothing that runs), and hands the whole response to the subscriber in the task that serves.  Each of
the two may refuse: that is a NACK, nothing has changed, and the reason names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import trio
import xxhash

from sidecar.config.context import Context
from sidecar.config.errors import ConfigErrors, Path, Problem, format_path, parse_path
from sidecar.config.messages import type_name, unpack
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter
from sidecar.config.semantics import check_messages
from sidecar.config.support import check_support
from sidecar.config.validate_rules import check as check_rules
from sidecar.config.walk import walk
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError, XdsError
from sidecar.observability.stats import Scope

__all__ = [
    "UNCHANGED",
    "InUse",
    "Incremental",
    "Refused",
    "Resource",
    "ResourceKind",
    "ResponseRejected",
    "Subscriber",
    "Subscription",
    "SubscriptionStats",
    "until_cancelled",
]

_RESOURCE = "envoy.service.discovery.v3.Resource"


class ResponseRejected(XdsError):
    """A response that is not taken; ``problems`` say why, with their places where it had any."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = ConfigErrors(problems).problems
        errors = [each for each in self.problems if each.severity == "error"]
        super().__init__("; ".join(str(each) for each in errors or self.problems))


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, ready to be used."""

    name: str
    version: str
    #: What the kind's compiler made of it.
    value: Any
    #: Why it cannot be used, of a kind whose answers are taken in part.
    error: str = ""
    #: The message of one that cannot be used.
    message: Any = None
    #: It goes after so many seconds without another; None: never.
    ttl_s: float | None = None
    #: Nothing came but that it still holds.
    is_heartbeat: bool = False
    #: The Any in which it came.
    packed: Any = None
    #: Further names, by which it was asked for.
    aliases: tuple[str, ...] = ()


def all_rules(message: Any) -> Iterator[tuple[Path, str]]:
    """What breaks the API's rules in ``message``; what an ``Any`` holds is looked at by who uses it."""
    for path, inner in walk(message, (), is_opening=False):
        for suffix, reason in check_rules(inner):
            yield (*path, *suffix), reason


class Incremental(Protocol):
    """Knows the last resource of a kind by its pieces, so that only what is new is looked at."""

    def again(self, packed: Any, path: Path, judge: Callable[[Any], Any]) -> tuple[str, Any] | None:
        """The name of the resource in an Any that stands at ``path``, and what it compiles to.

        ``judge`` compiles a message; None where there is anything to be said of it.  None when the resource
        is to be looked at as a whole.
        """
        ...

    def remember(self, packed: Any, message: Any, value: Any) -> None:
        """The resource in an Any was looked at, nothing is to be said of it, and it compiled to ``value``."""
        ...


#: What a resource is compiled to that changes nothing: it is in use as it came, or was refused as it came.
UNCHANGED: Any = object()


class InUse:
    """What is in use, by its bytes (:class:`Incremental`).  It is said by who uses it."""

    def __init__(self) -> None:
        self._known: dict[bytes, Resource] = {}
        self._data: dict[str, bytes] = {}

    def find(self, packed: Any) -> Resource | None:
        """The resource in an Any, where it is in use; its value is UNCHANGED."""
        return self._known.get(packed.value)

    def again(self, packed: Any, path: Path, judge: Callable[[Any], Any]) -> tuple[str, Any] | None:
        """The name of a resource that is in use."""
        found = self._known.get(packed.value)
        return None if found is None else (found.name, UNCHANGED)

    def remember(self, packed: Any, message: Any, value: Any) -> None:
        """It is used only when :meth:`use` says so."""

    def use(self, name: str, resource: Resource) -> None:
        """This is used from now on under a name."""
        self.drop(name)
        if resource.packed is not None:
            # A copy: the Any that came keeps the whole answer around it alive.
            data = resource.packed.value
            packed = type(resource.packed)(type_url=resource.packed.type_url, value=data)
            self._data[name] = data
            self._known[data] = Resource(name, resource.version, UNCHANGED, packed=packed)

    def drop(self, name: str) -> None:
        """It is not used any more."""
        data = self._data.pop(name, None)
        if data is not None:
            self._known.pop(data, None)


class Refused:
    """The resource that came last, where it was refused."""

    def __init__(self) -> None:
        self._data: bytes | None = None

    def remember(self, message: Any) -> None:
        """It was."""
        self._data = message.SerializeToString(deterministic=True)

    def forget(self) -> None:
        """Another was taken."""
        self._data = None

    @property
    def is_anything(self) -> bool:
        """Whether the last was refused."""
        return self._data is not None

    def is_again(self, message: Any) -> bool:
        """Whether this is the same."""
        return self._data is not None and self._data == message.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One type of resource."""

    #: ``envoy.config.endpoint.v3.ClusterLoadAssignment``
    message: str
    #: The field that holds a resource's name.
    name_field: str
    #: Compiles a checked message that stands at a path.  Raises: ConfigError.
    compile: Callable[[Any, str], Any]
    #: Whether one that keeps the rules of the API and cannot be used all the same leaves the others be.
    is_partial: bool = False
    #: Clusters that it may refer to besides the bootstrap's, and whether it has to know those it refers to.
    known_clusters: Callable[[], Mapping[str, Any]] | None = None
    validates_clusters: bool = True
    #: What is known of resources that came before.
    incremental: Incremental | None = None
    #: What was refused though it keeps the rules of the API, where the same again is no change.
    refused: Refused | None = None

    def name_of(self, packed: Any) -> str | None:
        """The name of the resource in an Any, if it can be read."""
        if type_name(packed.type_url) == self.message and (name := _first_text(packed.value)):
            return name
        if type_name(packed.type_url) == _RESOURCE:
            wrapped: Any = unpack(packed)
            return None if wrapped is None else wrapped.name or self.name_of(wrapped.resource)
        message: Any = unpack(packed) if type_name(packed.type_url) == self.message else None
        return None if message is None else str(getattr(message, self.name_field))

    def decode(
        self,
        packed: Any,
        path: Path,
        version: str,
        *,
        bootstrap: Any,
        registry: Registry,
        report: Reporter,
        is_partial: bool = False,
    ) -> Resource | None:
        """The resource in an Any that stands at ``path``, or in the Resource around it; None where ``report``
        tells why not.

        A field that is not implemented yet refuses the resource where it would refuse a file.
        """
        if type_name(packed.type_url) != _RESOURCE:
            return self.decode_plain(
                packed,
                path,
                "",
                version,
                bootstrap=bootstrap,
                registry=registry,
                report=report,
                is_partial=is_partial,
            )
        wrapped: Any = unpack(packed)
        if wrapped is None:
            report.error(path, f"Unable to unpack as {_RESOURCE}")
            return None
        return self.decode_wrapped(
            wrapped, path, bootstrap=bootstrap, registry=registry, report=report, is_partial=is_partial
        )

    def decode_wrapped(
        self,
        wrapped: Any,
        path: Path,
        *,
        bootstrap: Any,
        registry: Registry,
        report: Reporter,
        is_partial: bool = False,
    ) -> Resource | None:
        """The same for a Resource; ``is_partial``: one that keeps the rules comes with its error."""
        ttl_s = wrapped.ttl.seconds + wrapped.ttl.nanos / 1e9 if wrapped.HasField("ttl") else None
        if not wrapped.HasField("resource"):
            return Resource(wrapped.name, wrapped.version, None, ttl_s=ttl_s, is_heartbeat=True)
        found = self.decode_plain(
            wrapped.resource,
            (*path, "resource"),
            wrapped.name,
            wrapped.version,
            bootstrap=bootstrap,
            registry=registry,
            report=report,
            is_partial=is_partial,
        )
        return found if found is None or ttl_s is None else replace(found, ttl_s=ttl_s)

    def decode_plain(
        self,
        packed: Any,
        path: Path,
        name: str,
        version: str,
        *,
        bootstrap: Any,
        registry: Registry,
        report: Reporter,
        is_partial: bool = False,
    ) -> Resource | None:
        """The same for what is not wrapped, or not any more; without a ``name`` it says its own."""
        is_ours = type_name(packed.type_url) == self.message
        if is_ours and self.incremental is not None:
            known = self.incremental.again(packed, path, partial(self._judge, bootstrap, registry))
            # One that stands in a Resource of another name goes and comes with each answer.
            if known is not None and name in ("", known[0]):
                return Resource(known[0], version, known[1], packed=packed)
        message: Any = unpack(packed) if is_ours else None
        if message is None:
            report.error(path, f"Unable to unpack as {self.message}: it is {packed.type_url or 'empty'}")
            return None
        name = name or getattr(message, self.name_field)
        before = len(report.problems)
        is_partial = is_partial or self.is_partial
        if is_partial:
            for suffix, reason in all_rules(message):
                report.error((*path, *suffix), reason)
            if len(report.problems) > before:
                return None
        if self.refused is not None and self.refused.is_again(message):
            return Resource(name, version, UNCHANGED, packed=packed)
        self._check(bootstrap, registry, report, message, path)
        errors = [problem for problem in report.problems[before:] if problem.severity == "error"]
        value = None
        if not errors:
            try:
                value = self.compile(message, format_path(path))
            except ConfigError as error:
                report.error(parse_path(error.path), error.reason, line_in_text=error.line_in_text)
                errors = report.problems[-1:]
        if errors and is_partial:
            report.problems = [each for each in report.problems if each not in errors]
            return Resource(name, version, None, "; ".join(str(each) for each in errors), message)
        if errors:
            if self.refused is not None and not any(all_rules(message)):
                self.refused.remember(message)
            return None
        if self.incremental is not None and len(report.problems) == before:
            self.incremental.remember(packed, message, value)
        return Resource(name, version, value, packed=packed)

    def refuse(self, resource: Resource) -> None:
        """Raises: XdsError, where a resource that came with an error is not taken."""
        if resource.error:
            if self.refused is not None:
                self.refused.remember(resource.message)
            raise XdsError(resource.error)

    def _check(self, bootstrap: Any, registry: Registry, report: Reporter, message: Any, path: Path) -> None:
        context = Context(bootstrap, registry, report)
        context.clusters.update((each.name, each) for each in bootstrap.static_resources.clusters)
        if self.known_clusters is not None:
            context.clusters.update(self.known_clusters())
        context.validates_clusters = self.validates_clusters
        check_messages(context, message, path)
        check_support(context, path, message)
        report.problems += report.refusals
        report.refusals.clear()

    def _judge(self, bootstrap: Any, registry: Registry, message: Any) -> Any:
        """What a message compiles to; None where there is anything to be said of it."""
        report = Reporter(None)
        self._check(bootstrap, registry, report, message, ())
        if report.problems:
            return None
        try:
            return self.compile(message, "")
        except ConfigError:
            return None


def _first_text(data: bytes) -> str:
    """What stands in the first field of a message, where that is number 1 and short: a resource's name."""
    if len(data) < 3 or data[0] != 0x0A or data[1] >= 0x80:
        return ""
    return data[2 : 2 + data[1]].decode("utf-8", "replace")


class Subscriber(Protocol):
    """Wants resources of one kind."""

    kind: ResourceKind

    def on_update(self, resources: Sequence[Resource], version: str) -> None:
        """Take a whole response.  Raises: XdsError, when it is refused and nothing has changed."""
        ...

    def on_delta(self, added: Sequence[Resource], removed: Sequence[str], version: str) -> None:
        """Take what came and what went.  Raises: XdsError, as above."""
        ...

    def on_failure(self) -> None:
        """Nothing usable came: go on with what there is."""
        ...


class Subscription(Protocol):
    """Brings the resources of one subscriber until cancelled."""

    def start(self) -> None:
        """Ask for the first time.  A transport that has the answer at hand gives it before this returns."""
        ...

    async def run(self) -> None:
        """Bring what comes."""
        ...

    def close(self) -> None:
        """Want nothing any more, before ``run`` is cancelled."""
        ...


async def until_cancelled(close: Callable[[], None]) -> None:
    """``run`` of a subscription to which others bring what comes: it is closed at the end."""
    try:
        await trio.sleep_forever()
    finally:
        close()


class SubscriptionStats:
    """What Envoy counts of every subscription (``ALL_SUBSCRIPTION_STATS``), in the subscriber's scope."""

    __slots__ = (
        "init_fetch_timeout",
        "update_attempt",
        "update_duration",
        "update_failure",
        "update_rejected",
        "update_success",
        "update_time",
        "version",
        "version_text",
    )

    def __init__(self, scope: Scope) -> None:
        self.init_fetch_timeout = scope.counter("init_fetch_timeout")
        self.update_attempt = scope.counter("update_attempt")
        self.update_duration = scope.histogram("update_duration", "milliseconds")
        self.update_failure = scope.counter("update_failure")
        self.update_rejected = scope.counter("update_rejected")
        self.update_success = scope.counter("update_success")
        #: Wall clock in milliseconds.
        self.update_time = scope.gauge("update_time")
        #: A hash of the version's text.
        self.version = scope.gauge("version")
        self.version_text = scope.text_readout("version_text")

    def count_success(self, version: str, now_s: float) -> None:
        """An update was taken."""
        self.update_time.set(int(now_s * 1000))
        self.version.set(xxhash.xxh64_intdigest(version.encode()))
        self.version_text.set(version)
        self.update_success.value += 1
