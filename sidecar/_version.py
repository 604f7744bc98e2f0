"""The version, in one place (hatchling and ``sidecar --version`` read it)."""

__version__ = "0.1.0"
