"""Fixtures: an engine, and a runner that every test gets twice, once per binding."""

from collections.abc import Iterator

import pytest
from wasm_guests import Runner

from wasm_abi import Engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(params=[False, True], ids=["unchecked", "public"])
def run(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Runner]:
    runner = Runner(engine, request.param)
    yield runner
    for vm in runner.vms:
        vm.close()
