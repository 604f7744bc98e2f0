"""Log lines in spdlog patterns, levels by Envoy's logger names."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    log.set_all_levels("info")
    log.close()


def make_record(
    message: str = "hello", name: str = "sidecar.upstream", level: int = logging.WARNING
) -> logging.LogRecord:
    path = "/somewhere/lib/sidecar/upstream/cluster.py"
    record = logging.LogRecord("sidecar.upstream", logging.WARNING, path, 42, message, (), None, "choose")
    record.created = 1700000000.123456
    return record


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%v", "hello"),
        ("[%l][%L][%n]", "[warning][W][upstream]"),
        ("%g:%# %s %! %@", "sidecar/upstream/cluster.py:42 cluster.py choose sidecar/upstream/cluster.py:42"),
        ("%e %f", "123 123456"),
        ("%8l|%-8l|%=9l|", " warning|warning | warning |"),
        ("100%% %q", "100% %q"),
        ("%E", "1700000000"),
    ],
)
def test_pattern_formats_as_spdlog_does(pattern: str, expected: str) -> None:
    assert log.PatternFormatter(pattern).format(make_record()) == expected


def test_pattern_default_has_date_thread_level_name_and_source() -> None:
    text = log.PatternFormatter().format(make_record())
    assert text.endswith("][warning][upstream] [sidecar/upstream/cluster.py:42] hello")
    assert text.startswith("[2023-11-1")


def test_pattern_with_escape_writes_line_breaks_as_two_characters() -> None:
    text = log.PatternFormatter("%v", escape=True).format(make_record("a\nb\tc"))
    assert text == "a\\nb\\tc"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%v", '[Tags: "ConnectionId":"3","StreamId":"7"] a "b"\nc'),
        ("%_", '[Tags: "ConnectionId":"3","StreamId":"7"] a "b"\\nc'),
        ("%+", 'a \\"b\\"\\nc'),
        ('{"m":"%+"%*}', '{"m":"a \\"b\\"\\nc","ConnectionId":"3","StreamId":"7"}'),
    ],
)
def test_tags_of_a_message_are_taken_apart_as_envoy_does(pattern: str, expected: str) -> None:
    record = make_record(log.tags_of(3, 7) + 'a "b"\nc')
    assert log.PatternFormatter(pattern).format(record) == expected


def test_line_of_json_without_tags_stays_json() -> None:
    assert log.PatternFormatter('{"m":"%+"%*}').format(make_record('"')) == '{"m":"\\""}'


def test_traceback_stands_in_the_message_of_json() -> None:
    record = make_record("failed")
    error = ValueError("why")
    record.exc_info = (ValueError, error, None)
    text = log.PatternFormatter('{"m":"%+"%*}').format(record)
    assert "\n" not in text
    assert json.loads(text)["m"].endswith("ValueError: why")


def test_watcher_is_told_now_and_when_levels_change() -> None:
    told: list[str] = []
    log.watch(lambda: told.append(log.get_levels()["http"]))
    log.set_level("http", "debug")
    log.set_all_levels("error")
    assert told == ["info", "debug", "error"]


def test_setup_writes_to_the_path_at_the_level(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.setup("warning", {"upstream": "debug"}, path=str(path), pattern="%l %n %v")
    logging.getLogger("sidecar.upstream").debug("one")
    logging.getLogger("sidecar.http").info("two")
    logging.getLogger("sidecar.http").error("three")
    assert path.read_text().splitlines() == ["debug upstream one", "error http three"]


def test_levels_are_set_and_shown_by_envoys_names() -> None:
    log.setup("info")
    log.set_level("http", "trace")
    log.set_level("upstream", "warn")
    log.set_level("lua", "off")
    levels = log.get_levels()
    assert (levels["http"], levels["upstream"], levels["lua"], levels["main"]) == (
        "trace",
        "warning",
        "off",
        "info",
    )
    log.set_all_levels("error")
    assert set(log.get_levels().values()) == {"error"}


@pytest.mark.parametrize(("name", "level"), [("nothing", "info"), ("http", "loud")])
def test_set_level_with_an_unknown_word_raises(name: str, level: str) -> None:
    with pytest.raises(KeyError):
        log.set_level(name, level)


def test_level_off_silences_everything(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.setup("off", path=str(path))
    logging.getLogger("sidecar.main").critical("nothing")
    assert path.read_text() == ""
