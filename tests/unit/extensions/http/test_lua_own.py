"""What our own Lua message adds: modules, failing closed, limits, stack traces."""

from __future__ import annotations

import base64
import hmac
import json
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from stream_fakes import FakeRoute, ScriptedBody, read_all

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError, StreamAborted
from sidecar.extensions.http.lua_dictionary import SharedDictionary
from sidecar.extensions.http.lua_jwt import JwtProvider, parse_jwks
from sidecar.extensions.http.lua_own_config import OwnLuaFactory


def compiled(code: str, recorder: Recorder | None = None, **more: Any) -> Any:
    cls: Any = message_class("sidecar.extensions.filters.http.lua.v1.Lua")
    message = ParseDict({"lua": {"default_source_code": {"inline_string": code}}, **more}, cls())
    return OwnLuaFactory().compile(message, (recorder or Recorder()).context)


def seen(body: str, stream: Any, **more: Any) -> str:
    """What the script's ``out`` is."""
    lua = compiled(
        f"function envoy_on_request(h)\nlocal out\n{body}\nh:headers():add('x-out', tostring(out))\nend",
        **more,
    )
    assert lua.decode_headers(stream) is None
    return (stream.request.headers.get(b"x-out") or b"failed").decode("latin-1")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('out = require("sidecar.json").encode({b = {1, 2.5, true}, a = "x\\"\\n"})', '{"a":"x\\"\\n","b":[1,2.5,true]}'),
        ('local j = require("sidecar.json") out = j.encode({n = j.null, e = j.empty_array, o = {}})', '{"e":[],"n":null,"o":{}}'),
        ('local v = require("sidecar.json").decode(\'{"a":[1,{"b":"c"}],"d":1e3}\') out = v.a[2].b .. v.d .. #v.a', "c10002"),
        ('local j = require("sidecar.json") out = j.encode(j.decode(\'[null,[],{},"\\\\u00e9",12345678901234]\'))', '[null,[],{},"é",12345678901234]'.encode().decode("latin-1")),
        ('local v, e = require("sidecar.json").decode("[1,") out = tostring(v) .. e:sub(1, 5)', "niljson:"),
        ('local v, e = require("sidecar.json").decode(string.rep("[", 100000)) out = tostring(v) .. e:sub(1, 5)', "niljson:"),
        ('out = pcall(require("sidecar.json").encode, {[1] = 1, a = 2})', "False".lower()),
        ('local t = {} t.t = t out = pcall(require("sidecar.json").encode, t)', "false"),
        ('local b = require("sidecar.base64") out = b.encode("lua!") .. b.decode("bHVhIQ==")', "bHVhIQ==lua!"),
        ('local b = require("sidecar.base64url") out = b.encode("\\255\\254") .. #b.decode("__4") .. tostring(b.decode("+/"))', "__42nil"),
        ('out = require("sidecar.sha256").hex("abc")', "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ('out = #require("sidecar.sha256").digest("abc")', "32"),
        ('local m = require("sidecar.hmac") out = m.hex(m.sha1("key", "data"))', hmac.digest(b"key", b"data", "sha1").hex()),
        ('local m = require("sidecar.hmac") out = tostring(m.equals("a", "a")) .. tostring(m.equals("a", "b"))', "truefalse"),
        ('local u = require("sidecar.url") out = u.escape("a b/ü") .. u.unescape("%41+b")', "a%20b%2F%C3%BCA b"),
        ('local u = require("sidecar.url").parse("https://a.b:8443/p?q=1#f") out = u.scheme .. u.host .. u.port .. u.path .. u.query .. u.fragment', "httpsa.b8443/pq=1f"),
        ('local q = require("sidecar.url").parse_query("a=1&b=2&a=3&c=") out = q.a[2] .. q.b .. q.c', "32"),
        ('out = require("sidecar.url").build_query({b = {1, 2}, a = "x y"})', "a=x%20y&b=1&b=2"),
        ('local id = require("sidecar.uuid").v4() out = #id .. id:sub(15, 15)', "364"),
        ('local a, b = require("sidecar.re").match("key=value", "(\\\\w+)=(\\\\w+)") out = a .. b', "keyvalue"),
        ('local r = require("sidecar.re") out = r.find("xxab", "a+b?") .. tostring(r.find("x", "y")) .. r.match("abc", "b.")', "3nilbc"),
        ('out = require("sidecar.re").gsub("a1b22", "[0-9]+", "<\\\\0>")', "a<1>b<22>"),
        ('out = select(2, pcall(require("sidecar.re").match, "a", "(")):match("re: m%a+")', "re: missing"),
        ('out = pcall(require, "sidecar.nothing")', "false"),
    ],
)  # fmt: skip
def test_module_does_what_it_says(body, expected, make_stream):
    assert seen(body, make_stream()) == expected


