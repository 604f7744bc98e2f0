"""``envoy.config.cluster.v3.OutlierDetection`` compiled to its settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sidecar.config.compile.match_predicate import compile_response_predicate
from sidecar.upstream.outlier_detection import OutlierSettings

__all__ = ["compile_outliers"]


def compile_outliers(message: Any, options: Any, path: str) -> OutlierSettings | None:
    """The settings of a cluster that has them; ``message`` is the cluster's, ``options`` its options of HTTP.

    ``path`` is where the options stand.  Raises: ConfigError.
    """
    if not message.HasField("outlier_detection"):
        return None
    detection = message.outlier_detection
    given: dict[str, Any] = {}
    for field in fields(OutlierSettings):
        name = field.name.removesuffix("_s")
        if name == "error_matcher":
            continue
        if name == "split_external_local_origin_errors":
            given[name] = detection.split_external_local_origin_errors
        elif detection.HasField(name):
            value = getattr(detection, name)
            given[field.name] = (
                value.seconds + value.nanos // 1_000_000 / 1000 if name != field.name else value.value
            )
    base = given.get("base_ejection_time_s", OutlierSettings().base_ejection_time_s)
    given.setdefault("max_ejection_time_s", max(300.0, base))
    if options is not None and options.outlier_detection.HasField("error_matcher"):
        given["error_matcher"] = compile_response_predicate(
            options.outlier_detection.error_matcher, f"{path}.outlier_detection.error_matcher"
        )
    return OutlierSettings(**given)
