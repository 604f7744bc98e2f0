"""Write `rendered/` anew: what helm and kustomize make of examples/kubernetes.

``python -m tests.golden.kubernetes.render``, and read the difference.  Both programs are found on the path;
``go install`` makes them of ``sigs.k8s.io/kustomize/kustomize/v5@v5.7.1`` and
``helm.sh/helm/v3/cmd/helm@v3.18.6``.  Tests read what was rendered; its first line tells of what, so that a
chart that has changed since is seen.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RENDERED = HERE / "rendered"
EXAMPLES = HERE.parents[2] / "examples" / "kubernetes"
CHART, KUSTOMIZE = EXAMPLES / "chart", EXAMPLES / "kustomize"
NAMESPACE = "trio-sidecar"
_HELM = ("helm", "template", "trio-sidecar", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.35.0")
#: Each rendering, and the command that makes it.
COMMANDS = {
    "chart": _HELM,
    "chart_cert_manager": (
        *(*_HELM, "--set", "certificates=cert-manager", "--set", "failurePolicy=Fail"),
        *("--set", "replicas=3", "--set", "arguments={--native=false,--deny-errors}"),
        *("--set", "image.repository=registry.example/sidecar", "--set", "image.tag=v7"),
        *("--set", "image.pullPolicy=Always", "--set", "nodeSelector.zone=a"),
    ),
    "kustomize_production": ("kustomize", "build", str(KUSTOMIZE / "overlays" / "production")),
    "kustomize_staging": ("kustomize", "build", str(KUSTOMIZE / "overlays" / "staging")),
}
#: Certificates and keys are new each time.
_MADE = re.compile(r"((?:ca\.crt|tls\.crt|tls\.key|caBundle): )\S{100,}")


def source_of(name: str) -> str:
    """The files that a rendering is made of, as a number."""
    digest = hashlib.sha256()
    folder = CHART if name.startswith("chart") else KUSTOMIZE
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def render(name: str) -> str:
    """What the program writes, with a line before it that tells of what."""
    done = subprocess.run(COMMANDS[name], capture_output=True, text=True, check=True)
    return f"# of {source_of(name)}\n" + _MADE.sub(r"\1bWFkZQ==", done.stdout)


def main() -> None:
    missing = [each for each in ("helm", "kustomize") if shutil.which(each) is None]
    if missing:
        sys.exit(f"not found: {', '.join(missing)}\n{__doc__}")
    RENDERED.mkdir(exist_ok=True)
    for name in COMMANDS:
        (RENDERED / f"{name}.yaml").write_text(render(name))


if __name__ == "__main__":
    main()
