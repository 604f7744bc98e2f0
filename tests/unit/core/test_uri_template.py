"""URI templates: what Envoy 1.40 takes and what it says of what it refuses."""

from __future__ import annotations

import pytest
import re2

from sidecar.core.uri_template import parse_rewrite, template_regex

VALID = (
    "/ /a/{b} /a{b} /{b}.txt /{b=*/x/**} /a* /a{b}c /a*b /a*b* /**b /**.m3u8 /*a /a{b}c/d /a{b=*} /a{b=c} "
    "/a=b /a*/b /a**/b /{b=a*} /{b=a*/c} /{b=**/c} /a~b%20 /a*{b} /{b=**}/c /{b=**}c* /{b}c/d /{b}c/{d}e "
    "/{b}c/d/ /a{b}c/{d}f /{b=**}c/d /a{b}/** /a{b}c*/d /{b}a* /{b}a= /{b}= /{b}c/ /{b}c**/d"
)
INVALID = {
    "a": 'Invalid pattern: "a"',
    "/a b": 'Invalid pattern: "/a b"',
    "/a//b": 'Invalid literal: ""',
    "/a/{b": 'Unmatched variable bracket in "{b"',
    "/{1}": 'Invalid variable name: "1"',
    "/a{}": 'Invalid variable name: ""',
    "/{a}/{a}": "Repeated variable name",
    "/{a}/{b}/{c}/{d}/{e}/{f}": "Exceeded variable count limit (5)",
    "/{abcdefghijklmnopq}": 'Invalid variable name length (length of "abcdefghijklmnopq" should be '
    "at least 1 and no more than 16)",
    "/**/*": "Glob after text glob.",
    "/**/{a}": "Implicit variable path glob after text glob.",
    "/{b=/x}": 'Invalid literal: ""',
    "/{b=}": "Empty variable match",
    "/{b=*=}": 'Invalid variable match: "="',
    "/**a/b": "Prefix match not supported.",
    "/{b}{c}": 'Invalid suffix literal: "{c}"',
    "/a{b}c{d}": 'Invalid suffix literal: "c{d}"',
    "/a{b=x/y}c": 'Invalid literal: "a{b=x"',
    "/a^b": 'Invalid literal: "a^b"',
    "/a}b": 'Invalid literal: "a}b"',
    "/*}": 'Invalid literal: "}"',
    "/{b}}": 'Invalid suffix literal: "}"',
}


@pytest.mark.parametrize("text", VALID.split())
def test_valid_template_gives_an_expression(text: str) -> None:
    assert template_regex(text).startswith("/")


@pytest.mark.parametrize("text", INVALID)
def test_invalid_template_is_refused_in_envoys_words(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        template_regex(text)
    assert str(caught.value) == INVALID[text]


@pytest.mark.parametrize(
    ("template", "path", "groups"),
    [
        ("/a.b+c$(d)", b"/a.b+c$(d)", {}),
        ("/a.b", b"/axb", None),
        ("/*", b"/x", {}),
        ("/*", b"/", None),
        ("/*", b"/x/y", None),
        ("/**", b"/", {}),
        ("/**", b"/x//y", {}),
        ("/**.mpd", b"/x/.mpd", {}),
        ("/{v}/x", b"/a%20b/x", {"v": b"a%20b"}),
        ("/{v=a/*/c}/x", b"/a/b/c/x", {"v": b"a/b/c"}),
        ("/p{v}s/x", b"/p1s/x", {"v": b"1"}),
        ("/x/", b"/x/", {}),
        ("/x/", b"/x", None),
    ],
)
def test_template_matches_whole_paths(template: str, path: bytes, groups: dict[str, bytes] | None) -> None:
    found = re2.compile(template_regex(template)).fullmatch(path)
    assert (None if found is None else found.groupdict()) == groups


def test_rewrite_is_cut_into_literals_and_variables() -> None:
    assert parse_rewrite("/a/{b}c{d}") == [(False, "/a/"), (True, "b"), (False, "c"), (True, "d")]
    assert parse_rewrite("/") == [(False, "/")]


@pytest.mark.parametrize("text", ["", "a", "//", "/a^", "/{b", "/{1}", "/a?b", "/a}"])
def test_invalid_rewrite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid|Unmatched"):
        parse_rewrite(text)
