"""Which lines of htpasswd are users; what a hash is checked with is in tests/conformance."""

from __future__ import annotations

import pytest

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.basic_auth_config import BasicAuthFactory
from tests.unit.extensions.http.factory_fakes import Recorder

_HASH = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="


def users(text: str) -> list[bytes]:
    """The names that a configuration with these lines knows."""
    message = message_class("envoy.extensions.filters.http.basic_auth.v3.BasicAuth")()
    message.users.inline_string = text
    return list(BasicAuthFactory().compile_route(message, Recorder().context).users)


def test_comments_and_empty_lines_are_no_users() -> None:
    assert users(f"# ann:{_HASH}\n\nbob:{_HASH}\n") == [b"bob"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        f":{_HASH}",
        "ann:",
        f"ann:{_HASH}\nann:{_HASH}",
        "ann:$apr1$x",
        "ann:{SHA}short",
        f"ann:{_HASH}\r\n",
        " ",
    ],
)
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        users(text)