def test_modules_are_not_there_for_scripts_of_envoys_message(make_stream):
    from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua

    from sidecar.extensions.http.lua_config import LuaFactory

    code = 'ok = pcall(require, "sidecar.json") function envoy_on_request(h) h:headers():add("x-ok", tostring(ok)) end'
    stream = make_stream()
    LuaFactory().compile(Lua(inline_code=code), Recorder().context).decode_headers(stream)
    assert stream.request.headers.get(b"x-ok") == b"false"


def test_shared_dictionary_is_shared_by_streams(make_stream):
    code = """
    local shared = require("sidecar.shared")
    function envoy_on_request(h)
      local n = shared.incr("counts", "k", 1, 0)
      shared.set("counts", "text", "t" .. n, 60)
      h:headers():add("x-n", n .. shared.get("counts", "text") .. tostring(shared.add("counts", "k", 5)))
      local ok, problem = pcall(shared.get, "none", "k")
      h:headers():add("x-problem", tostring(problem):match("shared: .*"))
    end"""
    lua = compiled(code, shared_dictionaries={"counts": {}})
    found = []
    for _ in range(2):
        stream = make_stream()
        lua.decode_headers(stream)
        found.append(stream.request.headers.get(b"x-n"))
        assert stream.request.headers.get(b"x-problem") == b"shared: no dictionary is called none"
    assert found == [b"1t1false", b"2t2false"]


def test_dictionary_keeps_its_bounds_and_times():
    now = [100.0]
    found = SharedDictionary(3, 1000, lambda: now[0])
    for key in (b"a", b"b", b"c"):
        assert found.set(key, b"x")
    found.get(b"a")
    found.set(b"d", b"x")
    assert [found.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"x", None, b"x", b"x"]
    assert not found.set(b"big", b"x" * 1000)
    found.set(b"long", b"x" * 900)
    assert len(found) == 1
    assert found.set(b"t", 5, 10)
    assert found.incr(b"t", 2) == 7
    now[0] += 10
    assert found.get(b"t") is None
    assert found.incr(b"none", 1) is None
    found.set(b"long", b"x")
    with pytest.raises(TypeError):
        found.incr(b"long", 1)
    found.set(b"long", None)
    assert len(found) == 0


async def test_script_that_fails_closed_ends_the_request(make_stream, respond):
    code = 'function envoy_on_request(h) error("x") end function envoy_on_response(h) error("y") end'
    lua = compiled(code, on_error="FAIL_CLOSED")
    stream = make_stream()
    reply = lua.decode_headers(stream)
    assert (reply.status, reply.details) == (500, "lua_script_error")
    respond(stream)
    assert lua.encode_headers(stream).status == 500
    assert compiled(code).decode_headers(make_stream()) is None


async def test_script_that_fails_closed_breaks_a_body_off(make_stream):
    code = 'function envoy_on_request(h) for chunk in h:bodyChunks() do error("x") end end'
    lua = compiled(code, on_error="FAIL_CLOSED")
    stream = make_stream(body=ScriptedBody(b"a", b"b"))
    assert lua.decode_headers(stream) is None
    with pytest.raises(StreamAborted) as caught:
        await read_all(stream.request.body)
    assert caught.value.reply.status == 500


