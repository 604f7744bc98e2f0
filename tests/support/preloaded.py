"""Starts sidecar's processes by forking one that has imported already what a plain start imports.

Most of a start is imports, and the scenarios start hundreds of processes. A child runs ``main`` with its own
arguments, as ``python -m sidecar`` does; what a plain proxy does not need it imports by itself. Tests of a
whole process, of restarts and of workers start the real command.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MOST = 65536
#: A plain proxy: what it imports, the children find imported.
_PLAIN = """
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
HttpConnectionManager
          stat_prefix: main
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /dev/null
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
  clusters:
  - name: app
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
"""


class Preloaded:
    """The process that forks. Not for use by several threads."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._statuses: dict[int, int] = {}
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], output: int) -> Child:
        """Run ``sidecar`` with these arguments; both its outputs go to this descriptor."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [output]))]
        self._socket.sendmsg([json.dumps(list(arguments)).encode()], rights)
        while True:
            message = self._received()
            if "started" in message:
                return Child(self, message["started"])

    def status(self, pid: int, timeout_s: float | None) -> int | None:
        """The status that a child ended with (-N by signal N); None when it still runs after this time."""
        while pid not in self._statuses:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return None
            self._received()
        return self._statuses[pid]

    def _received(self) -> dict[str, int]:
        data = self._socket.recv(_MOST)
        if not data:
            raise RuntimeError(f"the process that forks sidecar ended with {self._process.wait()}")
        message: dict[str, int] = json.loads(data)
        if "ended" in message:
            self._statuses[message["ended"]] = message["status"]
        return message

    def close(self) -> None:
        """End it; its children go on."""
        self._socket.close()
        self._process.wait()


class Child:
    """One running sidecar: as much of ``subprocess.Popen`` as tests use."""

    def __init__(self, preloaded: Preloaded, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._preloaded = preloaded

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._preloaded.status(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""
        if self.returncode is None:
            self.returncode = self._preloaded.status(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("sidecar", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _preload() -> list[random.Random]:
    """Import; the result are the generators that children must not share."""
    from sidecar.config.load import load_bootstrap
    from sidecar.core.options import Options
    from sidecar.extensions.catalog import make_registry
    from sidecar.server import main

    importlib.import_module("sidecar.server.hot_restart.endpoint")
    loaded = load_bootstrap(None, _PLAIN, registry=make_registry())
    main.compile_only(Options(), loaded)
    del loaded
    gc.collect()
    gc.freeze()
    shared = random.seed.__self__  # type: ignore[attr-defined]
    return [shared, *(each for each in gc.get_objects() if isinstance(each, random.Random))]


def _serve(control: socket.socket, generators: Sequence[random.Random]) -> list[str]:
    """Fork until the other side goes; returns in each child, with its arguments.

    Raises: SystemExit in the process that forks.
    """
    watched = selectors.DefaultSelector()
    watched.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.data is not None:
                pid = key.data
                watched.unregister(key.fd)
                os.close(key.fd)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _tell(control, {"ended": pid, "status": status})
                continue
            data, rights, *_ = socket.recv_fds(control, _MOST, 1)
            if not data:
                sys.exit(0)
            pid = os.fork()
            if not pid:
                for fd in [each.fd for each in watched.get_map().values() if each.data is not None]:
                    os.close(fd)
                watched.close()
                control.close()
                os.dup2(rights[0], 1)
                os.dup2(rights[0], 2)
                os.close(rights[0])
                for each in generators:
                    each.seed()
                arguments: list[str] = json.loads(data)
                return arguments
            os.close(rights[0])
            watched.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            _tell(control, {"started": pid})


def _tell(control: socket.socket, message: dict[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.send(json.dumps(message).encode())


def _main() -> int:
    # One that is asked to end by a terminal leaves when its tests do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    generators = _preload()
    arguments = _serve(socket.socket(fileno=int(sys.argv[1])), generators)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from sidecar.cli.main import main

    sys.argv = ["sidecar", *arguments]
    return main(arguments)


if __name__ == "__main__":
    sys.exit(_main())
