"""Compiles the modules of the exchange with mypyc, from the same Python source.

    scripts/compile_modules.py [DIRECTORY]

DIRECTORY (``build/compiled`` by default) becomes a copy of the packages with the shared library, and a stub
for each compiled module beside its source, which Python prefers.  Who puts it first on the path runs
the compiled form; the checkout is not touched.  What has not changed is not compiled again.  What else the
checkout has (tests and examples, say) is linked there, so that its tools run from there as well.

Needs mypy (with mypyc), a C compiler and Python's headers: ``pip install .[compile]``; on Debian gcc and
python3-dev.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sidecar", "wasm_abi")
LINKED = ("docs", "examples", "filters_rust", "tests")
#: What a request passes, and what serves guests, where that gains.  Each is written so that both forms do
#: the same; what cannot be compiled (generators that are awaited, classes with a ``__getattr__``) stays in
#: modules of its own.
MODULES = (
    "sidecar/api/message.py",
    "sidecar/api/stream.py",
    "sidecar/api/wire.py",
    "sidecar/codec/h1.py",
    "sidecar/codec/h1_sizes.py",
    "sidecar/codec/h2_connection.py",
    "sidecar/codec/h2_control.py",
    "sidecar/codec/h2_flood.py",
    "sidecar/codec/h2_hpack.py",
    "sidecar/codec/h2_sender.py",
    "sidecar/codec/h2_stream.py",
    "sidecar/core/headers.py",
    "sidecar/core/rbac.py",
    "sidecar/extensions/access_loggers/entry_wire.py",
    "sidecar/extensions/http/lua.py",
    "sidecar/extensions/http/lua_script.py",
    "sidecar/extensions/http/rbac.py",
    "sidecar/extensions/http/wasm.py",
    "sidecar/extensions/http/wasm_body.py",
    "sidecar/extensions/http/wasm_host.py",
    "sidecar/extensions/wasm/live.py",
    "sidecar/http/connection_manager.py",
    "sidecar/http/h1_driver.py",
    "sidecar/http/h2_driver.py",
    "sidecar/http/hcm_stats.py",
    "sidecar/http/request_headers.py",
    "sidecar/net/h2_wire.py",
    "sidecar/observability/counting.py",
    "sidecar/observability/histogram.py",
    "sidecar/router/exchange.py",
    "sidecar/router/route_table.py",
    "sidecar/upstream/cluster_stats.py",
    "sidecar/upstream/h1_connection.py",
    "sidecar/upstream/h1_exchange.py",
    "sidecar/upstream/h2_connection.py",
    "sidecar/upstream/load_balancer_pickers.py",
    "wasm_abi/calls.py",
    "wasm_abi/context.py",
    "wasm_abi/hostcalls/buffers.py",
    "wasm_abi/hostcalls/headers.py",
    "wasm_abi/inside.py",
    "wasm_abi/memory.py",
    "wasm_abi/pairs.py",
    "wasm_abi/plugin.py",
    "wasm_abi/tcp.py",
    "wasm_abi/vm.py",
)
#: -O1 takes a third of the time of -O2, and what it makes runs as fast.
FLAGS = ("-O1", "-g0", "-fPIC", "-fwrapv", "-DNDEBUG", "-fvisibility=hidden", "-fno-var-tracking", "-w")
_SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")


def main(arguments: list[str]) -> None:
    """Compile into the directory that is named, or ``build/compiled``."""
    target = Path(arguments[0]) if arguments else ROOT / "build" / "compiled"
    began = time.monotonic()
    done = compile_into(target.resolve())
    print(f"compiled: {target}" + (f" ({time.monotonic() - began:.0f} s)" if done else " (unchanged)"))


def compile_into(target: Path) -> bool:
    """Make ``target`` the packages in compiled form; False where it is that already."""
    target.mkdir(parents=True, exist_ok=True)
    _link(target)
    stamp = target / "stamp"
    state = _state()
    if stamp.exists() and stamp.read_text() == state:
        return False
    for package in PACKAGES:
        shutil.rmtree(target / package, ignore_errors=True)
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    work = target / "c"
    shutil.rmtree(work, ignore_errors=True)
    # mypyc takes paths from where it runs, and setuptools reads the project's file that it finds there.
    command = [sys.executable, str(Path(__file__).resolve()), "--translate", str(work), str(ROOT)]
    subprocess.run(command, cwd=target, check=True)  # noqa: S603 - this file
    _build(target, work)
    stamp.write_text(state)
    return True


def _link(target: Path) -> None:
    """Link what else there is, anew where the directory was another checkout's."""
    for name in LINKED:
        link = target / name
        if not link.is_symlink() or link.readlink() != ROOT / name:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT / name)


