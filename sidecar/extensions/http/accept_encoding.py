"""Which content coding an ``accept-encoding`` asks for, of those that a chain can make (RFC 9110 §12.5.3)."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.core.dataclass import dataclass

__all__ = ["IDENTITY", "Decision", "choose_encoding"]

IDENTITY = b"identity"


@dataclass(frozen=True, slots=True)
class Decision:
    """The coding, and the counter of the header that it came from."""

    encoding: bytes
    #: ``used``, ``wildcard``, ``identity`` or ``not_valid``.
    by: str


def choose_encoding(value: bytes, allowed: Mapping[bytes, bool]) -> Decision:
    """The best of ``allowed`` (in the order of the chain) for the client.

    Of equal weights the one that the client names first wins, unless another of them is to come first (the
    mapping's value); a coding with weight 0 is not acceptable.
    """
    accepted: list[tuple[bytes, float]] = []
    left = list(allowed)
    for token in value.split(b","):
        if not token:
            continue
        name, weight = _parse(token)
        if weight is None:
            continue
        accepted.append((name, weight))
        if not weight and name in left:
            left.remove(name)
    if not accepted or not left:
        return Decision(IDENTITY, "not_valid")
    best, best_weight = IDENTITY, 0.0
    for name, weight in accepted:
        if name not in left and name not in (IDENTITY, b"*"):
            continue
        if weight > best_weight or (weight and weight == best_weight and allowed.get(name, False)):
            best, best_weight = name, weight
    if not best_weight:
        return Decision(IDENTITY, "not_valid")
    if best == IDENTITY:
        return Decision(IDENTITY, "identity")
    if best == b"*":
        return Decision(left[0], "wildcard")
    return Decision(best, "used")


def _parse(token: bytes) -> tuple[bytes, float | None]:
    """A coding and its weight; None for a weight that is none."""
    name, _, parameters = token.partition(b";")
    key, separator, text = parameters.partition(b"=")
    weight: float | None = 1.0
    if separator and key.strip().lower() == b"q":
        try:
            weight = float(text.strip())
        except ValueError:
            weight = None
    return name.strip(), weight
