"""Bootstrap configurations for scenarios, put together from short pieces of YAML.

Two placeholders stand for what only a run knows: `PORT(name)` is the port of the scripted upstream `name`,
`FILE(name)` a path in the run's own directory. Listeners and admin bind port 0.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from tests.support import yaml_text

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LINE = (
    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%RESPONSE_CODE_DETAILS% in=%BYTES_RECEIVED% out=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER%\n"
)
TO_APP = "- {match: {prefix: /}, route: {cluster: app}}"


def parse(text: str) -> Any:
    return yaml_text.load(textwrap.dedent(text)) if text else None


def listener(
    name: str, hcm: str = "", *, routes: str = "", filters: str = "", extra: str = "", log: str = LINE
) -> dict[str, Any]:
    """A listener with one connection manager.

    hcm: YAML of fields over the defaults (the delayed close is shorter than Envoy's second, to save time).
    routes: YAML list, for all hosts. filters: YAML list of HTTP filters before the router. extra: YAML of
    listener fields. log: format of its access log `FILE(<name>.log)`.
    """
    manager: dict[str, Any] = {
        "@type": HCM,
        "stat_prefix": name,
        "delayed_close_timeout": "0.1s",
        "http_filters": [
            *(parse(filters) or []),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
        "access_log": [file_log(f"FILE({name}.log)", log)],
    }
    if routes:
        hosts = [{"name": "all", "domains": ["*"], "routes": parse(routes)}]
        manager["route_config"] = {"name": name, "virtual_hosts": hosts}
    manager.update(parse(hcm) or {})
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    out: dict[str, Any] = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [network]}],
    }
    out.update(parse(extra) or {})
    return out


def file_log(path: str, text: str) -> dict[str, Any]:
    log_format = {"text_format_source": {"inline_string": text}}
    config = {"@type": FILE_LOG, "path": path, "log_format": log_format}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def cluster(name: str, *upstreams: str, extra: str = "", http2: bool = False) -> dict[str, Any]:
    """A STATIC cluster over scripted upstreams; extra: YAML of fields over the defaults."""
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": f"PORT({up})"}}}}
        for up in upstreams
    ]
    out: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if http2:
        options: dict[str, Any] = {"http2_protocol_options": {}}
        out["typed_extension_protocol_options"] = {
            HTTP_OPTIONS: {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", "explicit_http_config": options}
        }
    out.update(parse(extra) or {})
    return out


def bootstrap(
    listeners: Iterable[dict[str, Any]], clusters: Iterable[dict[str, Any]] = (), extra: str = ""
) -> dict[str, Any]:
    """The whole bootstrap; extra: YAML of further top-level fields."""
    out: dict[str, Any] = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
    }
    out.update(parse(extra) or {})
    return out


def render(config: dict[str, Any], port: Callable[[str], int], file: Callable[[str], str]) -> str:
    """YAML text with the placeholders filled in."""
    return fill(yaml_text.dump(config, sort_keys=False, width=1000), port, file)


def fill(text: str, port: Callable[[str], int], file: Callable[[str], str]) -> str:
    """The text with the placeholders filled in."""
    text = re.sub(r"(?<!_)PORT\(([\w-]+)\)", lambda match: str(port(match[1])), text)
    return re.sub(r"FILE\(([\w.-]+)\)", lambda match: file(match[1]), text)
