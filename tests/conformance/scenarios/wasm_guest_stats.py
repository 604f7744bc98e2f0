"""What the stats and the log say of guests: of their VMs, and of streams that they close."""

from __future__ import annotations

from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "wasm"
NAMES = ("rq_tx_reset", "rq_rx_reset", "cx_destroy_local", "cx_destroy_remote")


@scenario(SETUP)
async def wasm_stats(s: Session) -> None:
    """The stats that there are; how many VMs is a matter of threads, which Envoy has more of."""
    stats = await s.counters(r"^wasm\.")
    s.see("stats", sorted(stats))
    s.see(
        "some are alive",
        all(value > 0 for name, value in stats.items() if "active" in name or "count" in name),
    )


@scenario(SETUP)
async def wasm_guest_closes_in_the_log(s: Session) -> None:
    """A guest closes a request, a response, a stream that waits: there is no flag, and no client to blame."""
    s.upstream().script = answers(ok(b"ok"))
    names = [f"http.bodies.downstream_{name}" for name in NAMES]
    for case in ("close", "close2", "close3"):
        async with s.logging(1, "bodies"), s.counting(*names):
            client = await s.connect("bodies")
            request = head("POST / HTTP/1.1", "host: a", f"x-case: {case}", "content-length: 0")
            await client.send(request)
            await client.closed(case)
