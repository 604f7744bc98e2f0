"""What our own message adds to providers: discovery of keys, and what is done without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.jwt_authn import JwtAuthnStats
from sidecar.extensions.http.jwt_own_config import OwnJwtAuthnFactory
from sidecar.extensions.jwt import provider as provider_module
from sidecar.extensions.jwt.requirements import Leaf, Verification
from sidecar.extensions.jwt.status import Status
from tests.support import jose
from tests.unit.extensions.http.factory_fakes import Recorder

ISSUER = "https://issuer.test"
KEYS = jose.jwks(jose.jwk(jose.ec_key(), kid="one", alg="ES256")).encode()
DOCUMENT = {"issuer": ISSUER, "jwks_uri": "https://keys.test/certs?v=1"}
TOKEN = jose.token(jose.ec_key(), "ES256", {"iss": ISSUER, "sub": "someone"})


class Client:
    """Answers calls by their path; what is not there fails."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = {f"/{name}": body for name, body in answers.items()}
        self.asked: list[tuple[str, str]] = []
        self.router = SimpleNamespace(find_cluster=lambda name: name)

    def call(self, cluster: str, headers: RequestHeaders, **_: Any) -> Any:
        assert headers.path is not None
        path = headers.path.decode()
        self.asked.append((cluster, path))
        body = self.answers.get(path.partition("?")[0])
        response = None
        if body is not None:
            response = SimpleNamespace(headers=SimpleNamespace(status=200), body=body)
        call = SimpleNamespace(response=response, on_done=None, cancel=lambda: None)
        call.start = lambda: call.on_done(call)
        return call


def make(client: Client, *, options: dict[str, Any], seconds: str = "300s", **more: Any) -> Any:
    """The filter with one provider."""
    provider = {
        "issuer": ISSUER,
        "remote_jwks": {
            "http_uri": {"uri": "https://keys.test/keys", "cluster": "keys", "timeout": "1s"},
            "cache_duration": seconds,
        },
    }
    envoys = {
        "providers": {"one": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "one"}}],
    }
    own = message_class("sidecar.extensions.filters.http.jwt_authn.v1.JwtAuthentication")
    assert own is not None
    message = ParseDict({"jwt_authn": envoys, "providers": {"one": options}, **more}, own())
    context = Recorder().context
    context.http_client = lambda: client
    return OwnJwtAuthnFactory().compile(message, context)


DISCOVERY = {"uri": "https://issuer.test/doc", "cluster": "issuer", "timeout": "1s"}


