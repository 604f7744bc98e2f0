"""What is in an image, as CycloneDX 1.5: ``image_sbom.py ROOT SITE_PACKAGES`` writes it to standard output.

Python packages by their metadata, Debian packages by the files of theirs that were copied.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path


def python_components(site_packages: str) -> list[dict[str, object]]:
    found = []
    for item in importlib.metadata.distributions(path=[site_packages]):
        name, version = item.metadata["Name"], item.version
        entry: dict[str, object] = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
        }
        said = item.metadata.json
        if text := str(said.get("license_expression") or said.get("license") or ""):
            entry["licenses"] = [{"license": {"name": text.splitlines()[0][:80]}}]
        found.append(entry)
    return sorted(found, key=lambda entry: str(entry["name"]).lower())


def debian_components(root: Path) -> list[dict[str, object]]:
    files = [str(Path("/", path.relative_to(root))) for path in root.rglob("*") if path.is_file()]
    names: set[str] = set()
    for start in range(0, len(files), 500):
        # Debian 12 may know a library by the path without /usr.
        batch = files[start : start + 500]
        batch += [name.removeprefix("/usr") for name in batch if name.startswith("/usr/lib")]
        said = _output("dpkg", "-S", *batch)
        names |= {line.split(": ")[0].split(",")[0] for line in said.splitlines()}
    form = "${Package}\\t${Version}\\t${Architecture}\\n"
    said = _output("dpkg-query", "-W", "-f", form, *sorted(names))
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch={arch}&distro=debian-12",
        }
        for name, version, arch in (line.split("\t") for line in said.splitlines())
    ]


def _output(*command: str) -> str:
    # dpkg fails where it knows one of the files not, and tells of the others.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


def main() -> None:
    root, site_packages = sys.argv[1:]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "trio-sidecar/sidecar"}},
        "components": [*python_components(site_packages), *debian_components(Path(root))],
    }
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
