"""Who may ask the admin interface for what."""

from __future__ import annotations

import pytest

from sidecar.admin.api import AdminApi
from sidecar.api.admin_access import AccessRules
from sidecar.core.headers import Field, RequestHeaders

from .admin_state import FakeServer


def _status(rules: AccessRules, method: bytes, target: bytes, *fields: Field) -> int:
    headers = RequestHeaders(method, target, b"127.0.0.1:9901", b"http", list(fields))
    return AdminApi(FakeServer(), rules).handle(method, target, b"", headers).status


def test_path_that_is_not_allowed_is_refused_with_its_name() -> None:
    rules = AccessRules(allows=lambda target: target == b"/ready")
    assert _status(rules, b"GET", b"/ready") == 200
    answer = AdminApi(FakeServer(), rules).handle(b"GET", b"/ready?x=1")
    assert (answer.status, answer.body) == (403, b"request to path /ready?x=1 not allowed")
    assert _status(rules, b"GET", b"/no-such-path") == 403


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 401),
        (((b"authorization", b"Bearer wrong"),), 401),
        (((b"authorization", b"Basic secret"),), 401),
        (((b"authorization", b"secret"),), 401),
        (((b"authorization", b"Bearer secret"),), 200),
        (((b"authorization", b"bearer secret"),), 200),
    ],
    ids=["none", "wrong", "other scheme", "no scheme", "right", "scheme in lower case"],
)
def test_token_is_asked_for(fields: tuple[Field, ...], status: int) -> None:
    assert _status(AccessRules(bearer_token=b"secret"), b"GET", b"/ready", *fields) == status


def test_denial_says_what_is_wanted() -> None:
    answer = AdminApi(FakeServer(), AccessRules(bearer_token=b"secret")).handle(b"GET", b"/ready")
    assert (b"www-authenticate", b"Bearer") in answer.headers


def test_read_only_interface_shows_and_changes_nothing() -> None:
    server = FakeServer()
    api = AdminApi(server, AccessRules(is_read_only=True))
    assert api.handle(b"GET", b"/stats").status == 200
    assert api.handle(b"POST", b"/healthcheck/fail").status == 403
    assert api.handle(b"POST", b"/logging?level=debug").status == 403
    assert server.server_state == "LIVE"


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        (b"POST", ((b"sec-fetch-site", b"cross-site"),), 403),
        (b"POST", ((b"sec-fetch-site", b"same-site"), (b"sec-fetch-mode", b"navigate")), 403),
        (b"GET", ((b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"no-cors")), 403),
        (b"GET", ((b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")), 200),
        (b"GET", ((b"sec-fetch-site", b"same-origin"), (b"origin", b"http://127.0.0.1:9901")), 200),
        (b"GET", ((b"sec-fetch-site", b"none"),), 200),
        (b"GET", ((b"origin", b"http://evil.example"),), 403),
        (b"GET", ((b"origin", b"null"),), 403),
        (b"GET", ((b"origin", b"http://127.0.0.1:9901"),), 200),
    ],
)
def test_page_of_another_site_is_turned_away(method: bytes, fields: tuple[Field, ...], status: int) -> None:
    assert _status(AccessRules(), method, b"/stats", *fields) == status