class FakeStream:
    """As much of a stream as the filter looks at."""

    resolve_route = False
    route = None
    filter_state = None

    def __init__(self, headers: RequestHeaders) -> None:
        self.request = SimpleNamespace(headers=headers)
        self.dynamic_metadata: dict[str, Any] = {}

    def metadata_namespace(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.dynamic_metadata.setdefault(name, {})
        return found


def judge(made: Any, client: Client) -> tuple[Status, bool]:
    """What becomes of a request with a good token."""
    headers = RequestHeaders(b"GET", b"/", b"a", b"https", [(b"authorization", b"Bearer " + TOKEN.encode())])
    run = Verification(headers, made._stats, client)
    requirement = made._settings.rules[0].requirement
    assert isinstance(requirement, Leaf)
    requirement.verify(run)
    assert run.is_done
    return run.status, run.is_unavailable


def test_issuer_says_where_its_keys_are() -> None:
    client = Client(doc=json.dumps(DOCUMENT).encode(), certs=KEYS)
    made = make(client, options={"discovery": DISCOVERY})
    assert judge(made, client) == (Status.Ok, False)
    assert client.asked == [("issuer", "/doc"), ("keys", "/certs?v=1")]


@pytest.mark.parametrize(
    "document",
    [
        {**DOCUMENT, "issuer": ISSUER + "/"},
        {**DOCUMENT, "jwks_uri": "https://evil.test/certs"},
        {**DOCUMENT, "jwks_uri": "http://keys.test/certs"},
        {**DOCUMENT, "jwks_uri": "https://keys.test@evil.test/certs"},
        {**DOCUMENT, "jwks_uri": "https://keys.test/a b"},
        {**DOCUMENT, "jwks_uri": "https://keys.test/certs#a"},
        {**DOCUMENT, "jwks_uri": 7},
        {"issuer": ISSUER},
        [],
    ],
)
def test_document_that_is_not_believed_gives_no_keys(document: Any) -> None:
    client = Client(doc=json.dumps(document).encode(), certs=KEYS)
    made = make(client, options={"discovery": DISCOVERY})
    assert judge(made, client) == (Status.JwksFetchFail, False)
    assert client.asked == [("issuer", "/doc")]
    assert isinstance(made._stats, JwtAuthnStats)
    assert made._stats.jwks_fetch_failed.value == 1


def test_keys_that_cannot_be_had_are_told_as_unavailable() -> None:
    client = Client()
    assert judge(make(client, options={}), client) == (Status.JwksFetchFail, False)
    made = make(client, options={"when_unreachable": "UNAVAILABLE"})
    assert judge(made, client) == (Status.JwksFetchFail, True)


def test_last_keys_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    clock: Callable[[], float] = lambda: now  # noqa: E731
    for module in ("provider", "requirements", "fetching"):
        monkeypatch.setattr(f"sidecar.extensions.jwt.{module}.monotonic", clock)
    assert provider_module.monotonic() == now
    client = Client(keys=KEYS)
    made = make(client, options={"keep_keys_for": "100s"}, seconds="10s")
    assert judge(made, client)[0] is Status.Ok
    client.answers.clear()
    now = 1011.0
    assert judge(made, client)[0] is Status.Ok
    assert judge(made, client)[0] is Status.Ok
    assert len(client.asked) == 2  # it is left alone for a second
    now = 1013.0
    assert judge(made, client)[0] is Status.Ok
    assert len(client.asked) == 3
    now = 1111.0
    assert judge(made, client)[0] is Status.JwksFetchFail


def test_private_denial_says_nothing_of_why() -> None:
    client = Client()
    made = make(client, options={}, private_denials=True)
    made.config_name = "jwt"
    stream: Any = FakeStream(RequestHeaders(b"GET", b"/", b"a", b"https", []))
    reply = made.decode_headers(stream)
    assert (reply.status, reply.body, reply.headers) == (401, b"", [(b"www-authenticate", b"Bearer")])
    assert reply.details == "jwt_authn_access_denied{Jwt_is_missing}"
    assert stream.dynamic_metadata["envoy.filters.http.jwt_authn"] == {
        "denial": {"code": 1.0, "message": "Jwt is missing"}
    }


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"two": {}}, "no provider of this name"),
        ({"one": {"discovery": {**DISCOVERY, "uri": "nowhere"}}}, "invalid URI"),
    ],
)
def test_options_that_make_no_sense_are_refused(own: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make(Client(), options={}, providers=own)


def test_token_is_judged_by_the_name_of_its_provider() -> None:
    client = Client(keys=KEYS)
    made = make(client, options={})
    good = TOKEN.encode()
    assert made.verify_token("nobody", good) is None
    # Keys that are not there are asked for, and the script does not wait.
    assert made.verify_token("one", good)[1] == "the keys are not there yet"
    assert client.asked == [("keys", "/keys")]
    claims, problem = made.verify_token("one", good)
    assert (claims["sub"], problem) == ("someone", "")
    for token, reason in (
        (b"x", Status.JwtBadFormat),
        (good[:-4] + b"AAAA", Status.JwtVerificationFail),
        (jose.token(jose.ec_key(), "ES256", {"iss": "other"}).encode(), Status.JwtUnknownIssuer),
        (jose.token(jose.ec_key(), "ES256", {"iss": ISSUER, "exp": 1}).encode(), Status.JwtExpired),
    ):
        assert made.verify_token("one", token) == (None, reason.text)
    assert len(client.asked) == 1
