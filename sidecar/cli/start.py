"""The console script, and ``python -m sidecar``: how the process begins before it imports the command.

Cycles are looked for late, modules are found in the bundle of the last start, and what few configurations
need is left to those.  Little is imported here, since nothing has prepared it yet.
"""

import sys

from sidecar.core.collector import collect_later, collect_seldom
from sidecar.core.module_bundle import use_bundle

__all__ = ["entry_point"]


#: What trio, protobuf and modules of ours import in passing, and few configurations need: OpenSSL and the
#: libraries of compressions come with some of it.
_SELDOM = ("calendar", "glob", "hashlib", "hmac", "html", "shutil", "ssl", "tempfile")


def entry_point() -> None:
    """The process is the command's own."""
    collect_seldom()
    first = sys.argv[1] if len(sys.argv) > 1 else "-"
    if first.startswith("-") or first in ("validate", "worker"):
        collect_later()
        use_bundle()
    from sidecar.core.import_later import import_later

    import_later(_SELDOM)
    from sidecar.cli.main import main

    sys.exit(main(sys.argv[1:]))
