"""What services answer that should not reach anybody: where this proxy refuses more than Envoy."""

from __future__ import annotations

from ..lab import Session
from ..scenario import scenario
from .authz_grpc import HOSTILE, SETUP, serve_checks

SUBJECT = "filters"


#: Answers that would add lines to what the client gets.
INJECTING = (5, 6, 7, 8)


@scenario(
    SETUP,
    differs={
        **{f"answer {number}": "lines-of-an-authorization-service" for number in INJECTING},
        "upstream app": "unsendable-requests-take-no-connection",
    },
)
async def authz_grpc_is_not_validated(s: Session) -> None:
    """Without validate_mutations: answers with what cannot be sent."""
    serve_checks(s, *HOSTILE, sees=False)
    for number in range(len(HOSTILE)):
        await s.get(f"/{number}?x=1", label=f"answer {number}")
