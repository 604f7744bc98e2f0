"""What the router's message becomes."""

from envoy.extensions.filters.http.router.v3.router_pb2 import Router

from sidecar.extensions.http.router_config import RouterFactory


def test_router_without_options_has_no_habits_to_look_at() -> None:
    assert RouterFactory().compile(Router(), None).habits is None  # type: ignore[arg-type]


def test_option_that_is_set_is_a_habit() -> None:
    message = Router(start_child_span=True)
    message.reject_connect_request_early_data.value = True
    habits = RouterFactory().compile(message, None).habits  # type: ignore[arg-type]
    assert habits is not None
    assert habits.starts_child_span
    assert habits.rejects_early_data
