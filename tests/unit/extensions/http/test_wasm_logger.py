"""A plugin that is told of streams at their end."""

from __future__ import annotations

from typing import Any

from envoy.extensions.access_loggers.wasm.v3.wasm_pb2 import WasmAccessLog
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from wat_guests import Guest

from sidecar.extensions.wasm.access_log import WasmLogger
from sidecar.extensions.wasm.live import LivePlugin
from sidecar.extensions.wasm.places_config import WasmLoggerFactory
from sidecar.extensions.wasm.plugin_config import Plugins


def logging(guest: Guest) -> tuple[WasmLogger, Recorder]:
    recorder = Recorder(files={"/g.wasm": guest.code()})
    config = {"name": "p", "vm_config": {"code": {"local": {"filename": "/g.wasm"}}}}
    message = ParseDict({"config": config}, WasmAccessLog())
    return WasmLoggerFactory(Plugins()).compile(message, recorder.context), recorder


def plugin_of(logger: WasmLogger) -> Any:
    assert logger.live.plugin is not None
    return logger.live.plugin


def test_log_that_traps_does_not_reach_the_stream(make_stream):
    logger, _ = logging(Guest().on("log", "unreachable"))
    logger.log(make_stream())
    assert plugin_of(logger).vm.failure is not None
    logger.log(make_stream())


def test_stream_is_let_go_and_logged_once(make_stream):
    logger, _ = logging(Guest().on("log", ""))
    stream = make_stream()
    serial = plugin_of(logger).vm.serial
    stream.access_log_type = "DownstreamStart"
    logger.log(stream)
    assert plugin_of(logger).vm.serial == serial
    stream.access_log_type = "DownstreamEnd"
    logger.log(stream)
    assert plugin_of(logger).vm.serial == serial + 1
    assert plugin_of(logger).root.stream is None


def test_plugin_without_code_logs_nothing(make_stream):
    WasmLogger(LivePlugin()).log(make_stream())
