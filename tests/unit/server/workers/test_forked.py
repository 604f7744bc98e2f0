"""Workers that are copies: a process each, with a channel and a name, or none where a thread runs."""

from __future__ import annotations

import json
import subprocess
import sys

_SCRIPT = """
import json, os, sys, threading
from sidecar.server.workers.forked import fork_workers

def sockets():
    paths = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
    return sum(os.readlink(each).startswith("socket:") for each in paths if os.path.islink(each))

before = sockets()
found = fork_workers(3)
if isinstance(found, int):
    import socket
    channel = socket.socket(fileno=found)
    with open("/proc/self/cmdline", "rb") as file:
        name = file.read().rstrip(b"\\0").decode()
    channel.sendall(json.dumps([name, sockets() - before, os.readlink("/proc/self/fd/0")]).encode())
    assert channel.recv(1) == b""
    os._exit(7)
told = []
for each in found[:2]:
    told.append(json.loads(each.channel.recv(1000)))
    running = each.process.poll()
    each.channel.close()
    told[-1] += [running, each.process.wait(), each.process.poll()]
    each.process.kill()  # nobody is there any more
found[2].process.kill()
told.append(found[2].process.wait())
done = threading.Event()
threading.Thread(target=done.wait).start()
told.append(len(fork_workers(2)))
done.set()
print(json.dumps(told))
"""


def test_workers_have_a_channel_a_name_and_no_input_and_there_are_none_beside_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, killed, beside_a_thread = json.loads(done.stdout)
    assert first == ["sidecar\0worker\x000", 1, "/dev/null", None, 7, 7]
    assert second == ["sidecar\0worker\x001", 1, "/dev/null", None, 7, 7]
    assert killed == -9
    assert beside_a_thread == 0


_DRAW = """
import json, os, random
from sidecar.http import stream_log
from sidecar.observability import span
from sidecar.server.workers.forked import fork_workers

found = fork_workers(2)
drawn = [span._random_bits(64), stream_log._random_bits(64), random.getrandbits(64)]
if isinstance(found, int):
    import socket
    socket.socket(fileno=found).sendall(json.dumps(drawn).encode())
    os._exit(0)
print(json.dumps(drawn + [number for each in found for number in json.loads(each.channel.recv(1000))]))
"""


def test_workers_draw_other_numbers_than_each_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DRAW], capture_output=True, text=True, check=True, timeout=60
    )
    drawn = json.loads(done.stdout)
    assert len(drawn) == 9
    assert len(set(drawn)) == 9
