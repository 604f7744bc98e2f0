"""What is done before listeners accept."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from sidecar.server.preparation import Preparation


def test_jobs_are_done_before_and_those_that_come_later_run_at_once():
    done: list[str] = []

    async def main() -> None:
        preparation = Preparation()

        def job(name: str, then: str = ""):
            async def run() -> None:
                await trio.lowlevel.checkpoint()
                done.append(name)
                if then:
                    preparation.add(job(then))

            return run

        preparation.add(job("first", then="of the first"))
        preparation.add(job("second"))
        async with trio.open_nursery() as nursery:
            await preparation.run(nursery)
            assert sorted(done) == ["first", "of the first", "second"]
            preparation.add(job("late"))
            await wait_all_tasks_blocked()
            assert done[-1] == "late"

    trio.run(main)
