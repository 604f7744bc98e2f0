"""Resources from a file: a DiscoveryResponse that somebody moves into place, as Envoy's filesystem
subscription.

The file is read when the subscription starts and after each move (:mod:`sidecar.net.file_watcher`), never
for a write in place.  Text that is no such message is a failure, what the message holds and nobody wants is
a rejection; either way all stays as it is, and the log says where the mistake stands.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import trio

from sidecar.config.decode import Decoder
from sidecar.config.errors import ConfigErrors, Problem
from sidecar.config.load import read_file
from sidecar.config.messages import message_class
from sidecar.config.nodes import Document, Places
from sidecar.config.registry import Registry
from sidecar.config.report import Reporter
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import XdsError
from sidecar.net.file_watcher import FileWatcher, Watch
from sidecar.observability.stats import Counter
from sidecar.upstream.cluster import PathSource
from sidecar.xds.subscription import Resource, ResourceKind, ResponseRejected, Subscriber, SubscriptionStats

__all__ = [
    "FileSubscription",
    "FileTransport",
    "ResponseUnreadable",
    "decode_response_document",
    "read_response",
]

log = logging.getLogger("sidecar.config")

_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"


class ResponseUnreadable(XdsError):
    """The file cannot be read, or is no DiscoveryResponse."""


@dataclass(frozen=True, slots=True)
class Response:
    """One file, read and decoded."""

    version: str
    resources: tuple[Resource, ...]
    #: What was passed over (unknown fields) or is doubtful.
    warnings: tuple[Problem, ...]
    #: Whether it has fields that the API does not know.
    has_unknown_fields: bool


def read_response(path: str, kind: ResourceKind, bootstrap: Any, registry: Registry) -> Response:
    """Read the file.  Plain and thread-safe.

    Raises: ResponseUnreadable, ResponseRejected.
    """
    cls = message_class(_RESPONSE)
    assert cls is not None  # the API package has it, or nothing works
    message: Any = cls()
    problems: list[Problem] = []
    document = read_file(path, message, problems)
    return decode_response_document(document, message, problems, kind, bootstrap, registry)


def decode_response_document(
    document: Document | None,
    message: Any,
    problems: list[Problem],
    kind: ResourceKind,
    bootstrap: Any,
    registry: Registry,
) -> Response:
    """What a document holds, or ``message`` already, where there is none.  Plain and thread-safe.

    Raises: ResponseUnreadable, ResponseRejected.
    """
    documents: list[Document] = []
    has_unknown_fields = False
    if document is not None:
        documents.append(document)
        problems += document.problems
        if document.root is not None:
            decoder = Decoder(allow_unknown_fields=True)
            decoder.decode(document.root, message)
            has_unknown_fields = any(each.severity == "warning" for each in decoder.problems)
            problems += decoder.problems
    if any(each.severity == "error" for each in problems):
        errors = ConfigErrors(each for each in problems if each.severity == "error")
        raise ResponseUnreadable("; ".join(str(each) for each in errors.problems))
    report = Reporter(Places(documents) if documents else None)
    report.problems += problems
    resources = []
    for number, packed in enumerate(message.resources):
        resource = kind.decode(
            packed,
            ("resources", number),
            message.version_info,
            bootstrap=bootstrap,
            registry=registry,
            report=report,
        )
        if resource is not None and resource.is_heartbeat:
            report.error(("resources", number), f"Unable to unpack as {kind.message}: it is empty")
        elif resource is not None:
            resources.append(resource)
    if len(resources) < len(message.resources):
        raise ResponseRejected(report.problems)
    return Response(message.version_info, tuple(resources), tuple(report.problems), has_unknown_fields)


class FileTransport:
    """What all subscriptions of a process to files share."""

    def __init__(self, bootstrap: Any, registry: Registry, unknown_fields: Counter) -> None:
        """``unknown_fields`` is ``server.dynamic_unknown_fields``."""
        self.bootstrap = bootstrap
        self.registry = registry
        self.unknown_fields = unknown_fields
        self.watcher = FileWatcher()

    def subscribe(
        self, source: PathSource, subscriber: Subscriber, stats: SubscriptionStats
    ) -> FileSubscription:
        """Watch ``source`` for ``subscriber``, whose ``start`` reads it first.

        Raises: ValueError, OSError when the place cannot be watched.
        """
        return FileSubscription(self, source, subscriber, stats)

    def close(self) -> None:
        """Watch nothing any more."""
        self.watcher.close()


class FileSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` to one file."""

    def __init__(
        self, transport: FileTransport, source: PathSource, subscriber: Subscriber, stats: SubscriptionStats
    ) -> None:
        self._transport = transport
        self._path = source.path
        self._subscriber = subscriber
        self._stats = stats
        self._changed = trio.Event()
        # Before the first look, so that no move is missed.
        self._watch: Watch
        if source.watched_directory:
            self._watch = transport.watcher.watch_directory(source.watched_directory, self._tell)
        else:
            self._watch = transport.watcher.watch_file(source.path, self._tell)

    def start(self) -> None:
        self._take(self._read())

    def close(self) -> None:
        """Nobody was told of it."""

    async def run(self) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                # A file of many resources takes its time, which is not taken from those who are served.
                self._take(await trio.to_thread.run_sync(self._read, abandon_on_cancel=True))
        finally:
            self._watch.close()

    def _tell(self) -> None:
        self._changed.set()

    def _read(self) -> Response | XdsError:
        transport = self._transport
        try:
            return read_response(self._path, self._subscriber.kind, transport.bootstrap, transport.registry)
        except XdsError as error:
            return error

    def _take(self, found: Response | XdsError) -> None:
        stats = self._stats
        stats.update_attempt.value += 1
        try:
            if isinstance(found, XdsError):
                raise found
            for warning in found.warnings:
                log.warning("%s", warning)
            if found.has_unknown_fields:
                self._transport.unknown_fields.value += 1
            self._subscriber.on_update(found.resources, found.version)
        except ResponseUnreadable as error:
            log.warning("Filesystem config update failure: in %s, %s", self._path, error)
            stats.update_failure.value += 1
            self._subscriber.on_failure()
        except XdsError as error:
            log.warning("Filesystem config update rejected: %s", error)
            stats.update_rejected.value += 1
            self._subscriber.on_failure()
        else:
            stats.count_success(found.version, time.time())
