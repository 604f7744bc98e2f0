"""A scripted control plane for scenarios: it takes down every request, and sends what it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio
from google.protobuf import any_pb2

from sidecar.config.decode import Decoder
from sidecar.config.messages import message_class
from sidecar.config.yaml_text import read_yaml
from tests.support import yaml_text

from .lab import Session
from .proxy import POLL_S
from .upstream import H2Call

TYPES = {
    "cds": "envoy.config.cluster.v3.Cluster",
    "eds": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "lds": "envoy.config.listener.v3.Listener",
    "rds": "envoy.config.route.v3.RouteConfiguration",
    "srds": "envoy.config.route.v3.ScopedRouteConfiguration",
    "vhds": "envoy.config.route.v3.VirtualHost",
    "sds": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "ecds": "envoy.config.core.v3.TypedExtensionConfig",
    "rtds": "envoy.service.runtime.v3.Runtime",
}
_SHORT = {f"type.googleapis.com/{name}": short for short, name in TYPES.items()}
_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def message(name: str) -> Any:
    """An empty message of the discovery service."""
    cls = message_class(f"envoy.service.discovery.v3.{name}")
    assert cls is not None
    return cls()


class ControlPlane:
    """Serves every stream of discovery on the upstream of that name, which speaks HTTP/2."""

    def __init__(self, s: Session, name: str = "xds") -> None:
        self._session = s
        self._upstream = s.upstream(name)
        self._upstream.h2_script = self._serve
        #: Of each kind, what was asked, in order.
        self.requests: dict[str, list[dict[str, Any]]] = {}
        #: The order in which kinds were asked for the first time on each stream.
        self.streams: list[list[str]] = []
        self._calls: list[H2Call] = []
        #: The names that each stream asked for.
        self._asked: list[set[str]] = []
        self._nonce = 0
        self._arrived = trio.Event()
        #: The last head of a stream, and whether only its first request named the node.
        self.paths: list[str] = []
        self.nodes: list[bool] = []
        self.node: Any = None
        self.head: list[tuple[str, str]] = []
        #: What it says of itself.
        self.identifier = ""

    # -- what the proxy sends ------------------------------------------------------------------------
    async def _serve(self, call: H2Call) -> None:
        self._upstream.seen.clear()
        self.paths.append(call.path)
        self.head = list(call.stream.headers)
        self._calls.append(call)
        self.streams.append([])
        self._asked.append(set())
        await call.answer_open(_HEAD)
        stream = call.stream
        taken = 0
        while True:
            grew = stream.grew
            body = bytes(stream.body)
            while len(body) >= taken + 5:
                size = int.from_bytes(body[taken + 1 : taken + 5], "big")
                if len(body) < taken + 5 + size:
                    break
                self._take(call, body[taken + 5 : taken + 5 + size])
                taken += 5 + size
            if stream.ended.is_set() or call not in self._calls:
                break
            await grew.wait()

    def _take(self, call: H2Call, data: bytes) -> None:
        is_delta = "Delta" in call.path
        request: Any = message("DeltaDiscoveryRequest" if is_delta else "DiscoveryRequest")
        request.MergeFromString(data)
        kind = _SHORT.get(request.type_url, request.type_url)
        shown: dict[str, Any] = {}
        if request.response_nonce:
            shown["nonce"] = request.response_nonce
        if is_delta:
            for field in ("resource_names_subscribe", "resource_names_unsubscribe"):
                if getattr(request, field):
                    shown[field.rpartition("_")[2]] = sorted(getattr(request, field))
            if request.initial_resource_versions:
                shown["initial"] = dict(sorted(request.initial_resource_versions.items()))
        else:
            shown["version"] = request.version_info
            if request.resource_names:
                # Envoy's order is that of a hash table.
                shown["names"] = sorted(request.resource_names)
        if request.HasField("error_detail"):
            shown["error"] = request.error_detail.code
        if request.node.id:
            self.node = request.node
        self.nodes.append(request.HasField("node") and bool(request.node.id))
        number = self._calls.index(call)
        if kind not in self.streams[number]:
            self.streams[number].append(kind)
        if not is_delta:
            self._asked[number].update(request.resource_names)
        self.requests.setdefault(kind, []).append(shown)
        self._arrived.set()
        self._arrived = trio.Event()

    async def asked(self, kind: str, count: int = 1) -> None:
        """Wait until there were that many requests of a kind."""
        while len(self.requests.get(kind, ())) < count:
            await self._arrived.wait()

    async def acked(self, kind: str) -> None:
        """Wait until the last response was answered, with an ACK or a NACK."""
        while not any(each.get("nonce") == str(self._nonce) for each in self.requests.get(kind, ())):
            await self._arrived.wait()

    # -- what it sends ---------------------------------------------------------------------------------
    def _call(self, kind: str) -> H2Call:
        """The newest stream that asked for a kind."""
        for call, kinds in reversed(list(zip(self._calls, self.streams, strict=True))):
            if kind in kinds:
                return call
        raise AssertionError(f"nobody asked for {kind}")

    async def send(self, kind: str, version: str, *resources: Any) -> None:
        """Send a response of the state of the world with resources, in YAML or as messages."""
        self._nonce += 1
        response = message("DiscoveryResponse")
        response.version_info = version
        response.type_url = f"type.googleapis.com/{TYPES[kind]}"
        response.nonce = str(self._nonce)
        if self.identifier:
            response.control_plane.identifier = self.identifier
        response.resources.extend(self._any(kind, each) for each in resources)
        await self._write(kind, response)

    def _any(self, kind: str, resource: Any) -> any_pb2.Any:
        if isinstance(resource, str | dict):
            return self.packed(kind, resource)
        if isinstance(resource, any_pb2.Any):
            return resource
        packed = any_pb2.Any()
        packed.Pack(resource)
        return packed

    async def send_typed(self, kind: str, type_url: str, version: str) -> None:
        """Send an empty response of any type on the stream of a kind."""
        response = message("DiscoveryResponse")
        response.version_info, response.type_url, response.nonce = version, type_url, version
        await self._write(kind, response)

    async def send_delta(
        self,
        kind: str,
        version: str,
        added: Mapping[str, tuple[str, str | dict[str, Any] | None]] | None = None,
        removed: Sequence[str] = (),
        ttls: Mapping[str, float] | None = None,
        *,
        kind_of: str = "",
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Send what came, by name with its version and YAML, and what went."""
        self._nonce += 1
        response = message("DeltaDiscoveryResponse")
        response.system_version_info = version
        response.type_url = f"type.googleapis.com/{TYPES[kind]}"
        response.nonce = str(self._nonce)
        for name, (number, resource) in (added or {}).items():
            made = self.wrapped(kind_of or kind, name, number, resource, (ttls or {}).get(name))
            made.aliases.extend((aliases or {}).get(name, ()))
            response.resources.append(made)
        response.removed_resources.extend(removed)
        await self._write(kind, response)

    async def update_delta(
        self,
        kind: str,
        version: str,
        added: Mapping[str, tuple[str, str | dict[str, Any] | None]] | None = None,
        removed: Sequence[str] = (),
        ttls: Mapping[str, float] | None = None,
        *,
        kind_of: str = "",
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Send it, and wait for the answer."""
        await self.asked(kind)
        await self.send_delta(kind, version, added, removed, ttls, kind_of=kind_of, aliases=aliases)
        await self.acked(kind)

    def wrapped(
        self, kind: str, name: str, version: str, resource: str | dict[str, Any] | None, ttl_s: float | None
    ) -> Any:
        """A resource with its name, version and time; None: it says that it is as it was."""
        made = message("Resource")
        made.name, made.version = name, version
        if resource is not None:
            made.resource.CopyFrom(self.packed(kind, resource))
        if ttl_s is not None:
            made.ttl.FromMilliseconds(int(ttl_s * 1000))
        return made

    async def send_named(self, kind: str, name: str, version: str, *resources: str | dict[str, Any]) -> None:
        """The same on the stream that asked for a resource of that name."""
        number = next(i for i, names in enumerate(self._asked) if name in names)
        self._calls.append(self._calls.pop(number))
        self.streams.append(self.streams.pop(number))
        self._asked.append(self._asked.pop(number))
        await self.send(kind, version, *resources)

    async def update(self, kind: str, version: str, *resources: Any) -> None:
        """Send one, and wait for the answer."""
        await self.asked(kind)
        await self.send(kind, version, *resources)
        await self.acked(kind)

    async def _write(self, kind: str, response: Any) -> None:
        data = response.SerializeToString()
        call = self._call(kind)
        await call.peer.data(call.stream, b"\0" + len(data).to_bytes(4, "big") + data)

    def packed(self, kind: str, resource: str | dict[str, Any]) -> any_pb2.Any:
        text = resource if isinstance(resource, str) else yaml_text.dump(resource, sort_keys=False)
        cls = message_class(TYPES[kind])
        assert cls is not None
        made = cls()
        document = read_yaml(self._session.proxy.fill(text).encode(), kind)
        decoder = Decoder(allow_unknown_fields=False)
        assert document.root is not None, document.problems
        decoder.decode(document.root, made)
        assert not decoder.problems, decoder.problems
        packed = any_pb2.Any()
        packed.Pack(made)
        return packed

    async def end(self, status: str = "14") -> None:
        """End every stream."""
        calls, self._calls, self.streams, self._asked = self._calls, [], [], []
        for call in calls:
            await call.peer.headers(call.stream, [("grpc-status", status)], end=True)

    # -- for scenarios ---------------------------------------------------------------------------------
    async def live(self) -> None:
        """Wait until the proxy serves, and learn its ports."""
        proxy = self._session.proxy
        while (await proxy.admin("GET", "/ready")).start_line.split(" ")[1] != "200":  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        await proxy.learn_ports()

    def see(self, label: str = "requests") -> None:
        """Observe all requests, by kind."""
        self._session.see(label, {kind: list(each) for kind, each in sorted(self.requests.items())})
