"""The bytecode of all modules of a start in one file, beside those that Python keeps for each module.

A start imports some 800 modules.  To find one Python asks five times what a directory or file is, and reads a
file of bytecode: together a quarter of a start.  A process that has started writes what it imported into one
file, and later ones map it.  It is bytecode and nothing else, and used as Python uses its own: only while the
directory has not changed in which the module was found, nor the module's source; what does not fit is left
to Python's own finder.  Nobody needs the file, and it is not written where Python writes no bytecode.

The command calls :func:`use_bundle` before it imports anything heavy; a server that is live calls
:func:`leave_bundle`, and later imports go their usual way.

The file: ``_MAGIC``, Python's own magic number, the length of the index, the index (marshalled), the code.
"""

from __future__ import annotations

import marshal
import mmap
import os
import sys
import time
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source, spec_from_file_location

TYPE_CHECKING = False  # what is imported here is not in the bundle: as little as can be
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import CodeType, ModuleType
    from typing import Any

__all__ = ["Bundle", "bundle_path", "leave_bundle", "use_bundle", "write_bundle"]

_MAGIC = b"sidecar modules 1\n"
_HEAD = len(_MAGIC) + len(MAGIC_NUMBER) + 4
#: So many modules that are not in the file are a reason to write it anew.
_MANY = 16
#: What changed so lately may change again without its time telling.
_RACY_S = 2

#: Of a module: its file, the time and size of that, the place and length of its code (nothing of an extension
#: module), and for a package True.  The directories' times stand apart.
if TYPE_CHECKING:
    _Entry = tuple[str, int, int, int, int, bool]


class Bundle:
    """A finder of imports for the modules in the file at ``path``.

    Raises: OSError without the file; ValueError where it was not written for this Python.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            data = self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = _MAGIC + MAGIC_NUMBER
        if data[: len(start)] != start:
            raise ValueError(path)
        at = _HEAD + int.from_bytes(data[len(start) : _HEAD], "little")
        self._view: memoryview | None = memoryview(data)
        try:
            index: Any = marshal.loads(self._view[_HEAD:at])  # noqa: S302 - as Python's own bytecode
            self._entries: dict[str, _Entry] = index["modules"]
            self._times: dict[str, int] = index["directories"]
            size = index["size"]
        except (EOFError, TypeError, KeyError) as error:
            raise ValueError(path) from error
        if size != len(data) - at:
            raise ValueError(path)
        self._code_at = at
        self._fresh: dict[str, bool] = {}
        #: Modules that are in the file in vain: they have changed.
        self.stale = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python's finder would find; None where that is not certain."""
        entry = self._entries.get(fullname)
        if entry is None or self._view is None:
            return None
        file, is_package = entry[0], entry[5]
        directory = file.rpartition("/")[0]
        holder = directory.rpartition("/")[0] if is_package else directory
        if path is None:
            if not _is_first(fullname, holder):
                return None
        elif len(path) != 1 or path[0] != holder:
            return None
        if not self._is_fresh(holder) or (is_package and not self._is_fresh(directory)):
            self.stale += 1
            return None
        if not entry[4]:
            return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, file))
        make = _SourceLoader if file.endswith(".py") else _SourcelessLoader
        places = [directory] if is_package else None
        return spec_from_file_location(
            fullname, file, loader=make(fullname, file, self), submodule_search_locations=places
        )

    def code(self, fullname: str) -> CodeType | None:
        """The module's code, unless its file has changed or the bundle is closed."""
        entry, view = self._entries[fullname], self._view
        if view is None:
            return None
        file, changed_s, size, at, length, _ = entry
        stat = os.stat(file)
        if int(stat.st_mtime) != changed_s or stat.st_size != size:
            self.stale += 1
            return None
        at += self._code_at
        code: CodeType = marshal.loads(view[at : at + length])  # noqa: S302 - as Python's own bytecode
        return code

    def kept(self, fullname: str) -> tuple[_Entry, dict[str, int], bytes] | None:
        """An entry with the times of its directories and its code, if nothing about it has changed."""
        file, changed_s, size, at, length, is_package = entry = self._entries[fullname]
        directory = os.path.dirname(file)
        holders = [directory, os.path.dirname(directory)] if is_package else [directory]
        try:
            stat = os.stat(file)
        except OSError:
            return None
        is_same = int(stat.st_mtime) == changed_s and stat.st_size == size
        if self._view is None or not is_same or not all(self._is_fresh(each) for each in holders):
            return None
        at += self._code_at
        return entry, {each: self._times[each] for each in holders}, bytes(self._view[at : at + length])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, fullname: str) -> bool:
        return fullname in self._entries

    def _is_fresh(self, directory: str) -> bool:
        """Whether the directory is what it was: then what is found in it is, too."""
        fresh = self._fresh.get(directory)
        if fresh is None:
            fresh = self._fresh[directory] = self._times.get(directory) == _changed_s(directory)
        return fresh

    def close(self) -> None:
        """Give the memory back; loaders go on without."""
        if self._view is not None:
            self._view.release()
            self._view = None
            self._map.close()


class _SourceLoader(SourceFileLoader):
    """Python's loader, whose code may be in a bundle."""

    def __init__(self, fullname: str, path: str, bundle: Bundle) -> None:
        super().__init__(fullname, path)
        self._bundle = bundle

    def get_code(self, fullname: str) -> CodeType | None:
        return self._bundle.code(fullname) or super().get_code(fullname)