def libraries(target: Path) -> list[Path]:
    """The shared library and the stubs that :func:`compile_into` made."""
    found = [*target.glob(f"*{_SUFFIX}")]
    for package in PACKAGES:
        found += (target / package).rglob(f"*{_SUFFIX}")
    return sorted(found)


def _state() -> str:
    """What the outcome depends on."""
    from mypy.version import __version__

    found = hashlib.sha256(f"{sys.version} {__version__} {FLAGS} {MODULES}".encode())
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(ROOT)}\0".encode())
                found.update(hashlib.sha256(path.read_bytes()).digest())
    found.update(Path(__file__).read_bytes())
    return found.hexdigest()


def _translate(work: str, root: str) -> None:
    """Let mypyc write the C sources into ``work``, and what is to be built of them into a list there."""
    from mypyc.build import mypycify

    extensions = mypycify(
        [f"--config-file={root}/pyproject.toml", *MODULES],
        multi_file=True,
        target_dir=work,
        group_name="sidecar",
    )
    lines = []
    for each in extensions:
        sources = (os.path.abspath(source) for source in each.sources)
        includes = (os.path.abspath(path) for path in each.include_dirs)
        lines.append(f"{each.name}\t{os.pathsep.join(includes)}\t{os.pathsep.join(sources)}\n")
    Path(work, "extensions").write_text("".join(lines))


def _build(target: Path, work: Path) -> None:
    """Compile the C sources, as many at once as there are processors, and link each extension."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    python = f"-I{sysconfig.get_path('include')}"
    objects = target / "objects"
    objects.mkdir(exist_ok=True)
    headers = b"".join(path.read_bytes() for path in sorted(work.rglob("*.h")))
    used: set[str] = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        linked = []
        for line in (work / "extensions").read_text().splitlines():
            name, includes, sources = line.split("\t")
            paths = [f"-I{path}" for path in includes.split(os.pathsep) if path]

            def compile_one(source: str, paths: list[str] = paths) -> str:
                content = f"{compiler} {FLAGS}".encode() + headers + Path(source).read_bytes()
                name = hashlib.sha256(content).hexdigest()[:32] + ".o"
                if not (objects / name).exists():
                    new = objects / f"new-{name}"
                    command = [*compiler, *FLAGS, python, *paths, "-c", source, "-o", str(new)]
                    subprocess.run(command, check=True)  # noqa: S603 - the compiler's
                    new.rename(objects / name)
                used.add(name)
                return str(objects / name)

            library = target.joinpath(*name.split(".")).with_suffix(_SUFFIX)
            found = sorted(sources.split(os.pathsep), key=os.path.getsize, reverse=True)
            linked.append((library, pool.map(compile_one, found)))
        for library, parts in linked:
            command = [*compiler, "-shared", *parts, "-o", str(library)]
            subprocess.run(command, check=True)  # noqa: S603 - the compiler's
    for path in objects.iterdir():
        if path.name not in used:
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--translate"]:
        _translate(*sys.argv[2:4])
    else:
        main(sys.argv[1:])
