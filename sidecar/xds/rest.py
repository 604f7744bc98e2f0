"""Resources that are asked for again and again: a DiscoveryRequest in JSON, posted (Envoy's
``HttpSubscriptionImpl``).

What is not 200 or 304, and what does not come in time, is a failure, and all goes on with what there is; so
it does where an answer is refused.  Between two requests is the refresh delay, and up to as much again.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

import trio
from google.protobuf import json_format

from sidecar.api.message import FixedBody
from sidecar.config.json_text import read_json
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import XdsError
from sidecar.core.headers import RequestHeaders
from sidecar.xds.filesystem import Response, ResponseUnreadable, decode_response_document
from sidecar.xds.grpc_stream import discovery_message, type_url_of
from sidecar.xds.subscription import Subscriber, SubscriptionStats

if TYPE_CHECKING:
    from sidecar.config.registry import Registry
    from sidecar.observability.stats import Counter
    from sidecar.router.http_client import ClientResponse, HttpClient

__all__ = ["RestSettings", "RestSubscription"]

log = logging.getLogger("sidecar.config")

_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestSettings:
    """What an ``ApiConfigSource`` says of its requests."""

    cluster: str
    #: ``/v3/discovery:clusters``
    path: str
    refresh_delay_s: float
    request_timeout_s: float = 1.0


class RestSubscription:
    """A :class:`sidecar.xds.subscription.Subscription` that polls."""

    def __init__(
        self,
        client: HttpClient,
        settings: RestSettings,
        subscriber: Subscriber,
        stats: SubscriptionStats,
        names: tuple[str, ...] | None,
        fetch_timeout_s: float,
        *,
        node: Any,
        bootstrap: Any,
        registry: Registry,
        unknown_fields: Counter,
    ) -> None:
        """``unknown_fields`` is ``server.dynamic_unknown_fields``."""
        self._client = client
        self._settings = settings
        self._subscriber = subscriber
        self._stats = stats
        self._names = names or ()
        self._fetch_timeout_s = fetch_timeout_s
        self._node = node
        self._bootstrap = bootstrap
        self._registry = registry
        self._unknown_fields = unknown_fields
        self._version = ""
        self._heard = trio.Event()

    def start(self) -> None:
        """Nothing is asked before :meth:`run`."""

    def close(self) -> None:
        """Nobody was told of it."""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._fetch_timeout_s:
                nursery.start_soon(self._wait_once, name=f"first answer to {self._settings.path}")
            while True:
                await self._ask()
                delay_s = self._settings.refresh_delay_s
                await trio.sleep(delay_s + random.uniform(0, delay_s))  # noqa: S311 - spreads requests

    async def _wait_once(self) -> None:
        with trio.move_on_after(self._fetch_timeout_s) as timeout:
            await self._heard.wait()
        if timeout.cancelled_caught:
            log.warning("REST config: initial fetch timeout for %s", self._settings.path)
            self._stats.init_fetch_timeout.value += 1
            self._subscriber.on_failure()

    async def _ask(self) -> None:
        self._stats.update_attempt.value += 1
        settings = self._settings
        body = self._request()
        headers = RequestHeaders(
            b"POST",
            settings.path.encode(),
            settings.cluster.encode(),
            b"http",
            [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        )
        call = self._client.call(
            settings.cluster,
            headers,
            FixedBody(body),
            timeout_s=settings.request_timeout_s,
            keep_bytes=_MAX_BYTES,
        )
        done = trio.Event()
        call.on_done = lambda _call: done.set()
        call.start()
        try:
            await done.wait()
        finally:
            if not call.is_done:
                call.cancel()
        response = call.response
        status = 0 if response is None else response.headers.status
        if response is not None and status == 200:
            await self._take(response)
        elif status != 304:
            log.warning("REST update for %s failed", settings.path)
            self._stats.update_failure.value += 1

    def _request(self) -> bytes:
        message: Any = discovery_message("DiscoveryRequest")
        message.version_info = self._version
        message.node.CopyFrom(self._node)
        message.resource_names.extend(sorted(self._names))
        message.type_url = type_url_of(self._subscriber.kind.message)
        text = json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)
        return text.encode()

    async def _take(self, response: ClientResponse) -> None:
        start = time.monotonic()
        stats = self._stats

        def read() -> Response | XdsError:
            document = read_json(response.body, self._settings.path)
            try:
                return decode_response_document(
                    document, discovery_message("DiscoveryResponse"), [], self._subscriber.kind,
                    self._bootstrap, self._registry,
                )  # fmt: skip
            except XdsError as error:
                return error

        found = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
        self._heard.set()
        try:
            if isinstance(found, XdsError):
                raise found
            for warning in found.warnings:
                log.warning("%s", warning)
            if found.has_unknown_fields:
                self._unknown_fields.value += 1
            self._subscriber.on_update(found.resources, found.version)
        except XdsError as error:
            what = "cannot be read" if isinstance(error, ResponseUnreadable) else "rejected"
            log.warning("REST config for %s %s: %s", self._settings.path, what, error)
            stats.update_rejected.value += 1
            self._subscriber.on_failure()
        else:
            self._version = found.version
            stats.update_duration.record(int((time.monotonic() - start) * 1000))
            stats.count_success(found.version, time.time())
