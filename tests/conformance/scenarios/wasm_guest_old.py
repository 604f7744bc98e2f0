"""The conformance guest for the older versions of the ABI: 0.1.0 and 0.2.0."""

from __future__ import annotations

from ..guest_log import guest_log
from ..guest_scripts import SETUP
from ..lab import Session
from ..scenario import scenario
from ..wire import head

SUBJECT = "wasm"


async def _old(s: Session, name: str) -> None:
    for case in ("headers", "answer", "pause"):
        async with guest_log(s, name, "on_delete", label=f"log {case}"):
            request = head("POST / HTTP/1.1", "host: a", f"x-case: {case}", "content-length: 4") + b"body"
            await s.http(request, name, label=case)


@scenario(SETUP)
async def wasm_guest_abi_0_1_0(s: Session) -> None:
    """Header callbacks of two arguments, absent headers that are empty, continue_request and its like."""
    await _old(s, "oldest")


@scenario(SETUP)
async def wasm_guest_abi_0_2_0(s: Session) -> None:
    """As 0.2.1, without the log level."""
    await _old(s, "older")
