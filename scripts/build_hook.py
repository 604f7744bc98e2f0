"""Makes a wheel with compiled modules where ``SIDECAR_COMPILE=1`` asks for one; others are pure Python.

A hook of hatchling (``[tool.hatch.build.targets.wheel.hooks.custom]``); what is compiled, and how, is
:mod:`compile_modules`'.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """See the module."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs: the compiler, and what it looks up types in."""
        if not _is_wanted() or self.target_name != "wheel":
            return []
        # Types of libraries are looked up where they are installed.
        needed = list(self.metadata.core.dependencies)
        return needed + self.metadata.core.optional_dependencies["compile"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what was made into the wheel beside the sources."""
        if not _is_wanted() or version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "scripts"))
        from compile_modules import compile_into, libraries

        target = Path(self.root) / "build" / "compiled"
        compile_into(target)
        for path in libraries(target):
            build_data["force_include"][str(path)] = str(path.relative_to(target))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _is_wanted() -> bool:
    return os.environ.get("SIDECAR_COMPILE") == "1"
