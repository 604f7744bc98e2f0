"""``python -m sidecar`` is the ``sidecar`` command."""

from sidecar.cli.start import entry_point

if __name__ == "__main__":
    entry_point()
