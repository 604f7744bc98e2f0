"""/strands and SIGUSR2 of a whole process."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from test_server_process import bootstrap, connect, get, ip, listener, running


def test_strands_are_told_by_the_admin_server_and_on_sigusr2(tmp_path: Path) -> None:
    with running(bootstrap(listener(ip("127.0.0.1"))), tmp_path) as proxy:
        idle = connect(proxy.addresses()[0])
        assert get(connect(proxy.addresses()[0])) == "hello"
        idle.sendall(b"GET / HTTP/1.1\r\nhost: secret\r\n")
        found = json.loads(proxy.admin("/strands?format=json"))["strands"]
        reading = [each for each in found if each["state"] == "reads"]
        assert reading
        assert any("serve_http" in frame for frame in reading[0]["frames"])
        text = proxy.admin("/strands")
        assert "idle in " in text
        assert "secret" not in text
        assert "/strands" not in proxy.admin("/help")
        proxy.process.send_signal(signal.SIGUSR2)
        assert proxy.process.stderr is not None
        for line in proxy.process.stderr:
            if "caught SIGUSR2" in line:
                break
        assert "strands" in line
        idle.shutdown(socket.SHUT_RDWR)
        idle.close()
        assert proxy.stop() == 0
