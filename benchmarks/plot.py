"""Draws curves as SVG, one below the other, each from zero to its own highest value.

Used by `benchmarks.soak`; needs nothing but text.
"""

from html import escape

import msgspec

WIDTH, HEIGHT, MARGIN = 720, 90, 40
_STYLE = "font: 12px sans-serif; fill: #333"


class Series(msgspec.Struct, frozen=True):
    name: str
    points: list[tuple[float, float]]


def svg(curves: list[Series], unit: str) -> str:
    """`unit` is that of the horizontal axis, which all share."""
    height = len(curves) * (HEIGHT + MARGIN) + MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN} {height}">']
    parts += [_curve(curve, MARGIN + number * (HEIGHT + MARGIN), unit) for number, curve in enumerate(curves)]
    return "\n".join([*parts, "</svg>\n"])


def _curve(curve: Series, top: int, unit: str) -> str:
    last = max((x for x, _y in curve.points), default=1.0) or 1.0
    highest = max((y for _x, y in curve.points), default=1.0) or 1.0
    line = " ".join(
        f"{MARGIN + x / last * WIDTH:.1f},{top + HEIGHT - y / highest * HEIGHT:.1f}" for x, y in curve.points
    )
    right, bottom = MARGIN + WIDTH, top + HEIGHT
    label = escape(f"{curve.name}: at most {highest:.0f}")
    return (
        f'<text x="{MARGIN}" y="{top - 6}" style="{_STYLE}">{label}</text>'
        f'<path d="M{MARGIN} {top}V{bottom}H{right}" stroke="#bbb" fill="none"/>'
        f'<polyline points="{line}" stroke="#1f6feb" stroke-width="1.5" fill="none"/>'
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end" style="{_STYLE}">{last:.1f} {unit}</text>'
    )
