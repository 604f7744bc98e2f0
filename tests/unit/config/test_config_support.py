# ruff: noqa: E501  (type URLs)
"""The tables of what is implemented and what is not: whole, true to the API, and what they say aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_text import BASE, load_text

from sidecar.config import supported_page
from sidecar.config.check_extensions import CATEGORIES
from sidecar.config.load import Loaded
from sidecar.config.messages import message_class
from sidecar.config.support import _VALUES
from sidecar.config.supported import CORE_TYPES, SUPPORTED, SUPPORTED_AT
from sidecar.config.unsupported import ENTRIES, EXTENSIONS, extension_entry


def fields(message: str) -> Any:
    cls: Any = message_class(message)
    assert cls is not None, message
    return cls.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("message", sorted(SUPPORTED))
def test_supported_row_names_fields_of_the_api(message: str) -> None:
    assert SUPPORTED[message] - {"*"} <= set(fields(message))


@pytest.mark.parametrize("message", sorted(SUPPORTED))
def test_supported_field_that_is_a_message_has_a_row_of_its_own(message: str) -> None:
    for name, field in fields(message).items():
        kind = field.message_type
        if kind is None or ("*" not in SUPPORTED[message] and name not in SUPPORTED[message]):
            continue
        if kind.GetOptions().map_entry:
            kind = kind.fields_by_name["value"].message_type
        if kind is not None and not kind.full_name.startswith(_VALUES):
            assert kind.full_name in SUPPORTED, f"{message}.{name}"


@pytest.mark.parametrize("place", sorted(SUPPORTED_AT))
def test_supported_row_of_a_place_names_fields_of_the_message_there(place: str) -> None:
    parent, _, field = place.rpartition(".")
    assert field in SUPPORTED[parent]
    message = fields(parent)[field].message_type
    assert message.full_name in SUPPORTED
    assert SUPPORTED_AT[place] <= set(message.fields_by_name)


@pytest.mark.parametrize(
    "entry", ENTRIES, ids=lambda entry: f"{entry.message}.{entry.field} {entry.value or ''}"
)
def test_unsupported_entry_names_a_field_of_the_api_that_is_not_supported(entry: Any) -> None:
    assert entry.field in fields(entry.message)
    assert entry.message in SUPPORTED, "nothing leads to this message"
    assert (entry.when is None) == (entry.value is None)
    if entry.when is None:
        assert entry.field not in SUPPORTED[entry.message]


def test_core_types_and_categories_exist_in_the_api() -> None:
    for message in CORE_TYPES:
        assert message in SUPPORTED
    for message, field in CATEGORIES:
        assert field in fields(message)


def test_extension_entry_takes_the_longest_beginning() -> None:
    assert extension_entry("envoy.filters.http", "envoy.extensions.filters.http.oauth2.v3.OAuth2") == (
        "refuse_to_serve",
        "OAuth2",
    )
    assert (
        extension_entry("envoy.filters.http", "envoy.extensions.filters.http.buffer.v3.Buffer")
        == EXTENSIONS["envoy.filters.http/"]
    )
    assert extension_entry("envoy.nonesuch", "a.b.C") == EXTENSIONS[""]


def test_field_without_entry_warns_by_name_and_line(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, BASE + "header_prefix: x-foo\n")
    assert isinstance(loaded, Loaded)
    (warning,) = [problem for problem in loaded.warnings if problem.path == "header_prefix"]
    assert warning.severity == "warning"
    assert warning.mark is not None
    assert (warning.mark.line, warning.mark.column) == (BASE.count("\n") + 1, 1)
    assert "known to Envoy's API, not implemented yet by sidecar" in warning.reason
    assert loaded.refusals == []


def test_transport_socket_without_a_factory_validates_and_is_refused_to_serve(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("x")
    tls = (
        "    - transport_socket:\n"
        "        name: tls\n"
        "        typed_config:\n"
        '          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n'
        "          common_tls_context: {tls_certificates: [{certificate_chain: {filename: PEM}}]}\n"
        "      filters:"
    ).replace("PEM", str(tmp_path / "pem"))
    loaded = load_text(tmp_path, BASE.replace("    - filters:", tls, 1))
    assert isinstance(loaded, Loaded), loaded
    (refusal,) = loaded.refusals
    assert refusal.severity == "error"
    assert refusal.path == "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config"
    assert refusal.reason.endswith("not implemented yet by sidecar: further transport sockets")
    assert [p.path for p in loaded.warnings] == [refusal.path]


def test_value_of_a_supported_field_that_is_not_implemented_is_told(tmp_path: Path) -> None:
    at = "          http_filters:\n"
    loaded = load_text(tmp_path, BASE.replace(at, "          codec_type: HTTP3\n" + at, 1))
    assert isinstance(loaded, Loaded)
    (refusal,) = loaded.refusals
    assert refusal.path.endswith("typed_config.codec_type")
    assert "this value is known to Envoy's API" in refusal.reason


def test_field_of_a_message_that_works_in_one_place_warns_in_the_other(tmp_path: Path) -> None:
    at = "          http_filters:\n"
    options = "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}\n"
    works = load_text(tmp_path, BASE.replace(at, " " * 10 + options + at, 1))
    assert isinstance(works, Loaded)
    assert works.warnings == []
    cluster = "    type: STATIC\n"
    assert cluster in BASE
    warned = load_text(tmp_path, BASE.replace(cluster, cluster + " " * 4 + options, 1))
    assert isinstance(warned, Loaded)
    assert [warning.path.rpartition(".")[2] for warning in warned.warnings] == [
        "common_http_protocol_options",
        "headers_with_underscores_action",
    ]


ROUTE_FILTERS = """
                typed_per_filter_config:
                  x:
                    "@type": type.googleapis.com/TYPE
