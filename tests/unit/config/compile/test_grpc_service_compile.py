"""Services of gRPC as they are compiled."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from google.protobuf import json_format

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.compile.grpc_service import compile_call_retries, compile_grpc_service
from sidecar.observability.stats import Store
from sidecar.router.grpc_service import DEFAULT_MESSAGE_LIMIT, GrpcService
from sidecar.router.retry_policy import parse_retry_on

_WARNED: list[tuple[str, str]] = []


def context() -> FactoryContext:
    store = Store()
    _WARNED.clear()
    return FactoryContext(
        stats=store,
        root_stats=store,
        node=NodeInfo(),
        path="grpc_service",
        warn=lambda path, reason: _WARNED.append((path, reason)),
        read_data_source=lambda _message, _path: b"",
        on_close=lambda _close: None,
        find_cluster=lambda _name: None,
    )


def compiled(default_timeout_s: float = 0.0, **fields: Any) -> GrpcService:
    message = json_format.ParseDict(fields, grpc_service_pb2.GrpcService())
    return compile_grpc_service(message, context(), default_timeout_s=default_timeout_s)


def test_service_of_little() -> None:
    assert compiled(envoy_grpc={"cluster_name": "a"}) == GrpcService("a")
    assert compiled(0.2, envoy_grpc={"cluster_name": "a"}).timeout_s == 0.2
    assert compiled(0.2, envoy_grpc={"cluster_name": "a"}, timeout="0s").timeout_s == 0.0


def test_service_with_everything() -> None:
    found = compiled(
        envoy_grpc={
            "cluster_name": "a",
            "authority": "b:1",
            "max_receive_message_length": 7,
            "skip_envoy_headers": True,
        },
        timeout="1.5s",
        initial_metadata=[{"key": "X-A", "value": "v"}],
        retry_policy={"retry_on": "5xx"},
    )
    assert (found.authority, found.max_receive_message_length, found.timeout_s) == (b"b:1", 7, 1.5)
    assert found.skip_envoy_headers
    assert (found.initial_metadata[0].name, found.initial_metadata[0].value) == (b"x-a", b"v")
    assert found.retry_policy is not None
    assert not _WARNED


def test_no_limit_is_ours() -> None:
    found = compiled(envoy_grpc={"cluster_name": "a", "max_receive_message_length": 0})
    assert found.max_receive_message_length == DEFAULT_MESSAGE_LIMIT


def test_metadata_with_a_wrong_format_is_sent_as_it_stands() -> None:
    found = compiled(envoy_grpc={"cluster_name": "a"}, initial_metadata=[{"key": "x", "value": "%NOTHING%"}])
    assert found.initial_metadata[0].value == b"%NOTHING%"
    assert _WARNED[0][0] == "grpc_service.initial_metadata[0].value"


def test_retries_of_calls_begin_with_a_second() -> None:
    policy = compile_call_retries(base_pb2.RetryPolicy(retry_on="reset"), "")
    assert (policy.base_interval_ms, policy.max_interval_ms, policy.num_retries) == (1000, 10_000, 1)
    assert policy.retry_on == parse_retry_on("reset", "reset")
    message = json_format.ParseDict(
        {"retry_back_off": {"base_interval": "0.02s"}, "num_retries": 3, "retry_on": "reset"},
        base_pb2.RetryPolicy(),
    )
    policy = compile_call_retries(message, "")
    assert (policy.base_interval_ms, policy.max_interval_ms, policy.num_retries) == (20, 200, 3)
    assert policy.per_try_timeout_s == 0.2
