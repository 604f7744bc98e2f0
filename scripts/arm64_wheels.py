"""Whether the proxy can be installed on arm64 from wheels alone, by what the package index has.

Asks pip to resolve the dependencies for Debian 12 on aarch64 (CPython 3.11, glibc 2.36) without building any.
Needs the network, so that it is no test: ``just arm64-wheels``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What pip takes for glibc 2.36, the newest first; older ones are named by the year, too.
PLATFORMS = (
    *(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)),
    "manylinux2014_aarch64",
)


def resolve(requirements: list[str]) -> list[str]:
    """The files that pip would install.  Raises: CalledProcessError where one has no wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report=-"]
        command += [
            f"--target={folder}",
            "--only-binary=:all:",
            "--implementation=cp",
            "--python-version=3.11",
        ]
        command += [f"--platform={each}" for each in PLATFORMS]
        done = subprocess.run([*command, *requirements], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout)["install"]
    return sorted(item["download_info"]["url"].rpartition("/")[2] for item in found)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    files = resolve(project["dependencies"])
    for name in files:
        sys.stdout.write(f"{name}\n")
    compiled = sum("aarch64" in name for name in files)
    sys.stdout.write(f"{len(files)} wheels, {compiled} of them compiled for aarch64, none to be built\n")


if __name__ == "__main__":
    main()
