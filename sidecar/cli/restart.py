"""``sidecar restart``: has the running proxy start its next epoch, and waits until that serves.

It finds the proxy by ``--base-id`` and ``--socket-path``.  The next epoch has the command line of the running
one and reads its configuration again; where it does not start, the running one serves on and the exit status
is 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sidecar.cli.flags import UsageError, parse
from sidecar.server.hot_restart.endpoint import connect, running_epochs
from sidecar.server.workers.channel import Channel
from sidecar.server.workers.frames import FrameError

__all__ = ["run_restart"]


def run_restart(arguments: Sequence[str]) -> int:
    """The exit status."""
    try:
        options, _, _ = parse(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    for epoch, name in running_epochs(options.socket_path, options.base_id):
        try:
            sock = connect(name)
        except OSError:
            continue  # it ended a moment ago
        sock.settimeout(None)
        channel = Channel(sock)
        channel.send("restart")
        try:
            received = channel.receive_now()
        except FrameError as error:
            print(f"epoch {epoch} cannot be understood: {error}", file=sys.stderr)
            return 1
        finally:
            channel.close()
        if received is not None and received[0].kind == "done":
            print(f"epoch {epoch + 1} serves")
            return 0
        reason = "it ended" if received is None else received[0].values.get("reason", "")
        print(f"epoch {epoch}: {reason}", file=sys.stderr)
        return 1
    print(f"no proxy of base id {options.base_id} is running (see --base-id, --socket-path)", file=sys.stderr)
    return 1