def test_stack_trace_counts_lines_of_the_file(make_stream, caplog):
    recorder = Recorder()
    recorder.context.path = "http_filters[0].typed_config"
    asked: list[str] = []

    def locate(path: str) -> tuple[str, int]:
        asked.append(path)
        return "envoy.yaml", 40

    recorder.context.locate_text = locate
    code = 'local function deep() error("on purpose") end\nfunction envoy_on_request(h)\n  deep()\n  return 1\nend'
    lua = compiled(code, recorder, stack_traces=True)
    lua.decode_headers(make_stream())
    text = caplog.records[-1].getMessage()
    assert asked == ["http_filters[0].typed_config.lua.default_source_code.inline_string"]
    assert "script log: envoy.yaml:40: on purpose\nstack traceback:" in text
    assert "envoy.yaml:42: in function" in text
    with pytest.raises(ConfigError) as caught:
        compiled("x = 1\nfunction y(", recorder, stack_traces=True)
    assert caught.value.line_in_text == 2
    assert caught.value.path == "lua.default_source_code.inline_string"


def test_limits_of_a_step_can_be_set(make_stream, caplog):
    code = "function envoy_on_request(h) local n = 0 for i = 1, 1e6 do n = n + i end h:headers():add('x-n', '1') end"
    for most, passes in ((1_000_000, False), (50_000_000, True)):
        stream = make_stream()
        compiled(code, limits={"instructions": most}).decode_headers(stream)
        assert (stream.request.headers.get(b"x-n") == b"1") is passes
    with pytest.raises(ConfigError, match="at least"):
        compiled(code, limits={"memory_bytes": 5})


def test_script_of_a_route_has_the_modules(make_stream):
    factory = OwnLuaFactory()
    cls: Any = message_class("sidecar.extensions.filters.http.lua.v1.Lua")
    lua = factory.compile(ParseDict({"lua": {}}, cls()), Recorder().context)
    cls = message_class("sidecar.extensions.filters.http.lua.v1.LuaPerRoute")
    code = 'function envoy_on_request(h) h:headers():add("x-out", require("sidecar.json").encode({1})) end'
    route = factory.compile_route(
        ParseDict({"lua": {"source_code": {"inline_string": code}}}, cls()), Recorder().context
    )
    stream = make_stream(route=FakeRoute(per_filter_config={lua.config_name: route}))
    lua.decode_headers(stream)
    assert stream.request.headers.get(b"x-out") == b"[1]"


def test_script_of_a_route_has_limits_of_its_own(make_stream, caplog):
    factory = OwnLuaFactory()
    cls: Any = message_class("sidecar.extensions.filters.http.lua.v1.Lua")
    lua = factory.compile(ParseDict({"lua": {}}, cls()), Recorder().context)
    cls = message_class("sidecar.extensions.filters.http.lua.v1.LuaPerRoute")
    code = "function envoy_on_request(h) for i = 1, 1e5 do x = i end end"
    for most, errors in ((50_000_000, 0), (10_000, 1)):
        message = {"lua": {"source_code": {"inline_string": code}}, "limits": {"instructions": most}}
        route = factory.compile_route(ParseDict(message, cls()), Recorder().context)
        caplog.clear()
        lua.decode_headers(make_stream(route=FakeRoute(per_filter_config={lua.config_name: route})))
        assert len(caplog.records) == errors


@pytest.mark.parametrize("field", [{"limits": {"instructions": 5}}, {"stack_traces": True}])
def test_limits_of_a_route_need_a_script_of_its_own(field):
    cls: Any = message_class("sidecar.extensions.filters.http.lua.v1.LuaPerRoute")
    with pytest.raises(ConfigError) as caught:
        OwnLuaFactory().compile_route(ParseDict({"lua": {"name": "a"}, **field}, cls()), Recorder().context)
    assert caught.value.path in field


# -- tokens -----------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = b"s" * 32
JWKS = json.dumps({
    "keys": [
        {"kty": "RSA", "kid": "r", "n": number(RSA.public_key().public_numbers().n), "e": "AQAB"},
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(EC.public_key().public_numbers().x),
         "y": number(EC.public_key().public_numbers().y)},
        {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(ED.public_key().public_bytes_raw())},
        {"kty": "oct", "kid": "s", "alg": "HS256", "k": b64(SECRET)},
        {"kty": "RSA", "use": "enc", "n": "AQ", "e": "AQ"},
    ]
}).encode()  # fmt: skip


