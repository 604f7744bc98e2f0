"""The load: wrk for HTTP/1.1, h2load for HTTP/2, and what they report."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import Process

__all__ = ["HEADERS", "Measure", "measure"]

#: Six header fields in all, ``host`` among them.
HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) bench",
    "accept": "text/html,application/json;q=0.9,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-US,en;q=0.5",
    "x-session": "0123456789abcdef0123456789abcdef",
}
_POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n'
#: The fields of HEADERS, and one more that no request shares with another.  %s: lines for a Lua string.
_TRACED = """
local head = "GET / HTTP/1.1\\r\\nHost: bench\\r\\n%s"
local count = 0
request = function()
  count = count + 1
  return head .. string.format("traceparent: 00-%%032x-%%016x-01\\r\\n\\r\\n", count, count)
end
"""
#: The fields of HEADERS, and the next of the tokens that the file holds, a line each.
_TOKENS = """
local head = "GET / HTTP/1.1\\r\\nHost: bench\\r\\n%s"
local tokens = {}
for line in io.lines("%s") do tokens[#tokens + 1] = line end
local count = 0
request = function()
  count = count %% #tokens + 1
  return head .. "authorization: Bearer " .. tokens[count] .. "\\r\\n\\r\\n"
end
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Measure:
    """One run against one proxy.  Latencies in milliseconds."""

    requests: int
    seconds: float
    errors: int
    cpu_s: float
    p50_ms: float
    p99_ms: float
    rss_bytes: int

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_s * 1e6 / self.requests if self.requests else float("inf")

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def measure(
    process: Process,
    url: str,
    kind: str,
    seconds: float,
    core: int | str,
    directory: Path,
    more: Mapping[str, str] | None = None,
    connections: int = 16,
) -> Measure:
    """Load ``url`` for about ``seconds``.

    ``kind`` is ``get``, ``traced``, ``tokens`` (of ``tokens.txt`` in the directory, in turns), ``post``,
    ``stream`` or ``close`` (a connection for each request); over
    HTTP/2 ``h2``, ``grpc`` or ``h2_stream``.  ``more`` are header fields, over HTTP/1.1.
    """
    before = process.cpu_s()
    if kind in ("h2", "grpc", "h2_stream"):
        requests, took, errors, p50, p99 = _h2load(url, kind, seconds, core, directory)
    else:
        requests, took, errors, p50, p99 = _wrk(url, kind, seconds, core, directory, more or {}, connections)
    cpu = process.cpu_s() - before
    return Measure(requests, took, errors, cpu, p50, p99, process.rss_bytes())


def _run(command: list[str], core: int | str, seconds: float) -> str:
    done = subprocess.run(
        ["taskset", "-c", str(core), *command],
        capture_output=True,
        text=True,
        timeout=seconds + 20,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def _wrk(
    url: str,
    kind: str,
    seconds: float,
    core: int | str,
    directory: Path,
    more: Mapping[str, str],
    connections: int,
) -> tuple[int, float, int, float, float]:
    # wrk counts whole seconds.
    command = [
        "wrk",
        "-t1",
        "-c1" if kind == "stream" else f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
    ]
    for name, value in {**HEADERS, **more}.items():
        command += ["-H", f"{name}: {value}"]
    if kind == "close":
        command += ["-H", "connection: close"]
    script = directory / f"{kind}.lua"
    if kind == "post":
        script.write_text(_POST)
        command += ["-s", str(script)]
    elif kind in ("traced", "tokens"):
        fields = "".join(f"{name}: {value}\\r\\n" for name, value in HEADERS.items())
        script.write_text(
            _TRACED % fields if kind == "traced" else _TOKENS % (fields, directory / "tokens.txt")
        )
        command += ["-s", str(script)]
    text = _run([*command, url], core, seconds)
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    if total is None:
        raise RuntimeError(f"cannot read wrk's report:\n{text}")
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets is not None:
        errors += sum(map(int, sockets.groups()))
    return (
        int(total[1]),
        float(total[2]) * _UNITS[total[3]] / 1e3,
        errors,
        _percentile(text, "50%"),
        _percentile(text, "99%"),
    )


def _percentile(text: str, which: str) -> float:
    found = re.search(rf"{which}\s+([\d.]+)(us|ms|s|m)", text)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def _h2load(
    url: str, kind: str, seconds: float, core: int | str, directory: Path
) -> tuple[int, float, int, float, float]:
    log = directory / "h2load.log"
    log.unlink(missing_ok=True)
    clients = ["-c1", "-m1"] if kind == "h2_stream" else ["-c4", "-m10"]
    command = ["h2load", "-t1", *clients, "-D", str(max(1, round(seconds))), f"--log-file={log}"]
    fields = HEADERS
    if kind == "grpc":
        fields = {**HEADERS, "content-type": "application/grpc", "te": "trailers"}
        message = directory / "message"
        message.write_bytes(b"\0\0\0\0\x7b" + b"x" * 123)
        command.append(f"--data={message}")
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    text = _run([*command, url], core, seconds)
    total = re.search(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    codes = re.search(r"status codes: (\d+) 2xx", text)
    took = re.search(r"finished in ([\d.]+)(us|ms|s|m)", text)
    if total is None or took is None or codes is None:
        raise RuntimeError(f"cannot read h2load's report:\n{text}")
    succeeded = int(total[2])
    # start, status, microseconds
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    p50, p99 = (times[int(len(times) * share)] / 1e3 if times else 0.0 for share in (0.5, 0.99))
    errors = int(total[3]) + int(total[4]) + max(0, succeeded - int(codes[1]))
    return succeeded, float(took[1]) * _UNITS[took[2]] / 1e3, errors, p50, p99
