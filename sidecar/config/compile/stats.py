"""``envoy.config.metrics.v3.StatsConfig`` compiled: which stats are kept, their buckets and their tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.core.errors import ConfigError
from sidecar.observability.histogram import DEFAULT_BUCKETS
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer, TagSpecifier

__all__ = ["compile_store", "compile_tag_producer", "flush_interval_s"]

_PATH = "stats_config"
_FLUSH_INTERVAL_S = 5.0


def compile_store(bootstrap: Any) -> Store:
    """An empty store with the bootstrap's ``stats_matcher`` and ``histogram_bucket_settings``.

    Raises: ConfigError.
    """
    config = bootstrap.stats_config
    return Store(reject=_compile_reject(config), bounds_of=_compile_bounds(config))


def compile_tag_producer(bootstrap: Any) -> TagProducer:
    """What takes stat names apart.  Raises: ConfigError."""
    config = bootstrap.stats_config
    specifiers = [
        TagSpecifier(
            each.tag_name,
            regex=each.regex,
            fixed_value=each.fixed_value if each.WhichOneof("tag_value") == "fixed_value" else None,
        )
        for each in config.stats_tags
    ]
    use_defaults = config.use_all_default_tags.value if config.HasField("use_all_default_tags") else True
    try:
        return TagProducer(specifiers, use_defaults=use_defaults)
    except ConfigError as error:
        raise ConfigError(f"{_PATH}.{error.path}", error.reason) from error


def flush_interval_s(bootstrap: Any) -> float:
    """Seconds between two flushes of the store; 0 when only the admin interface flushes it."""
    if bootstrap.WhichOneof("stats_flush") == "stats_flush_on_admin" and bootstrap.stats_flush_on_admin:
        return 0.0
    if not bootstrap.HasField("stats_flush_interval"):
        return _FLUSH_INTERVAL_S
    interval = bootstrap.stats_flush_interval
    return float(interval.seconds + interval.nanos / 1e9)


def _compile_reject(config: Any) -> Callable[[str], bool] | None:
    matcher = config.stats_matcher
    kind = matcher.WhichOneof("stats_matcher") if config.HasField("stats_matcher") else None
    if kind is None:
        return None
    if kind == "reject_all":
        return (lambda name: True) if matcher.reject_all else None
    tests = [
        compile_string_matcher(each, f"{_PATH}.stats_matcher.{kind}.patterns[{index}]")
        for index, each in enumerate(getattr(matcher, kind).patterns)
    ]
    unwanted = kind == "exclusion_list"

    def reject(name: str) -> bool:
        text = name.encode()
        return any(test(text) for test in tests) is unwanted

    return reject


def _compile_bounds(config: Any) -> Callable[[str], Sequence[float]] | None:
    settings = [
        (
            compile_string_matcher(each.match, f"{_PATH}.histogram_bucket_settings[{index}].match"),
            tuple(sorted(set(each.buckets))) or DEFAULT_BUCKETS,
        )
        for index, each in enumerate(config.histogram_bucket_settings)
    ]
    if not settings:
        return None

    def bounds_of(name: str) -> Sequence[float]:
        text = name.encode()
        return next((buckets for test, buckets in settings if test(text)), DEFAULT_BUCKETS)

    return bounds_of
