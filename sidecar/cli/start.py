"""The console script, and ``python -m sidecar``: how the process begins before it imports the command.

Cycles are looked for late, modules are found in the bundle of the last start, and what only TLS needs is
left to who has TLS.  Little is imported here, since nothing has prepared it yet.
"""

import sys

from sidecar.core.collector import collect_later, collect_seldom
from sidecar.core.module_bundle import use_bundle

__all__ = ["entry_point"]


def entry_point() -> None:
    """The process is the command's own."""
    collect_seldom()
    first = sys.argv[1] if len(sys.argv) > 1 else "-"
    if first.startswith("-") or first in ("validate", "worker"):
        collect_later()
        use_bundle()
    from sidecar.core.import_later import import_later

    import_later(("ssl", "hmac"))
    from sidecar.cli.main import main

    sys.exit(main(sys.argv[1:]))
