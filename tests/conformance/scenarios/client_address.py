# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Who the client is: x-forwarded-for in all modes, original_ip_detection_extensions."""

from __future__ import annotations

from typing import Any

import trio

from ..configuration import bootstrap, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire, read_response

DETECTION = "type.googleapis.com/envoy.extensions.http.original_ip_detection"
ROUTES = "- {match: {prefix: /}, direct_response: {status: 200}}"
INTERNAL = (
    "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}, "
    "{address_prefix: 127.0.0.0, prefix_len: 8}, {address_prefix: 'fd00::', prefix_len: 8}]}"
)
#: Two lines: the first is one whose own address the comparison knows to hide.
LOG = (
    "x-forwarded-for: %REQ(x-forwarded-for)%\n"
    "%DOWNSTREAM_REMOTE_ADDRESS% internal=%REQ(x-envoy-internal)% external=%REQ(x-envoy-external-address)% "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
)


def xff(config: str) -> str:
    return f'{{name: xff, typed_config: {{"@type": {DETECTION}.xff.v3.XffConfig{config and ", " + config}}}}}'


def custom(config: str) -> str:
    kind = f"{DETECTION}.custom_header.v3.CustomHeaderConfig"
    return f'{{name: custom, typed_config: {{"@type": {kind}, {config}}}}}'


def detecting(name: str, *extensions: str, extra: str = "") -> dict[str, Any]:
    hcm = f"original_ip_detection_extensions: [{', '.join(extensions)}]\n{INTERNAL}\n{extra}"
    return listener(name, hcm, routes=ROUTES, log=LOG)


def plain(name: str, text: str) -> dict[str, Any]:
    return listener(name, f"{text}\n{INTERNAL}", routes=ROUTES, log=LOG)


def six(name: str, text: str) -> dict[str, Any]:
    out = plain(name, text)
    out["address"]["socket_address"]["address"] = "::1"
    return out


TRUSTED = "xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}, "
SETUP = Setup(
    "client-address",
    bootstrap(
        [
            plain("none", ""),
            plain("hop", "xff_num_trusted_hops: 1"),
            plain("hops", "xff_num_trusted_hops: 3"),
            plain("remote", "use_remote_address: true"),
            plain("remotehop", "use_remote_address: true\nxff_num_trusted_hops: 1"),
            plain("remotehops", "use_remote_address: true\nxff_num_trusted_hops: 2"),
            plain("remoteskip", "use_remote_address: true\nskip_xff_append: true"),
            plain("skip", "skip_xff_append: true"),
            detecting("xff", xff("")),
            detecting("xffhop", xff("xff_num_trusted_hops: 1")),
            detecting("xffappend", xff("xff_num_trusted_hops: 1, skip_xff_append: false")),
            detecting("xffskip", xff("skip_xff_append: true"), extra="skip_xff_append: true"),
            detecting("trusted", xff(TRUSTED + "{address_prefix: 192.0.2.0, prefix_len: 24}]}")),
            detecting(
                "trustedappend",
                xff(TRUSTED + "{address_prefix: 192.0.2.0, prefix_len: 24}]}, skip_xff_append: false"),
            ),
            detecting(
                "strangers", xff("xff_trusted_cidrs: {cidrs: [{address_prefix: 9.9.9.9, prefix_len: 32}]}")
            ),
            detecting("custom", custom("header_name: X-Client")),
            detecting(
                "believed", custom("header_name: x-client, allow_extension_to_set_address_as_trusted: true")
            ),
            detecting("rejecting", custom("header_name: x-client, reject_with_status: {code: Unauthorized}")),
            detecting("odd", custom("header_name: x-client, reject_with_status: {code: Found}")),
            detecting("first", custom("header_name: x-client"), xff("xff_num_trusted_hops: 1")),
            detecting(
                "second", xff(""), custom("header_name: x-client, reject_with_status: {code: Conflict}")
            ),
        ]
    ),
)
#: Of its own, for machines without IPv6.
SIX = Setup("client-address-ipv6", bootstrap([six("six", "use_remote_address: true"), six("sixinner", "")]))
FORWARDED = (
    "", "10.0.0.1", "8.8.8.8", "10.0.0.1, 8.8.8.8", "8.8.8.8,10.0.0.1", "1.1.1.1, 2.2.2.2 , 3.3.3.3,4.4.4.4",
    "garbage", "8.8.8.8, garbage", "garbage, 8.8.8.8", "8.8.8.8,", ",8.8.8.8", ",", "8.8.8.8:80", "fd00::1",
    "[fd00::1]:80", "[fd00::1]", "2001:DB8::1", "0:0:0:0:0:0:0:1", "2001:db8::1.2.3.4", "::ffff:10.0.0.1", "010.0.0.1", "1.2.3", "10.0.0.1\t", "fe80::1%lo", "fe80::1%7", "fd00::1%lo", "fe80::1%nothing",
    "unknown", "127.0.0.1", "192.0.2.1", "7.7.7.7, 192.0.2.1, 192.0.2.2", "192.0.2.9, garbage, 192.0.2.2",
)  # fmt: skip


