# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Fields of filters that no other scenario sets: keys of fault in the runtime."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .ext_proc_headers import EXT

SUBJECT = "filters"

FAULT = f'"@type": {EXT}.fault.v3.HTTPFault'
NEVER = "percentage: {numerator: 0}"
ALWAYS = "percentage: {numerator: 100}"
LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%\n"
RUNTIME = """
layered_runtime:
  layers:
  - {name: base, static_layer: {own: {all: 100, none: 0, status: 418, grpc: 7, ms: 1}}}
"""


def faults(name: str, fields: str) -> str:
    return (
        f"- {{match: {{path: /{name}}}, route: {{cluster: app}}, "
        f"typed_per_filter_config: {{fault: {{{FAULT}, {fields}}}}}}}\n"
    )


SHORT = "delay: {fixed_delay: 100s, percentage: {numerator: 0}}, delay_percent_runtime: own.all, delay_duration_runtime: own.ms"
ROUTES = (
    faults(
        "abort",
        f"abort: {{http_status: 503, {NEVER}}}, abort_percent_runtime: own.all, abort_http_status_runtime: own.status",
    )
    + faults("spared", f"abort: {{http_status: 503, {ALWAYS}}}, abort_percent_runtime: own.none")
    + faults("grpc", f"abort: {{grpc_status: 5, {ALWAYS}}}, abort_grpc_status_runtime: own.grpc")
    + faults("delay", SHORT)
    + faults(
        "most",
        f"abort: {{http_status: 503, {ALWAYS}}}, max_active_faults: 9, max_active_faults_runtime: own.none",
    )
    + faults(
        "slow",
        f"response_rate_limit: {{fixed_limit: {{limit_kbps: 900}}, {NEVER}}}, response_rate_limit_percent_runtime: own.all",
    )
    + faults("counted", f"abort: {{http_status: 503, {ALWAYS}}}")
    + faults("uncounted", f"abort: {{http_status: 503, {ALWAYS}}}, disable_downstream_cluster_stats: true")
)
SETUP = Setup(
    "filters_fields",
    bootstrap(
        [
            listener(
                "main",
                routes=ROUTES,
                filters=f'- {{name: fault, typed_config: {{"@type": {EXT}.fault.v3.HTTPFault}}}}',
                log=LOG,
            ),
        ],
        [cluster("app", "app")],
        RUNTIME,
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def fault_keys_of_its_own(s: Session) -> None:
    """Keys that the message names instead of the usual ones, and what is counted by the caller's cluster."""
    caller = "x-envoy-downstream-service-cluster: me"
    async with (
        s.counting(
            *(
                "http.main.fault.aborts_injected",
                "http.main.fault.delays_injected",
                "http.main.fault.faults_overflow",
            ),
            *("http.main.fault.response_rl_injected", "http.main.fault.me.aborts_injected"),
        ),
        s.logging(9),
    ):
        for path in ("/abort", "/spared", "/grpc", "/delay", "/most", "/slow"):
            await s.get(path)
        await s.get("/grpc", "content-type: application/grpc", label="grpc of gRPC")
        await s.get("/counted", caller)
        await s.get("/uncounted", caller)
