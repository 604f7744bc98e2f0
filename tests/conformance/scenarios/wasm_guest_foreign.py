"""The conformance guest calls Envoy's foreign functions, and what it is told."""

from __future__ import annotations

import base64
import re
import zlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from sidecar.core.message_values import write_bytes

from ..configuration import bootstrap, cluster, listener
from ..guest_log import guest_lines, guest_log
from ..guest_scripts import ROUTES, guest, modules
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import head

SUBJECT = "wasm"
_LONG = re.compile(r'(.*sign\w*") "(?:[^"\\]|\\.){60,}"( -> \d+)(?: "(.*)")?$')
_ESCAPE = re.compile(r"\\x..|\\.")
#: How long what a curve signs may be.
_CURVE = (68, 80)

# Of no use for anything but this.
_RSA = (
    "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAM/jFZP8UCyK4WhWnJQEUyNuoF2B06q5tyollDRYQ1d14zxpxNq+"
    "mCC//ltIBM+fRKURK79U/U6qHBQg8rZye/xOdcHLSZ3tBPCWg6J4VHZiZAZMxiuzyQ9q4/lBRwL+SZPbmCwn2Xe7kgF5gAwKz4vB"
    "8rmXms3gr96eR/tT0EaFAgMBAAECgYArkkTrh26mZ1VnMQAQZfem7YDfGF7s4Y/qXYX6kqVKp4LBHsoLrvbjploBd87KVW9lyXuJ"
    "1p5g5naMIXu9kbE6h8umBg+OACJJ9wa5zdi3wg3E53V+jRoaOWWK8oJjE2ZAJWhMXvTBbhdoBmZ0lZChIbjhQSqKKgG+wySZfNOp"
    "AQJBAPD2i2eJ1aMZwmvVV4hCysktuvFq3341RcEnVZOvB3J86qUn2c0OJWDmDFi27gz0wR/72VuhpVyFpMpf8LCgLPkCQQDc3CQE"
    "0b9ZRTIq91W8lV4qVG5yRd1hsqnXERi37lrcSYnVhGqr4dQEB9YoHqSzW6LHpgJ9Dt1JWQcxU+bT2MTtAkAe1U1tSEPgBPHN3pS+"
    "yN0t9P4Q2j4S5jowxxm6NhFb4wQbcgf6py69QXKe/3liiwcTUqSzhvGj7y3w/2nLEBPxAkEAmx4uWggquXslAhJW8C2ERnyoWbAC"
    "DZUbPkbusnhA7ojjusfW18OzUeVjHyhuit4oVMqe4tCm0NYrfBSugUm0/QJBAL/McGj7M8tG+8APbS/AYMEuRhsK2gu9V61oymge"
    "PmrHU4ROmXzNktPocjJPml1WkIbhkCD9aVRb06gjrCQXcOU="
)
_EC = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWAC7/kGuwjZvIqhPFMf3BlHQnQW/nAgwHF6B9SGWgN2hRANCAARr"
    "pmt1EO4P3ugE04hBsDPDTyXCko0FbUKdXaSPMHvPlOpMeaK7RxhZz7ueqtPeXBsjoSImvbmR9nF3qv99FeSB"
)
_ED = "MC4CAQAwBQYDK2VwBCIEIK5abt72esMCKF0PaNZ3yYJWBJekY95F8Hmsnqb8gP6T"


def _text(data: bytes) -> str:
    """A word of the script."""
    plain = b" !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
    shown = (
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in plain else f"\\x{byte:02x}"
        for byte in data
    )
    return '"' + "".join(shown) + '"'


def _call(name: str, arguments: bytes = b"") -> str:
    return f'call_foreign_function "{name}" {_text(arguments)}'


