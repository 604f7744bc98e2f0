"""``python -m tests.chaos``: exit status 1 where this proxy does worse than Envoy, or something is left."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import trio

from tests.bench.process import free_ports
from tests.conformance.proxy import ENVOY, SIDECAR, Proxy
from tests.support.oracle_binary import envoy_binary

from .load import Load
from .observe import Baseline, count_left, cpu_s, read_stats
from .processes import UpstreamProcess
from .report import Outcome, lines, table, worse
from .schedule import PHASES, UPSTREAMS
from .setup import CLUSTERS, make_setup


async def run_proxy(kind: str, options: argparse.Namespace, directory: Path) -> Outcome:
    """The whole schedule through one proxy, with upstreams of its own."""
    ports = iter(free_ports(len(CLUSTERS) * len(UPSTREAMS)))
    by_cluster = {cluster: {name: next(ports) for name in UPSTREAMS} for cluster in CLUSTERS}
    with ExitStack() as stack:
        upstreams = [
            stack.enter_context(UpstreamProcess(by_cluster["h1"][name], by_cluster["h2"][name]))
            for name in UPSTREAMS
        ]
        proxy = Proxy(kind, make_setup(by_cluster), directory / kind)
        stack.callback(proxy.stop)
        await proxy.start()
        baseline = await Baseline.take(proxy)
        load = Load(proxy.ports["main"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run, options.seconds, options.rate)
            begin = trio.current_time()
            for number, phase in enumerate(PHASES):
                await trio.sleep_until(begin + number * options.seconds / len(PHASES))
                for upstream, state in zip(upstreams, phase, strict=True):
                    await trio.to_thread.run_sync(upstream.become, state)
        if not proxy.is_running():
            raise SystemExit(f"{kind} ended with {proxy.exit_status()}:\n{proxy.output()}")
        left = await count_left(proxy, baseline)
        return Outcome(load.tallies, await read_stats(proxy), left, cpu_s(proxy) - baseline.cpu_s)


async def run_both(options: argparse.Namespace, directory: Path) -> Mapping[str, Outcome]:
    """At the same time, so that what disturbs the machine disturbs both."""
    outcomes: dict[str, Outcome] = {}

    async def run(kind: str) -> None:
        outcomes[kind] = await run_proxy(kind, options, directory)

    async with trio.open_nursery() as nursery:
        for kind in (SIDECAR, ENVOY):
            nursery.start_soon(run, kind)
    return outcomes


def requests(outcomes: Mapping[str, Outcome]) -> str:
    """A line for each request, to see in which phase and to whom something happened."""
    return "".join(
        f"{proxy}\t{kind}\t{begin:.3f}\t{end}\t{seconds:.3f}\n"
        for proxy, outcome in outcomes.items()
        for kind, tally in outcome.tallies.items()
        for begin, end, seconds in zip(tally.began, tally.ends, tally.seconds, strict=True)
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the load lasts")
    parser.add_argument("--rate", type=float, default=5.0, help="requests per second of each kind")
    parser.add_argument(
        "--requests", type=Path, help="write each request here: proxy, kind, begin, end, seconds"
    )
    options = parser.parse_args(arguments)
    if envoy_binary() is None:
        print("chaos needs Envoy beside this interpreter (scripts/setup.sh dev)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sidecar-chaos-") as name:
        outcomes = trio.run(run_both, options, Path(name))
    ours, envoys = outcomes[SIDECAR], outcomes[ENVOY]
    found = lines(ours, envoys, CLUSTERS)
    print(table(found, ours, envoys))
    if options.requests:
        options.requests.write_text(requests(outcomes))
    bad = worse(found)
    for line in bad:
        print(f"WORSE: {line.name.strip()}: {line.ours:g}, Envoy {line.envoys:g}")
    if not bad:
        print(
            f"no line worse than Envoy's, nothing left, after {options.seconds:g} s of {len(PHASES)} phases"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
