"""Mistakes in health checks and outlier detection that Envoy finds when it builds them.

Reasons are Envoy's own words where it has any (seen on 1.40).
"""

from __future__ import annotations

import re
from typing import Any

from sidecar.config.check_clusters import is_http2
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name

__all__ = ["check_health_checks", "check_outlier_detection", "check_payload"]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+\Z")
#: The API has these monitors; the Envoy of this API was built without them.
_MONITORS = "envoy.extensions.outlier_detection_monitors."


def check_outlier_detection(context: Context, path: Path, detection: Any) -> None:
    """``envoy.config.cluster.v3.OutlierDetection``."""
    if detection.HasField("max_ejection_time"):
        longest, base = detection.max_ejection_time, detection.base_ejection_time
        base_s = base.seconds + base.nanos / 1e9 if detection.HasField("base_ejection_time") else 30.0
        if longest.seconds + longest.nanos / 1e9 < base_s:
            context.report.error(
                (*path, "max_ejection_time"),
                "outlier detector's max_ejection_time cannot be smaller than base_ejection_time",
            )
    for index, monitor in enumerate(detection.monitors):
        url = monitor.typed_config.type_url
        if type_name(url).startswith(_MONITORS):
            context.report.error((*path, "monitors", index, "typed_config"), f"could not find @type '{url}'")


def check_health_checks(context: Context, path: Path, cluster: Any) -> None:
    """The ``health_checks`` of a cluster."""
    names: set[str] = set()
    for index, check in enumerate(cluster.health_checks):
        here = (*path, "health_checks", index)
        if len(cluster.health_checks) > 1:
            _check_name(context, here, check.name, index, names)
        if check.WhichOneof("health_checker") == "grpc_health_check" and not is_http2(cluster):
            context.report.error(
                (*here, "grpc_health_check"),
                f"{cluster.name} cluster must support HTTP/2 for gRPC healthchecking",
                "add to the cluster:\n"
                "typed_extension_protocol_options:\n"
                f"  {_HTTP_OPTIONS}:\n"
                f'    "@type": type.googleapis.com/{_HTTP_OPTIONS}\n'
                "    explicit_http_config:\n"
                "      http2_protocol_options: {}",
            )
        _check_http(context, here, check.http_health_check, cluster)
        for number, span in enumerate(check.http_health_check.expected_statuses):
            if span.start >= span.end:
                context.report.error(
                    (*here, "http_health_check", "expected_statuses", number),
                    "Invalid http expected status range: expecting start < end,"
                    f" but found start={span.start} and end={span.end}",
                    "the end is not part of the range",
                )


def _check_http(context: Context, path: Path, http: Any, cluster: Any) -> None:
    for number, name in enumerate(http.request_headers_to_remove):
        if name.startswith(":") or name.lower() == "host":
            context.report.error(
                (*path, "http_health_check", "request_headers_to_remove", number),
                ":-prefixed or host headers may not be removed",
            )
    if http.use_alpn_protocol and not cluster.HasField("transport_socket"):
        context.report.error(
            (*path, "http_health_check", "use_alpn_protocol"),
            f"use_alpn_protocol configured for the health check of cluster {cluster.name} which has a"
            " non-ALPN transport socket",
            "take it out, or give the cluster a transport_socket with TLS",
        )


def _check_name(context: Context, path: Path, name: str, index: int, names: set[str]) -> None:
    """Of several health checks each has a name of its own."""
    if not name:
        context.report.error(
            path,
            f"health check at index {index} is missing a name; all health checks must have a name when"
            " multiple health checks are configured",
            "add:\nname: <what it asks>",
        )
    elif name in names:
        context.report.error(
            (*path, "name"),
            f"duplicate health check name '{name}' at index {index}; all health check names must be unique"
            " within a cluster",
        )
    names.add(name)


def check_payload(context: Context, path: Path, payload: Any) -> None:
    """``envoy.config.core.v3.HealthCheck.Payload``: ``text`` is hexadecimal."""
    text = payload.text
    if payload.WhichOneof("payload") == "text" and text and not _HEX.match(text):
        context.report.error(
            (*path, "text"),
            f"invalid hex string '{text}': text is hexadecimal",
            f"{text} is {text.encode().hex().upper()}",
        )
