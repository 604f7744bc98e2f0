"""``just bench-observe``: what it costs to be watched, here and in Envoy.

CPU us that a request costs more with an access log (text, JSON, a gRPC service), with statistics, and with
tracing (1 % and 100 % of requests); of the rounds the cheapest counts.  Then the time of a scrape: the
statistics of many clusters in Prometheus' form.  Both proxies are pinned to one core and get the same files.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import ROOT, Case, start_command, upstream_command

Change = Callable[[dict[str, Any], dict[str, Any], int, Path], None]

_LOGGERS = "type.googleapis.com/envoy.extensions.access_loggers"
_JSON = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "agent": "%REQ(USER-AGENT)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "host": "%UPSTREAM_HOST%",
}


def _file_log(**more: Any) -> Change:
    def change(config: dict[str, Any], manager: dict[str, Any], sink: int, log: Path) -> None:
        logger = {"@type": f"{_LOGGERS}.file.v3.FileAccessLog", "path": str(log), **more}
        manager["access_log"] = [{"name": "log", "typed_config": logger}]

    return change


def _grpc_log(config: dict[str, Any], manager: dict[str, Any], sink: int, log: Path) -> None:
    _add_sink(config, sink)
    common = {
        "log_name": "bench",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "sink"}},
    }
    logger = {"@type": f"{_LOGGERS}.grpc.v3.HttpGrpcAccessLogConfig", "common_config": common}
    manager["access_log"] = [{"name": "log", "typed_config": logger}]


def _tracing(percent: float) -> Change:
    def change(config: dict[str, Any], manager: dict[str, Any], sink: int, log: Path) -> None:
        _add_sink(config, sink)
        provider = {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": {"envoy_grpc": {"cluster_name": "sink"}},
            "service_name": "bench",
        }
        manager["tracing"] = {
            "random_sampling": {"value": percent},
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
        }

    return change


def _no_stats(config: dict[str, Any], manager: dict[str, Any], sink: int, log: Path) -> None:
    config["stats_config"] = {"stats_matcher": {"reject_all": True}}


def _nothing(config: dict[str, Any], manager: dict[str, Any], sink: int, log: Path) -> None:
    pass


def _add_sink(config: dict[str, Any], port: int) -> None:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    made = _cluster("sink", port)
    made["typed_extension_protocol_options"] = {
        options: {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    config["static_resources"]["clusters"].append(made)


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


#: title → change of the file, and the title of what it is compared with.
CASES: dict[str, tuple[Change, str]] = {
    "plain": (_nothing, ""),
    "without statistics": (_no_stats, "plain"),
    "access log, text": (_file_log(), "plain"),
    "access log, JSON": (_file_log(log_format={"json_format": _JSON}), "plain"),
    "access log, gRPC": (_grpc_log, "plain"),
    "tracing, 1 %": (_tracing(1), "plain"),
    "tracing, 100 %": (_tracing(100), "plain"),
}


def _costs(
    options: argparse.Namespace, directory: Path, upstream: int, sink: int
) -> tuple[dict[str, dict[str, float]], int]:
    """title → proxy → CPU us of a request, and how many requests failed."""
    found: dict[str, dict[str, float]] = {}
    failed = 0
    for proxy in ("sidecar", "envoy"):
        running: dict[str, tuple[Process, int]] = {}
        with ExitStack() as stack:
            for number, (title, (change, _)) in enumerate(CASES.items()):
                case = Case(f"observe-{number}", title)
                [port] = free_ports(1)
                started = start_command(proxy, case, port, upstream, directory)
                path = directory / f"{proxy}-{case.name}.json"
                config = json.loads(path.read_text())
                config["node"] = {"id": "bench", "cluster": "bench"}
                [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
                manager = chain["filters"][0]["typed_config"]
                change(config, manager, sink, directory / f"{proxy}-{number}.access")
                path.write_text(json.dumps(config))
                log = directory / f"{proxy}-{number}.log"
                process = stack.enter_context(Process(started, core=0, log=log))
                process.wait_for_port(port, 60)
                running[title] = process, port
            for turn in range(options.rounds + 1):
                for title, (process, port) in running.items():
                    seconds = options.seconds if turn else 1
                    got = measure(process, f"http://127.0.0.1:{port}/", "get", seconds, 1, directory)
                    failed += got.errors
                    row = found.setdefault(title, {})
                    if turn:
                        row[proxy] = min(row.get(proxy, float("inf")), round(got.cpu_us_per_request, 2))
    return found, failed


def _scrapes(options: argparse.Namespace, directory: Path, upstream: int) -> dict[str, dict[str, float]]:
    """proxy → what a scrape takes, in milliseconds of CPU and of time, and how long it is."""
    found: dict[str, dict[str, float]] = {}
    for proxy in ("sidecar", "envoy"):
        case = Case("scrape", "scrape")
        port, admin = free_ports(2)
        started = start_command(proxy, case, port, upstream, directory)
        path = directory / f"{proxy}-scrape.json"
        config = json.loads(path.read_text())
        config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
        clusters = [_cluster(f"cluster-{number}", upstream) for number in range(options.clusters)]
        config["static_resources"]["clusters"] += clusters
        path.write_text(json.dumps(config))
        with Process(started, core=0, log=directory / f"{proxy}-scrape.log") as process:
            process.wait_for_port(port, 300)
            row = found[proxy] = {"cpu_ms": float("inf"), "ms": float("inf")}
            for _ in range(options.rounds + 1):
                before, began = process.cpu_s(), time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=300)
                connection.request("GET", "/stats/prometheus")
                size = len(connection.getresponse().read())
                row["ms"] = min(row["ms"], round((time.monotonic() - began) * 1000))
                row["cpu_ms"] = min(row["cpu_ms"], round((process.cpu_s() - before) * 1000))
                row["MiB"] = round(size / (1 << 20), 1)
                connection.close()
    return found


def main(arguments: list[str]) -> int:
    """Print both tables and write them as JSON; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="just bench-observe", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clusters", type=int, default=10_000, help="of the scrape; 0 for none")
    parser.add_argument("--scrape-only", action="store_true")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "observe.json"))
    options = parser.parse_args(arguments)
    costs: dict[str, dict[str, float]] = {}
    scrapes: dict[str, dict[str, float]] = {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream, sink = free_ports(3)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        command = [sys.executable, "-m", "tests.bench.grpc_sink", str(sink)]
        service = stack.enter_context(Process(command, core=1, log=directory / "sink.log"))
        service.wait_for_port(sink)
        if not options.scrape_only:
            costs, failed = _costs(options, directory, upstream, sink)
        if options.clusters:
            scrapes = _scrapes(options, directory, upstream)
    print(f"{'a request':<22}{'sidecar us':>12}{'more':>8}{'Envoy us':>12}{'more':>8}")
    for title, row in costs.items():
        text = f"{title:<22}"
        for proxy in ("sidecar", "envoy"):
            base = costs[CASES[title][1]][proxy] if CASES[title][1] else row[proxy]
            text += f"{row[proxy]:>12}{row[proxy] - base:>8.1f}"
        print(text)
    for proxy, row in scrapes.items():
        print(f"scrape of {options.clusters} clusters, {proxy}: {row}")
    output = Path(options.output)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"requests": costs, "scrapes": scrapes}, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
