"""Envoy's command line: what is taken, what is refused, in Envoy's words."""

from __future__ import annotations

from dataclasses import fields

import pytest

from sidecar.cli.flags import FLAGS, UsageError, parse, usage
from sidecar.core.options import Options


def test_parse_reads_every_kind_of_flag() -> None:
    words = ["-c", "f.yaml", "-l", "debug", "--mode", "validate", "--drain-time-s", "5"]
    options, warnings, command = parse([*words, "--disable-hot-restart", "--concurrency", "1"])
    assert options == Options(
        config_path="f.yaml",
        log_level="debug",
        mode="validate",
        drain_time_s=5,
        disable_hot_restart=True,
        concurrency=1,
    )
    assert (warnings, command) == ([], "")


def test_parse_takes_a_value_behind_an_equals_sign() -> None:
    options = parse(["--config-path=f.yaml", "--format=json", "--concurrency=3"])[0]
    assert options == Options(config_path="f.yaml", format="json", concurrency=3)


def test_parse_reads_component_levels() -> None:
    options, _, _ = parse(["--component-log-level", "upstream:debug,main:warn"])
    assert options.component_log_levels == {"upstream": "debug", "main": "warn"}


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.later], ids=lambda flag: flag.name)
def test_parse_says_in_one_line_that_a_feature_is_to_come(flag: object) -> None:
    name, kind, choices = flag.name, flag.kind, flag.choices  # type: ignore[attr-defined]
    value = {"text": [choices[-1] if choices else "x"], "number": ["1"], "switch": [], "list": ["a:b"]}[kind]
    _, [warning], _ = parse([f"--{name}", *value])
    assert warning.startswith(f"--{name}: ")
    assert "\n" not in warning


def test_parse_does_not_warn_of_a_default_that_is_spelled_out() -> None:
    assert parse(["--base-id", "0", "--drain-strategy", "gradual"])[1] == []


def test_parse_takes_the_deprecated_name_for_unknown_fields() -> None:
    options, [warning], _ = parse(["--allow-unknown-fields"])
    assert options.allow_unknown_static_fields is True
    assert "deprecated" in warning


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--bogus", "Couldn't find match for argument"),
        ("extra", "Couldn't find match for argument"),
        ("--conc 1", "Couldn't find match for argument"),
        ("--concurrency", "Missing a value"),
        ("--concurrency x", "Couldn't read argument value from string 'x'"),
        ("--concurrency -1", "Couldn't read argument value from string '-1'"),
        ("-c a -c b", "Argument already set!"),
        ("--mode foo", "error: unknown mode 'foo'"),
        ("-l bogus", "error: invalid log level specified 'bogus'"),
        ("--component-log-level upstream", "error: component log level not correctly specified 'upstream'"),
        ("--component-log-level foo:debug", "error: invalid component specified 'foo'"),
        ("--component-log-level http:loud", "error: invalid log level specified 'loud'"),
        ("--local-address-ip-version v7", "error: unknown IP address version 'v7'"),
        (
            "--use-dynamic-base-id --restart-epoch 1",
            "error: cannot use --restart-epoch=1 with --use-dynamic-base-id",
        ),
    ],
)
def test_parse_refuses_what_envoy_refuses(arguments: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments.split())
    assert reason in str(caught.value)


@pytest.mark.parametrize(("argument", "command"), [("--version", "version"), ("-h", "help")])
def test_parse_finds_the_command_among_other_flags(argument: str, command: str) -> None:
    assert parse(["-c", "f", argument])[2] == command


def test_every_option_has_its_flag_and_every_flag_its_help() -> None:
    names = {flag.field for flag in FLAGS}
    assert {each.name for each in fields(Options)} - {"component_log_levels"} <= names
    text = usage()
    assert all(f"--{flag.name}" in text and flag.help in text for flag in FLAGS)
