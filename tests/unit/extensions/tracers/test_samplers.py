"""Samplers of the OpenTelemetry tracer."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.config.messages import message_class
from sidecar.extensions.tracers.opentelemetry_config import _by_expression


class _Stream:
    """Nothing is asked of it by these expressions."""


def _sampler(value: bool) -> Any:
    kind = message_class("envoy.extensions.tracers.opentelemetry.samplers.v3.CELSamplerConfig")
    assert kind is not None
    expression = {"cel_expr_parsed": {"expr": {"const_expr": {"bool_value": value}}}}
    return _by_expression(json_format.ParseDict({"expression": expression}, kind()), "sampler")


def test_expression_of_a_sampler_is_a_parsed_one() -> None:
    """``CELSamplerConfig.expression`` is an ``xds.type.v3.CelExpression``, no text."""
    assert _sampler(True)(None, "0" * 32, _Stream()) == (True, b"")
    assert _sampler(False)(None, "0" * 32, _Stream()) == (False, b"")
