"""Where a target's URI leads, and what cannot be had without Google's own client."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from sidecar.config.compile.google_grpc import channel_cluster, parse_target
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError


def google(**fields: Any) -> Any:
    cls = message_class("envoy.config.core.v3.GrpcService.GoogleGrpc")
    assert cls is not None
    return json_format.ParseDict({"stat_prefix": "x", **fields}, cls())


@pytest.mark.parametrize(
    ("uri", "host", "port", "pipe"),
    [
        ("a.test", "a.test", 443, ""),
        ("a.test:50051", "a.test", 50051, ""),
        ("dns:a.test:1", "a.test", 1, ""),
        ("dns:///a.test:1", "a.test", 1, ""),
        ("dns://8.8.8.8/a.test:1", "a.test", 1, ""),
        ("127.0.0.1:1", "127.0.0.1", 1, ""),
        ("ipv4:127.0.0.1:1", "127.0.0.1", 1, ""),
        ("ipv6:[::1]:1", "::1", 1, ""),
        ("[::1]:1", "::1", 1, ""),
        ("ipv6:%5B::1%5D:1", "::1", 1, ""),
        ("unix:/run/a", "localhost", 0, "/run/a"),
        ("unix:///run/a", "localhost", 0, "/run/a"),
    ],
)
def test_target_leads_to_a_host_or_a_pipe(uri: str, host: str, port: int, pipe: str) -> None:
    target = parse_target(uri, "x")
    assert (target.host, target.port, target.pipe) == (host, port, pipe)


@pytest.mark.parametrize("uri", ["xds:///a", "ipv4:1.2.3.4:1,1.2.3.5:1", "a:b", ":1"])
def test_target_that_leads_nowhere_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="x"):
        parse_target(uri, "x")


def test_secure_channel_asks_for_the_host_of_its_target() -> None:
    credentials = {"ssl_credentials": {"root_certs": {"inline_string": "roots"}}}
    cluster, authority, is_secure = channel_cluster(
        google(target_uri="a.test:1", channel_credentials=credentials), "c", "x"
    )
    assert (authority, is_secure) == (b"a.test:1", True)
    tls: Any = message_class("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
    context = tls.FromString(cluster.transport_socket.typed_config.value)
    assert (context.sni, context.auto_sni_san_validation) == ("a.test", True)
    assert context.common_tls_context.validation_context.trusted_ca.inline_string == "roots"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"target_uri": "a.test", "credentials_factory_name": "foo"}, "credentials_factory_name"),
        ({"target_uri": "a.test", "channel_credentials": {"local_credentials": {}}}, "local_credentials"),
    ],
)
def test_credentials_that_cannot_be_had_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        channel_cluster(google(**fields), "c", "x")
    assert caught.value.path.endswith(field)
