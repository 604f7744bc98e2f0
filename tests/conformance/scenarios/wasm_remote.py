"""Code of Wasm plugins that a server has: tries, digests, and what a refused listener leaves behind."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .. import guests
from ..configuration import bootstrap, cluster, listener
from ..endpoints import move
from ..guest_scripts import WASM
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok

SUBJECT = "wasm"

CODE = guests.starts("_start")
LISTENER = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}
BACKOFF = {"base_interval": "0.001s", "max_interval": "0.002s"}


def code(name: str) -> bytes:
    """The module of that name: its digest is its own, by a custom section."""
    label = name.encode()
    section = bytes([len(label)]) + label
    return CODE + b"\0" + bytes([len(section)]) + section


def plugin(name: str, *, retries: int | None = 2, vm: Any = None) -> str:
    """A Wasm filter whose code is fetched."""
    policy = {} if retries is None else {"retry_policy": {"num_retries": retries, "retry_back_off": BACKOFF}}
    remote = {
        "http_uri": {"uri": f"http://code.test/{name}?v=1", "cluster": "code", "timeout": "5s"},
        "sha256": hashlib.sha256(code(name)).hexdigest(),
        **policy,
    }
    settings = {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": {"remote": remote}, **(vm or {})}
    config = {"name": name, "vm_config": settings}
    return json.dumps([{"name": name, "typed_config": {"@type": WASM, "config": config}}])


def resources(version: int, *filters: str) -> str:
    """A listener for each of the filters."""
    found = [
        LISTENER
        | listener(
            f"l{number}", routes="- {match: {prefix: /}, direct_response: {status: 200}}", filters=each
        )
        for number, each in enumerate(filters)
    ]
    return json.dumps({"version_info": str(version), "resources": found})


SETUP = Setup(
    "wasm-remote",
    bootstrap(
        (),
        [cluster("code", "code")],
        """
        node: {id: node, cluster: cluster}
        dynamic_resources: {lds_config: {path_config_source: {path: FILE(lds.yaml)}}}
        """,
    ),
    {"code": "h1"},
    {"lds.yaml": resources(1).encode()},
)


async def _try(s: Session, version: int, *filters: str, outcome: str = "success") -> None:
    """Move listeners into place and wait until they were looked at, and their code was fetched or not."""
    counted = f"listener_manager.lds.update_{outcome}"
    before = (await s.counters(f"^{counted}$"))[counted]
    move(s, "lds.yaml", resources(version, *filters))
    await s.until_stats(lambda stats: stats[counted] > before, f"^{counted}$")


async def _fetched(s: Session, **wanted: int) -> None:
    names = {f"wasm.remote_load_{name}": count for name, count in wanted.items()}
    await s.until_stats(
        lambda stats: all(stats.get(name, 0) >= count for name, count in names.items()), r"^wasm\.remote_load"
    )


@scenario(SETUP)
async def wasm_remote_code(s: Session) -> None:
    """Code is asked for again where the policy says so; who has none may be refused until it is there."""
    asked: dict[str, int] = {}

    async def serve(call: Call) -> None:
        name = call.path[1:].partition("?")[0]
        turn = asked[name] = asked.get(name, 0) + 1
        if name == "wrong":
            await call.send(ok(code("first")))
        elif name == "gone" or (name == "second" and turn < 3):
            await call.send(ok(b"busy").replace(b"200 OK", b"503 Service Unavailable"))
        else:
            await call.send(ok(code(name)))

    s.upstream("code").script = serve
    s.proxy.is_spent = True
    await _try(s, 2, plugin("first", retries=None))
    await _fetched(s, fetch_successes=1)
    await _try(s, 3, plugin("second"))
    await _fetched(s, fetch_successes=2)
    await _try(s, 4, plugin("wrong", retries=1))
    await _fetched(s, fetch_failures=1)
    await _try(s, 5, plugin("gone", retries=0))
    await _fetched(s, fetch_failures=2)
    # What is there is not asked for again; what could not be had a moment ago is, and counted as such.
    await _try(s, 6, plugin("gone", retries=0, vm={"vm_id": "again"}), plugin("first", vm={"vm_id": "again"}))
    await _fetched(s, cache_negative_hits=1, cache_hits=1, fetch_failures=3)
    s.see("asked", dict(sorted(asked.items())))
    s.see("stats", await s.counters(r"^wasm\.remote_load"))
    nack = {"nack_on_code_cache_miss": True}
    await _try(s, 7, plugin("late", vm=nack), outcome="rejected")
    await _fetched(s, fetch_successes=3)
    await _try(s, 8, plugin("late", vm=nack))
    s.see("asked at last", dict(sorted(asked.items())))
    s.see("stats at last", await s.counters(r"^wasm\.remote_load"))
    s.see("updates", await s.counters(r"^listener_manager\.lds\.update_(success|rejected)$"))
