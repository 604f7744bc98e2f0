"""One run: a proxy, clients that never stop asking, and hot restarts of it.

Descriptors are compared between epochs of as many workers.  An epoch of fewer workers than the one before
accepts on all of its sockets (``docs/hot-restart.md`` says why), so that with several numbers of workers the
first turn of all of them passes before the count that the last epoch is held to.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .load import Clients, config_text, descriptors, free_ports, server_info, upstream

__all__ = ["Outcome", "run"]

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_LOOK_S = 0.02
#: How long connections to the upstream and to the epoch before may be there behind the load.
_REST_S = 15.0
#: Behind the longest time for which an idle connection is kept.
_SAME_S = 1.5


@dataclass
class Outcome:
    """What was seen."""

    restarts: int = 0
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    #: Open descriptors at rest: of an epoch, and of the last, which has as many workers.
    descriptors: tuple[int, int] = (0, 0)
    #: Processes of the proxy that are left when it has ended.
    left: list[int] = field(default_factory=list)

    def is_good(self) -> bool:
        """No request lost, no descriptor more, nobody left."""
        return not self.failures and self.descriptors[1] <= self.descriptors[0] and not self.left


def run(directory: Path, restarts: int, *, concurrency: tuple[int, ...] = (1,), clients: int = 4) -> Outcome:
    """Restart so often; ``concurrency`` is that of the epochs in turn."""
    outcome = Outcome()
    restarts += -restarts % len(concurrency)  # the last epoch has as many workers as the first
    if len(set(concurrency)) > 1:
        restarts = max(restarts, 2 * len(concurrency))
    with upstream() as app:
        _run(directory, restarts, concurrency, clients, app, outcome)
    return outcome


def _run(
    directory: Path, restarts: int, concurrency: tuple[int, ...], clients: int, app: int, outcome: Outcome
) -> None:
    admin, port = free_ports(2)
    config = directory / "bootstrap.yaml"
    config.write_text(config_text(app, port, admin))
    base_id = directory / "base_id"
    common = ["-c", str(config), "--drain-time-s", "1", "--parent-shutdown-time-s", "2", "-l", "warning"]
    processes: list[subprocess.Popen[bytes]] = []
    output = (directory / "output").open("wb")

    def start(epoch: int) -> None:
        count = concurrency[epoch % len(concurrency)]
        named = ["--restart-epoch", str(epoch), "--base-id", base_id.read_text()] if epoch else []
        named = named or ["--use-dynamic-base-id", "--base-id-path", str(base_id)]
        command = [sys.executable, "-m", "sidecar", *common, *named, "--concurrency", str(count)]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))
        deadline = time.monotonic() + _START_S
        while _epoch(admin) != epoch:
            assert processes[-1].poll() is None, (directory / "output").read_text()
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(_LOOK_S)

    def restart(epochs: range) -> None:
        """Under load, until only the last one of these is left."""
        load = Clients(clients, lambda: port, lambda problem, _: outcome.failures.append(problem))
        try:
            for epoch in epochs:
                start(epoch)
                outcome.restarts += 1
                if epoch > 1:
                    _ended(processes[epoch - 2])
            if epochs:
                _ended(processes[-2])
        finally:
            load.end()
            outcome.requests += load.requests

    try:
        start(0)
        turn = len(concurrency) if len(set(concurrency)) > 1 else 0
        restart(range(1, turn + 1))
        first = _at_rest(processes[-1].pid)
        restart(range(turn + 1, restarts + 1))
        outcome.descriptors = first, _at_rest(processes[-1].pid)
    finally:
        for each in processes:
            if each.poll() is None:
                each.send_signal(signal.SIGTERM)
                each.send_signal(signal.SIGINT)
        for each in processes:
            _ended(each)
        outcome.left = [each.pid for each in processes if each.poll() is None]
        output.close()


def _at_rest(pid: int) -> int:
    """How many descriptors it has once their number stays the same for a while."""
    deadline = time.monotonic() + _REST_S
    found, since = descriptors(pid), time.monotonic()
    while time.monotonic() < min(since + _SAME_S, deadline):
        time.sleep(_LOOK_S)
        if (now := descriptors(pid)) != found:
            found, since = now, time.monotonic()
    return found


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.wait(60)


def _epoch(admin: int) -> int:
    """That of the process which answers at the admin port, once it serves; -1 without."""
    found = server_info(admin)
    if found.get("state") != "LIVE":
        return -1
    return int(found["command_line_options"]["restart_epoch"])  # type: ignore[index] # JSON