def _message(**fields: bytes | int) -> bytes:
    """A message of fields that are named by their numbers (``f1=``)."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        out += bytes([number << 3, value]) if isinstance(value, int) else write_bytes(number, value)
    return out


def _keys() -> str:
    lines = []
    for name, encoded in (("rsa", _RSA), ("ec", _EC), ("ed25519", _ED)):
        key = load_der_private_key(base64.b64decode(encoded), None)
        public = key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        own = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        own_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        good = b"x" * 64
        if name == "rsa":
            good = key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
        elif name == "ec":
            good = key.sign(b"text", ec.ECDSA(hashes.SHA256()))
        verify = [
            _message(f1=b"sha256", f2=der, f3=good, f4=b"text"),
            _message(f1=b"SHA256", f5=pem, f3=good, f4=b"text"),
            _message(f1=b"sha256", f2=der, f3=good, f4=b"other"),
            _message(f1=b"sha1", f2=der, f3=good, f4=b"text"),
            _message(f1=b"md5", f2=der, f3=good, f4=b"text"),
            _message(f2=der, f3=good, f4=b"text"),
            _message(f1=b"sha256", f2=der, f5=pem, f3=good, f4=b"text"),
            _message(f1=b"sha256", f2=der, f4=b"text"),
            _message(f1=b"sha256", f2=own, f3=good, f4=b"text"),
        ]
        sign = [
            _message(f1=b"sha256", f2=own, f3=b"text"),
            _message(f1=b"SHA512", f4=own_pem, f3=b"text"),
            _message(f1=b"sha256", f2=own),
            _message(f1=b"md5", f2=own, f3=b"text"),
            _message(f1=b"sha256", f2=own, f4=own_pem, f3=b"text"),
            _message(f1=b"sha256", f2=der, f3=b"text"),
            _message(f1=b"sha256", f4=pem, f3=b"text"),
            _message(f1=b"sha256", f4=b"no key", f3=b"text"),
        ]
        lines.append(f'say "{name}"')
        lines += [_call("verify_signature", each) for each in verify]
        # A signature by a curve is another each time: it is shown by its size, which varies.
        lines += [_call("sign", each) for each in sign]
    for name in ("verify_signature", "sign"):
        lines += [_call(name, each) for each in (b"", b"\x0a", b"\x0a\x02\xff\xfe", b"rubbish")]
        lines += [_call(name, _message(f1=b"sha256", f2=b"no key", f3=b"x", f4=b"x"))]
    lines.append(_call("verify_signature", _message(f1=b"sha256", f5=b"no key", f3=b"x", f4=b"x")))
    return "\n".join(lines)


def _set(path: bytes, value: bytes, span: int = 0) -> str:
    return _call("set_envoy_filter_state", _message(f1=path, f2=value, f3=span))


def _declare(name: bytes, *, readonly: int = 0, kind: int = 0, schema: bytes = b"", span: int = 0) -> str:
    return _call("declare_property", _message(f1=name, f2=readonly, f3=kind, f4=schema, f5=span))


HELLO = zlib.compress(b"hello hello hello hello")
#: Their numbers are what comes back: 0, 1 and so on, in the order in which they are created.
CREATED = (
    "request.method",
    "request.method == 'GET' && request.path.startsWith('/')",
    "1 + 2",
    "1u",
    "1.5",
    "true",
    "null",
    "b'bytes'",
    "'a' + 'b'",
    "string(1)",
    "[1, 2]",
    "{'k': 'v'}",
    "[1, 2].exists(x, x > 1)",
    "request.headers['x-case']",
    "request.headers",
    "request",
    "request.absent",
    "response.code",
    "plugin_name",
    "own",
    "own == b'mine'",
    "duration('1.5s')",
    "1 / 0",
    "nothing",
    "request.path.matches('^/.*')",
    "connection.id > 0u",
    "connection.mtls",
    "source.address.contains('127.0.0.1')",
    "size(request.headers) > 0",
    "[1, 2].map(x, x * 2)",
    "['a', 'b'].filter(x, x != 'a') + ['c']",
    "b'a' + b'b'",
    "has(request.headers.absent)",
)
REFUSED = ("", "1 +", "unknown_function(1)", "'a'.lowerAscii()", "request.path.matches('(')")


def _evaluated() -> str:
    lines = [_call("expr_evaluate", number.to_bytes(4, "little")) for number in range(len(CREATED))]
    return "\n".join(lines)


SCRIPT = f"""
@on_request_headers:create
{chr(10).join(_call("expr_create", text.encode()) for text in (*CREATED, *REFUSED))}
@on_request_headers:evaluate
set_property "own" "mine"
{_evaluated()}
{_call("expr_evaluate", b"")}
{_call("expr_evaluate", b"12345")}
{_call("expr_evaluate", bytes((len(CREATED) + 2, 0, 0, 0)))}
{_call("expr_evaluate", bytes((99, 0, 0, 0)))}
{_call("expr_delete", b"")}
{_call("expr_delete", bytes((99, 0, 0, 0)))}
@on_response_headers:evaluate
{_evaluated()}
@on_log:evaluate
{_evaluated()}
{_call("expr_delete", bytes(4))}
{_call("expr_evaluate", bytes(4))}
@on_configure
{_declare(b"once", readonly=1)}
{_declare(b"once", readonly=1)}
{_declare(b"text", kind=1)}
{_declare(b"message", kind=3)}
{_declare(b"kept", span=2)}
{_declare(b"node", kind=3, schema=b"type.googleapis.com/envoy.config.core.v3.Node")}
{_declare(b"struct", kind=3, schema=b"type.googleapis.com/google.protobuf.Struct")}
{_declare(b"unknown", kind=3, schema=b"type.googleapis.com/no.such.Message")}
{_call("declare_property", b"rubbish")}
{_call("clear_route_cache")}
{_set(b"envoy.string", b"x")}
{_call("nothing")}
@on_request_headers:zip
{_call("compress", b"hello hello hello hello")}
{_call("compress")}
{_call("uncompress", HELLO)}
{_call("uncompress", HELLO + b"more")}
{_call("uncompress", HELLO[:-3])}
{_call("uncompress", b"rubbish")}
{_call("uncompress")}
{_call("nothing", b"x")}
{_call("")}
@on_request_headers:keys
{_keys()}
@on_request_headers:state
{_set(b"envoy.string", b"one")}
get_property "filter_state\\0envoy.string"
{_set(b"envoy.string", b"two")}
get_property "filter_state\\0envoy.string"
{_set(b"envoy.hashable_string", b"three", 2)}
get_property "filter_state\\0envoy.hashable_string"
{_set(b"envoy.nothing", b"x")}
{_set(b"", b"x")}
{_set(b"envoy.tcp_proxy.cluster", b"app")}
{_set(b"envoy.tcp_proxy.per_connection_idle_timeout_ms", b"x")}
{_set(b"envoy.tcp_proxy.per_connection_idle_timeout_ms", b"17")}
{_set(b"envoy.network.transport_socket.original_dst_address", b"x")}
{_set(b"envoy.network.transport_socket.original_dst_address", b"127.0.0.1:80")}
{_set(b"envoy.network.upstream_server_name", b"name")}
{_call("set_envoy_filter_state", b"rubbish")}
{_call("set_envoy_filter_state")}
{_call("clear_route_cache", b"whatever")}
@on_log:state
get_property "filter_state\\0envoy.string"
{_set(b"envoy.string", b"late")}
get_property "filter_state\\0envoy.string"
{_call("clear_route_cache")}
@on_request_headers:declared
set_property "once" "first"
set_property "once" "second"
get_property "once"
set_property "text" "t"
get_property "text"
get_property "text\\0deeper"
set_property "message" "m"
get_property "message"
get_property "message\\0deeper"
{_set(b"envoy.hashable_string", b"three", 2)}
get_property "kept"
set_property "kept" "k"
get_property "kept"
{_declare(b"own", readonly=1)}
{_declare(b"own", readonly=1)}
{_declare(b"once", readonly=1)}
set_property "own" "first"
set_property "own" "second"
get_property "own"
{_declare(b"")}
set_property "" "nameless"
get_property "filter_state\\0wasm."
@on_request_headers:typed
set_property "node" "\\x0a\\x02id\\x12\\x01c\\x1a\\x0a\\x0a\\x08\\x0a\\x01k\\x12\\x03\\x1a\\x01v"
get_property "node"
get_property "node\\0id"
get_property "node\\0metadata\\0k"
get_property "node\\0locality"
get_property "node\\0nothing"
get_property "filter_state\\0wasm.node\\0cluster"
set_property "node" "\\x0a\\x03two"
get_property "node\\0id"
set_property "node" "no message"
get_property "node\\0id"
set_property "struct" "\\x0a\\x08\\x0a\\x01k\\x12\\x03\\x1a\\x01v"
get_property "struct\\0k"
get_property "struct\\0x"
set_property "unknown" "\\x0a\\x02id"
get_property "unknown"
get_property "unknown\\0id"
@on_request_headers:again
get_property "kept"
get_property "once"
set_property "kept" "again"
get_property "kept"
get_property "filter_state\\0envoy.hashable_string"
"""
SETUP = Setup(
    "wasm-foreign",
    bootstrap(
        [listener("foreign", routes=ROUTES, filters=guest("foreign", SCRIPT))],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
    modules("0_2_1"),
)


async def _ask(s: Session, case: str) -> None:
    async with guest_log(s, "foreign", "on_delete", shown=_shown):
        await s.get("/", f"x-case: {case}", to="foreign")


@scenario(SETUP)
async def wasm_guest_foreign_zip(s: Session) -> None:
    """compress and uncompress; functions that there are not."""
    await _ask(s, "zip")


@scenario(SETUP)
async def wasm_guest_foreign_keys(s: Session) -> None:
    """verify_signature and sign with keys of RSA, of elliptic curves and others, in both forms."""
    await _ask(s, "keys")


@scenario(SETUP)
async def wasm_guest_foreign_filter_state(s: Session) -> None:
    """set_envoy_filter_state with objects that Envoy has a factory for, and without."""
    await _ask(s, "state")


@scenario(SETUP)
async def wasm_guest_foreign_declared(s: Session) -> None:
    """declare_property: by the root context, before its streams set them, and by a stream."""
    configured = [line for line in guest_lines(s, 0, "foreign") if "root: " in line]
    again = configured.index(configured[0], 1) if configured[0] in configured[1:] else None
    s.see("configured", _shown(configured[:again]))
    async with guest_log(s, "foreign", "set_property", "on_delete", shown=_shown):
        client = await s.connect("foreign")
        for case in ("declared", "typed", "again"):
            await client.send(head("GET / HTTP/1.1", "host: a", f"x-case: {case}"))
            await client.reply(case)


def _shown(lines: list[str]) -> list[str]:
    """Keys and their like left out, and signatures by a curve, which are another each time."""
    shown = []
    for line in lines:
        found = _LONG.match(line)
        if found is None:
            shown.append(line)
            continue
        size = len(_ESCAPE.sub("x", found[3] or ""))
        answer = found[3] if size < _CURVE[0] or size > _CURVE[1] else "a signature"
        shown.append(f"{found[1]} …{found[2]} {answer or ''}")
    return shown


@scenario(SETUP)
async def wasm_guest_foreign_expressions(s: Session) -> None:
    """expr_create, expr_evaluate and expr_delete: kinds of values, phases, and what is refused."""
    await _ask(s, "create")
    async with guest_log(s, "foreign", "on_delete", shown=_in_order):
        await s.get("/", "x-case: evaluate", to="foreign")
    s.proxy.is_spent = True  # numbers go on


def _in_order(lines: list[str]) -> list[str]:
    """All headers at once are a map without order: those are not looked at."""
    return [line if "x-request-id" not in line and "date" not in line else "all headers" for line in lines]
