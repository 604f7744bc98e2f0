"""What this proxy says of itself to control planes: ``envoy.config.core.v3.Node``.

Control planes decide by ``user_agent_name`` and its version what they may send.  What is here keeps to
Envoy's API of that version and says so, unless the bootstrap says something else; its own name stands in the
metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar._version import __version__

__all__ = ["discovery_node"]

#: The version of Envoy whose API and behaviour this is.
_MAJOR, _MINOR = 1, 40


def discovery_node(node: Any, factories: Iterable[Any]) -> Any:
    """The bootstrap's ``node`` with what it leaves out; ``factories`` are the extensions that there are."""
    made = type(node)()
    made.CopyFrom(node)
    made.user_agent_name = made.user_agent_name or "envoy"
    if made.WhichOneof("user_agent_version_type") is None:
        build = made.user_agent_build_version
        build.version.major_number, build.version.minor_number = _MAJOR, _MINOR
        build.metadata.update({"build.type": "RELEASE", "build.label": f"sidecar/{__version__}"})
    for factory in factories:
        if factory.category:
            made.extensions.add(name=factory.name, category=factory.category, type_urls=[factory.config_type])
    return made
