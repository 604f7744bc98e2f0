"""What a secret of SDS is wanted for, and what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.compile.tls_certificates import compile_secret
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError

KINDS = ("tls_certificate", "validation_context", "session_ticket_keys", "generic_secret")


@pytest.mark.parametrize(("wanted", "held"), [(a, b) for a in KINDS[:3] for b in (*KINDS, "") if a != b])
def test_secret_of_another_kind_is_refused(wanted: str, held: str) -> None:
    cls = message_class("envoy.extensions.transport_sockets.tls.v3.Secret")
    assert cls is not None
    secret: Any = cls(name="a")
    if held:
        getattr(secret, held).SetInParent()
    context: Any = None
    with pytest.raises(ConfigError, match=f"Unexpected secret type: expected {wanted}, got") as caught:
        compile_secret(secret, "resources[0]", wanted, context)
    assert caught.value.path == "resources[0]"
