"""Where the epochs of a proxy meet: a Unix socket for each, named after base id and epoch.

Names in the abstract namespace begin with ``@``, as ``--socket-path`` does by default; others are files with
``--socket-mode``.  Whoever talks here is of the same user, or root: both ends look.
"""

from __future__ import annotations

import glob
import os
import re
import socket
import struct
from dataclasses import replace
from random import SystemRandom
from typing import TYPE_CHECKING

from sidecar.core.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.core.options import Options

__all__ = ["VERSION", "Endpoint", "RestartError", "claim", "connect", "is_trusted", "running_epochs"]

#: Of the frames between epochs; one that differs is not taken over.
VERSION = "sidecar.1"
_CREDENTIALS = struct.Struct("3i")
_TRIES = 20
_CONNECT_S = 5.0


class RestartError(SidecarError):
    """There is no hot restart with these options."""


class Endpoint:
    """The socket of this epoch, and whom it takes over from."""

    def __init__(self, sock: socket.socket, path: str, parent: socket.socket | None) -> None:
        self.sock = sock
        self.parent = parent
        self._path = path

    def close(self) -> None:
        """Hear nobody any more."""
        self.sock.close()
        if self.parent is not None:
            self.parent.close()
        if not self._path.startswith("\0"):
            try:
                os.unlink(self._path)
            except OSError:
                pass


def claim(options: Options) -> tuple[Options, Endpoint | None, str]:
    """The options with the base id that was found, this epoch's end (None: no hot restart), and a warning.

    Raises: RestartError.
    """
    if options.disable_hot_restart:
        return options, None, ""
    parent = None
    if options.restart_epoch:
        try:
            parent = connect(_name(options.socket_path, options.base_id, options.restart_epoch - 1))
        except OSError as error:
            if not options.skip_hot_restart_on_no_parent:
                named = f"base id {options.base_id} and epoch {options.restart_epoch - 1}"
                raise RestartError(
                    f"no process of {named} to take over from: {error.strerror or error}"
                    " (see --base-id, --skip-hot-restart-on-no-parent)"
                ) from error
    for _ in range(_TRIES):
        base_id = SystemRandom().randrange(2**30) if options.use_dynamic_base_id else options.base_id
        path = _name(options.socket_path, base_id, options.restart_epoch)
        try:
            sock = _bind(path, options.socket_mode)
        except OSError as error:
            if options.use_dynamic_base_id:
                continue
            reason = (
                f"unable to bind domain socket with base_id={base_id}, id={options.restart_epoch},"
                f" errno={error.errno} (see --base-id option)"
            )
            if options.base_id or options.restart_epoch:
                raise RestartError(reason) from error
            return options, None, f"{reason}: this process cannot be restarted hot"
        return replace(options, base_id=base_id), Endpoint(sock, path, parent), ""
    raise RestartError("cannot find a base id that is free")


def _name(path: str, base_id: int, epoch: int) -> str:
    name = f"{path}_sidecar_{base_id}_{epoch}"
    return f"\0{name[1:]}" if name.startswith("@") else name


def _bind(path: str, mode: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if not path.startswith("\0") and os.path.exists(path):
            try:
                connect(path).close()
            except ConnectionRefusedError:
                os.unlink(path)  # of a process that is gone
        sock.bind(path)
        if not path.startswith("\0"):
            os.chmod(path, int(mode, 8))
        sock.listen(8)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def connect(path: str) -> socket.socket:
    """A connection to the process that listens there.  Raises: OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(_CONNECT_S)
    try:
        sock.connect(path)
        if not is_trusted(sock):
            raise PermissionError(1, "it is somebody else's")
    except OSError:
        sock.close()
        raise
    return sock


def is_trusted(sock: socket.socket) -> bool:
    """Whether the peer runs for the same user as this process, or for root."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return user in (0, os.geteuid())


def running_epochs(path: str, base_id: int) -> list[tuple[int, str]]:
    """The epochs of a base id that listen on this machine with their sockets' names, the newest first."""
    stem = f"{path}_sidecar_{base_id}_"
    if stem.startswith("@"):
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
            names = {line.split(maxsplit=7)[-1].rstrip("\n") for line in file}
    else:
        names = set(glob.glob(f"{glob.escape(stem)}*"))
    found = []
    for name in names:
        if name.startswith(stem) and re.fullmatch(r"\d+", name[len(stem) :]):
            epoch = int(name[len(stem) :])
            found.append((epoch, _name(path, base_id, epoch)))
    return sorted(found, reverse=True)
