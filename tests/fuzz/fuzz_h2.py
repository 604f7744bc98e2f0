"""Fuzz target: the two HTTP/2 codecs on the same bytes; neither may fail otherwise than it says.

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


def is_refused(codec_class: Any, data: bytes) -> tuple[bool, list[Any]]:
    """Whether a server refused anything of ``data``, and the messages that it took."""
    recorder = Recorder()
    codec = codec_class(recorder, client=False, settings=H2Settings())
    error = feed(codec, data)
    resets = any(call[0] == "reset" and not call[3] for call in recorder.calls)
    return error is not None or resets, recorder.messages()


def test_one_input(data: bytes) -> None:
    """Both take it and say the same, or both refuse it."""
    conversation = CLIENT_START + data
    refused, messages = is_refused(H2Connection, conversation)
    other_refused, other_messages = is_refused(H2ReferenceConnection, conversation)
    assert refused == other_refused, data.hex()
    if not refused:
        assert messages == other_messages, data.hex()


if __name__ == "__main__":
    import atheris  # type: ignore[import-not-found]

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
