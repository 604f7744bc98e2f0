"""Modules of the standard library that are imported when something of theirs is first asked for.

Trio imports ``ssl`` and ``hmac``, and OpenSSL with them, for its own TLS, which no connection here goes
through: it took some hundredths of a start without TLS.  Called by the command, before trio is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["import_later"]


class _Later(ModuleType):
    """Stands for a module; whoever kept it finds in it what the module has."""

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)  # the import system asks whether it is being initialised
        own = self.__name__
        if sys.modules.get(own) is self:
            del sys.modules[own]
        module = importlib.import_module(own)
        vars(self).update(vars(module))
        return getattr(module, name)


def import_later(names: Iterable[str]) -> None:
    """Import each of these modules when it is used, unless it has been imported."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Later(name)
