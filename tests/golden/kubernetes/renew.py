"""Write `after/` anew from `before/`.

``python -m tests.golden.kubernetes.renew``, and read the difference.
"""

from __future__ import annotations

from pathlib import Path

from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import Settings

HERE = Path(__file__).parent
BEFORE, AFTER = HERE / "before", HERE / "after"


def injected(text: str, name: str) -> rewrite.Outcome:
    """What ``sidecar inject`` makes of the text, with an image that no version changes."""
    return rewrite.inject_documents(documents.split(text, name), Settings(image="sidecar:test"))


def main() -> None:
    AFTER.mkdir(exist_ok=True)
    for path in sorted(BEFORE.iterdir()):
        (AFTER / path.name).write_text(injected(path.read_text(), path.name).text)


if __name__ == "__main__":
    main()
