"""Telephones are counted by the first request of a connection."""

from __future__ import annotations

import pytest

from sidecar.core.headers import RequestHeaders
from sidecar.http.user_agents import agent_of
from sidecar.observability.stats import Store


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"App/1 iOS/17", "ios"),
        (b"an android", "android"),
        (b"iPhone", None),
        (b"Android 12", None),
        (None, None),
    ],
)
def test_agent_is_counted_where_its_text_is_envoys(value: bytes | None, kind: str | None) -> None:
    store = Store()
    fields = [] if value is None else [(b"user-agent", value)]
    agent = agent_of(RequestHeaders(b"GET", b"/", b"a", None, fields), store.scope("http.main"))
    counted = {name: each.value for name, each in store.counters.items() if each.value}
    if kind is None:
        assert agent is None
        assert not counted
        return
    prefix = f"http.main.user_agent.{kind}"
    assert counted == {f"{prefix}.downstream_cx_total": 1, f"{prefix}.downstream_rq_total": 1}
    assert agent is not None
    agent.end(5, is_cut_off=True)
    assert store.counters[f"{prefix}.downstream_cx_destroy_remote_active_rq"].value == 1
