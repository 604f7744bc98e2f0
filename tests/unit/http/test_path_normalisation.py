"""``normalize_path`` and ``merge_slashes``."""

from __future__ import annotations

import pytest

from sidecar.http.connection_manager import normalized_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", b"/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/..", b"/"),
        (b"/a/../../b", b"/b"),
        (b"/%61%2D%7e", b"/a-~"),
        (b"/%2f%3a", b"/%2f%3a"),
        (b"/%2e%2e/a", b"/a"),
        (b"/a/%2E%2e/b", b"/b"),
        (b"/a\\b", b"/a/b"),
        (b"/a//b", b"/a//b"),
        (b"/%zz%4", b"/%zz%4"),
        (b"/a?b=/../c", b"/a?b=/../c"),
    ],
)
def test_normalize_path_removes_dots_and_decodes_what_need_not_be_encoded(
    path: bytes, expected: bytes | None
) -> None:
    assert normalized_path(path, merge=False, dots=True) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"//a///b//", b"/a/b/"), (b"/a?x=//y", b"/a?x=//y"), (b"/a/../b", b"/a/../b"), (b"/%2f/", b"/%2f/")],
)
def test_merge_slashes_leaves_everything_else(path: bytes, expected: bytes) -> None:
    assert normalized_path(path, merge=True, dots=False) == expected
