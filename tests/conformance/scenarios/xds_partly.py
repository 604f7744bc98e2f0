"""What is taken of an answer that is refused."""

from __future__ import annotations

from ..configuration import listener
from ..lab import Session
from ..scenario import scenario
from .xds_ads import WHOLE, begin, direct, rds_listener, stats

SUBJECT = "xds"


@scenario(WHOLE)
async def xds_partly_listeners(s: Session) -> None:
    """A listener whose filter breaks a rule of the API is refused alone: others come and go."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), direct("goes", "first"))
    await plane.update(
        "lds", "l3", rds_listener(), listener("rule", "stat_prefix: ''"), direct("comes", "second")
    )
    await s.until_stats(
        lambda stats: (
            stats.get("listener_manager.listener_removed") == 1
            and stats["listener_manager.total_listeners_active"] == 2
        ),
        r"^listener_manager\.",
    )
    await s.proxy.learn_ports()
    await s.get("/", to="comes")
    s.see("requests", plane.requests["lds"])
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")
