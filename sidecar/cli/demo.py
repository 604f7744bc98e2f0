"""`sidecar demo`: an application, the proxy in front of it, and what the filters do to a few requests.

Both run as child processes, the proxy from an ordinary configuration file (`demo_assets/demo.yaml`), so that
the demo shows nothing that a user could not have. `demo_tour.py` has the requests and the words for what
became of them, `demo_app.py` is the application. Called by the command line.
"""

import argparse
import contextlib
import http.client
import importlib.resources
import json
import shlex
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from sidecar.cli.demo_tour import STEPS, Step, complaints, narrate, send_step
from sidecar.core.dataclass import dataclass

PORT = 10000
ADMIN_PORT = 9901
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOOK_INTERVAL_S = 0.2


class DemoError(Exception):
    """The demo cannot go on; the message is for the user."""


def run_demo(argv: list[str]) -> int:
    """Runs `sidecar demo` with its arguments; the exit status is 1 when something is not as it should be."""
    options = _parse(argv)
    # Both set here: a shell that starts the demo in the background has SIGINT ignored.
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _stage(options) as stage:
            good = _show(stage)
            if not options.once:
                _stay(stage)
    except DemoError as error:
        print(f"sidecar demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if status := stage.proxy.returncode:
        print(f"sidecar demo: the proxy did not end in good order: status {status}", file=sys.stderr)
    return 0 if good and not status else 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sidecar demo",
        description="Starts an application with the proxy in front of it and shows what the filters do.",
    )
    parser.add_argument("--port", type=int, help=f"the proxy's port (default {PORT}, or a free one)")
    parser.add_argument(
        "--admin-port", type=int, help=f"the admin port (default {ADMIN_PORT}, or a free one)"
    )
    parser.add_argument("--once", action="store_true", help="end after the requests, with status 0 or 1")
    parser.add_argument("--proxy-command", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.once:
        options.port, options.admin_port = options.port or 0, options.admin_port or 0
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs while the demo does."""

    port: int
    admin_port: int
    application_port: int
    proxy: subprocess.Popen[bytes]
    configuration: Path
    access_log: Path


@contextlib.contextmanager
def _stage(options: argparse.Namespace) -> Iterator[Stage]:
    """Starts the application and the proxy; on the way out stops both and removes their files."""
    assets = importlib.resources.files("sidecar") / "demo_assets"
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-demo-")))
        module = stack.enter_context(importlib.resources.as_file(assets / "header_guard.wasm"))
        script = stack.enter_context(importlib.resources.as_file(assets / "demo.lua"))
        application_port = stack.enter_context(_application())
        port = _choose_port(options.port, PORT)
        admin_port = _choose_port(options.admin_port, ADMIN_PORT)
        access_log = directory / "access.log"
        access_log.touch()
        configuration = directory / "demo.yaml"
        template = string.Template((assets / "demo.yaml").read_text())
        configuration.write_text(
            template.substitute(
                port=port,
                admin_port=admin_port,
                application_port=application_port,
                access_log=json.dumps(str(access_log)),
                wasm_module=json.dumps(str(module)),
                lua_script=json.dumps(str(script)),
            )
        )
        command = shlex.split(options.proxy_command) if options.proxy_command else _sidecar()
        proxy = stack.enter_context(_proxy([*command, "-c", str(configuration)], directory / "proxy.log"))
        stage = Stage(port, admin_port, application_port, proxy, configuration, access_log)
        _wait_until_ready(stage, directory / "proxy.log")
        yield stage


def _sidecar() -> list[str]:
    return [sys.executable, "-m", "sidecar"]


@contextlib.contextmanager
def _application() -> Iterator[int]:
    """The sample application's port. It ends when its standard input is closed."""
    command = [sys.executable, "-m", "sidecar.cli.demo_app"]
    with subprocess.Popen(  # noqa: S603 - this interpreter, one of our modules
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise DemoError("the sample application did not start")
            yield int(line)
        finally:
            process.stdin.close()
            _stop(process)


@contextlib.contextmanager
def _proxy(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The proxy, in a session of its own: Ctrl-C is for the demo, which then ends it in good order."""
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--drain-time-s", "1", "--log-level", "warning"]
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, or what the user names
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise DemoError(f"cannot run {command[0]}: {error}") from error
    try:
        yield process
    finally:
        process.terminate()
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _choose_port(wanted: int | None, usual: int) -> int:
    """The port asked for; else the usual one, or a free one where that is taken."""
    if wanted:
        return wanted
    for port in (usual, 0) if wanted is None else (0,):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen: int = trial.getsockname()[1]
            return chosen
    raise DemoError("there is no free port on 127.0.0.1")


def _wait_until_ready(stage: Stage, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if stage.proxy.poll() is not None:
            raise DemoError(f"the proxy did not start:\n{log.read_text()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if send_step(stage.admin_port, Step("", "GET", "/ready", 200, "")).status == 200:
                return
        time.sleep(0.02)
    raise DemoError(f"the proxy was not ready within {START_TIMEOUT_S:.0f} s:\n{log.read_text()}")


def _show(stage: Stage) -> bool:
    """Sends the requests and tells what became of each; False when one went otherwise than it should."""
    print(f"application  http://127.0.0.1:{stage.application_port}/   (a separate process)")
    print(f"proxy        http://127.0.0.1:{stage.port}/   Wasm filter, then Lua filter, then the router")
    print()
    good = True
    for step in STEPS:
        try:
            exchange = send_step(stage.port, step)
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"{step.method} {step.path} got no answer: {error}") from error
        size = f" ({len(step.body)} bytes)" if step.body else ""
        who = step.answered_by
        print(f"{step.method} {step.path}{size} -> {exchange.status} from {who}: {step.title}")
        for line in narrate(step, exchange):
            print(f"    {line}")
        for complaint in complaints(step, exchange):
            good = False
            print(f"    NOT AS IT SHOULD BE: {complaint}")
        print()
    return good


def _stay(stage: Stage) -> None:
    """Shows the access log until Ctrl-C. Raises: DemoError when the proxy ends by itself."""
    url, admin = f"http://127.0.0.1:{stage.port}", f"http://127.0.0.1:{stage.admin_port}"
    print("Try:")
    for path in ("/hello", "/admin", "/lua"):
        print(f"    curl -i {url}{path}")
    print(f"    curl {admin}/stats?usedonly    and in a browser {admin}/")
    print(f"    cat {stage.configuration}")
    with stage.access_log.open() as log, contextlib.suppress(KeyboardInterrupt):
        print("Ctrl-C ends it. The access log:", flush=True)
        while stage.proxy.poll() is None:
            sys.stdout.write(log.read())
            sys.stdout.flush()
            time.sleep(LOOK_INTERVAL_S)
    if stage.proxy.returncode is None:
        print("\nstopping")
        return
    raise DemoError(f"the proxy ended by itself with status {stage.proxy.returncode}")
