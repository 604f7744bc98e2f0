"""envoy.filters.http.jwt_authn with keys at hand: requirements, claims, what is made of a token."""

from __future__ import annotations

from typing import Any

from tests.support import jose, yaml_text

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
JWT = f"{EXT}.jwt_authn.v3"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% "
    "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%\n"
)
#: Seconds that are over, and that are far.
PAST, FUTURE = 1_000_000_000, 4_000_000_000
GOOD: dict[str, Any] = {"iss": "one", "sub": "me", "aud": "here", "exp": FUTURE}
ONE, TWO, THREE = jose.secret("one"), jose.secret("two"), jose.secret("three")


def local(key: Any, **fields: Any) -> dict[str, Any]:
    """``local_jwks`` with one key."""
    return {"local_jwks": {"inline_string": jose.jwks(jose.jwk(key, **fields))}}


def rule(path: str, requires: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"match": {"prefix": path}, **more}
    if requires is not None:
        made["requires"] = requires
    return made


def named(*names: str) -> list[dict[str, Any]]:
    return [{"provider_name": name} for name in names]


def jwt(config: dict[str, Any], name: str = "jwt") -> str:
    """The filter as YAML."""
    entry = {"name": name, "typed_config": {"@type": f"{JWT}.JwtAuthentication", **config}}
    return yaml_text.dump([entry], sort_keys=False, width=100_000)


