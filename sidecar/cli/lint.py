"""``sidecar lint FILE…``: what is wrong with Lua scripts, in files of their own or inside of a configuration.

One finding is a line, ``FILE:LINE:COLUMN: error: text``; the exit status is 1 where there is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.config.load import Loaded

__all__ = ["run_lint"]

_USAGE = "usage: sidecar lint FILE…\n\nFILE is a Lua script (*.lua), or a configuration with scripts in it.\n"


@dataclass(frozen=True, slots=True)
class _Script:
    """A script, and where it begins."""

    code: str
    file: str
    line: int = 1
    column: int = 1


def run_lint(arguments: Sequence[str]) -> int:
    """Check the files; the exit status."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 1
    from sidecar.extensions import catalog

    status = 0
    for name in arguments:
        try:
            scripts = list(_scripts(name))
        except OSError as error:
            sys.stderr.write(f"{name}: {error.strerror or error}\n")
            status = 1
            continue
        except _Refused:
            status = 1
            continue
        for script in scripts:
            for found in catalog.lint_script(script.code):
                line, column = script.line + found.line - 1, script.column + found.column - 1
                print(f"{script.file}:{line}:{column}: {found.severity}: {found.text}")
                if found.severity == "error":
                    status = 1
        if not scripts:
            print(f"{name}: no Lua script in it")
    return status


class _Refused(Exception):
    """The configuration cannot be read; the problems are told."""


def _scripts(name: str) -> Iterator[_Script]:
    if name.endswith(".lua"):
        yield _Script(Path(name).read_text(encoding="utf-8", errors="surrogateescape"), name)
        return
    Path(name).stat()  # a file that is not there is told as such
    from sidecar.config.errors import ConfigErrors
    from sidecar.config.load import load_bootstrap
    from sidecar.config.walk import walk
    from sidecar.extensions import catalog

    try:
        loaded = load_bootstrap(name, registry=catalog.make_registry())
    except ConfigErrors as errors:
        for problem in errors.problems:
            sys.stderr.write(f"{problem}\n")
        raise _Refused from errors
    for path, message in walk(loaded.bootstrap):
        full_name = message.DESCRIPTOR.full_name
        if full_name == "envoy.extensions.filters.http.lua.v3.Lua":
            if message.inline_code:
                yield _inside(loaded, message.inline_code, (*path, "inline_code"))
            if message.HasField("default_source_code"):
                yield from _source(loaded, message.default_source_code, (*path, "default_source_code"))
            for key in sorted(message.source_codes):
                yield from _source(loaded, message.source_codes[key], (*path, "source_codes", key))
        elif full_name == "envoy.extensions.filters.http.lua.v3.LuaPerRoute" and message.HasField(
            "source_code"
        ):
            yield from _source(loaded, message.source_code, (*path, "source_code"))


def _source(loaded: Loaded, source: Any, path: tuple[Any, ...]) -> Iterator[_Script]:
    kind = source.WhichOneof("specifier")
    if kind == "inline_string":
        yield _inside(loaded, source.inline_string, (*path, kind))
    elif kind == "filename":
        text = Path(source.filename).read_text(encoding="utf-8", errors="surrogateescape")
        yield _Script(text, source.filename)


def _inside(loaded: Loaded, code: str, path: tuple[Any, ...]) -> _Script:
    mark = loaded.locate_text(path)
    return _Script(code, mark.file, mark.line, mark.column)
