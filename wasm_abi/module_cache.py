"""Compiled modules kept on disk, by the digest of their code and by the engine that compiled them.

What is kept is machine code that will be run, so it is read only where nobody else can have written it: the
directory and the file belong to this user, and no one else may write to the file or enter the directory.
Whatever is wrong with an entry (another owner, a wrong digest, another engine) makes it as if there were
none; it is compiled and kept anew. Files are written aside and moved into place; those that were used longest
ago go when together they are larger than the limit. Nothing here raises for want of a disk: a cache is a
convenience.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

DEFAULT_LIMIT_BYTES = 256 << 20
_FORMAT = b"wasm_abi module 1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".module"


class ModuleCache:
    """A directory of compiled modules, made when the first one is kept."""

    def __init__(self, directory: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes

    def load(self, code_digest: bytes, engine: str) -> bytes | None:
        """What wasmtime serialized of the code for that engine; None where there is nothing to be trusted."""
        try:
            if not self._is_ours():
                return None
            path = self._path(code_digest, engine)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                    return None
                content = file.read()
            os.utime(path)
        except OSError:
            return None
        body = memoryview(content)[len(_FORMAT) + _DIGEST_BYTES :]
        expected = content[len(_FORMAT) : len(_FORMAT) + _DIGEST_BYTES]
        if not content.startswith(_FORMAT) or hashlib.sha256(body).digest() != expected:
            return None
        return bytes(body)

    def store(self, code_digest: bytes, engine: str, serialized: bytes) -> bool:
        """Keep it; False where that cannot be."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours():
                return False
            path = self._path(code_digest, engine)
            # Made with mode 600, under a name that nobody knows.
            descriptor, aside = tempfile.mkstemp(dir=self._directory, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_FORMAT + hashlib.sha256(serialized).digest())
                    file.write(serialized)
                os.replace(aside, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(aside)
                raise
            self._shrink(path)
        except OSError:
            return False
        return True

    def _path(self, code_digest: bytes, engine: str) -> Path:
        """Where it is; whoever has another wasmtime has another name for it."""
        made_by = hashlib.sha256(f"{engine} wasmtime {version('wasmtime')}".encode()).hexdigest()[:16]
        return self._directory / f"{code_digest.hex()}-{made_by}{_SUFFIX}"

    def _is_ours(self) -> bool:
        """Whether only this user can have put something into the directory. Raises: OSError."""
        found = os.lstat(self._directory)
        is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        return is_private and found.st_uid == os.geteuid()

    def _shrink(self, newest: Path) -> None:
        """Take away what was used longest ago, and what a process that died left behind. Raises: OSError."""
        entries = []
        for entry in os.scandir(self._directory):
            if entry.name.endswith(_SUFFIX) or entry.name.startswith(".new-"):
                with contextlib.suppress(OSError):  # another process may have taken it away
                    found = entry.stat(follow_symlinks=False)
                    entries.append((found.st_mtime_ns, found.st_size, Path(entry.path)))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit_bytes:
                return
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size


def user_directory() -> Path | None:
    """Where the modules of this user lie (XDG Base Directory Specification); None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # unset, or to be ignored by the specification
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base) / "wasm_abi"
