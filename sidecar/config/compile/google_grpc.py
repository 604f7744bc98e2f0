"""``envoy.config.core.v3.GrpcService.GoogleGrpc``: a service that is named by a URI, not by a cluster.

Envoy has a second client for it; here it is a cluster that nobody sees, and the proxy's own client makes the
calls.  What becomes of it is told by ``grpc.<stat_prefix>.`` alone.
Target names: https://github.com/grpc/grpc/blob/master/doc/naming.md.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any
from urllib.parse import unquote

from google.protobuf import any_pb2

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError

__all__ = ["Target", "channel_cluster", "parse_target"]

_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DEFAULT_PORT = 443
_FACTORIES = ("", "envoy.grpc_credentials.default")
#: All addresses of a name are tried, as gRPC does it.
_LOGICAL_DNS, _ALL = 2, 4
_IP_ADDRESS = 4


class Target:
    """Where a URI leads: a ``pipe``, or ``host`` and ``port``."""

    def __init__(self, host: str, port: int = 0, pipe: str = "") -> None:
        self.host = host
        self.port = port
        self.pipe = pipe

    @property
    def is_ip(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_target(uri: str, path: str) -> Target:
    """``host:port``, ``dns:///host:port``, ``ipv4:``, ``ipv6:``, ``unix:``.  Raises: ConfigError."""
    scheme, colon, rest = uri.partition(":")
    if colon and scheme == "unix":
        return Target("localhost", pipe=unquote(rest.removeprefix("//")))
    if colon and scheme in ("dns", "ipv4", "ipv6"):
        rest = rest.rpartition("/")[2] if rest.startswith("//") else rest
    elif colon and rest.startswith("//"):
        raise ConfigError(path, f"targets with '{scheme}:' are not implemented: write host:port")
    else:
        rest = uri
    rest = unquote(rest)
    host, bracket, port = rest.rpartition("]")
    if bracket:
        host, port = host.removeprefix("["), port.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    else:
        host, port = rest, ""
    if not host or (port and not port.isdigit()) or "," in rest:
        raise ConfigError(path, f"'{uri}' names no host and port")
    return Target(host, int(port or _DEFAULT_PORT))


def channel_cluster(message: Any, name: str, path: str) -> tuple[Any, bytes, bool]:
    """The cluster of a ``GoogleGrpc``, its authority, and whether there is TLS.  Raises: ConfigError."""
    if message.credentials_factory_name not in _FACTORIES:
        raise ConfigError(
            f"{path}.credentials_factory_name",
            f"Unknown google grpc credentials factory: {message.credentials_factory_name}",
        )
    target = parse_target(message.target_uri, f"{path}.target_uri")
    cluster = _new("envoy.config.cluster.v3.Cluster")
    cluster.name = name
    cluster.connect_timeout.FromSeconds(20)
    cluster.load_assignment.cluster_name = name
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    if target.pipe:
        endpoint.address.pipe.path = target.pipe
        authority = b"localhost"
    else:
        address = endpoint.address.socket_address
        address.address, address.port_value = target.host, target.port
        authority = f"[{target.host}]:{target.port}".encode() if ":" in target.host else b""
        authority = authority or f"{target.host}:{target.port}".encode()
        if not target.is_ip:
            cluster.type, cluster.dns_lookup_family = _LOGICAL_DNS, _ALL
    options = _new(_HTTP_OPTIONS)
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    kind = message.channel_credentials.WhichOneof("credential_specifier")
    if kind == "local_credentials" and not target.pipe:
        raise ConfigError(
            f"{path}.channel_credentials.local_credentials",
            f"they are for Unix sockets: Envoy has no calls to '{message.target_uri}' with them",
        )
    if kind == "ssl_credentials":
        cluster.transport_socket.name = "envoy.transport_sockets.tls"
        packed = any_pb2.Any()
        packed.Pack(_tls(message.channel_credentials.ssl_credentials, target))
        cluster.transport_socket.typed_config.CopyFrom(packed)
    return cluster, authority, kind == "ssl_credentials"


def _tls(credentials: Any, target: Target) -> Any:
    """The server has to be the host of the URI, as gRPC has it."""
    context = _new(_TLS)
    common = context.common_tls_context
    common.alpn_protocols.append("h2")
    if credentials.HasField("private_key") or credentials.HasField("cert_chain"):
        certificate = common.tls_certificates.add()
        certificate.private_key.CopyFrom(credentials.private_key)
        certificate.certificate_chain.CopyFrom(credentials.cert_chain)
    validation = common.validation_context
    if credentials.HasField("root_certs"):
        validation.trusted_ca.CopyFrom(credentials.root_certs)
    else:
        validation.trusted_ca.filename = ssl.get_default_verify_paths().cafile or ""
    if target.is_ip:
        name = validation.match_typed_subject_alt_names.add()
        name.san_type = _IP_ADDRESS
        name.matcher.exact = target.host
    else:
        context.sni = target.host
        context.auto_sni_san_validation = True
    return context


def _new(name: str) -> Any:
    cls = message_class(name)
    assert cls is not None  # the API package has it, or nothing works
    return cls()
