"""A scripted SDS server on a Unix socket, as SPIRE's agent is one: secrets by SPIFFE ids, pushed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, Self

import grpc

from sidecar.config import api_additions

api_additions.install()
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2  # noqa: E402
from envoy.service.discovery.v3 import discovery_pb2  # noqa: E402

__all__ = ["SecretsService"]

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_WAIT_S = 20.0
_PUSH = object()


class SecretsService:
    """Serves while the block runs; secrets may be changed meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._secrets: dict[str, Any] = {}
        self._version: dict[str, int] = {}
        self._taken: dict[str, set[tuple[int, int]]] = {}
        self._streams: list[queue.SimpleQueue[Any]] = []
        self._changed = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        service = "envoy.service.secret.v3.SecretDiscoveryService"
        methods = {"StreamSecrets": handler}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])

    def __enter__(self) -> Self:
        self._server.add_insecure_port(f"unix:{self._path}")
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in self._streams:
            stream.put(None)
        self._server.stop(None).wait()

    def certificate(self, name: str, chain: bytes, key: bytes) -> None:
        """An SVID."""
        secret = secret_pb2.Secret(name=name)
        secret.tls_certificate.certificate_chain.inline_bytes = chain
        secret.tls_certificate.private_key.inline_bytes = key
        self._put(secret)

    def bundle(self, name: str, authorities: bytes) -> None:
        """Whom a trust domain believes."""
        secret = secret_pb2.Secret(name=name)
        secret.validation_context.trusted_ca.inline_bytes = authorities
        self._put(secret)

    def _put(self, secret: Any) -> None:
        with self._changed:
            self._secrets[secret.name] = secret
            self._version[secret.name] = self._version.get(secret.name, 0) + 1
        for stream in self._streams:
            stream.put(_PUSH)

    def until_acknowledged(self, name: str) -> None:
        """Wait until a subscriber has taken the secret as it is now."""
        wanted = self._version[name]
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(version == wanted for _, version in self._taken.get(name, ())), _WAIT_S
            )

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._streams.append(events)

        def read() -> None:
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            events.put(None)

        threading.Thread(target=read, daemon=True).start()
        names: list[str] = []
        sent: dict[str, int] = {}
        while (event := events.get()) is not None:
            if event is not _PUSH:
                if event.response_nonce and not event.HasField("error_detail"):
                    with self._changed:
                        for name in event.resource_names:
                            self._taken.setdefault(name, set()).add((id(events), int(event.version_info)))
                        self._changed.notify_all()
                if list(event.resource_names) == names:
                    continue
                names = list(event.resource_names)
            found = [self._secrets[name] for name in names if name in self._secrets]
            versions = {each.name: self._version[each.name] for each in found}
            if not found or versions == sent:
                continue
            sent = versions
            version = str(max(versions.values()))
            response = discovery_pb2.DiscoveryResponse(version_info=version, type_url=_TYPE, nonce=version)
            for secret in found:
                response.resources.add().Pack(secret)
            yield response
