"""Formats compiled to functions from the stream to text (``envoy.config.core.v3.SubstitutionFormatString``).

Whatever has a format in its configuration asks here: access logs, bodies of local replies, header values and
rewrites of routes.  What an operator means is :mod:`sidecar.observability`'s.  Encode what comes out with
:func:`sidecar.observability.formatter.encoded`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.cel import cel_options
from sidecar.config.nearest import nearest
from sidecar.config.registry import resolve_any
from sidecar.core.cel_options import CelOptions
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.observability.formatter import Line, compile_json, compile_text, unrecorded_operators
from sidecar.observability.operators import UnknownOperator, operator_names

__all__ = [
    "compile_plain_format",
    "compile_substitution_format",
    "compile_text_format",
    "explain_format_error",
    "format_extensions",
    "struct_to_dict",
]

_CEL = "envoy.extensions.formatter.cel.v3.Cel"
#: Formatter extensions by type, with the operators that each brings (Envoy builds the second in).
_FORMATTERS = {
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": ("REQ_WITHOUT_QUERY",),
    "envoy.extensions.formatter.metadata.v3.Metadata": (),
}


def compile_substitution_format(
    message: Any, context: FactoryContext, path: str, *, is_log: bool = False
) -> Line:
    """The function that makes the text of ``message``; JSON ends with a line feed, as Envoy's does.

    ``is_log``: it is a line of an access log.
    ``path`` counts from the context's.  Raises: ConfigError under it.
    """
    extensions = format_extensions(message, path)
    omit_empty = message.omit_empty_values
    kind = message.WhichOneof("format")
    if kind == "json_format":
        tree = struct_to_dict(message.json_format)
        return compile_plain_format(
            lambda: compile_json(tree, omit_empty=omit_empty, extensions=extensions),
            str(tree),
            context,
            f"{path}.json_format",
            is_log=is_log,
        )
    if kind == "text_format_source":
        where = f"{path}.text_format_source"
        text = context.read_data_source(message.text_format_source, where).decode("utf-8", "surrogateescape")
    else:
        where = f"{path}.text_format"
        text = message.text_format
    return compile_plain_format(
        lambda: compile_text(text, omit_empty=omit_empty, extensions=extensions),
        text,
        context,
        where,
        is_log=is_log,
    )


def compile_text_format(
    text: str, context: FactoryContext, path: str, *, omit_empty: bool = False, is_log: bool = False
) -> Line:
    """The function that makes ``text``: unset is ``-``, or nothing with ``omit_empty``.

    Raises: ConfigError at ``path``.
    """
    return compile_plain_format(
        lambda: compile_text(text, omit_empty=omit_empty), text, context, path, is_log=is_log
    )


def compile_plain_format(
    compile_it: Callable[[], Line], text: str, context: FactoryContext, path: str, *, is_log: bool = False
) -> Line:
    """What ``compile_it`` makes of ``text``, its errors at ``path``, with a warning where we know less."""
    try:
        line = compile_it()
    except ConfigError:
        raise
    except SidecarError as error:
        raise ConfigError(path, explain_format_error(error)) from error
    for name in () if is_log else unrecorded_operators(text):
        context.warn(f"{context.path}.{path}", f"%{name}% is counted for access logs alone: it stays unset")
    return line


def explain_format_error(error: SidecarError) -> str:
    """What is wrong with a format; for a misspelt operator with the name that was meant."""
    meant = nearest(error.name, operator_names()) if isinstance(error, UnknownOperator) else None
    return f"{error} (did you mean %{meant.upper()}%?)" if meant else str(error)


def struct_to_dict(message: Any) -> dict[str, Any]:
    """A ``google.protobuf.Struct`` as a dict."""
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def format_extensions(message: Any, path: str) -> list[str | CelOptions]:
    """The operators of ``formatters`` of ``message``, and CEL's options.  Raises: ConfigError."""
    operators: list[str | CelOptions] = []
    for number, formatter in enumerate(message.formatters):
        type_name = formatter.typed_config.type_url.rpartition("/")[2]
        if type_name == _CEL:
            operators.append(cel_options(resolve_any(formatter.typed_config)[1]))
            continue
        if type_name not in _FORMATTERS:
            raise ConfigError(
                f"{path}.formatters[{number}]", f"formatter '{formatter.name}' ({type_name}) is not supported"
            )
        operators += _FORMATTERS[type_name]
    return operators
