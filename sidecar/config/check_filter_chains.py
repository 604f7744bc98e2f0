"""Mistakes in the choice of filter chains (reasons in Envoy's words, with both lines where there are two)."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.filter_chain_match import compile_chain_match, compile_chain_matcher
from sidecar.config.context import Context
from sidecar.config.errors import Path, format_path, parse_path
from sidecar.core.errors import ConfigError
from sidecar.core.filter_chain_match import ChainMatch, Overlap, build_finder

__all__ = ["check_chain_choice"]


def check_chain_choice(context: Context, path: Path, listener: Any) -> None:
    """The matches of a listener's chains, or its ``filter_chain_matcher``."""
    if listener.HasField("filter_chain_matcher"):
        _check_matcher(context, path, listener)
        return
    seen: dict[bytes, int] = {}
    entries: list[tuple[ChainMatch, int]] = []
    is_sound = True
    for index, chain in enumerate(listener.filter_chains):
        here = (*path, "filter_chains", index)
        match = _compiled(context, (*here, "filter_chain_match"), chain)
        first = seen.setdefault(chain.filter_chain_match.SerializeToString(deterministic=True), index)
        if match is None:
            is_sound = False
        elif first != index:
            is_sound = False
            place = context.report_place((*path, "filter_chains", first))
            context.report.error(
                here,
                f"filter chain '{chain.name}' has the same matching rules defined as"
                f" '{listener.filter_chains[first].name}' ({place})",
                "give each a filter_chain_match of its own",
            )
        else:
            entries.append((match, index))
    if not is_sound or not entries:
        return
    try:
        build_finder(entries)
    except Overlap as overlap:
        place = context.report_place((*path, "filter_chains", overlap.first))
        context.report.error(
            (*path, "filter_chains", overlap.second),
            f"multiple filter chains with overlapping matching rules are defined (the first is at {place})",
            "no connection may fit two chains equally well",
        )


def _compiled(context: Context, path: Path, chain: Any) -> ChainMatch | None:
    if context.report.has_failed(path):
        return None
    try:
        return compile_chain_match(chain.filter_chain_match, format_path(path))
    except ConfigError as error:
        context.report.error(parse_path(error.path), error.reason)
        return None


def _check_matcher(context: Context, path: Path, listener: Any) -> None:
    """A matcher chooses by name; the chains' own matches count for nothing beside it."""
    names: dict[str, int] = {}
    for index, chain in enumerate(listener.filter_chains):
        here = (*path, "filter_chains", index)
        match = chain.filter_chain_match
        if match.address_suffix or match.HasField("suffix_len"):
            context.report.error(
                (*here, "filter_chain_match"), f"filter chain '{chain.name}' contains unimplemented fields"
            )
        elif chain.HasField("filter_chain_match"):
            context.report.warning(
                (*here, "filter_chain_match"), "has no effect beside filter_chain_matcher, as in Envoy"
            )
        if not chain.name:
            context.report.error(here, '"name" field is required when using a listener matcher')
        elif chain.name in names:
            place = context.report_place((*path, "filter_chains", names[chain.name], "name"))
            reason = f"\"name\" field is duplicated with value '{chain.name}' ({place})"
            context.report.error((*here, "name"), reason)
        names.setdefault(chain.name, index)
    at = (*path, "filter_chain_matcher")
    if context.report.has_failed(at):
        return
    try:
        compile_chain_matcher(listener.filter_chain_matcher, format_path(at), {}, None)
    except ConfigError as error:
        context.report.error(parse_path(error.path), error.reason)
