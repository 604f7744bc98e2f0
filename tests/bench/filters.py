"""``just bench-filters``: the CPU us that each HTTP filter adds to a request, here and in Envoy.

All requests carry the same fields, a token signed with RS256 among them; with ``fresh tokens`` no request
brings the token of one before.  A filter stands some times in the chain (``copies``), so that one of them may
be told from noise; of the rounds the cheapest counts, less the cheapest without a filter.  Both proxies are
pinned to one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.load import measure
from tests.bench.process import Process, free_ports
from tests.bench.proxies import ROOT, Case, start_command, upstream_command
from tests.support import jose

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_CLAIMS = {"iss": "bench", "aud": "bench", "sub": "someone", "exp": int(time.time()) + 86_400}
_TOKEN = jose.token(jose.rsa_key(), "RS256", _CLAIMS)
_PROXIES = ("sidecar", "envoy")
#: More than a proxy keeps of anything.
_FRESH = 2000
_KEYS = jose.jwks(jose.jwk(jose.rsa_key(), kid="one", alg="RS256"))
_PROVIDER = {
    "issuer": "bench",
    "audiences": ["bench"],
    "local_jwks": {"inline_string": _KEYS},
    "forward": True,
}
_NOT_THIS = {"header": {"name": "x-session", "string_match": {"exact": "none"}}}
_POLICY = {"permissions": [{"any": True}], "principals": [_NOT_THIS]}
_BUCKET = {"max_tokens": 4_000_000_000, "tokens_per_fill": 4_000_000_000, "fill_interval": "1s"}
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_GZIP = "type.googleapis.com/envoy.extensions.compression.gzip"
_LIBRARY = {
    name: {"name": "gzip", "typed_config": {"@type": f"{_GZIP}.{name}.v3.Gzip"}}
    for name in ("compressor", "decompressor")
}
_HEADER_ABORT = {"header_abort": {}, "percentage": {"numerator": 100}}
_IP = {"address_prefix": "10.0.0.0", "prefix_len": 8}


@dataclass(frozen=True, slots=True)
class Added:
    """One filter and what it is told."""

    name: str
    config: dict[str, Any]
    copies: int = 10


def _jwt(requires: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    rules = [] if requires is None else [{"match": {"prefix": "/"}, "requires": requires}]
    return {
        "@type": f"{_HTTP}.jwt_authn.v3.JwtAuthentication",
        "providers": {"one": {**_PROVIDER, **more}},
        "rules": rules,
    }


FILTERS = {
    "jwt_authn, nothing to do": Added("jwt_authn", _jwt(None)),
    "jwt_authn, RS256": Added("jwt_authn", _jwt({"provider_name": "one"}), copies=2),
    "jwt_authn, RS256, cached token": Added(
        "jwt_authn", _jwt({"provider_name": "one"}, jwt_cache_config={"jwt_cache_size": 10}), copies=2
    ),
    "jwt_authn, RS256, fresh tokens": Added("jwt_authn", _jwt({"provider_name": "one"}), copies=2),
    "rbac, nothing to do": Added("rbac", {"@type": f"{_HTTP}.rbac.v3.RBAC"}),
    "rbac, one policy": Added(
        "rbac", {"@type": f"{_HTTP}.rbac.v3.RBAC", "rules": {"action": "DENY", "policies": {"p": _POLICY}}}
    ),
    "rbac, ten networks": Added(
        "rbac",
        {
            "@type": f"{_HTTP}.rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {"p": {**_POLICY, "principals": [{"remote_ip": _IP}] * 10}},
            },
        },
        copies=2,
    ),
    "local_ratelimit, nothing to do": Added(
        "local_ratelimit", {"@type": f"{_HTTP}.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "p"}
    ),
    "local_ratelimit": Added(
        "local_ratelimit",
        {
            "@type": f"{_HTTP}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "p",
            "token_bucket": _BUCKET,
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
        },
    ),
    "cors, nothing to do": Added("cors", {"@type": f"{_HTTP}.cors.v3.Cors"}),
    "csrf, nothing to do": Added("csrf", {"@type": f"{_HTTP}.csrf.v3.CsrfPolicy", "filter_enabled": _ALWAYS}),
    "fault, nothing to do": Added("fault", {"@type": f"{_HTTP}.fault.v3.HTTPFault"}),
    "fault by headers, nothing to do": Added(
        "fault", {"@type": f"{_HTTP}.fault.v3.HTTPFault", "abort": _HEADER_ABORT}
    ),
    "compressor, nothing to do": Added(
        "compressor",
        {"@type": f"{_HTTP}.compressor.v3.Compressor", "compressor_library": _LIBRARY["compressor"]},
    ),
    "decompressor, nothing to do": Added(
        "decompressor",
        {
            "@type": f"{_HTTP}.decompressor.v3.Decompressor",
            "decompressor_library": _LIBRARY["decompressor"],
            "request_direction_config": {"advertise_accept_encoding": False},
        },
    ),
    "buffer, nothing to do": Added(
        "buffer", {"@type": f"{_HTTP}.buffer.v3.Buffer", "max_request_bytes": 1000}
    ),
    "lua, nothing to do": Added(
        "lua", {"@type": f"{_HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": "local x = 1"}}
    ),
    "header_to_metadata, nothing to do": Added(
        "header_to_metadata",
        {
            "@type": f"{_HTTP}.header_to_metadata.v3.Config",
            "request_rules": [
                {"header": "x-none", "on_header_present": {"metadata_namespace": "m", "key": "k"}}
            ],
        },
    ),
    "grpc_web, nothing to do": Added("grpc_web", {"@type": f"{_HTTP}.grpc_web.v3.GrpcWeb"}),
    "header_to_metadata": Added(
        "header_to_metadata",
        {
            "@type": f"{_HTTP}.header_to_metadata.v3.Config",
            "request_rules": [
                {"header": "x-session", "on_header_present": {"metadata_namespace": "m", "key": "k"}}
            ],
        },
    ),
}


def _add(path: Path, added: Added) -> None:
    config = json.loads(path.read_text())
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    filters[:0] = [{"name": f"{added.name}-{n}", "typed_config": added.config} for n in range(added.copies)]
    path.write_text(json.dumps(config))


def main(arguments: list[str]) -> int:
    """Print the table and write it as JSON; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="just bench-filters", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of the names of the filters")
    parser.add_argument("--output", default=str(ROOT / "bench-results" / "filters.json"))
    options = parser.parse_args(arguments)
    cases: dict[str, Added | None] = {"none": None, "none, fresh tokens": None} | {
        name: each for name, each in FILTERS.items() if options.only in name
    }
    found: dict[str, dict[str, float]] = {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        upstream, http2_upstream = free_ports(2)
        command = upstream_command(upstream, http2_upstream, directory)
        server = stack.enter_context(Process(command, core=1, log=directory / "upstream.log"))
        server.wait_for_port(upstream)
        tokens = (jose.token(jose.rsa_key(), "RS256", {**_CLAIMS, "jti": str(n)}) for n in range(_FRESH))
        (directory / "tokens.txt").write_text("\n".join(tokens))
        running: dict[tuple[str, str], tuple[Process, int]] = {}
        for number, (title, added) in enumerate(cases.items()):
            for proxy in _PROXIES:
                case = Case(f"filter-{number}", title)
                [port] = free_ports(1)
                started = start_command(proxy, case, port, upstream, directory)
                if added is not None:
                    _add(directory / f"{proxy}-{case.name}.json", added)
                log = directory / f"{proxy}-{number}.log"
                process = stack.enter_context(Process(started, core=0, log=log))
                process.wait_for_port(port, 120)
                running[title, proxy] = process, port
        best = dict.fromkeys(running, float("inf"))
        for turn in range(options.rounds + 1):
            # Side by side: what else the machine does at a time, it does to both.
            for (title, proxy), (process, port) in running.items():
                is_fresh = "fresh" in title
                got = measure(
                    process,
                    f"http://127.0.0.1:{port}/",
                    "tokens" if is_fresh else "get",
                    options.seconds if turn else 1,
                    1,
                    directory,
                    {} if is_fresh else {"authorization": f"Bearer {_TOKEN}"},
                )
                failed += got.errors
                if turn:
                    best[title, proxy] = min(best[title, proxy], got.cpu_us_per_request)
        for title, added in cases.items():
            base = "none, fresh tokens" if "fresh" in title else "none"
            for proxy in _PROXIES:
                less, copies = (best[base, proxy], added.copies) if added is not None else (0.0, 1)
                found.setdefault(title, {})[proxy] = round((best[title, proxy] - less) / copies, 2)
    print(f"{'added':<34}{'sidecar us':>12}{'Envoy us':>12}")
    for title, row in found.items():
        print(f"{title:<34}{row['sidecar']:>12}{row['envoy']:>12}")
    output = Path(options.output)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
