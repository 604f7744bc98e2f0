"""The conformance guest: what stops and resumes a stream; bodies, trailers, answers, closes."""

from __future__ import annotations

from ..client import get
from ..guest_log import guest_log, guest_says, log_end
from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario
from ..upstream import H2Call, answers, ok
from ..wire import head

SUBJECT = "wasm"


async def _post(s: Session, case: str, to: str) -> None:
    """A POST with a short body."""
    request = head("POST / HTTP/1.1", "host: a", f"x-case: {case}", "content-length: 4") + b"body"
    async with guest_log(s, to, "on_delete", label=f"log {case}"):
        await s.http(request, to, label=case)


async def _post_in_pieces(s: Session, case: str, to: str) -> None:
    """A POST whose body comes in two pieces, the second once the guest has seen the first."""
    async with guest_log(s, to, "on_delete", label=f"log {case}"):
        client = await s.connect(to)
        start = log_end(s)
        await client.send(head("POST / HTTP/1.1", "host: a", f"x-case: {case}", "content-length: 6") + b"one")
        await guest_says(s, start, to, "on_request_body(3, 0)")
        await client.send(b"two")
        await client.reply(case)


@scenario(SETUP)
async def wasm_guest_request_actions(s: Session) -> None:
    """Each result of on_request_headers that stops the request, undone by the answer to a call."""
    for result in (1, 3, 4, 9):
        await _post(s, f"request{result}", "actions")


@scenario(SETUP)
async def wasm_guest_response_actions(s: Session) -> None:
    """The same of on_response_headers."""
    for result in (1, 3, 4, 9):
        await _post(s, f"response{result}", "actions")


@scenario(SETUP)
async def wasm_guest_actions_allowed(s: Session) -> None:
    """With allow_on_headers_stop_iteration the body is seen while the head is held."""
    await _post(s, "held", "allowed")


@scenario(SETUP)
async def wasm_guest_body_sizes(s: Session) -> None:
    """What is held is seen again with what comes; what is dropped is gone."""
    for case in ("buffer", "watermark", "drop", "odd"):
        await _post_in_pieces(s, case, "bodies")


@scenario(SETUP)
async def wasm_guest_body_ranges(s: Session) -> None:
    """Replacing, prepending, appending; ranges that are refused; another direction's body."""
    await _post(s, "ranges", "bodies")


@scenario(SETUP)
async def wasm_guest_body_holds(s: Session) -> None:
    """The end of a body is held until a call is answered."""
    for case in ("hold", "holdback"):
        await _post(s, case, "bodies")


@scenario(SETUP)
async def wasm_guest_answers(s: Session) -> None:
    """Local responses while headers come, in a call's answer, and two of them."""
    for case in ("answer3", "answer4", "answer5", "twice"):
        await _post(s, case, "bodies")


@scenario(SETUP)
async def wasm_guest_answers_late(s: Session) -> None:
    """A local response where the head of the answer has gone to the guest already."""
    await _post(s, "answer", "bodies")


@scenario(SETUP, differs=dict.fromkeys(("stats", "stats 2", "upstream app"), "wasm-answers-over-a-whole"))
async def wasm_guest_answers_over_a_whole(s: Session) -> None:
    """A guest answers over a response that has come as a whole: does the next request use its connection?"""
    s.upstream().script = answers(ok(b"0123456789"))
    names = ("cx_total", "cx_destroy_local", "cx_destroy_local_with_active_rq", "rq_tx_reset", "rq_cancelled")
    for case in ("answer3", "answer"):
        async with s.counting(*(f"cluster.app.upstream_{name}" for name in names)), s.logging(2, "bodies"):
            await s.get("/whole", f"x-case: {case}", to="bodies", label=case)
            await s.get("/next", to="bodies", label=f"{case}, next")


@scenario(SETUP)
async def wasm_guest_closes(s: Session) -> None:
    """Streams that the guest closes, in several phases."""
    for case in ("close", "close2", "close3"):
        await _post(s, case, "bodies")


@scenario(SETUP)
async def wasm_guest_trailers(s: Session) -> None:
    """Trailers of both directions: read, changed, held, and a body that is held until they come."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"ok", [("x-t", "up")])

    s.upstream("h2app").h2_script = script
    for case in ("read", "hold", "holdback", "buffer"):
        async with guest_log(s, "trailers", "on_delete", label=f"log {case}"):
            client = await s.connect_h2("trailers")
            await client.request([*get("/h2", method="POST"), ("x-case", case)], b"body", [("x-t", "down")])