async def logged(s: Session, to: str, requests: list[tuple[str, ...]]) -> None:
    """Observe the log lines of these requests' headers alone."""
    async with s.logging(2 * len(requests), to):
        client = await s.connect(to)
        for headers in requests:
            await client.send("\r\n".join(["GET / HTTP/1.1", "host: a", *headers, "", ""]).encode())
            await read_response(client.wire)


async def forwarded(s: Session, *listeners: str) -> None:
    requests = [(), *((f"x-forwarded-for: {value}",) for value in FORWARDED)]
    requests.append(("x-forwarded-for: 1.1.1.1", "x-forwarded-for: 10.0.0.2"))
    for to in listeners:
        await logged(s, to, requests)


@scenario(SETUP)
async def address_forwarded(s: Session) -> None:
    """Without use_remote_address the client is the last entry, or one further to the left."""
    await forwarded(s, "none", "hop", "hops", "skip")


@scenario(SETUP)
async def address_remote(s: Session) -> None:
    """With use_remote_address it is the peer, or what trusted hops say of theirs."""
    await forwarded(s, "remote", "remotehop", "remotehops", "remoteskip")


@scenario(SETUP)
async def address_xff_extension(s: Session) -> None:
    """envoy.http.original_ip_detection.xff: hops, appending."""
    await forwarded(s, "xff", "xffhop", "xffappend", "xffskip")


@scenario(SETUP)
async def address_trusted_networks(s: Session) -> None:
    """xff_trusted_cidrs: the first from the right that is not trusted, if the peer is."""
    await forwarded(s, "trusted", "trustedappend", "strangers")


CLIENTS = (
    "1.2.3.4",
    "10.0.0.1",
    "garbage",
    "",
    "1.2.3.4:5",
    " 1.2.3.4",
    "fd00::1",
    "[fd00::1]",
    "1.2.3.4, 5.6.7.8",
)


async def named(s: Session, to: str, *more: str) -> None:
    requests = [more, *((f"x-client: {value}", *more) for value in CLIENTS)]
    await logged(s, to, [*requests, ("x-client: 1.2.3.4", "x-client: 5.6.7.8", *more)])


@scenario(SETUP)
async def address_custom_header(s: Session) -> None:
    """envoy.http.original_ip_detection.custom_header: the address, whether it is believed, rejection."""
    await named(s, "custom")
    await named(s, "believed")
    counted = ("downstream_rq_rejected_via_ip_detection", "downstream_rq_4xx", "rq_total")
    async with s.counting(*(f"http.rejecting.{name}" for name in counted)):
        await named(s, "rejecting")
    await named(s, "odd")
    await s.get("/", to="rejecting", label="rejected")


@scenario(SETUP)
async def address_extensions_in_order(s: Session) -> None:
    """The first that knows an address ends the search; a rejection ends it too."""
    for to in ("first", "second"):
        await named(s, to)
        await named(s, to, "x-forwarded-for: 6.6.6.6, 7.7.7.7")


async def over_ipv6(s: Session, to: str, *headers: str) -> None:
    """One request from and to ::1; its reply is not looked at."""
    wire = Wire(await trio.open_tcp_stream("::1", s.proxy.ports[to]))
    try:
        await wire.send("\r\n".join(["GET / HTTP/1.1", "host: a", *headers, "", ""]).encode())
        await read_response(wire)
    finally:
        wire.close()


@scenario(SIX)
async def address_ipv6(s: Session) -> None:
    """A peer on the IPv6 loopback is written as the machine's own address too."""
    for to in ("six", "sixinner"):
        async with s.logging(6, to):
            await over_ipv6(s, to)
            await over_ipv6(s, to, "x-forwarded-for: fd00::1")
            await over_ipv6(s, to, "x-forwarded-for: 2001:db8::1, fd00::1")
