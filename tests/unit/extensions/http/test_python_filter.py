"""Filters in Python: finding them, their settings, and what becomes of their exceptions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from stream_fakes import ScriptedBody, read_all

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError, ExtensionError, StreamAborted
from sidecar.extensions.http.python_config import PythonFactory
from sidecar.extensions.http.python_filter import Guard, guarded
from sidecar.extensions.http.python_settings import SettingsError, make_settings
from sidecar.observability.stats import Store

EXAMPLES = Path(__file__).parents[4] / "examples" / "python_filters"


def compiled(name: str, settings: dict[str, Any] | None = None, recorder: Recorder | None = None) -> Any:
    cls: Any = message_class("sidecar.extensions.filters.http.python.v1.Python")
    given: dict[str, Any] = {"filter": name}
    if settings is not None:
        given["settings"] = settings
    return PythonFactory().compile(ParseDict(given, cls()), (recorder or Recorder()).context)


def test_filter_of_a_file_gets_its_settings(make_stream, respond):
    recorder = Recorder()
    made = compiled(f"{EXAMPLES}/greeting.py:Greeting", {"names": {"k1": "ann"}}, recorder)
    stream = make_stream()
    stream.request.headers.add(b"x-api-key", b"k1")
    assert made.decode_headers(stream) is None
    assert stream.request.headers.get(b"x-user") == b"ann"
    assert stream.request.headers.get(b"x-api-key") is None
    assert made.decode_headers(make_stream()).status == 401
    assert recorder.store.counters["http.ingress.python.Greeting.refused"].value == 1
    respond(stream)
    stream.response.headers.add(b"x-powered-by", b"php")
    made.encode_headers(stream)
    assert stream.response.headers.get(b"x-powered-by") is None


async def test_body_is_rewritten_across_chunks(make_stream, respond):
    made = compiled(f"{EXAMPLES}/redact.py:Redact", {"types": ["text/"]})
    whole = b"card 4111111111111111, ref 12345, again 4111111111111 end"
    for size in (1, 3, 7, 100):
        stream = make_stream()
        respond(stream, body=ScriptedBody(*[whole[at : at + size] for at in range(0, len(whole), size)]))
        stream.response.headers.set(b"content-type", b"text/plain")
        made.encode_headers(stream)
        body = b"".join(await read_all(stream.response.body))
        assert body == b"card ****************, ref 12345, again ************* end"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sidecar.nothing:Filter", "cannot be loaded: ModuleNotFoundError"),
        ("sidecar.api.filters:Nothing", "has no class 'Nothing'"),
        ("sidecar.api.stream:Stream", "is no class that derives from"),
        ("nothing.py:Filter", "there is no file nothing.py"),
        ("unpublished", "no entry point of the group sidecar.http_filters"),
    ],
)
def test_filter_that_cannot_be_had_refuses_the_configuration(name, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        compiled(name)
    assert caught.value.path == "filter"


def test_filter_published_as_an_entry_point_is_found(monkeypatch):
    import importlib.metadata

    point = importlib.metadata.EntryPoint("mine", "sidecar.api.filters:HttpFilter", "sidecar.http_filters")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **which: [point])
    with pytest.raises(ConfigError, match="HttpFilter cannot be made: TypeError"):
        compiled("mine")


def test_wrong_settings_name_their_field(tmp_path):
    name = f"{EXAMPLES}/greeting.py:Greeting"
    for settings, path, reason in (
        ({}, "settings.names", "required"),
        ({"names": {"a": 1}}, "settings.names.a", "text is expected"),
        ({"names": {}, "hedaer": "x"}, "settings.hedaer", "did you mean 'header'"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            compiled(name, settings)
        assert caught.value.path == path


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Inner:
    size: int


@dataclass
class Outer:
    inner: Inner
    ratio: float = 0.5
    many: list[Inner] = field(default_factory=list)
    kind: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    maybe: int | None = None
    flag: bool = False
    anything: Any = None

    def __post_init__(self) -> None:
        if self.ratio > 1:
            raise ValueError("ratio is above 1")


def test_settings_of_every_kind_are_made():
    made = make_settings(
        Outer,
        {
            "inner": {"size": 3.0},
            "many": [{"size": 1}],
            "kind": "b",
            "colour": "BLUE",
            "maybe": 4.0,
            "anything": [1],
        },
    )
    assert made == Outer(Inner(3), 0.5, [Inner(1)], "b", Colour.BLUE, 4, False, [1])


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ({"inner": {"size": 1.5}}, "inner.size", "a whole number"),
        ({"inner": 3}, "inner", "an object"),
        ({"inner": {"size": 1}, "many": [{"size": 1}, {}]}, "many[1].size", "required"),
        ({"inner": {"size": 1}, "kind": "c"}, "kind", "one of 'a', 'b'"),
        ({"inner": {"size": 1}, "colour": "GREEN"}, "colour", "one of RED, BLUE"),
        ({"inner": {"size": 1}, "maybe": "x"}, "maybe", "a whole number"),
        ({"inner": {"size": 1}, "flag": 1}, "flag", "true or false"),
        ({"inner": {"size": 1}, "ratio": 2}, "", "ratio is above 1"),
        ({"inner": {"size": 1}, "ratio": True}, "ratio", "a number"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(values, path, reason):
    with pytest.raises(SettingsError, match=reason) as caught:
        make_settings(Outer, values)
    assert caught.value.path == path


def test_model_that_validates_itself_is_asked():
    class Invalid(ValueError):
        def errors(self) -> list[dict[str, Any]]:
            return [{"loc": ("a", 1), "msg": "not good"}]

    class Model:
        @classmethod
        def model_validate(cls, values: dict[str, Any]) -> str:
            if "a" in values:
                raise Invalid
            return "made"

    assert make_settings(Model, {}) == "made"
    with pytest.raises(SettingsError) as caught:
        make_settings(Model, {"a": 1})
    assert (caught.value.path, caught.value.reason) == ("a.1", "not good")


def test_filter_without_settings_takes_none():
    assert make_settings(None, {}) is None
    with pytest.raises(SettingsError):
        make_settings(None, {"a": 1})


# -- exceptions ---------------------------------------------------------------------------------------


class Bad(HttpFilter):
    def decode_headers(self, stream: Any) -> Any:
        if stream.request.headers.get(b"x-late"):
            return self._late()
        if stream.request.headers.get(b"x-abort"):
            raise StreamAborted(LocalReply(403))
        if stream.request.body is not None:
            stream.request.pipe_body(BadStage())
            return None
        raise KeyError("mine")

    async def _late(self) -> None:
        raise ValueError("later")

    def on_complete(self, stream: Any) -> None:
        raise RuntimeError("at the end")


class BadStage:
    def push(self, data: bytes, end_stream: bool) -> bytes:
        raise IndexError("in the body")

    def end(self, trailers: Any) -> bytes:
        return b""


async def test_exceptions_are_counted_and_end_their_own_request(make_stream, caplog):
    store = Store()
    made = guarded(Bad(), Guard("Bad", store.scope("python.Bad")))
    with pytest.raises(ExtensionError):
        made.decode_headers(make_stream())
    assert store.text_readouts["python.Bad.last_error"].value == "decode_headers: KeyError: 'mine'"
    stream = make_stream()
    stream.request.headers.add(b"x-late", b"1")
    with pytest.raises(ExtensionError):
        await made.decode_headers(stream)
    stream = make_stream(body=ScriptedBody(b"a"))
    assert made.decode_headers(stream) is None
    with pytest.raises(ExtensionError):
        await read_all(stream.request.body)
    made.on_complete(stream)
    assert store.counters["python.Bad.errors"].value == 4
    assert store.counters["python.Bad.requests"].value == 3
    assert "in the body" in caplog.text
    assert "Traceback" in caplog.text


def test_errors_of_the_proxy_pass(make_stream):
    store = Store()
    made = guarded(Bad(), Guard("Bad", store.scope("python.Bad")))
    stream = make_stream()
    stream.request.headers.add(b"x-abort", b"1")
    with pytest.raises(StreamAborted):
        made.decode_headers(stream)
    assert store.counters["python.Bad.errors"].value == 0


def test_hooks_that_are_not_there_cost_nothing():
    made = guarded(Bad(), Guard("Bad", Store().scope("x")))
    assert type(made).encode_headers is HttpFilter.encode_headers
    made.slot = 3
    made.config_name = "n"
    assert (made.inner.slot, made.inner.config_name) == (3, "n")


def test_module_that_breaks_as_it_is_loaded_is_not_kept(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('on load')")
    with pytest.raises(ConfigError, match="RuntimeError: on load"):
        compiled(f"{tmp_path}/broken.py:Filter")
    assert not any("broken" in name for name in sys.modules)
