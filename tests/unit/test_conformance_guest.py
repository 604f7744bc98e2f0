"""The modules of the conformance guest and of the hostile one that are kept are those of their sources."""

import hashlib
from pathlib import Path

from tests.conformance import wasm_abi_page

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "tests" / "conformance" / "modules"
CRATES = [ROOT / "filters_rust" / name for name in ("conformance-guest", "hostile-guest")]


def test_kept_modules_were_built_from_these_sources() -> None:
    recorded = dict(
        reversed(line.split(maxsplit=1)) for line in (MODULES / "SHA256SUMS").read_text().splitlines()
    )
    sources = [path for crate in CRATES for path in (crate / "Cargo.toml", *(crate / "src").glob("*.rs"))]
    files = [*sources, *MODULES.glob("*.wasm")]
    now = {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert recorded == now, "run scripts/build_conformance_guest.sh"


def test_page_of_support_is_what_the_transcripts_say() -> None:
    assert wasm_abi_page.PAGE.read_text() == wasm_abi_page.page(), "run just wasm-abi"