class _SourcelessLoader(SourcelessFileLoader):
    """The same where there is bytecode alone."""

    def __init__(self, fullname: str, path: str, bundle: Bundle) -> None:
        super().__init__(fullname, path)
        self._bundle = bundle

    def get_code(self, fullname: str) -> CodeType | None:
        return self._bundle.code(fullname) or super().get_code(fullname)


def _is_first(name: str, directory: str) -> bool:
    """Whether nothing before ``directory`` on the path has the module."""
    for place in sys.path:
        if place == directory:
            return True
        try:
            finder: Any = sys.path_importer_cache[place]
        except KeyError:
            return False
        if finder is not None and finder.find_spec(name) is not None:
            return False
    return False


def _changed_s(directory: str) -> int | None:
    try:
        return int(os.stat(directory).st_mtime)  # layers of images keep seconds
    except OSError:
        return None


class _Nothing:
    """Stands where a bundle would, which this process may write."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python's own finder knows."""


# -- the one of this process -----------------------------------------------------------------------------
def bundle_path() -> str:
    """Where it is: among the bytecode of this package."""
    own = cache_from_source(os.path.join(os.path.dirname(os.path.dirname(__file__)), "start.py"))
    return own.removesuffix(".pyc") + ".modules"


def use_bundle() -> None:
    """Find modules in the bundle from now on, if there is one."""
    finder: Bundle | _Nothing
    try:
        finder = Bundle(bundle_path())
    except (OSError, ValueError):
        finder = _Nothing()
    sys.meta_path.insert(0, finder)


def leave_bundle(*, write: bool) -> None:
    """Go on without; before, ``write`` it where it lacks much of what this process imported."""
    finder = next((each for each in sys.meta_path if isinstance(each, (Bundle, _Nothing))), None)
    if finder is None:
        return  # a process whose start is not the command's
    sys.meta_path.remove(finder)
    used = finder if isinstance(finder, Bundle) else None
    if write and not sys.dont_write_bytecode and _count_missing(used) > _MANY:
        try:
            write_bundle(bundle_path(), before=used)
        except OSError:  # a directory that is not ours: as with Python's own bytecode
            pass
    if used is not None:
        used.close()


def _loader_of(module: Any) -> Any:
    """The loader that found the code, which another may stand around."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return getattr(loader, "source", loader)


def _count_missing(used: Bundle | None) -> int:
    """How many of the imported modules the file could have had."""
    if used is None:
        return len(sys.modules)
    plain = (SourceFileLoader, SourcelessFileLoader)
    names = (each.__name__ for each in _imported() if type(_loader_of(each)) in plain)
    return used.stale + sum(name not in used for name in names)


def _imported() -> Iterator[ModuleType]:
    """The modules that were imported under their own name."""
    for name, module in list(sys.modules.items()):
        if name != "__main__" and getattr(getattr(module, "__spec__", None), "name", None) == name:
            yield module


def write_bundle(
    path: str, imported: Iterable[ModuleType] | None = None, *, before: Bundle | None = None
) -> int:
    """Write what is imported now to ``path``, and what else ``before`` has; the number of modules.

    Processes of different configurations write the same file.  Raises: OSError.
    """
    modules: dict[str, _Entry] = {}
    directories: dict[str, int] = {}
    parts: list[bytes] = []
    size = 0
    latest_s = time.time() - _RACY_S
    for module in _imported() if imported is None else imported:
        loader = _loader_of(module)
        if not isinstance(loader, (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)):
            continue
        name, file = loader.name, loader.path
        is_package = os.path.basename(file).startswith("__init__.")
        directory = os.path.dirname(file)
        holders = [directory, os.path.dirname(directory)] if is_package else [directory]
        times = {each: _changed_s(each) for each in holders}
        if any(each is None or each > latest_s for each in times.values()):
            continue
        try:
            stat = os.stat(file)
            code = b"" if isinstance(loader, ExtensionFileLoader) else _bytecode(loader, stat)
        except (OSError, ValueError):
            continue
        if isinstance(loader, ExtensionFileLoader) and is_package:
            continue
        modules[name] = (file, int(stat.st_mtime), stat.st_size, size, len(code), is_package)
        directories.update(times)  # type: ignore[arg-type] # None is left out above
        parts.append(code)
        size += len(code)
    for name in before or ():
        if name not in modules and before is not None and (kept := before.kept(name)) is not None:
            (file, changed_s, length, _, _, is_package), kept_times, code = kept
            modules[name] = (file, changed_s, length, size, len(code), is_package)
            directories.update(kept_times)
            parts.append(code)
            size += len(code)
    index = marshal.dumps({"modules": modules, "directories": directories, "size": size})
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "wb") as out:
            out.write(_MAGIC + MAGIC_NUMBER + len(index).to_bytes(4, "little") + index)
            out.writelines(parts)
        os.replace(new, path)
    except OSError:
        if os.path.exists(new):
            os.unlink(new)
        raise
    return len(modules)


def _bytecode(loader: SourceFileLoader | SourcelessFileLoader, stat: os.stat_result) -> bytes:
    """What Python keeps of the module.  Raises: OSError, ValueError where it keeps nothing that fits."""
    is_source = isinstance(loader, SourceFileLoader)
    with open(cache_from_source(loader.path) if is_source else loader.path, "rb") as file:
        data = file.read()
    flags = int.from_bytes(data[4:8], "little")
    changed_s, size = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
    fits = not is_source or (flags, changed_s, size) == (0, int(stat.st_mtime), stat.st_size & 0xFFFFFFFF)
    if data[:4] != MAGIC_NUMBER or not fits:
        raise ValueError(loader.path)
    return data[16:]
