"""Paths in one spelling; the expected ones were seen on Envoy 1.40."""

import pytest

from sidecar.http.path_normalization import normalized_path

NORMAL = {
    b"/plain": b"/plain",
    b"/a/../b": b"/b",
    b"//a//b": b"//a//b",
    b"/a/./b/": b"/a/b/",
    b"/%2e%2e/b": b"/b",
    b"/.%2E/x": b"/x",
    b"/a%2fb": b"/a%2fb",
    b"/%2F%5c": b"/%2F%5c",
    b"/%5C..": b"/%5C..",
    b"/../../x": b"/x",
    b"/a\\b": b"/a/b",
    b"/a\\..\\b": b"/b",
    b"/%61": b"/a",
    b"/a?b//c": b"/a?b//c",
    b"/a/.?q=/../": b"/a/?q=/../",
    b"/a/..": b"/",
    b"/a/.": b"/a/",
    b"/a/b/..": b"/a/",
    b"/..": b"/",
    b"/%zz": b"/%zz",
    b"/%": b"/%",
    b"/%4": b"/%4",
    b"/%01": b"/%01",
    b"/%7e": b"/~",
    b"/%c3%a9": b"/%c3%a9",
    b'/"<>^`{|}': b"/%22%3C%3E%5E%60%7B%7C%7D",
    b"/'();:@&=+$,![]*": b"/'();:@&=+$,![]*",
    b"/%20%25%3f%23%21%28": b"/%20%25%3f%23%21%28",
    b"/a//../b": b"/a/b",
    b"/a//..//b": b"/a//b",
    b"//..": b"/",
    b"/a/...": b"/a/...",
    b"/..a": b"/..a",
    b"/%252e": b"/%252e",
    b"/\\": b"//",
    b"/%00": None,
    b"/\xc3\xa9\xff": b"/%C3%A9%FF",
    b"/a/..;x=1/b": b"/b",
    b"/a/.;/b": b"/a/b",
    b"/a/%2e%2e;/b": b"/a/..;/b",
    b"/a;x/../b": b"/b",
    b"/a/..;%00/b": b"/b",
    b"/%4%41": b"/%254A",
    b"/%%34%31": b"/%2541",
    b"/%4%4": b"/%4%4",
}


@pytest.mark.parametrize("path", NORMAL)
def test_path_normalised_without_merging_is_spelled_as_envoy_spells_it(path: bytes) -> None:
    assert normalized_path(path, merge=False, dots=True) == NORMAL[path]


@pytest.mark.parametrize(
    ("path", "merged"),
    [
        (b"//a//b", b"/a/b"),
        (b"/a//..//b", b"/a/b"),
        (b"/\\\\x", b"/x"),
        (b"//", b"//"),
        (b"/a//?b//c", b"/a/?b//c"),
    ],
)
def test_path_with_merged_slashes_has_single_ones_before_its_query(path: bytes, merged: bytes) -> None:
    assert normalized_path(path, merge=True, dots=True) == merged


def test_path_with_slashes_merged_alone_keeps_its_dots_and_escapes() -> None:
    assert normalized_path(b"/a//../%61", merge=True, dots=False) == b"/a/../%61"
