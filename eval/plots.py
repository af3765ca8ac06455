"""Plots as inline SVG: drawn in percent of their box, so that they fit any width; their words are HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .breakdown import Calibration
from .headline import signed
from .markup import Markup, join, number, tag
from .measures import MAIN_MEASURE
from .significance import TIE

Tick = tuple[float, str]
"""Where a tick is, in percent of the axis from the left or the top, and what stands at it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of changes, from `low` (at most 0) to `high` (at least 0), with round steps between."""

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Iterable[float], share: float = 0.0) -> Scale:
        """Return the scale that holds `values` and 0; either side gets at least `share` of the whole.

        Changes of a measure never leave -1..1, so the scale does not either.
        """
        held = [0.0, *values]
        low, high = max(-1.0, min(held)), min(1.0, max(held))
        if high - low < TIE:
            low, high = -0.1, 0.1
        low, high = min(low, -share * high), max(high, -share * low)
        step = _nice_step((high - low) / 6)
        return cls(
            round(step * math.floor(low / step + 1e-9), 10), round(step * math.ceil(high / step - 1e-9), 10), step
        )

    def __str__(self) -> str:
        return f"{signed(self.low, 2)} to {signed(self.high, 2)}"

    def at(self, value: float) -> float:
        """Return where `value` is, in percent from the low end; what is beyond an end is at it."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[Tick]:
        """The steps as ticks of an axis that goes up."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        steps = [round(place * self.step, 10) for place in range(last, first - 1, -1)]
        digits = max(1, -math.floor(math.log10(self.step)))
        return [(100 - self.at(step), signed(step, digits)) for step in steps]


@dataclass(frozen=True, slots=True)
class Point:
    """One mark of a scatter plot; `series` and `shape` number its colour and its form."""

    name: str
    x: float
    y: float
    low: float
    high: float
    series: int
    shape: int


def frame(
    label: str,
    drawing: Markup,
    *,
    x: Sequence[Tick] = (),
    y: Sequence[Tick] = (),
    x_title: str = "",
    y_title: str = "",
    notes: Markup | None = None,
    kind: str = "",
) -> Markup:
    """Return a drawing with its axes; `label` is what it says to those who do not see it."""
    grid = join(
        *(tag("line", x1="0", x2="100%", y1=percent(at), y2=percent(at), class_="grid") for at, _ in y),
        *(tag("line", y1="0", y2="100%", x1=percent(at), x2=percent(at), class_="grid") for at, _ in x),
    )
    return tag(
        "div",
        tag("div", y_title, class_="y-title") if y_title else None,
        tag("div", *(tag("span", text, style=f"top:{percent(at)}") for at, text in y), class_="y", aria_hidden="true"),
        tag("div", canvas(label, grid, drawing), notes, class_="canvas"),
        tag("div", *(tag("span", text, style=f"left:{percent(at)}") for at, text in x), class_="x", aria_hidden="true"),
        tag("div", x_title, class_="x-title") if x_title else None,
        class_=f"frame {kind}".rstrip(),
    )


def canvas(label: str, *drawing: Markup) -> Markup:
    """Return the SVG itself."""
    return tag("svg", *drawing, role="img", aria_label=label, class_="plot")


def risk_curve(label: str, changes: Sequence[float], scale: Scale, *, small: bool = False) -> Markup:
    """Return the change of each query, best first: what was gained stands above the line, what was lost below."""
    ranked = sorted(changes, reverse=True)
    helped, hurt = sum(one > 0 for one in ranked), sum(one < 0 for one in ranked)
    drawing = tag(
        "svg",
        tag("path", d=_steps([max(one, 0.0) for one in ranked], scale), class_="gain"),
        tag("path", d=_steps([min(one, 0.0) for one in ranked], scale), class_="loss"),
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
    )
    floor = percent(100 - scale.at(0))
    zero = tag("line", x1="0", x2="100%", y1=floor, y2=floor, class_="zero")
    notes = join(
        tag("span", f"{helped} helped", class_="note gain", aria_hidden="true"),
        tag("span", f"{hurt} hurt", class_="note loss", aria_hidden="true"),
    )
    if small:
        return tag("div", canvas(label, drawing, zero), class_="canvas small")
    last = len(ranked)
    places = [place for place in (1, *nice_steps(last)[1:-1], last) if place == last or place < 0.93 * last]
    return frame(
        label,
        join(drawing, zero),
        x=[(100 * (place - 0.5) / last, str(place)) for place in dict.fromkeys(places)] if last else (),
        y=scale.ticks,
        x_title="queries, from the most helped to the most hurt",
        y_title=f"change of {MAIN_MEASURE}",
        notes=notes,
        kind="risk",
    )


def scatter(label: str, points: Sequence[Point]) -> Markup:
    """Return the change of each point against its time, on a logarithmic axis."""
    times = log_ticks([point.x for point in points])
    left, right = math.log10(times[0]), math.log10(times[-1])
    scale = Scale.of(end for point in points for end in (point.low, point.high))

    def across(x: float) -> float:
        return 100 * (math.log10(max(x, times[0])) - left) / (right - left)

    def down(y: float) -> float:
        return 100 - scale.at(y)

    marks = [_mark(point, across(point.x), down(point.y), down(point.high), down(point.low)) for point in points]
    zero = tag("line", x1="0", x2="100%", y1=percent(down(0)), y2=percent(down(0)), class_="zero")
    return frame(
        label,
        join(zero, *marks),
        x=[(across(time), f"{time:g}") for time in times],
        y=scale.ticks,
        x_title="milliseconds a query, half of the queries took no longer (logarithmic)",
        y_title="gain over none",
        kind="scatter",
    )


def reliability(label: str, found: Calibration) -> Markup:
    """Return how often queries of each confidence were not hurt, and helped; well calibrated means on the diagonal."""
    most = max((bucket["queries"] for bucket in found["buckets"]), default=1)
    marks: list[Markup] = []
    for name in ("not_hurt", "helped"):
        places = [
            (
                100 * bucket["confidence"],
                100 * (1 - (bucket["helped"] if name == "helped" else bucket["not_hurt"])),
                bucket,
            )
            for bucket in found["buckets"]
        ]
        for (x, y, _), (next_x, next_y, _) in pairwise(places):
            marks.append(
                tag("line", x1=percent(x), y1=percent(y), x2=percent(next_x), y2=percent(next_y), class_=f"path {name}")
            )
        for x, y, bucket in places:
            size = 4 + 8 * math.sqrt(bucket["queries"] / most)
            what = name.replace("_", " ")
            told = f"confidence {bucket['confidence']:.2f}, {bucket['queries']} queries: {100 - y:.0f} % {what}"
            marks.append(tag("circle", tag("title", told), cx=percent(x), cy=percent(y), r=size, class_=f"dot {name}"))
    diagonal = tag("line", x1="0", y1="100%", x2="100%", y2="0", class_="diagonal")
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return frame(
        label,
        join(diagonal, *marks),
        x=[(100 * tick, f"{tick:g}") for tick in ticks],
        y=[(100 * (1 - tick), f"{100 * tick:.0f} %") for tick in reversed(ticks)],
        x_title="confidence of the rewrite",
        y_title="share of the changed queries",
        kind="reliability",
    )


def interval_bar(delta: float, low: float, high: float, scale: Scale, *, bar: bool = False) -> Markup:
    """Return a change with its interval; the figures stand beside it."""
    across = scale.at
    side = "gain" if delta > 0 else "loss" if delta < 0 else "same"
    left, right = sorted((across(0), across(delta)))
    body = (
        tag("rect", x=percent(left), width=percent(right - left), y="22%", height="56%", class_=side)
        if bar
        else tag("circle", cx=percent(across(delta)), cy="50%", r="4.5", class_=side)
    )
    return tag(
        "svg",
        tag("line", x1=percent(across(0)), x2=percent(across(0)), y1="0", y2="100%", class_="zero"),
        *((body,) if bar else ()),
        tag("line", x1=percent(across(low)), x2=percent(across(high)), y1="50%", y2="50%", class_="whisker"),
        *(() if bar else (body,)),
        class_="plot bar",
        role="img",
        aria_label=f"{signed(delta)}, interval {signed(low)} to {signed(high)}",
    )


def shares(helped: int, tied: int, hurt: int) -> Markup:
    """Return how the queries fall into helped, tied and hurt, as one bar."""
    total = max(1, helped + tied + hurt)
    parts: list[Markup] = []
    start = 0.0
    for name, count in (("gain", helped), ("same", tied), ("loss", hurt)):
        width = 100 * count / total
        parts.append(tag("rect", x=percent(start), width=percent(width), y="0", height="100%", class_=name))
        start += width
    return tag("svg", *parts, class_="plot shares", role="img", aria_label=f"{helped} helped, {tied} tied, {hurt} hurt")


def shape(form: int, x: str, y: str, class_: str, told: str | None = None) -> Markup:
    """Return the mark of form number `form`: circle, square, triangle, diamond, and again."""
    title = None if told is None else tag("title", told)
    match form % 4:
        case 0:
            return tag("circle", title, cx=x, cy=y, r="6", class_=class_)
        case 1:
            inner = tag("rect", title, x="-5.5", y="-5.5", width="11", height="11", class_=class_)
        case 2:
            inner = tag("path", title, d="M0 -7L7 5.5H-7Z", class_=class_)
        case _:
            inner = tag("path", title, d="M0 -7.5L7.5 0L0 7.5L-7.5 0Z", class_=class_)
    # Paths know no percent; a nested viewport that shows what hangs over brings them to their place.
    return tag("svg", inner, x=x, y=y, width="1", height="1", class_="at")


def percent(value: float) -> str:
    """Return a coordinate as a share of the box."""
    return f"{number(value)}%"


def nice_steps(count: int) -> list[int]:
    """Return round whole numbers from 0 to beyond `count`.

    >>> nice_steps(213)
    [0, 50, 100, 150, 200, 250]
    """
    step = max(1, round(_nice_step(max(1, count) / 5)))
    return list(range(0, count + step, step))


def log_ticks(values: Iterable[float]) -> list[float]:
    """Return the round times 1, 2, 5, 10, … that span `values`, at least two and at most seven.

    >>> log_ticks([0.4, 2.0])
    [0.2, 0.5, 1.0, 2.0, 5.0]
    """
    held = [max(value, 0.01) for value in values] or [1.0]
    every = [mantissa * 10.0**power for power in range(-3, 9) for mantissa in (1, 2, 5)]
    low = max(place for place, tick in enumerate(every) if tick < min(held) * 0.95)
    high = min(place for place, tick in enumerate(every) if tick > max(held) * 1.05)
    ticks = every[low : high + 1]
    if len(ticks) > 7:
        ticks = [10.0**power for power in range(math.floor(math.log10(ticks[0])), math.ceil(math.log10(ticks[-1])) + 1)]
    return [float(f"{tick:g}") for tick in ticks]


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(mantissa * power for mantissa in (1, 2, 5, 10) if mantissa * power >= rough * (1 - 1e-9))


def _steps(values: Sequence[float], scale: Scale) -> str:
    """Return the outline of a bar for each value, drawn as one shape down to the zero line."""
    if not any(values):
        return ""
    width = 100 / len(values)
    floor = number(100 - scale.at(0))
    parts = [f"M0 {floor}"]
    for place, value in enumerate(values):
        height = number(100 - scale.at(value))
        parts.append(f"V{height}H{number((place + 1) * width)}")
    return f"{''.join(parts)}V{floor}Z"


def _mark(point: Point, x: float, y: float, top: float, bottom: float) -> Markup:
    told = f"{point.name}: {signed(point.y)} at {point.x:.1f} ms"
    return join(
        tag(
            "line",
            x1=percent(x),
            x2=percent(x),
            y1=percent(top),
            y2=percent(bottom),
            class_=f"whisker arm-{point.series}",
        ),
        shape(point.shape, percent(x), percent(y), f"mark arm-{point.series}", told),
    )


def legend(entries: Mapping[str, str]) -> Markup:
    """Return a list of names with the swatch of each class."""
    items = (tag("li", tag("i", class_=f"swatch {kind}"), name) for name, kind in entries.items())
    return tag("ul", *items, class_="legend")