MISSING: dict[str, Any] = {"allow_missing": {}}
FAILED: dict[str, Any] = {"allow_missing_or_failed": {}}
PROVIDERS: dict[str, Any] = {
    "one": {
        "issuer": "one",
        **local(ONE),
        "from_headers": [{"name": "x-one"}],
        "payload_in_metadata": "p1",
        "header_in_metadata": "h1",
        "failed_status_in_metadata": "f1",
        "claim_to_headers": [{"header_name": "x-sub-one", "claim_name": "sub"}],
    },
    "two": {
        "issuer": "two",
        **local(TWO),
        "from_headers": [{"name": "x-two"}],
        "payload_in_metadata": "p2",
        "failed_status_in_metadata": "f2",
        "forward_payload_header": "x-payload-two",
    },
    "three": {
        "issuer": "three",
        "audiences": ["http://here/", "there"],
        **local(THREE),
        "from_headers": [{"name": "x-three"}],
        "failed_status_in_metadata": "f3",
    },
    "any": {**local(ONE), "from_headers": [{"name": "x-any"}], "payload_in_metadata": "pa"},
}
REQUIREMENTS: dict[str, dict[str, Any]] = {
    "one": named("one")[0],
    "three": named("three")[0],
    "audiences": {"provider_and_audiences": {"provider_name": "three", "audiences": ["elsewhere"]}},
    "no-audiences": {"provider_and_audiences": {"provider_name": "three"}},
    "any": {"requires_any": {"requirements": named("one", "two")}},
    "any3": {"requires_any": {"requirements": named("three", "one", "two")}},
    "all": {"requires_all": {"requirements": named("one", "two")}},
    "optional": {"requires_any": {"requirements": [*named("one"), MISSING]}},
    "optional2": {"requires_any": {"requirements": [*named("one", "two"), MISSING]}},
    "lenient": {"requires_any": {"requirements": [*named("one"), FAILED]}},
    "lenient2": {"requires_any": {"requirements": [MISSING, *named("one", "two"), FAILED]}},
    "missing": MISSING,
    "failed": FAILED,
    "extract": {"extract_only_without_validation": {}},
    "extract-named": {"extract_only_without_validation": {"verification_status_header": "x-checked"}},
    "extract-silent": {"extract_only_without_validation": {"verification_status_header": "-"}},
    "nested": {
        "requires_all": {
            "requirements": [
                {"requires_any": {"requirements": [*named("one"), MISSING]}},
                {"requires_any": {"requirements": named("two", "three")}},
            ]
        }
    },
    "nothing": {},
    "audiences-optional": {
        "requires_any": {
            "requirements": [
                {"provider_and_audiences": {"provider_name": "three", "audiences": ["elsewhere"]}},
                MISSING,
            ]
        }
    },
    "group-optional": {
        "requires_any": {"requirements": [{"requires_all": {"requirements": named("one", "two")}}, MISSING]}
    },
    "group-lenient": {
        "requires_any": {"requirements": [{"requires_all": {"requirements": named("one", "two")}}, FAILED]}
    },
    "only-missing": {"requires_any": {"requirements": [MISSING, MISSING]}},
    "only-failed": {"requires_any": {"requirements": [FAILED, MISSING]}},
    "all-optional": {"requires_all": {"requirements": [*named("one"), MISSING]}},
    "anybody": named("any")[0],
}
SETUP = Setup(
    "jwt_authn",
    bootstrap(
        [
            listener(
                "main",
                routes="""
                - {match: {prefix: /}, route: {cluster: app}, name: plain}
                """,
                filters=jwt(
                    {
                        "providers": PROVIDERS,
                        "rules": [
                            rule("/free"),
                            *(rule(f"/{name}/", need) for name, need in REQUIREMENTS.items()),
                            rule("/map", requirement_name="all"),
                        ],
                        "requirement_map": {"all": REQUIREMENTS["all"], "one": REQUIREMENTS["one"]},
                    }
                ),
                log=LOG,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
STATS = tuple(
    f"http.main.jwt_authn.{name}"
    for name in (
        *("allowed", "cors_preflight_bypassed", "denied", "jwks_fetch_failed", "jwks_fetch_success"),
        *("jwt_cache_hit", "jwt_cache_miss"),
    )
)


def hs(key: bytes, payload: dict[str, Any] | str | bytes, **more: Any) -> str:
    return jose.token(key, "HS256", payload, **more)


TOKENS = {
    "good": hs(ONE, GOOD),
    "expired": hs(ONE, {**GOOD, "exp": PAST}),
    "stranger": hs(ONE, {**GOOD, "iss": "x"}),
    "forged": hs(TWO, GOOD),
    "broken": "a.b",
}
OTHER = {
    "good": hs(TWO, {"iss": "two", "sub": "you", "exp": FUTURE}),
    "expired": hs(TWO, {"iss": "two", "exp": PAST}),
    "broken": "x",
}


@scenario(SETUP)
async def jwt_one_provider(s: Session) -> None:
    """A token, none, and the ways in which one is not good."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(len(TOKENS) + 5):
        await s.get("/free", label="free")
        await s.get("/elsewhere?a=b", label="no rule")
        await s.get("/one/", label="none")
        for name, text in TOKENS.items():
            await s.get(f"/one/{name}", f"x-one: {text}", "x-sub-one: me too", label=name)
        await s.get("/one/two", f"x-one: {TOKENS['good']}", f"x-one: {TOKENS['expired']}", label="two")
        await s.get("/nothing/", f"x-one: {TOKENS['broken']}", label="nothing required")


@scenario(SETUP)
async def jwt_audiences(s: Session) -> None:
    """Audiences, of the provider or of the requirement: schemes and slashes do not count."""
    s.upstream().script = answers(ok(b"ok"))
    audiences = ["here", "https://here", "http://here/", "here/", ["x", "there"], [], "x", "elsewhere", None]
    async with s.counting(*STATS), s.logging(len(audiences) * 3):
        for path in ("/three/", "/audiences/", "/no-audiences/"):
            for each in audiences:
                claims: dict[str, Any] = {"iss": "three"}
                if each is not None:
                    claims["aud"] = each
                await s.get(path, f"x-three: {hs(THREE, claims)}", label=f"{path} {each}")


@scenario(SETUP)
async def jwt_any_of(s: Session) -> None:
    """requires_any: what is said when all fail, and of what was good besides."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(45):
        for path in ("/any/", "/any3/", "/all/"):
            await s.get(path, label=f"{path} none")
            for name, text in TOKENS.items():
                await s.get(path, f"x-one: {text}", label=f"{path} {name}")
            for name, text in OTHER.items():
                await s.get(path, f"x-two: {text}", label=f"{path} other {name}")
            for first, second in (
                ("good", "good"),
                ("good", "expired"),
                ("expired", "good"),
                ("stranger", "broken"),
                ("expired", "broken"),
                ("broken", "expired"),
            ):
                headers = f"x-one: {TOKENS[first]}", f"x-two: {OTHER[second]}"
                await s.get(path, *headers, label=f"{path} {first} {second}")


@scenario(SETUP)
async def jwt_optional(s: Session) -> None:
    """Tokens that may be missing, or fail."""
    s.upstream().script = answers(ok(b"ok"))
    paths = ("/optional/", "/optional2/", "/lenient/", "/lenient2/", "/missing/", "/failed/", "/nested/")
    async with s.counting(*STATS), s.logging(len(paths) * 12):
        for path in paths:
            await s.get(path, label=f"{path} none")
            for name, text in TOKENS.items():
                await s.get(path, f"x-one: {text}", label=f"{path} {name}")
            for name, text in OTHER.items():
                await s.get(path, f"x-two: {text}", label=f"{path} other {name}")
            for first, second in (("good", "good"), ("good", "expired"), ("expired", "good")):
                headers = f"x-one: {TOKENS[first]}", f"x-two: {OTHER[second]}"
                await s.get(path, *headers, label=f"{path} {first} {second}")


@scenario(SETUP)
async def jwt_optional_groups(s: Session) -> None:
    """What may be missing, beside groups and audiences of a requirement."""
    s.upstream().script = answers(ok(b"ok"))
    asked = [
        *(
            ("/audiences-optional/", [f"x-three: {hs(THREE, {'iss': 'three', 'aud': aud})}"])
            for aud in ("here", "elsewhere", "x")
        ),
        ("/audiences-optional/", []),
        ("/audiences-optional/", [f"x-one: {TOKENS['broken']}"]),
    ]
    for path in ("/group-optional/", "/group-lenient/", "/all-optional/", "/only-missing/", "/only-failed/"):
        for one in (None, "good", "expired"):
            for two in (None, "good", "expired"):
                fields = [] if one is None else [f"x-one: {TOKENS[one]}"]
                asked.append((path, fields if two is None else [*fields, f"x-two: {OTHER[two]}"]))
    async with s.counting(*STATS), s.logging(len(asked)):
        for path, fields in asked:
            await s.get(path, *fields)


@scenario(SETUP)
async def jwt_extract_only(s: Session) -> None:
    """extract_only_without_validation lets everything pass, and says in a header what did not hold."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(18):
        for path in ("/extract/", "/extract-named/", "/extract-silent/"):
            await s.get(path, "x-jwt-signature-verified: true", label=f"{path} none")
            for name, text in TOKENS.items():
                fields = f"x-one: {text}", "x-jwt-signature-verified: true", "x-checked: true"
                await s.get(path, *fields, label=f"{path} {name}")


@scenario(SETUP)
async def jwt_any_issuer(s: Session) -> None:
    """A provider without an issuer takes tokens of any; requirements by name."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS), s.logging(5):
        await s.get("/anybody/", f"x-any: {hs(ONE, {'iss': 'whoever'})}")
        await s.get("/anybody/", f"x-any: {hs(ONE, {})}")
        await s.get("/anybody/", f"x-any: {hs(TWO, {})}")
        await s.get("/map", f"x-one: {TOKENS['good']}")
        await s.get("/map", f"x-one: {TOKENS['good']}", f"x-two: {OTHER['good']}")


#: Texts that are no good tokens; where the name says so they are taken.
ODD_HEADS: dict[str, str] = {
    "none": '{"alg":"none"}',
    "no alg": "{}",
    "alg null": '{"alg":null}',
    "alg of a list": '{"alg":["HS256"]}',
    "lower case": '{"alg":"hs256"}',
    "ES256K": '{"alg":"ES256K"}',
    "kid of a number": '{"alg":"HS256","kid":1}',
    "kid null": '{"alg":"HS256","kid":null}',
    "another kid": '{"alg":"HS256","kid":"other"}',
    "alg twice": '{"alg":"none","alg":"HS256"}',
    "crit": '{"alg":"HS256","crit":["exp"],"b64":false}',
    "typ": '{"alg":"HS256","typ":"JOSE","cty":"x"}',
    "no object": '["alg"]',
    "no JSON": "alg",
    "comment": '{"alg":"HS256"/*x*/}',
    "blanks": ' \n{ "alg" : "HS256" }\t ',
    "two objects": '{"alg":"HS256"}{}',
    "BOM": '\ufeff{"alg":"HS256"}',
    "escaped": '{"\\u0061lg":"HS\\u0032\\u0035\\u0036"}',
    "empty": "",
}
ODD_PAYLOADS: dict[str, str | bytes] = {
    "iss null": '{"iss":null}',
    "iss of a number": '{"iss":1}',
    "sub of a list": '{"iss":"one","sub":["a"]}',
    "iat text": '{"iss":"one","iat":"1"}',
    "iat negative": '{"iss":"one","iat":-1}',
    "iat far": '{"iss":"one","iat":4000000000}',
    "iat huge": '{"iss":"one","iat":1e300}',
    "nbf far": '{"iss":"one","nbf":4000000000}',
    "nbf text": '{"iss":"one","nbf":"x"}',
    "nbf too big": '{"iss":"one","nbf":18446744073709551616}',
    "nbf true": '{"iss":"one","nbf":true}',
    "exp text": '{"iss":"one","exp":"4000000000"}',
    "exp zero": '{"iss":"one","exp":0}',
    "exp fraction": '{"iss":"one","exp":4000000000.9}',
    "exp exponent": '{"iss":"one","exp":4e9}',
    "exp negative": '{"iss":"one","exp":-4000000000}',
    "exp negative zero": '{"iss":"one","exp":-0.0}',
    "exp null": '{"iss":"one","exp":null}',
    "exp twice": '{"iss":"one","exp":1,"exp":4000000000}',
    "iss twice": '{"iss":"x","iss":"one"}',
    "nested twice": '{"iss":"one","a":{"b":1,"b":2}}',
    "jti of a number": '{"iss":"one","jti":1}',
    "aud of a number": '{"iss":"one","aud":1}',
    "aud mixed": '{"iss":"one","aud":["a",1]}',
    "aud of an object": '{"iss":"one","aud":{"a":"b"}}',
    "NaN": '{"iss":"one","a":NaN}',
    "infinity": '{"iss":"one","a":1e999}',
    "minus infinity": '{"iss":"one","a":-Infinity}',
    "leading zero": '{"iss":"one","a":01}',
    "plus": '{"iss":"one","a":+1}',
    "point": '{"iss":"one","a":1.}',
    "half a pair": '{"iss":"one","a":"\\ud800"}',
    "a pair": '{"iss":"one","a":"\\ud83d\\ude00"}',
    "NUL": '{"iss":"one","a":"\\u0000"}',
    "bad UTF-8": b'{"iss":"one","a":"\xff"}',
    "UTF-16": '{"iss":"one"}'.encode("utf-16"),
    "deep": '{"iss":"one","a":' + "[" * 98 + "]" * 98 + "}",
    "deeper": '{"iss":"one","a":' + "[" * 99 + "]" * 99 + "}",
    "too deep": '{"iss":"one","a":' + "[" * 100 + "]" * 100 + "}",
    "much too deep": '{"iss":"one","a":' + "[" * 3000 + "]" * 3000 + "}",
    "deep objects": '{"iss":"one","a":' + '{"a":' * 97 + "1" + "}" * 97 + "}",
    "deeper objects": '{"iss":"one","a":' + '{"a":' * 99 + "1" + "}" * 99 + "}",
    "a list": '["iss"]',
    "text": '"one"',
}


@scenario(SETUP)
async def jwt_odd_heads(s: Session) -> None:
    """What the head of a token may be."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(len(ODD_HEADS)):
        for name, head in ODD_HEADS.items():
            text = jose.token(ONE, "", GOOD, header=head, signed_as="HS256")
            await s.get("/one/", f"x-one: {text}", label=name)


@scenario(SETUP)
async def jwt_odd_payloads(s: Session) -> None:
    """What the payload of a token may be."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(len(ODD_PAYLOADS), shown=lambda line: line if len(line) < 600 else line[:600]):
        for name, payload in ODD_PAYLOADS.items():
            await s.get("/one/", f"x-one: {hs(ONE, payload)}", label=name)


LENIENT: dict[str, tuple[str, str]] = {
    "trailing comma": ('{"alg":"HS256",}', '{"iss":"one"}'),
    "single quotes": ("{'alg':'HS256'}", '{"iss":"one"}'),
    "bare names": ('{alg:"HS256"}', '{"iss":"one"}'),
    "raw control": ('{"alg":"HS256"}', '{"iss":"one","a":"x\ny"}'),
    "null": ('{"alg":"HS256"}', "null"),
}


@scenario(SETUP, differs=dict.fromkeys((*LENIENT, "log main", "upstream app"), "json-of-a-token"))
async def jwt_lenient_json(s: Session) -> None:
    """What is no JSON (RFC 8259) is no token."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(len(LENIENT)):
        for name, (head, payload) in LENIENT.items():
            path = "/anybody/" if name == "null" else "/one/"
            text = jose.token(ONE, "", payload, header=head, signed_as="HS256")
            await s.get(path, f"x-{'any' if name == 'null' else 'one'}: {text}", label=name)


@scenario(SETUP)
async def jwt_odd_shapes(s: Session) -> None:
    """Dots, blanks and padding."""
    s.upstream().script = answers(ok(b"ok"))
    head, payload, signature = TOKENS["good"].split(".")
    body = f"{head}.{payload}"
    one_more = jose.encode(b'{"iss":"one"}')  # 13 bytes: two that pad
    padded = f"{head}.{one_more}=="
    shapes = {
        "no signature": f"{body}.",
        "two parts": body,
        "four parts": f"{body}.{signature}.x",
        "dots before": f"..{body}.{signature}",
        "dots behind": f"{body}.{signature}..",
        "dots between": f"{head}..{payload}...{signature}",
        "signature padded": f"{body}.{signature}=",
        "signature padded too much": f"{body}.{signature}==",
        "payload padded": f"{padded}.{jose.encode(jose.sign(ONE, 'HS256', padded.encode()))}",
        "signature of base64": f"{body}.{signature.replace('-', '+').replace('_', '/')}+",
        "blank inside": f"{body}.{signature[:5]} {signature[5:]}",
        "tab inside": f"{body}.{signature[:5]}\t{signature[5:]}",
        "junk behind": f"{body}.{signature} x",
        "bad character": f"{body}.{signature[:-1]}!",
        "cut short": f"{body}.{signature[:-1]}",
        "last bits": f"{body}.{signature[:-1]}{_next(signature[-1])}",
        "empty": "",
        "dots": "..",
        "case changed": f"{body}.{signature.swapcase()}",
        "signature of another": f"{body}.{TOKENS['expired'].split('.')[2]}",
        "large": "a" * 20000,
        "large parts": f"{body}.{'A' * 20000}",
    }
    async with s.logging(len(shapes)):
        for name, text in shapes.items():
            await s.get("/one/", f"x-one: {text}", label=name)


def _next(letter: str) -> str:
    """The base64url letter that differs in its last bit."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) ^ 1]
