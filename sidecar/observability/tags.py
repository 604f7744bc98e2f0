"""Which parts of a stat's name are tags: Envoy's default extraction, and ``stats_config.stats_tags``.

``cluster.web.upstream_rq_2xx`` is ``cluster.upstream_rq_xx`` with envoy_cluster_name=web and
envoy_response_code_class=2.  Each extractor looks at the whole name; what it takes out is cut from the
name at the end.  Extractors whose pattern begins with a fixed first word are asked about names with that
word alone, and after all the others: this decides the order of the labels (``envoy/source/common/stats/
tag_producer_impl.cc``; checked against a running Envoy).  Custom
expressions are RE2, where Envoy has std::regex: one with a lookahead is refused.  One without a group
extracts nothing, as there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import re2

from sidecar.core.dataclass import dataclass
from sidecar.core.errors import ConfigError
from sidecar.core.late_pattern import late_pattern

__all__ = ["DEFAULT_TAG_NAMES", "Tag", "TagProducer", "TagSpecifier"]

Tag = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TagSpecifier:
    """``envoy.config.metrics.v3.TagSpecifier``; with neither member set the name is a default tag's."""

    tag_name: str
    regex: str | None = None
    fixed_value: str | None = None


class _Pattern(Protocol):
    def search(self, text: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Extractor:
    tag_name: str
    pattern: _Pattern | None
    fixed_value: str = ""
    excluded_value: str = ""

    def extract(self, name: str, tags: list[Tag], cuts: list[tuple[int, int]]) -> None:
        if self.pattern is None:
            tags.append((self.tag_name, self.fixed_value))
            return
        match = self.pattern.search(name)
        if match is None or match.re.groups < 1:
            return
        value = match.group(2) if match.re.groups > 1 else match.group(1)
        if value is None or (self.excluded_value and value == self.excluded_value):
            return
        tags.append((self.tag_name, value))
        cuts.append(match.span(1))


_WORD = r"[^.]+"
_ADDRESS = r"(?:(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+)"

#: (tag, pattern) in the order of the oracle's table.  A pattern is either a regular expression whose
#: first group is cut out and whose second is the value, or words joined by dots: ``$`` is the value,
#: ``*`` any one word, ``**`` any words.
_DEFAULTS: tuple[tuple[str, str], ...] = (
    ("envoy.response_code", r"_rq(_(\d{3}))$"),
    ("envoy.response_code_class", r"_rq_((\d))xx$"),
    (
        "envoy.dynamo_partition_id",
        rf"^http\.{_WORD}\.dynamodb\.table\.{_WORD}\.capacity\.{_WORD}(\.__partition_id=(\w{{7}}))$",
    ),
    (
        "envoy.dynamo_operation",
        rf"^http\.{_WORD}\.dynamodb.(?:operation|table\.{_WORD}\.capacity)(\.({_WORD}))(?:\.|$)",
    ),
    ("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    ("envoy.dynamo_table", rf"^http\.{_WORD}\.dynamodb.(?:table|error)\.(({_WORD})\.)"),
    ("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    ("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    ("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    ("envoy.http_user_agent", "http.*.user_agent.$.**"),
    ("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    ("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    ("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.([\w-]+))$"),
    ("envoy.ssl_curve", r"^(?:listener|cluster)\..*?\.ssl\.curves(\.([\w-]+))$"),
    ("envoy.ssl_sigalg", r"^(?:listener|cluster)\..*?\.ssl\.sigalgs(\.([\w-]+))$"),
    ("envoy.ssl_version", r"^(?:listener|cluster)\..*?\.ssl\.versions(\.(TLSv\d\.\d))$"),
    ("cipher_suite", rf"^cluster\.{_WORD}\.ssl\.ciphers(\.([\w-]+))$"),
    ("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    ("envoy.tcp_prefix", "tcp.$.**"),
    ("envoy.udp_prefix", "udp.$.**"),
    ("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    ("envoy.ratelimit_prefix", "ratelimit.$.**"),
    ("envoy.cluster_name", "cluster.$.**"),
    ("envoy.http_conn_manager_prefix", rf"^listener\..*?\.http\.(({_WORD})\.)"),
    ("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    ("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    ("envoy.http_conn_manager_prefix", "http.$.**"),
    (
        "envoy.worker_id",
        rf"^(?:listener\.(?:{_ADDRESS}|{_WORD})\.|server\.|listener_manager\.|thread_local_cluster_manager\.)worker_((\d+)\.)",
    ),
    ("envoy.listener_address", rf"^listener\.(({_ADDRESS}|{_WORD})\.)"),
    ("envoy.virtual_host", "vhost.$.**"),
    ("envoy.mongo_prefix", "mongo.$.**"),
    ("envoy.rds_route_config", rf"^http\.{_WORD}\.rds\.(([\w\-.]+)\.)\w+?$"),
    ("envoy.route", "vhost.*.route.$.**"),
    ("envoy.thrift_prefix", "thrift.$.**"),
    ("envoy.redis_prefix", "redis.$.**"),
    ("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    ("envoy.dns_filter_prefix", "dns_filter.$.**"),
)
#: Tags that some value is not extracted for.
_EXCLUDED = {"envoy.listener_address": "admin"}

DEFAULT_TAG_NAMES = frozenset(name for name, _ in _DEFAULTS)

#: Stands for the name of a cluster.
_MARK = "\1"
_WORDS_OF_PATTERNS = frozenset({"http_local_rate_limit", ""})

_FIRST_WORD = late_pattern(r"\^(\w+)(?:\\\.|$)")


class TagProducer:
    """Takes names apart.  ``use_defaults`` is ``stats_config.use_all_default_tags``.

    Raises: ConfigError with a path under ``stats_tags``.
    """

    def __init__(self, specifiers: Sequence[TagSpecifier] = (), *, use_defaults: bool = True) -> None:
        self._is_default = use_defaults and not specifiers
        self._anywhere: list[_Extractor] = []
        self._by_first_word: dict[str, list[_Extractor]] = {}
        if use_defaults:
            for tag_name, pattern in _DEFAULTS:
                self._add_default(tag_name, pattern)
        for number, specifier in enumerate(specifiers):
            self._add_custom(specifier, f"stats_tags[{number}]")

    def extract(self, name: str) -> tuple[str, list[Tag]]:
        """The name without its tags, and the tags."""
        tags: list[Tag] = []
        cuts: list[tuple[int, int]] = []
        for extractor in self._anywhere:
            extractor.extract(name, tags, cuts)
        for extractor in self._by_first_word.get(name.partition(".")[0], ()):
            extractor.extract(name, tags, cuts)
        if len(tags) > 1:
            tags = list({tag_name: (tag_name, value) for tag_name, value in reversed(tags)}.values())[::-1]
        return _cut(name, cuts), tags

    def cluster_template(self, rest: str) -> tuple[str, list[Tag], str] | None:
        """What :meth:`extract` says of ``cluster.<name>.<rest>``, for all names that are plain.

        The third is what stands for the name among the tags.  None where the name may decide more, as
        expressions of somebody's own do.
        """
        if not self._is_default:
            return None
        extracted, tags = self.extract(f"cluster.{_MARK}.{rest}")
        is_plain = _MARK not in extracted and [tag[1] for tag in tags].count(_MARK) == 1
        return (extracted, tags, _MARK) if is_plain else None

    def is_plain_cluster(self, name: str) -> bool:
        """Whether no pattern takes a cluster's name for a word of its own."""
        return name not in _WORDS_OF_PATTERNS

    def _add_default(self, tag_name: str, pattern: str) -> None:
        expression, first_word = _compile_default(pattern)
        self._add(_Extractor(tag_name, expression, excluded_value=_EXCLUDED.get(tag_name, "")), first_word)

    def _add_custom(self, specifier: TagSpecifier, path: str) -> None:
        name = specifier.tag_name
        if specifier.fixed_value is not None:
            self._add(_Extractor(name, None, specifier.fixed_value), "")
        elif specifier.regex:
            try:
                expression = re2.compile(specifier.regex)
            except re2.error as error:
                reason = f"Invalid regex '{specifier.regex}': {_text(error)} (tag expressions are RE2 here)"
                raise ConfigError(f"{path}.regex", reason) from error
            first = _FIRST_WORD.match(specifier.regex)
            self._add(_Extractor(name, expression), first.group(1) if first else "")
        elif name in DEFAULT_TAG_NAMES:
            for tag_name, pattern in _DEFAULTS:
                if tag_name == name:
                    self._add_default(tag_name, pattern)
        else:
            raise ConfigError(
                f"{path}.tag_name",
                f"No regex specified for tag specifier and no default regex for name: '{name}'",
            )

    def _add(self, extractor: _Extractor, first_word: str) -> None:
        if first_word:
            self._by_first_word.setdefault(first_word, []).append(extractor)
        else:
            self._anywhere.append(extractor)


class _Default:
    """A pattern of Envoy's own, which is compiled when a name is first looked at."""

    __slots__ = ("_compiled", "_expression")

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._compiled: re.Pattern[str] | None = None

    def search(self, text: str) -> re.Match[str] | None:
        if self._compiled is None:
            self._compiled = re.compile(self._expression)
        return self._compiled.search(text)


def _compile_default(pattern: str) -> tuple[_Pattern, str]:
    if "(" in pattern:
        first = _FIRST_WORD.match(pattern)
        return _Default(pattern), first.group(1) if first else ""
    words = pattern.split(".")
    parts = {"$": rf"(({_WORD})\.)", "*": rf"{_WORD}\.", "**": r".*"}
    expression = "".join(parts.get(word, re.escape(word) + r"\.") for word in words)
    if words[-1] != "**":
        expression = expression.removesuffix(r"\.") + "$"
    return _Default("^" + expression), "" if words[0] == "$" else words[0]


def _cut(name: str, cuts: list[tuple[int, int]]) -> str:
    """``name`` without the given ranges, which may overlap."""
    if not cuts:
        return name
    parts: list[str] = []
    at = 0
    for start, end in sorted(cuts):
        if start > at:
            parts.append(name[at:start])
        at = max(at, end)
    parts.append(name[at:])
    return "".join(parts)


def _text(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
