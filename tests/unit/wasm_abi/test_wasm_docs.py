"""The page of support says what the code has."""

import re
from pathlib import Path

from wasm_abi import AbiVersion
from wasm_abi.hostcalls.table import host_functions
from wasm_abi.module import EXPORTS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "wasm-abi.md"


def test_docs_page_names_every_host_function_and_callback() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    functions = {name for version in AbiVersion for _, name in host_functions(version)}
    assert functions | set(EXPORTS) <= named


def test_docs_page_names_no_host_function_that_is_not_there() -> None:
    named = set(re.findall(r"`(proxy_(?!on_)\w+|(?:fd|path|sock)_\w+)`", PAGE.read_text()))
    assert named <= {name for version in AbiVersion for _, name in host_functions(version)}
