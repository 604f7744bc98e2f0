"""``/init_dump``: which listeners wait, and for what, as Envoy's ``InitDumpHandler`` tells it."""

from __future__ import annotations

from typing import Any

import xxhash

from sidecar.admin.state import AdminState

__all__ = ["init_dump_json"]


def init_dump_json(state: AdminState, query: dict[str, str]) -> dict[str, Any]:
    """An ``envoy.admin.v3.UnreadyTargetsDumps``."""
    if query.get("mask", "") not in ("", "listener"):
        return {}
    dumps: list[dict[str, Any]] = []
    for each in state.discovered().warming_listeners:
        number = xxhash.xxh64_intdigest(each.message.SerializeToString(deterministic=True))
        dump: dict[str, Any] = {"name": f"init manager Listener-local-init-manager {each.name} {number}"}
        if each.waits_for:
            dump["target_names"] = list(dict.fromkeys(each.waits_for))
        dumps.append(dump)
    return {"unready_targets_dumps": dumps} if dumps else {}
