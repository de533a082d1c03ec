"""Panels of Grafana as small SVG images."""

import math
from dataclasses import dataclass, field
from html import escape
from typing import Any

Points = list[tuple[float, float]]

COLORS = {
    "green": "#56a64b",
    "yellow": "#e0b400",
    "orange": "#ff780a",
    "red": "#e02f44",
    "blue": "#3274d9",
}
PALETTE = ["#56a64b", "#e0b400", "#3274d9", "#ff780a", "#8f3bb8", "#e02f44", "#37872d", "#96d98d"]
LEGEND_LINES = 6
MARGIN = 14
AXIS = 58
SCALES = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "bytes": [(2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")],
    "Bps": [(1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")],
    "percentunit": [(0.01, "%")],
    "reqps": [(1.0, "req/s")],
    "ops": [(1.0, "/s")],
    "cps": [(1.0, "/s")],
    "short": [(1.0, "")],
}


@dataclass
class Curve:
    """A line of a panel, over seconds since the run began."""

    name: str
    points: Points

    @property
    def mean(self) -> float:
        return sum(value for _, value in self.points) / len(self.points)

    @property
    def maximum(self) -> float:
        return max(value for _, value in self.points)


@dataclass
class Canvas:
    """An image that grows."""

    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, said: str, style: str = "") -> None:
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" class="{style}">{escape(said)}</text>')

    def path(self, commands: str, attributes: str) -> None:
        self.parts.append(f'<path d="{commands}" {attributes}/>')

    def svg(self, title: str) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="img">'
        )
        style = (
            "<style>text{font:11px sans-serif;fill:#464c54}.title{font-weight:bold;font-size:13px}"
            ".end{text-anchor:end}.middle{text-anchor:middle}"
            ".big{font-size:34px;text-anchor:middle}path{fill:none}</style>"
        )
        frame = (
            f'<rect x=".5" y=".5" width="{self.width - 1}" height="{self.height - 1}" rx="3"'
            ' fill="#fff" stroke="#d8d9da"/>'
        )
        said = f"<title>{escape(title)}</title>"
        return "\n".join([head, said, style, frame, *self.parts, "</svg>"]) + "\n"


def shown(value: float, unit: str) -> str:
    """A value with its unit, in three figures."""
    factor, name = _scale(value, unit)
    return f"{_plain(value / factor)} {name}".strip()


def _scale(value: float, unit: str) -> tuple[float, str]:
    scales = SCALES[unit]
    if not value:
        return next((scale for scale in scales if scale[0] == 1), scales[0])
    return next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])


def draw(panel: Any, curves: list[Curve], seconds: int) -> str:
    """A panel with its data of a run that took so long."""
    curves = [curve for curve in curves if curve.points]
    if panel["type"] == "stat":
        return _draw_stat(panel, curves, seconds)
    return _draw_lines(panel, curves, seconds)


