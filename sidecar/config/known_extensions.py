"""Every extension that Envoy 1.40 is built with: category, name and the messages that configure it.

The data is ``known_extensions.txt``, taken from the ``node.extensions`` that a running Envoy shows
in ``/config_dump``; ``python -m sidecar.config.known_extensions DUMP.json`` prints it anew.  It
tells an extension that we do not have yet from one that nobody has, and which ``@type`` an
extension's name stands for.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

__all__ = ["config_type", "name_of", "names", "types"]

#: Endings of the messages that configure an extension for one route, not the extension itself.
_SECONDARY = ("PerRoute", "PerRouteConfig", "Override", "CorsPolicy")


@cache
def _table() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    # importlib.resources would cost more to import than all of this module.
    text = Path(__file__).with_suffix(".txt").read_text("ascii")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return tuple((category, name, tuple(messages)) for category, name, *messages in rows)


@cache
def types(category: str = "") -> frozenset[str]:
    """The full names of all messages that configure some extension (of the category) of Envoy."""
    return frozenset(
        message
        for category_, _, messages in _table()
        if not category or category_ == category
        for message in messages
    )


@cache
def config_type(name: str, category: str = "") -> str | None:
    """The message that the extension called ``name`` is configured by; None for a name unknown to Envoy."""
    found = [
        message
        for category_, name_, messages in _table()
        if name_ == name and (not category or category_ == category)
        for message in messages
        if not message.endswith(_SECONDARY)
    ]
    return found[0] if found else None


@cache
def name_of(message: str) -> str | None:
    """The extension that ``message`` configures."""
    return next((name for _, name, messages in _table() if message in messages), None)


@cache
def names(category: str = "") -> frozenset[str]:
    """The names of all extensions (of the category) that a message configures."""
    return frozenset(name for category_, name, _ in _table() if not category or category_ == category)


def render(config_dump: str) -> str:
    """The text of the data file from the body of Envoy's ``/config_dump``."""
    rows = []
    for config in json.loads(config_dump)["configs"]:
        for extension in config.get("bootstrap", {}).get("node", {}).get("extensions", ()):
            messages = sorted(extension.get("type_urls", ()))
            rows += [" ".join([extension["category"], extension["name"], *messages])] if messages else []
    return "# Extensions of Envoy 1.40: category, name, messages.\n" + "\n".join(sorted(set(rows))) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as dump:
        sys.stdout.write(render(dump.read()))
