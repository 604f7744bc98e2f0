"""Test modules import generated API modules before anything of ours: the additions must be there by then."""

from __future__ import annotations

from sidecar.config import api_additions

api_additions.install()