def _plain(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1e3 else f"{number:,.0f}"


def _draw_stat(panel: Any, curves: list[Curve], seconds: int) -> str:
    """The last value, large, above how it became so."""
    canvas = Canvas(300, 130)
    defaults = panel["fieldConfig"]["defaults"]
    canvas.text(MARGIN, 22, panel["title"], "title")
    (curve,) = curves
    last = curve.points[-1][1]
    color = _color_of(last, defaults["thresholds"]["steps"])
    top = max(curve.maximum, 1e-12)
    placed = [(1 + x / seconds * 298, 129 - y / top * 40) for x, y in curve.points]
    line = _line(placed)
    canvas.path(f"{line}V129H{placed[0][0]:.1f}Z", f'style="fill:{color}" fill-opacity=".15"')
    canvas.path(line, f'stroke="{color}"')
    text = shown(last, defaults["unit"])
    canvas.parts.append(f'<text x="150" y="72" class="big" style="fill:{color}">{text}</text>')
    return canvas.svg(panel["title"])


def _draw_lines(panel: Any, curves: list[Curve], seconds: int) -> str:
    """All values over the run, and a legend with those that matter most."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    colors = _colors(panel, curves)
    bounds = [step for step in defaults.get("thresholds", {}).get("steps", []) if step["value"]]
    stacked = "stacking" in custom
    drawn = _stack(curves) if stacked else [curve.points for curve in curves]
    highest = max(y for points in drawn for _, y in points)
    # Bounds far above what was measured would flatten it.
    bounds = [step for step in bounds if step["value"] <= max(4 * highest, 1e-9)]
    highest = max([highest, *(step["value"] for step in bounds)])
    highest = min(highest * 1.05, defaults.get("max", math.inf)) or 1.0
    factor, _ = _scale(highest, defaults["unit"])
    ticks = [factor * tick for tick in _ticks(highest / factor)]

    named = sorted(curves, key=lambda curve: -curve.mean)[:LEGEND_LINES]
    more = len(curves) - len(named)
    plot_height = 170
    canvas = Canvas(620, 36 + plot_height + 26 + 17 * (len(named) + 1 + bool(more)) + 8)
    canvas.text(MARGIN, 22, panel["title"], "title")
    left, right, bottom = AXIS + MARGIN, 620 - MARGIN, 36 + plot_height

    def x_of(moment: float) -> float:
        return left + moment / seconds * (right - left)

    def y_of(value: float) -> float:
        return bottom - value / ticks[-1] * plot_height

    for tick in ticks:
        canvas.path(f"M{left},{y_of(tick):.1f}H{right}", 'stroke="#e8e9ea"')
        canvas.text(left - 6, y_of(tick) + 4, shown(tick, defaults["unit"]), "end")
    for moment in range(0, seconds + 1, 30):
        time = f"{moment // 60}:{moment % 60:02}"
        canvas.text(x_of(moment), bottom + 17, time, "middle")
    for step in bounds:
        color = COLORS[step["color"]]
        dashes = f'stroke="{color}" stroke-dasharray="6 4"'
        canvas.path(f"M{left},{y_of(step['value']):.1f}H{right}", dashes)
    as_steps = custom.get("lineInterpolation") == "stepAfter"
    first, last = min(points[0][0] for points in drawn), max(points[-1][0] for points in drawn)
    below = [(x_of(first), float(bottom)), (x_of(last), float(bottom))]
    for curve, points in zip(curves, drawn, strict=True):
        placed = [(x_of(x), y_of(y)) for x, y in points]
        line = _line(placed, as_steps=as_steps)
        color = colors[curve.name]
        if stacked:
            back = _line(below[::-1]).replace("M", "L")
            canvas.path(f"{line}{back}Z", f'style="fill:{color}" fill-opacity=".3"')
            below = placed
        canvas.path(line, f'stroke="{color}" stroke-width="1.5"')
    _draw_legend(canvas, named, more, colors, defaults["unit"], bottom + 42)
    return canvas.svg(panel["title"])


def _draw_legend(
    canvas: Canvas, named: list[Curve], more: int, colors: dict[str, str], unit: str, y: float
) -> None:
    right = canvas.width - MARGIN
    canvas.text(right - 90, y, "mean", "end")
    canvas.text(right, y, "max", "end")
    for curve in named:
        y += 17
        canvas.path(f"M{MARGIN},{y - 4:.0f}h14", f'stroke="{colors[curve.name]}" stroke-width="3"')
        canvas.text(MARGIN + 20, y, curve.name)
        canvas.text(right - 90, y, shown(curve.mean, unit), "end")
        canvas.text(right, y, shown(curve.maximum, unit), "end")
    if more:
        canvas.text(MARGIN + 20, y + 17, f"and {more} more")


def _colors(panel: Any, curves: list[Curve]) -> dict[str, str]:
    chosen = {
        override["matcher"]["options"]: COLORS[one["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    }
    names = [curve.name for curve in curves]
    return {
        name: chosen.get(name, PALETTE[number % len(PALETTE)]) for number, name in enumerate(names)
    }


def _color_of(value: float, steps: list[Any]) -> str:
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return COLORS[reached[-1]["color"]]


def _stack(curves: list[Curve]) -> list[Points]:
    """Each curve on top of those before it."""
    moments = sorted({x for curve in curves for x, _ in curve.points})
    below = dict.fromkeys(moments, 0.0)
    stacked = []
    for curve in curves:
        own = dict(curve.points)
        below = {x: y + own.get(x, 0.0) for x, y in below.items()}
        stacked.append(list(below.items()))
    return stacked


def _line(placed: Points, *, as_steps: bool = False) -> str:
    (x, y), *rest = placed
    commands = [f"M{x:.1f},{y:.1f}"]
    commands += [f"H{x:.1f}V{y:.1f}" if as_steps else f"L{x:.1f},{y:.1f}" for x, y in rest]
    return "".join(commands)


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to above `highest`."""
    size = next(10.0**n for n in range(-9, 15) if 5 * 10.0**n >= highest)
    step = next(size * part for part in (0.1, 0.2, 0.25, 0.5, 1) if size * part * 5 >= highest)
    count = next(n for n in range(1, 6) if n * step >= highest * 0.999)
    return [n * step for n in range(count + 1)]
