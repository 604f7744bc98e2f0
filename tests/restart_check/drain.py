"""``just drain-check``: a pair of proxies is renewed under load, one after the other, by SIGTERM.

As a Deployment renews its pods: new connections go to those that ``/ready`` says are ready, nobody tries a
request again.  SIGTERM fails readiness first and lets connections come for a grace, in which the clients see
it; what is under way is finished.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .load import Clients, config_text, descriptors, free_ports, server_info, upstream

__all__ = ["Outcome", "run"]

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_END_S = 60.0
_LOOK_S = 0.02
#: How long connections may be there behind the load.
_REST_S = 15.0


@dataclass
class Outcome:
    """What was seen."""

    ends: int = 0
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    #: The longest time from the signal to the end.
    longest_s: float = 0.0
    #: Open descriptors of the first pair and of the last, at rest.
    descriptors: tuple[int, int] = (0, 0)

    def is_good(self) -> bool:
        """No request lost, every end a clean one, no descriptor more."""
        is_clean = self.statuses <= {0} and self.descriptors[1] <= self.descriptors[0]
        return not self.failures and is_clean and self.requests > 0


class _Proxy:
    """A place of the pair, and the process that has it."""

    def __init__(self, directory: Path, number: int, app: int, concurrency: int) -> None:
        self.port, self.admin = free_ports(2)
        self.output = directory / f"output{number}"
        config = directory / f"bootstrap{number}.yaml"
        config.write_text(config_text(app, self.port, self.admin))
        self._command = [sys.executable, "-m", "sidecar", "-c", str(config), "-l", "warning"]
        self._command += ["--use-dynamic-base-id", "--concurrency", str(concurrency)]
        self._command += ["--drain-time-s", "1", "--shutdown-grace-s", "1"]
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False

    def start(self) -> None:
        """Return when it serves."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stdout=output, stderr=output)
        deadline = time.monotonic() + _START_S
        while server_info(self.admin).get("state") != "LIVE":
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(_LOOK_S)
        self.look()

    def descriptors(self) -> int:
        """How many it has."""
        assert self.process is not None
        return descriptors(self.process.pid)

    def look(self) -> None:
        """Ask whether it is ready."""
        is_ready = False
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
            try:
                connection.request("GET", "/ready")
                is_ready = connection.getresponse().status == 200
            finally:
                connection.close()
        self.is_ready = is_ready

    def end(self) -> tuple[int, float]:
        """SIGTERM: the exit status, and how long that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_END_S), time.monotonic() - began


def run(directory: Path, ends: int, *, concurrency: int = 1, clients: int = 4) -> Outcome:
    """Renew so often."""
    outcome = Outcome()
    with upstream() as app:
        pair = [_Proxy(directory, number, app, concurrency) for number in range(2)]
        is_over = threading.Event()

        def look() -> None:
            while not is_over.is_set():
                for each in pair:
                    each.look()
                time.sleep(_LOOK_S)

        def choose() -> int:
            ready = [each.port for each in pair if each.is_ready]
            return random.choice(ready) if ready else pair[0].port

        def failed(problem: str, _port: int) -> None:
            outcome.failures.append(problem)

        watcher = threading.Thread(target=look)
        load = None
        try:
            for each in pair:
                each.start()
            first = sum(each.descriptors() for each in pair)
            watcher.start()
            load = Clients(clients, choose, failed)
            for number in range(ends):
                status, took_s = pair[number % 2].end()
                outcome.statuses.add(status)
                outcome.longest_s = max(outcome.longest_s, took_s)
                pair[number % 2].start()
                outcome.ends += 1
            load.end()
            is_over.set()
            watcher.join()
            deadline = time.monotonic() + _REST_S
            while (last := sum(each.descriptors() for each in pair)) > first:
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_S)
            outcome.descriptors = first, last
        finally:
            is_over.set()
            if load is not None:
                load.end()
                outcome.requests = load.requests
            if watcher.ident is not None:
                watcher.join()
            for each in pair:
                if each.process is not None and each.process.poll() is None:
                    each.process.send_signal(signal.SIGTERM)
                    each.process.send_signal(signal.SIGINT)
                    each.process.wait(_END_S)
    return outcome


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(Path(directory), given.ends, concurrency=given.concurrency, clients=given.clients)
    print(f"{outcome.ends} ends by SIGTERM, {outcome.requests} requests, {len(outcome.failures)} failed")
    print(f"exit statuses {sorted(outcome.statuses)}, the longest end took {outcome.longest_s:.1f} s")
    print(f"descriptors: {outcome.descriptors[0]} in the first pair, {outcome.descriptors[1]} in the last")
    for each in outcome.failures[:10]:
        print(f"  {each}")
    print("met" if outcome.is_good() else "NOT MET")
    return 0 if outcome.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
