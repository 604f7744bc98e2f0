"""``sidecar wait``: end when the proxy of this pod is ready, so that the application may start."""

from __future__ import annotations

import argparse
import http.client
import sys
import time
from collections.abc import Sequence

__all__ = ["run_wait"]

_INTERVAL_S = 0.1


def run_wait(arguments: Sequence[str]) -> int:
    """Ask ``/ready`` until it is 200; the exit status: 0, or 1 after the timeout."""
    parser = argparse.ArgumentParser(
        prog="sidecar wait", description="Ends when the proxy of this pod is ready (its admin API says so)."
    )
    parser.add_argument("--admin-port", type=int, default=15000, help="port of the admin API (15000)")
    parser.add_argument("--host", default="127.0.0.1", help="address of the admin API (127.0.0.1)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait (60)")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + options.timeout
    seen = ""
    while True:
        try:
            connection = http.client.HTTPConnection(options.host, options.admin_port, timeout=1.0)
            try:
                connection.request("GET", "/ready")
                response = connection.getresponse()
                body = response.read(200).decode("latin-1").strip()
                seen = f"{response.status} {body}"
                if response.status == 200:
                    return 0
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            seen = str(error) or type(error).__name__
        left = deadline - time.monotonic()
        if left <= 0:
            place = f"http://{options.host}:{options.admin_port}/ready"
            print(f"not ready after {options.timeout:g} s: {place}: {seen}", file=sys.stderr)
            return 1
        time.sleep(min(_INTERVAL_S, left))
