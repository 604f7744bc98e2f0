"""The dump of the strands: where each stands, until when, and nothing that a peer sent."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any

import trio

from sidecar.net.reactor import Signal, Strand, adopted, turn
from sidecar.net.strand_dump import StrandStatus, dump_strands, strands_json, strands_text
from sidecar.net.timer import start_timer
from tests.support.h1_lab import open_h1_lab
from tests.support.strands import Lab, open_lab, settle

SECRET = b"GET /secret-path HTTP/1.1\r\nhost: secret-host\r\nauthorization: secret-token\r\n\r\n"


def one(lab: Lab) -> StrandStatus:
    (found,) = dump_strands(lab.reactor)
    return found


def names_of(found: StrandStatus) -> list[str]:
    """The last name of each function in the chain."""
    return [frame.rpartition(" ")[2].rpartition(".")[2] for frame in found.frames]


async def test_strand_that_reads_shows_its_whole_chain() -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()

        async def inner() -> None:
            await transport.receive()

        async def body(_strand: Strand) -> None:
            await inner()

        lab.own(body)
        await settle()
        found = one(lab)
        assert found.state == "reads"
        assert not found.is_adopted
        assert found.has_owner
        assert names_of(found) == ["body", "inner", "receive"]
        assert found.frames[2].startswith("sidecar/net/reactor.py:")


async def test_strand_behind_an_await_method_is_seen_through() -> None:
    async with open_lab() as lab:
        signal = Signal(lab.reactor)

        async def hidden() -> None:
            await signal.wait()

        @types.coroutine
        def outer() -> Generator[Any, Any, None]:
            yield from hidden().__await__()  # as hot code does it

        async def body(_strand: Strand) -> None:
            await outer()

        lab.reactor.spawn("lazy", body)
        await settle()
        found = one(lab)
        assert found.state == "waits for a signal"
        assert not found.has_owner
        assert names_of(found)[-2:] == ["hidden", "wait"]


async def test_strand_in_trio_is_adopted_and_shows_trios_frames() -> None:
    async with open_lab() as lab:

        async def body(_strand: Strand) -> None:
            async with adopted():
                await trio.sleep_forever()

        lab.reactor.spawn("lazy", body)
        await settle()
        found = one(lab)
        assert found.state == "in trio"
        assert found.is_adopted
        assert found.has_owner
        assert any(frame.startswith("trio/") for frame in found.frames)


async def test_deadlines_are_told_by_name_in_seconds_from_now() -> None:
    async with open_lab(lambda: 100.0) as lab:
        signal = Signal(lab.reactor)

        async def body(strand: Strand) -> None:
            strand.deadline = 115.0
            strand.idle_deadline = 400.0
            start_timer(strand, 99.5, lambda: None, "max_stream_duration")
            await signal.wait()

        lab.reactor.spawn("lazy", body)
        found = one(lab)
        assert found.deadlines == {"deadline": 15.0, "idle": 300.0, "max_stream_duration": -0.5}
        assert "max_stream_duration in -0.500 s" in strands_text([found])


async def test_strand_that_runs_and_one_that_is_ready() -> None:
    async with open_lab() as lab:
        seen: list[str] = []

        async def body(_strand: Strand) -> None:
            seen.extend(each.state for each in dump_strands(lab.reactor))
            await turn()

        lab.reactor.spawn("runs", body)
        assert seen == ["running"]
        assert one(lab).state == "ready"


async def test_exchange_tells_connection_stream_and_cluster_but_no_header() -> None:
    async with open_h1_lab() as lab:
        client, _ = lab.connect()
        client.send(SECRET)
        await settle()
        lab.upstream.accept()
        await settle()
        (found,) = dump_strands(lab.lab.reactor)
        stream = found.stream
        assert stream is not None
        assert (stream.connection_id, stream.stream_id, stream.protocol) == (1, 0, "HTTP/1.1")
        assert stream.cluster == "up"
        assert not stream.response_started
        assert any("run_stream" in frame for frame in found.frames)
        assert {"deadline", "idle"} <= set(found.deadlines)
        assert "secret" not in strands_text([found])
        assert "secret" not in str(strands_json([found]))
