"""Regular expressions that are compiled when they are first used.

``re.compile`` is written in Python and takes up to some milliseconds; what few configurations need is not
worth that at every start.  Once it is used the object has the compiled one's methods as its own attributes.
Modules that are compiled (ADR 0014) take real ones, of which mypyc knows the type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, AnyStr

__all__ = ["late_pattern"]

_METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")


class _Late:
    def __init__(self, pattern: Any, flags: int) -> None:
        self._arguments = pattern, flags

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._arguments)
        for each in _METHODS:
            setattr(self, each, getattr(compiled, each))
        return getattr(compiled, name)


if TYPE_CHECKING:

    def late_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]: ...

else:

    def late_pattern(pattern, flags=0):  # noqa: ANN001, ANN201 - above
        """What ``re.compile`` gives, later."""
        return _Late(pattern, flags)
