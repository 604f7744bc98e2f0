"""What a scenario is: a setup (configuration and upstreams) and a coroutine that drives traffic through it.

The function's name is the scenario's name, its docstring says what must hold. Everything it observes is taken
down by the session (lab.py); the function itself asserts nothing, since Envoy decides what is right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lab import Session

Drive = Callable[["Session"], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Setup:
    """A configuration that several scenarios share, one process of each proxy for all of them.

    upstreams: name → `h1`, `h2`, `raw` (scripted servers), `dead` (a port that refuses connections), `dns`
    (names.py) or `udp` (datagrams.py).
    files: name → content of what the configuration reads through `FILE(name)`; the placeholders are filled in
    where there is a `PORT(name)`.
    prepare: makes what takes long before the clock of a scenario runs, or skips its test.
    """

    name: str
    bootstrap: dict[str, Any]
    upstreams: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    #: Whether a scenario begins before the proxy is ready, which depends on what the scenario's peers say.
    is_early: bool = False
    #: Worker threads, or processes.
    concurrency: int = 1
    #: Further arguments of the command line, of both proxies.
    arguments: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Scenario:
    """differs: observation label → id of a difference documented in docs/envoy-differences.md.

    later: a field of the setup that sidecar does not implement yet. Until it does it must say so by name, and
    the scenario is only checked against Envoy.
    """

    name: str
    about: str
    setup: Setup
    drive: Drive
    differs: Mapping[str, str]
    later: str


def scenario(
    setup: Setup, *, differs: Mapping[str, str] | None = None, later: str = ""
) -> Callable[[Drive], Scenario]:
    """Make a scenario of a driving function."""

    def make(drive: Drive) -> Scenario:
        about = " ".join((drive.__doc__ or "").split())
        return Scenario(getattr(drive, "__name__", "?"), about, setup, drive, differs or {}, later)

    return make
