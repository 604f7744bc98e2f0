"""What the demo says about a request, and what it complains of."""

import json

from sidecar.cli.demo_tour import Exchange, Headers, Step, complaints, narrate

STEP = Step(
    "through both filters",
    "GET",
    "/",
    200,
    "the application",
    headers=(("x-sidecar-wasm", "forged"),),
    written=frozenset({"x-sidecar-wasm", "x-lua-filter"}),
)


def exchange(seen: Headers | None, answer: Headers, status: int = 200, body_bytes: int = 0) -> Exchange:
    return Exchange(status, answer, json.dumps({"body_bytes": body_bytes}).encode(), seen)


def test_narrate_when_a_filter_replaced_a_header_names_the_filter() -> None:
    seen = [("host", "h"), ("x-sidecar-wasm", "header-guard"), ("x-request-id", "1")]
    assert narrate(STEP, exchange(seen, [("x-lua-filter", "edited"), ("content-type", "text/plain")])) == [
        "request   Wasm   + x-sidecar-wasm: header-guard",
        "request   proxy  + x-request-id: 1",
        "response  Lua    + x-lua-filter: edited",
    ]


def test_narrate_when_the_application_was_not_reached_says_so() -> None:
    assert narrate(STEP, exchange(None, []))[0] == "the application saw nothing of it"


def test_complaints_when_all_is_well_are_none() -> None:
    assert (
        complaints(STEP, exchange([("x-sidecar-wasm", "header-guard")], [("x-lua-filter", "edited")])) == []
    )


def test_complaints_name_a_missing_header_and_its_author() -> None:
    assert complaints(STEP, exchange([("x-sidecar-wasm", "header-guard")], [])) == [
        "Lua did not write x-lua-filter"
    ]


def test_complaints_name_a_header_too_many() -> None:
    answer = [("x-lua-filter", "edited"), ("x-wasm-filter", "header-guard")]
    assert complaints(STEP, exchange([("x-sidecar-wasm", "header-guard")], answer)) == [
        "Wasm wrote x-wasm-filter"
    ]


def test_complaints_when_the_mark_was_forged_say_so() -> None:
    answer = [("x-lua-filter", "edited")]
    assert complaints(STEP, exchange([("x-sidecar-wasm", "forged")], answer)) == [
        "a forged mark reached the application"
    ]


def test_complaints_compare_the_status_the_body_and_who_answered() -> None:
    seen, answer = [("x-sidecar-wasm", "header-guard")], [("x-lua-filter", "edited")]
    assert complaints(STEP, exchange(seen, answer, status=500, body_bytes=3)) == [
        "the status is 500, not 200",
        "the body did not arrive whole",
    ]
    assert complaints(STEP, exchange(None, [("x-sidecar-wasm", "header-guard"), *answer])) == [
        "it did not reach the application"
    ]
