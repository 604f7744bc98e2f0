"""Take out of an image what the proxy never loads: ``image_trim.py SITE_PACKAGES [STDLIB]``.

Run by the Python of the image.  What goes is what nothing of the proxy imports, or what something else stands
in for; ``image_check.py`` holds what is left to work.  No module of the proxy's own is touched.
"""

from __future__ import annotations

import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["compile_messages", "trim", "unused", "unused_of_python"]

#: Patterns below site-packages, with why nothing misses them.
_PACKAGES = (
    # The installer; who imports it makes wheels.
    "pip", "pip-*", "setuptools", "setuptools-*", "wheel", "wheel-*",
    "_distutils_hack", "pkg_resources", "distutils-precedence.pth",
    # Comes along with the generated messages of xds-protos, whose stubs for servers import it.
    "grpc", "grpcio-*", "grpc_status", "**/*_pb2_grpc.*",
    # The messages of OTLP are in xds-protos; what the SDK does the proxy does itself.
    "opentelemetry/sdk", "opentelemetry_sdk-*",
    "opentelemetry/semconv", "opentelemetry_semantic_conventions-*",
    # CEL without the extensions that Envoy has not: each brings the whole runtime again.
    *(f"cel_expr_python/ext/ext_{name}.*" for name in ("bindings", "encoders", "math", "optional", "proto")),
    # What makes bindings; those of cryptography are made, and load _cffi_backend alone.
    "cffi", "pycparser", "pycparser-*",
    # The backends for other Pythons.
    "zstandard/_cffi.*", "zstandard/backend_cffi.py", "zstandard/_rust.*",
    # Scripts run in LuaJIT 2.1.
    *(f"lupa/{name}.*" for name in ("lua51", "lua52", "lua53", "lua54", "lua55", "luajit20")),
    "lupa/lua-*",
    # Tests of themselves, and what compilers and editors read.
    "**/test", "**/tests", "**/_tests",
    "**/*.pyi", "**/py.typed", "**/*.pxd", "**/*.pyx", "**/*.c", "**/*.h", "**/*.cc", "**/*.proto",
)  # fmt: skip

#: The same below Python's own library.
_PYTHON = (
    "test", "**/tests", "unittest/test", "lib-dynload/_test*", "lib-dynload/xxlimited*",
    "idlelib", "tkinter", "turtledemo", "turtle.py", "lib-dynload/_tkinter*", "pydoc_data",
    "ensurepip", "venv", "distutils", "lib2to3", "config-*", "msilib",
    "sqlite3", "lib-dynload/_sqlite3*", "dbm", "lib-dynload/_dbm*", "lib-dynload/_gdbm*",
    "curses", "lib-dynload/_curses*", "lib-dynload/readline*",
    "lib-dynload/audioop*", "lib-dynload/ossaudiodev*", "wsgiref", "xmlrpc",
    *(f"lib-dynload/_codecs_{name}*" for name in ("cn", "hk", "iso2022", "jp", "kr", "tw")),
)  # fmt: skip


def unused(site_packages: Path) -> Iterator[Path]:
    """What of these packages goes; a folder goes with all that is in it."""
    yield from _found(site_packages, _PACKAGES)


def unused_of_python(stdlib: Path) -> Iterator[Path]:
    """What of Python's own library goes."""
    yield from _found(stdlib, _PYTHON)


def _found(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        for path in root.glob(pattern):
            # The proxy's own folders are called what they like.
            if path.relative_to(root).parts[0] not in ("sidecar", "wasm_abi"):
                yield path


def trim(paths: Iterator[Path]) -> None:
    """Delete them."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def compile_messages(site_packages: Path) -> None:
    """Generated messages without their source, a string of bytes: Python reads a ``.pyc`` in its place."""
    for source in list(site_packages.glob("**/*_pb2.py")):
        place = str(source.with_suffix(".pyc"))
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(source), place, doraise=True, invalidation_mode=mode)
        source.unlink()
        for cached in source.parent.glob(f"__pycache__/{source.stem}.*"):
            cached.unlink()


def main() -> None:
    packages = Path(sys.argv[1])
    trim(unused(packages))
    compile_messages(packages)
    for name in sys.argv[2:]:
        trim(unused_of_python(Path(name)))


if __name__ == "__main__":
    main()
