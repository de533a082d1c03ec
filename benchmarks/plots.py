"""Figures as small SVG images."""

import math
from collections.abc import Mapping, Sequence

from plots import MARGIN, PALETTE, Canvas

_BAR = 22
_NAMES = 270
_WIDTH = 640
_HEIGHT = 340
_AXIS = 58


def bars(title: str, values: Sequence[tuple[str, float]], *, marks: Mapping[str, float]) -> str:
    """A bar for each value, by name; `marks` are values that are to be reached, by the same."""
    canvas = Canvas(_WIDTH, 44 + _BAR * len(values))
    canvas.text(MARGIN, 22, title, "title")
    most = max([value for _, value in values] + list(marks.values()))
    scale = (_WIDTH - _NAMES - 60) / most
    for number, (name, value) in enumerate(values):
        top = 34 + number * _BAR
        canvas.text(_NAMES - 8, top + 14, name, "end")
        color = PALETTE[0] if value >= marks.get(name, 0) else PALETTE[3]
        canvas.path(
            f"M{_NAMES} {top + 4}h{value * scale:.1f}v12H{_NAMES}Z", f'style="fill:{color}"'
        )
        canvas.text(_NAMES + value * scale + 6, top + 14, f"{value:.2f}")
        if name in marks:
            at = _NAMES + marks[name] * scale
            canvas.path(f"M{at:.1f} {top + 1}v18", 'stroke="#464c54"')
    return canvas.svg(title)


def lines(title: str, curves: Mapping[str, Mapping[float, float]]) -> str:
    """A line for each name, both axes by powers of ten."""
    canvas = Canvas(_WIDTH, _HEIGHT)
    canvas.text(MARGIN, 22, title, "title")
    across = [x for points in curves.values() for x in points]
    upwards = [y for points in curves.values() for y in points.values()]
    left, right = math.floor(math.log10(min(across))), math.ceil(math.log10(max(across)))
    low, high = math.floor(math.log10(min(upwards))), math.ceil(math.log10(max(upwards)))
    top, bottom, end = 40, _HEIGHT - 34 - 16 * len(curves), _WIDTH - MARGIN

    def place(x: float, y: float) -> str:
        along = (math.log10(x) - left) / (right - left)
        up = (math.log10(y) - low) / (high - low)
        return f"{_AXIS + along * (end - _AXIS):.1f} {bottom - up * (bottom - top):.1f}"

    for power in range(low, high + 1):
        at = place(10.0**left, 10.0**power)
        canvas.path(f"M{at}H{end}", 'stroke="#e5e5e6"')
        canvas.text(_AXIS - 6, float(at.split()[1]) + 4, f"{10.0**power:g}", "end")
    for power in range(left, right + 1):
        canvas.text(
            float(place(10.0**power, 10.0**low).split()[0]), bottom + 16, f"{10**power:,}", "middle"
        )
    for number, (name, points) in enumerate(curves.items()):
        color = PALETTE[2 * number % len(PALETTE)]
        path = "L".join(place(x, y) for x, y in sorted(points.items()))
        canvas.path(f"M{path}", f'stroke="{color}" stroke-width="2"')
        below = bottom + 38 + 16 * number
        canvas.path(f"M{_AXIS} {below - 4}h20", f'stroke="{color}" stroke-width="2"')
        canvas.text(_AXIS + 28, below, name)
    return canvas.svg(title)
