"""Fuzz target: the two HTTP/2 codecs on the same bytes; neither may fail otherwise than it says.

One difference is the package's: hyperframe refuses padding that fills a frame to its end, which RFC 9113
(6.1, 6.2) allows as long as the octet of its length has room too.

``python tests/fuzz/fuzz_h2.py`` runs it under atheris where that is installed; the test suite runs it over
generated frames and mutations of them (``test_fuzz_h2.py``).
"""

from __future__ import annotations

import sys
from typing import Any

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_reference import H2ReferenceConnection
from sidecar.codec.h2_types import H2Settings
from tests.support.h2_frames import CLIENT_START, Recorder, feed

_ALL_PADDING = "Received frame with invalid padding."


def is_refused(codec_class: Any, data: bytes) -> tuple[bool, list[Any], str]:
    """Whether a server refused anything of ``data``, the messages that it took, and why it ended."""
    recorder = Recorder()
    codec = codec_class(recorder, client=False, settings=H2Settings())
    error = feed(codec, data)
    resets = any(call[0] == "reset" and not call[3] for call in recorder.calls)
    return error is not None or resets, recorder.messages(), str(error or "")


def test_one_input(data: bytes) -> None:
    """Both take it and say the same, or both refuse it."""
    conversation = CLIENT_START + data
    refused, messages, _ = is_refused(H2Connection, conversation)
    other_refused, other_messages, reason = is_refused(H2ReferenceConnection, conversation)
    if reason == _ALL_PADDING and not refused:
        return
    assert refused == other_refused, data.hex()
    if not refused:
        assert messages == other_messages, data.hex()


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
