# ruff: noqa: E501  (a cluster is a line of a table)
"""Load balancing policies that there are as extensions alone."""

from __future__ import annotations

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from .localities import CYCLES, MANY, chosen, counts, extension, locality, near, routes, spread_over

SUBJECT = "upstream"
_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def inside(field: str, name: str, fields: str = "") -> str:
    """A policy within another."""
    return extension(name, fields).replace("load_balancing_policy:", f"{field}:", 1)


THREE = (locality("", ["1", "2", "3"]), locality("", ["4!UNHEALTHY"], extra="priority: 1"))
FALLBACK = inside("fallback_policy", "round_robin")
OTHER = "{metadata: {key: own, path: [{key: a}, {key: hosts}]}}"
SOURCES = "override_host_sources: [{header: X-Host}, %s], "
CLIENT_SIDE = "weight_update_period: 3600s, blackout_period: 0s"
CLUSTERS = {
    "override": (extension("override_host", SOURCES % OTHER + FALLBACK), *THREE),
    "override-by-hash": (
        extension("override_host", SOURCES % OTHER + inside("fallback_policy", "ring_hash")),
        *THREE,
    ),
    "override-told": (
        extension(
            "override_host",
            SOURCES % OTHER + FALLBACK + ", selected_host_key: {key: told, path: [{key: a}, {key: b}]}",
        ),
        *THREE,
    ),
    # Client-side weights are what hosts report; without reports they are equal.
    "client-side": (
        extension("client_side_weighted_round_robin", "weight_update_period: 0.1s"),
        locality("", ["1!*1", "2!*3"]),
    ),
    "wrr-locality": (
        extension(
            "wrr_locality",
            inside(
                "endpoint_picking_policy", "client_side_weighted_round_robin", "weight_update_period: 0.1s"
            ),
        ),
        locality("a", ["1!*1", "2!*3"], weight=3),
        locality("b", ["3", "4!UNHEALTHY"], weight=1),
    ),
}
SET_METADATA = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local hosts = handle:headers():get("x-metadata")
          if hosts then
            handle:streamInfo():dynamicMetadata():set("own", "a", {hosts = hosts})
          end
        end
"""
LB_EXTENSIONS = Setup(
    "lb_extensions",
    bootstrap(
        [
            listener(
                "main",
                routes=routes(list(CLUSTERS), "hash_policy: [{header: {header_name: x-key}}]")
                + "- {match: {prefix: /retried/}, route: {cluster: override, retry_policy: {retry_on: connect-failure, num_retries: 3, retry_back_off: {base_interval: 0.001s}}}, response_headers_to_add: [{header: {key: x-host, value: '%UPSTREAM_HOST%'}}]}\n",
                filters=SET_METADATA,
                log="%REQ(:PATH)% %UPSTREAM_HOST% %DYNAMIC_METADATA(told)% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n",
            )
        ],
        [spread_over(name, fields, *parts) for name, (fields, *parts) in CLUSTERS.items()],
    ),
)
NAMED = (
    "127.0.1.2:1",
    " 127.0.1.3:1 ",
    "127.0.1.2",
    "127.0.1.9:1",
    "127.0.1.9:1,127.0.1.3:1",
    ", ,127.0.1.1:1",
    "127.0.1.4:1",
    "127.0.1.3:1,127.0.1.2:1",
    "name:1",
    "",
)


@scenario(LB_EXTENSIONS)
async def override_host_by_header(s: Session) -> None:
    """The first address that is a host's, whatever its health; else the other policy chooses."""
    for named in NAMED:
        s.see(named, counts(await chosen(s, "/override/", 6, f"X-HOST: {named}%.0s")))
    two = "x-host: 127.0.1.2:1%.0s\r\nx-host: 127.0.1.3:1"
    s.see("two lines", counts(await chosen(s, "/override/", 6, two)))
    s.see("hash", "".join(await chosen(s, "/override-by-hash/", 40, "x-key: k%d")))
    s.see(
        "hash and host",
        "".join(await chosen(s, "/override-by-hash/", 5, "x-host: 127.0.1.2:1\r\nx-key: k%d")),
    )


@scenario(LB_EXTENSIONS)
async def override_host_by_metadata(s: Session) -> None:
    """What filters say, after what the header says."""
    s.see("metadata", counts(await chosen(s, "/override/", 6, "x-metadata: 127.0.1.3:1%.0s")))
    both = "x-metadata: 127.0.1.3:1%.0s\r\nx-host: 127.0.1.1:1"
    s.see("both", counts(await chosen(s, "/override/", 6, both)))
    both = "x-metadata: 127.0.1.3:1%.0s\r\nx-host: 127.0.1.8:1"
    s.see("header of nobody", counts(await chosen(s, "/override/", 6, both)))


@scenario(LB_EXTENSIONS)
async def override_host_of_retries(s: Session) -> None:
    """Each try goes to the next that is named, and to anybody when all were tried."""
    async with s.logging(3):
        s.see(
            "two",
            counts(
                await chosen(
                    s, "/retried/two", 1, "x-host: 127.0.1.2:1,127.0.1.1:1,127.0.1.2:1,127.0.1.3:1%.0s"
                )
            ),
        )
        s.see(
            "all",
            counts(
                await chosen(
                    s,
                    "/retried/all",
                    1,
                    "x-host: 127.0.1.2:1,127.0.1.1:1,127.0.1.2:1,127.0.1.1:1,127.0.1.3:1%.0s",
                )
            ),
        )
        s.see(
            "second",
            counts(
                await chosen(
                    s,
                    "/retried/second",
                    1,
                    "x-host: 127.0.1.2:1,127.0.1.9:1,127.0.1.9:1,127.0.1.2:1,127.0.1.2:1,127.0.1.2:1%.0s",
                )
            ),
        )


@scenario(LB_EXTENSIONS)
async def override_host_is_told(s: Session) -> None:
    """selected_host_key writes the address into the request's metadata."""
    async with s.logging(2):
        await chosen(s, "/override-told/", 1, "x-host: 127.0.1.3:1%.0s")
        await chosen(s, "/override-told/", 1, "x-host: 127.0.1.4:1%.0s")


@scenario(LB_EXTENSIONS)
async def wrr_locality_without_reports(s: Session) -> None:
    """Localities by weight; hosts the same once their weights were computed of no reports."""
    while counts(found := await chosen(s, "/client-side/", 20)).get("1") not in (10, 11):
        pass
    s.see("hosts", near(found, {"1": 0.5, "2": 0.5}, 0.06))
    s.see(
        "localities",
        near(
            await chosen(s, "/wrr-locality/", 240, at_once=MANY), {"1": 0.405, "2": 0.405, "3": 0.19}, CYCLES
        ),
    )