def token(algorithm: str, claims: dict[str, Any], key_id: str | None = None, **head: Any) -> bytes:
    head = {"alg": algorithm, **({"kid": key_id} if key_id else {}), **head}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}".encode()
    if algorithm == "RS256":
        signature = RSA.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "PS256":
        signature = RSA.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif algorithm == "ES256":
        r, s = utils.decode_dss_signature(EC.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    elif algorithm == "EdDSA":
        signature = ED.sign(signed)
    elif algorithm.startswith("HS"):
        signature = hmac.digest(SECRET, signed, "sha" + algorithm[2:])
    else:
        signature = b""
    return signed + b"." + b64(signature).encode()


PROVIDER = JwtProvider("me", frozenset({"you"}), parse_jwks(JWKS), now=lambda: 1000.0)
GOOD = {"iss": "me", "aud": ["you"], "exp": 1100}


@pytest.mark.parametrize(
    ("algorithm", "key_id"),
    [("RS256", "r"), ("PS256", "r"), ("ES256", "e"), ("EdDSA", "d"), ("HS256", "s"), ("RS256", None)],
)
def test_token_that_is_good_gives_its_claims(algorithm, key_id):
    assert PROVIDER.verify(token(algorithm, GOOD, key_id)) == (GOOD, "")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (token("none", GOOD), "the signature is not good"),
        (token("HS512", GOOD, "s"), "the signature is not good"),
        (token("HS256", GOOD, "r"), "the signature is not good"),
        (token("RS256", GOOD, "unknown"), "the signature is not good"),
        (token("RS256", GOOD, "r")[:-4] + b"AAAA", "the signature is not good"),
        (token("RS256", {**GOOD, "exp": 900}, "r"), "the token is expired"),
        (token("RS256", {**GOOD, "nbf": 1100}, "r"), "the token is not valid yet"),
        (token("RS256", {**GOOD, "exp": "soon"}, "r"), "exp is no number"),
        (token("RS256", {**GOOD, "iss": "other"}, "r"), "the issuer is another"),
        (token("RS256", {**GOOD, "aud": "other"}, "r"), "the audience is another"),
        (token("RS256", GOOD, "r", crit=["x"]), "the token has critical headers"),
        (b"a.b", "not a token"),
        (b"a.b.c", "not a token"),
        (b"", "not a token"),
        (b64(b"[]").encode() + b"." + b64(b"{}").encode() + b".x", "not a token"),
    ],
)
def test_token_that_is_not_good_is_refused(bad, reason):
    assert PROVIDER.verify(bad) == (None, reason)


def test_script_verifies_a_token(make_stream):
    code = """
    local claims, problem = require("sidecar.jwt").verify(h:headers():get("x-token"), "p")
    out = claims and claims.iss or problem"""
    more = {"jwt_providers": {"p": {"issuer": "me", "jwks": {"inline_string": JWKS.decode()}}}}
    for given, expected in ((token("ES256", {"iss": "me"}), "me"), (b"x", "jwt: not a token")):
        stream = make_stream()
        stream.request.headers.add(b"x-token", given)
        assert seen(code, stream, **more) == expected


def test_script_verifies_a_token_for_a_provider_of_the_chain(make_stream):
    code = """
    local claims, problem = require("sidecar.jwt").verify("t", h:headers():get("x-provider"))
    out = claims and claims.iss or problem"""
    answers = {"one": ({"iss": "me"}, ""), "two": (None, "Jwt is expired")}
    judges = SimpleNamespace(verify_token=lambda name, token: answers.get(name))
    expected = {"one": "me", "two": "jwt: Jwt is expired", "three": "jwt: no provider is called three"}
    for name, said in expected.items():
        stream = make_stream()
        stream.hcm = SimpleNamespace(filters=(SimpleNamespace(), judges))
        stream.request.headers.add(b"x-provider", name.encode())
        assert seen(code, stream) == said


def test_keys_that_cannot_be_used_refuse_the_configuration():
    for text, reason in (("{", "invalid JSON"), ("{}", "list of keys"), ('{"keys": []}', "no key")):
        with pytest.raises(ConfigError, match=reason) as caught:
            compiled("x = 1", jwt_providers={"p": {"jwks": {"inline_string": text}}})
        assert caught.value.path == "jwt_providers[p].jwks"