"""


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", "refusal"),
    ],
)
def test_configuration_for_a_route_that_is_not_implemented_is_told(
    tmp_path: Path, message: str, severity: str
) -> None:
    at = "                route: {cluster: backend}\n"
    text = BASE.replace(at, at + ROUTE_FILTERS.lstrip("\n").replace("TYPE", message), 1)
    assert text != BASE
    loaded = load_text(tmp_path, text)
    assert isinstance(loaded, Loaded), loaded
    (warning,) = loaded.warnings
    assert ".typed_per_filter_config" in warning.path
    assert bool(loaded.refusals) == (severity == "refusal")


def test_unknown_extension_of_envoys_warns_with_its_subject(tmp_path: Path) -> None:
    oauth2 = (
        "          http_filters:\n"
        "          - name: envoy.filters.http.oauth2\n"
        "            typed_config:\n"
        '              "@type": type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2\n'
    )
    loaded = load_text(tmp_path, BASE.replace("          http_filters:\n", oauth2, 1))
    assert isinstance(loaded, Loaded), loaded
    (refusal,) = loaded.refusals
    assert refusal.path.endswith("http_filters[0].typed_config")
    assert refusal.reason.endswith("OAuth2")


def test_configuration_of_supported_fields_alone_gives_no_warning(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, BASE)
    assert isinstance(loaded, Loaded), loaded
    assert loaded.warnings == []
    assert loaded.refusals == []


def test_page_of_supported_fields_is_current() -> None:
    assert supported_page.PAGE.read_text(encoding="utf-8") == supported_page.render()
    assert supported_page.main(["--check"]) == 0


_KIND = "type.googleapis.com/envoy.extensions.filters.http"


def test_filter_without_a_factory_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    at = "          http_filters:\n"
    cache = (
        f'          - {{name: c, typed_config: {{"@type": {_KIND}.cache.v3.CacheConfig, disabled: true}}}}\n'
    )
    loaded = load_text(tmp_path, BASE.replace(at, at + cache, 1))
    assert isinstance(loaded, Loaded)
    (refusal,) = loaded.refusals
    assert "the extension envoy.filters.http.cache is known to Envoy's API" in refusal.reason
    assert (refusal.hint or "").endswith("; of envoy.filters.http there are lua, router")


def test_filter_without_a_factory_on_the_way_to_an_upstream_is_refused(tmp_path: Path) -> None:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    loaded = load_text(
        tmp_path,
        BASE
        + f"""\
    typed_extension_protocol_options:
      {options}:
        "@type": type.googleapis.com/{options}
        explicit_http_config: {{http_protocol_options: {{}}}}
        http_filters:
        - {{name: a, typed_config: {{"@type": {_KIND}.buffer.v3.Buffer, max_request_bytes: 1}}}}
        - {{name: c, typed_config: {{"@type": {_KIND}.upstream_codec.v3.UpstreamCodec}}}}
""",
    )
    assert isinstance(loaded, Loaded), loaded
    assert "envoy.filters.http.buffer is known to Envoy's API" in loaded.refusals[0].reason
