"""What the image leaves out is missed by nobody; `scripts/image_root.sh` asks the image itself the same."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from proxy_process import ROOT

SCRIPTS = ROOT / "scripts"
#: Modules in files that the image does not have cannot be imported; then the image's own check runs.
GUARDED = """
import importlib.machinery, importlib.util, runpy, sys
gone = set(sys.stdin.read().splitlines())

class Guard(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        origin = spec and spec.origin or ""
        parts = origin.split("/")
        if any("/".join(parts[:count]) in gone for count in range(2, len(parts) + 1)):
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
        return spec

sys.meta_path.insert(0, Guard)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def trimming() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_trim", SCRIPTS / "image_trim.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_proxy_works_without_what_the_image_leaves_out() -> None:
    trim = trimming()
    packages, stdlib = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib"))
    gone = [*trim.unused(packages), *trim.unused_of_python(stdlib)]
    # What weighs most is among it, as long as these packages have it.
    names = {path.name.partition(".")[0] for path in gone}
    assert {"ext_math", "_cffi", "grpc", "lua54", "pip", "ensurepip"} <= names
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(SCRIPTS / "image_check.py")],
        cwd=ROOT,
        input="\n".join(map(str, gone)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert " extensions" in done.stdout


def test_messages_are_read_without_their_source(tmp_path: Path) -> None:
    package = tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "it_pb2.py").write_text("VALUE = 7\n")
    subprocess.run([sys.executable, "-c", "import made.it_pb2"], cwd=tmp_path, check=True)
    trimming().compile_messages(tmp_path)
    assert [path.name for path in tmp_path.glob("**/it_pb2*")] == ["it_pb2.pyc"]
    said = subprocess.check_output(
        [sys.executable, "-c", "import made.it_pb2 as it; print(it.VALUE)"], cwd=tmp_path, text=True
    )
    assert said == "7\n"


def test_the_proxys_own_modules_stay(tmp_path: Path) -> None:
    for name in ("sidecar/testing/tests", "other/tests", "pip"):
        (tmp_path / name).mkdir(parents=True)
    module = trimming()
    module.trim(module.unused(tmp_path))
    assert (tmp_path / "sidecar/testing/tests").is_dir()
    assert not (tmp_path / "other/tests").exists()
    assert not (tmp_path / "pip").exists()
