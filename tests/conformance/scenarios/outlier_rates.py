"""Rates of success over recorded sequences of answers: who is ejected, and what is told of the rates."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import read_response

SUBJECT = "upstream"

INTERVAL_S = 1.5
HOSTS = ("one", "two", "three", "four", "five")
#: Each host gets so many requests in one interval.
VOLUME = 10


@dataclass(frozen=True)
class Sequence:
    """How many of its requests each host fails, and the fields that judge it; `dead` hosts refuse."""

    failures: tuple[int, ...]
    fields: str
    dead: bool = False


RATE = f"success_rate_minimum_hosts: 5, success_rate_request_volume: {VOLUME}"
PERCENT = (
    f"failure_percentage_minimum_hosts: 5, failure_percentage_request_volume: {VOLUME}, "
    "enforcing_failure_percentage: 100"
)
NO_PERCENT = "failure_percentage_minimum_hosts: 9"
NO_RATE = "success_rate_minimum_hosts: 9"
SEQUENCES = {
    "even": Sequence((0, 0, 0, 0, 0), f"{RATE}, {PERCENT}"),
    "edge": Sequence((0, 1, 2, 3, 8), RATE),
    "below": Sequence((0, 1, 2, 3, 9), f"{RATE}, success_rate_stdev_factor: 1897"),
    "all": Sequence((10, 10, 10, 10, 10), f"{RATE}, {PERCENT}, failure_percentage_threshold: 100"),
    "two": Sequence((10, 9, 0, 0, 1), f"{RATE}, success_rate_stdev_factor: 500"),
    "factor": Sequence((2, 2, 2, 2, 3), f"{RATE}, success_rate_stdev_factor: 0"),
    "third": Sequence((3, 3, 3, 3, 7), f"{RATE}, success_rate_stdev_factor: 1999"),
    "soft": Sequence((0, 0, 0, 0, 10), f"{RATE}, enforcing_success_rate: 0"),
    "percent": Sequence((8, 9, 10, 0, 1), f"{PERCENT}, {NO_RATE}"),
    "threshold": Sequence((4, 5, 6, 0, 1), f"{PERCENT}, {NO_RATE}, failure_percentage_threshold: 50"),
    "unenforced": Sequence((10, 0, 0, 0, 0), f"{PERCENT}, {NO_RATE}, enforcing_failure_percentage: 0"),
    "both": Sequence((10, 0, 0, 0, 0), f"{PERCENT}, {RATE}, success_rate_stdev_factor: 1000"),
    "capped": Sequence((10, 10, 0, 0, 0), f"{PERCENT}, {NO_RATE}, max_ejection_percent: 20"),
    "split": Sequence((0, 5, 0, 0, 10), f"{RATE}, {NO_PERCENT}, split_external_local_origin_errors: true"),
    "local": Sequence(
        (0, 0, 0, 0, 0),
        f"{RATE}, {PERCENT}, split_external_local_origin_errors: true, success_rate_stdev_factor: 1000, "
        "enforcing_failure_percentage_local_origin: 0, enforcing_local_origin_success_rate: 100, "
        "consecutive_local_origin_failure: 1000",
        dead=True,
    ),
    "local_percent": Sequence(
        (0, 0, 0, 0, 0),
        f"{NO_RATE}, {PERCENT}, split_external_local_origin_errors: true, "
        "enforcing_failure_percentage_local_origin: 100, consecutive_local_origin_failure: 1000",
        dead=True,
    ),
}
#: Envoy goes through hosts in no order: which of two is ejected is chance.
ANY_OF_THEM = ("capped",)
ALWAYS = (
    f"interval: {INTERVAL_S}s, base_ejection_time: 600s, max_ejection_time: 600s, consecutive_5xx: 1000, "
    "consecutive_gateway_failure: 1000"
)


def judged(name: str, sequence: Sequence) -> dict[str, object]:
    fields = sequence.fields
    if "max_ejection_percent" not in fields:
        fields += ", max_ejection_percent: 100"
    hosts = (*HOSTS[:4], "dead" if sequence.dead else HOSTS[4])
    return cluster(name, *hosts, extra=f"outlier_detection: {{{ALWAYS}, {fields}}}")


RATES = Setup(
    "outlier_rates",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(
                    f"- {{match: {{prefix: /{n}/}}, route: {{cluster: {n}}}}}\n" for n in SEQUENCES
                ),
            )
        ],
        [judged(name, sequence) for name, sequence in SEQUENCES.items()],
        "cluster_manager: {outlier_detection: {event_log_path: FILE(events.log)}}",
    ),
    {**dict.fromkeys(HOSTS, "h1"), "dead": "dead"},
)


async def put(s: Session, name: str) -> None:
    """Send every host its requests: the first of them fail."""
    seen = dict.fromkeys(HOSTS, 0)

    def script(host: str, failures: int) -> None:
        async def serve(call: Call) -> None:
            seen[host] += 1
            status = 500 if seen[host] <= failures else 200
            await call.send(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())

        s.upstream(host).script = serve

    for host, failures in zip(HOSTS, SEQUENCES[name].failures, strict=True):
        script(host, failures)
    client = await s.connect()
    # All at once, so that they are likely to fall into one interval.
    await client.send(f"GET /{name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode() * (VOLUME * len(HOSTS)))
    for _ in range(VOLUME * len(HOSTS)):
        await read_response(client.wire)
    client.close()


def is_whole(rates: list[str]) -> bool:
    """Whether every host has a rate, of one origin at least: all its requests fell into one interval."""
    hosts = {line.rpartition("::")[0].rpartition("::")[0] for line in rates if "::127" in line}
    known = {line.rpartition("::")[0].rpartition("::")[0] for line in rates if not line.endswith("::-1")}
    return bool(hosts) and hosts <= known


async def judge(s: Session, name: str) -> None:
    """Until all requests fell into one interval; observe what came of it."""
    rates: list[str] = []
    while not is_whole(rates):
        await put(s, name)
        # Where they did not, nothing of them is left before the next try.
        with trio.move_on_after(INTERVAL_S * 2):
            while not is_whole(rates):
                await trio.sleep(POLL_S)
                text = (await s.proxy.admin("GET", "/clusters")).body.decode()
                lines = [line for line in text.splitlines() if line.startswith(f"{name}::")]
                rates = [line for line in lines if "success_rate" in line]
    text = (await s.proxy.admin("GET", "/clusters")).body.decode()
    flags = [
        line.rpartition("::")[2] for line in text.splitlines() if re.match(rf"{name}::.*health_flags", line)
    ]
    s.see(f"{name} rates", rates)
    s.see(f"{name} flags", sorted(flags) if name in ANY_OF_THEM else flags)
    stats = await s.counters(rf"^cluster\.{name}\.outlier_detection\.")
    s.see(f"{name} stats", {stat: value for stat, value in stats.items() if value})
    for upstream in s.upstreams.values():
        upstream.seen.clear()


async def told(s: Session, *names: str) -> None:
    """Observe the events of these clusters."""
    await s.proxy.admin("POST", "/reopen_logs")
    await s.quiet()
    text = await trio.Path(s.proxy.directory / "events.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    ports = s.proxy.named_ports()
    for line in lines:
        line["timestamp"] = "<time>"
        line["upstream_url"] = ports[int(line["upstream_url"].rpartition(":")[2])]
        if line["cluster_name"] in ANY_OF_THEM:
            line["upstream_url"] = "<one of them>"
    # Which of two hosts comes first is chance.
    s.see("events", sorted(json.dumps(line) for line in lines if line["cluster_name"] in names))


def recorded(label: str, *names: str, **differs: str) -> object:
    """A scenario of these sequences."""

    async def drive(s: Session) -> None:
        s.proxy.is_spent = True
        for name in names:
            await judge(s, name)
        await told(s, *names)

    drive.__name__ = f"outlier_rates_{label}"
    drive.__doc__ = f"Sequences {', '.join(names)}."
    return scenario(RATES, differs={label.replace("_", " "): why for label, why in differs.items()})(drive)


outlier_rates_even = recorded("even", "even", "third")
outlier_rates_of_success = recorded("of_success", "edge", "below")
outlier_rates_of_factors = recorded("of_factors", "two", "factor")
outlier_rates_of_failure = recorded("of_failure", "percent", "threshold")
outlier_rates_not_enforced = recorded("not_enforced", "soft", "unenforced")
outlier_rates_capped = recorded("capped", "capped")
outlier_rates_of_all = recorded("of_all", "all")
outlier_rates_twice = recorded(
    "twice", "both", both_stats="ejected-twice-at-once", events="ejected-twice-at-once"
)
outlier_rates_split = recorded("split", "split")
outlier_rates_of_local_origin = recorded("of_local_origin", "local", "local_percent")
