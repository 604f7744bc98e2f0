"""``just kill-check``: kill -9 of a random worker again and again; only its own connections may fail.

Whose a connection is: the worker is stopped first, then its sockets are those that ``/proc/PID/fd`` and
``/proc/net/tcp`` show.  What waits in the queue of its listening socket is nobody's yet, and must be served.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .load import Clients, config_text, descriptors, free_ports, server_info, upstream, workers

__all__ = ["Outcome", "run"]

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_LOOK_S = 0.02
#: How long the last worker may take to be there again, and connections to be closed, behind the load.
_REST_S = 30.0


@dataclass
class Outcome:
    """What was seen."""

    kills: int = 0
    requests: int = 0
    #: Requests on connections of workers that were killed.
    own: int = 0
    #: All others.
    failures: list[str] = field(default_factory=list)
    #: ``workers.died`` and ``workers.active`` at the end.
    died: int = 0
    active: int = 0
    workers: int = 0
    #: Open descriptors of all processes at rest, before and after.
    descriptors: tuple[int, int] = (0, 0)

    def is_good(self) -> bool:
        """Nobody else's request lost, every worker back and counted, no descriptor more."""
        is_whole = self.died == self.kills and self.active == self.workers
        is_lean = self.descriptors[1] <= self.descriptors[0]
        return not self.failures and is_whole and is_lean and self.kills > 0


def run(
    directory: Path, seconds: float, *, every_s: float = 2.0, concurrency: int = 2, clients: int = 8
) -> Outcome:
    """Kill a worker each ``every_s``, for so long."""
    outcome = Outcome(workers=concurrency)
    port, admin = free_ports(2)
    config, output = directory / "bootstrap.yaml", directory / "output"
    owned: set[int] = set()
    lock = threading.Lock()

    def failed(problem: str, own: int) -> None:
        with lock:
            if own in owned:
                owned.discard(own)
                outcome.own += 1
            else:
                outcome.failures.append(problem)

    with upstream() as app, output.open("wb") as stream:
        config.write_text(config_text(app, port, admin))
        command = [sys.executable, "-m", "sidecar", "-c", str(config), "-l", "warning"]
        command += ["--use-dynamic-base-id", "--concurrency", str(concurrency)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream)
        load = None
        try:
            deadline = time.monotonic() + _START_S
            while server_info(admin).get("state") != "LIVE":
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, "it does not start"
                time.sleep(_LOOK_S)
            first = descriptors(process.pid)
            load = Clients(clients, lambda: port, failed)
            end = time.monotonic() + seconds
            while time.monotonic() + every_s <= end:
                time.sleep(every_s)
                victim = _victim(process.pid)
                os.kill(victim, signal.SIGSTOP)
                _until_stopped(victim)
                with lock:
                    owned |= _connections(victim, port)
                os.kill(victim, signal.SIGKILL)
                outcome.kills += 1
            _rest(admin, outcome)
            load.end()
            deadline = time.monotonic() + _REST_S
            while (last := descriptors(process.pid)) > first and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
            outcome.descriptors = first, last
        finally:
            if load is not None:
                load.end()
                outcome.requests = load.requests
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGINT)
                process.wait(60)
    return outcome


def _rest(admin: int, outcome: Outcome) -> None:
    """Wait until every worker is back."""
    deadline = time.monotonic() + _REST_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
            try:
                connection.request("GET", "/stats?filter=^workers")
                text = connection.getresponse().read().decode()
            finally:
                connection.close()
            found = {name: int(value) for name, value in re.findall(r"^(\S+): (\d+)$", text, re.MULTILINE)}
            outcome.died, outcome.active = found["workers.died"], found["workers.active"]
            if (outcome.died, outcome.active) == (outcome.kills, outcome.workers):
                return
        time.sleep(_LOOK_S)


def _victim(supervisor: int) -> int:
    while not (found := workers(supervisor)):
        time.sleep(_LOOK_S)
    return random.choice(found)


def _until_stopped(pid: int) -> None:
    while "T" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]:
        time.sleep(0.001)


def _connections(pid: int, port: int) -> set[int]:
    """Ports of the clients whose connections to ``port`` this process has."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(each))
            if found:
                inodes.add(found[1])
    peers = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].rpartition(":")[2], 16) == port:
            peers.add(int(fields[2].rpartition(":")[2], 16))
    return peers


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(
            Path(directory),
            given.seconds,
            every_s=given.every,
            concurrency=given.concurrency,
            clients=given.clients,
        )
    print(f"{outcome.kills} workers killed, {outcome.requests} requests")
    print(f"{outcome.own} failed on connections of theirs, {len(outcome.failures)} on others")
    print(f"workers.died {outcome.died}, workers.active {outcome.active} of {outcome.workers}")
    print(f"descriptors at rest: {outcome.descriptors[0]} before, {outcome.descriptors[1]} after")
    for each in outcome.failures[:10]:
        print(f"  {each}")
    print("met" if outcome.is_good() else "NOT MET")
    return 0 if outcome.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
