"""Curves as an SVG picture, without a library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

__all__ = ["Curve", "draw"]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 110, 40, 50
_COLOURS = ("#1f6feb", "#d1453b", "#2da44e", "#8250df")
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """A name and its points, from left to right."""

    name: str
    points: list[tuple[float, float]]


def draw(title: str, axis: str, curves: list[Curve], *, is_logarithmic: bool) -> str:
    """The picture; ``axis`` names what goes to the right, on a logarithmic scale or an even one."""
    numbers = sorted({x for curve in curves for x, _ in curve.points})
    most = _round_up(max((y for curve in curves for _, y in curve.points), default=1.0))
    scale = math.log10 if is_logarithmic else float
    low, high = (scale(numbers[0]), scale(numbers[-1])) if numbers else (0.0, 1.0)

    def right(x: float) -> float:
        share = (scale(x) - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / most * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(axis)}</text>',
    ]
    for tick in range(_TICKS + 1):
        value = most * tick / _TICKS
        y = down(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    below = _HEIGHT - _BOTTOM + 18
    parts += [f'<text x="{right(x):.1f}" y="{below}" text-anchor="middle">{x:g}</text>' for x in numbers]
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(right(x), down(y)) for x, y in curve.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        if places:
            x, y = places[-1]
            parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(curve.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """The next number of 1, 2 or 5 and zeros."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
