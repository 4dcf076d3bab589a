"""Axes: values to pixels, round ticks with their unit in the title, and the lines that they draw. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from tracer.outputs.graphic.markup import Markup, element, joined, number_text

SECONDS: Sequence[tuple[float, str]] = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
BYTES: Sequence[tuple[float, str]] = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
COUNTS: Sequence[tuple[float, str]] = ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"), (1.0, ""))
"""Units of an axis: how much one is, and its name, the largest first."""

FEW = 2.0
"""An axis shows so many of its unit at least."""

NEAR = 0.75
"""How much less than asked for the step between two ticks may be."""

TICK, TITLE = 5, 12


@dataclass(frozen=True)
class Box:
    """Where a chart draws its values, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Axis:
    """From low to high in values, from start to end in pixels. units: what its values may be told in."""

    low: float
    high: float
    start: float
    end: float
    title: str
    units: Sequence[tuple[float, str]] = COUNTS
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, value = (
            map(log10, (self.low, self.high, max(value, self.low))) if self.logarithmic else (self.low, self.high, value)
        )
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    @property
    def unit(self) -> tuple[float, str]:
        """How much the unit is, and its name."""
        span = max(self.high - self.low, 0.0)
        return next(((size, name) for size, name in self.units if span >= FEW * size), self.units[-1])

    @property
    def text(self) -> str:
        """The title with the unit."""
        name = "" if self.logarithmic else self.unit[1]
        return f"{self.title} ({name})" if name else self.title

    def ticks(self, about: int) -> list[tuple[float, str]]:
        """Return pixels and texts of about so many round values."""
        if self.logarithmic:
            return [(self.at(value), _in_unit(value, self.units)) for value in decades(self.low, self.high)]
        size, name = self.unit
        found = round_values(self.low / size, self.high / size, about, sixty=name in {"min", "h"})
        return [(self.at(value * size), f"{value:,.10g}") for value in found]


def round_values(low: float, high: float, about: int, *, sixty: bool = False) -> list[float]:
    """Return about so many multiples of a round step from low to high. sixty: steps that divide an hour."""
    rough = max((high - low) / max(about, 1), 1e-12)
    power = 10.0 ** floor(log10(rough))
    steps = [15.0, 30.0, 60.0] if sixty and 10 < rough <= 60 else [n * power for n in (1, 2, 5, 10)]
    step = next(each for each in steps if each >= rough * NEAR)
    return [round(n * step, 12) for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten from low to high; where these are few, twice and five times each, too."""
    found = [10.0**n for n in range(ceil(log10(low) - 1e-9), floor(log10(high) + 1e-9) + 1)]
    if len(found) > FEW:
        return found
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    return [each for n in powers for each in (10.0**n, 2 * 10.0**n, 5 * 10.0**n) if low * 0.999 <= each <= high * 1.001]


def _in_unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    fitting = [unit for unit in units if unit[0] not in {60.0, 3600.0}]
    size, name = next((unit for unit in fitting if value >= unit[0] * 0.999), fitting[-1])
    return f"{value / size:,.10g} {name}".rstrip()


def below(axis: Axis, box: Box, *, about: int = 8, titled: bool = True) -> Markup:
    """Return a horizontal axis at the lower edge of a box. titled: with its numbers and its title."""
    ticks = axis.ticks(about)
    marks = "".join(f"M{number_text(x)} {number_text(box.bottom)}v{TICK}" for x, _ in ticks)
    line = f"M{number_text(box.left)} {number_text(box.bottom)}H{number_text(box.right)}{marks}"
    parts: list[Markup] = [element("path", d=line, class_="axis")]
    if titled:
        parts += [element("text", text, x=x, y=box.bottom + TICK + TITLE, text_anchor="middle") for x, text in ticks]
        parts.append(element("text", axis.text, x=box.right, y=box.bottom + TICK + 2.4 * TITLE, text_anchor="end"))
    return joined(parts)


def vertical_axis(axis: Axis, box: Box, *, about: int = 5, above: float = 8) -> Markup:
    """Return a vertical axis at the left edge of a box, with a rule across it at each tick, and its title so far above."""
    ticks = axis.ticks(about)
    rules = "".join(f"M{number_text(box.left)} {number_text(y)}H{number_text(box.right)}" for y, _ in ticks)
    texts = [element("text", text, x=box.left - 6, y=y + 4, text_anchor="end") for y, text in ticks]
    title = element("text", axis.text, x=max(box.left - 48, 2.0), y=box.top - above, class_="title")
    return joined((element("path", d=rules, class_="rule"), *texts, title))


def chart(width: float, height: float, label: str, *parts: object, caption: object = "", wide: bool = False) -> Markup:
    """Return a figure with a picture that is scrolled where there is no room. label: what it shows, for who does not see it."""
    kind = "chart wide" if wide else "chart"
    picture = element(
        "svg", element("title", label), *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, class_=kind
    )
    told = element("figcaption", caption) if caption else ""
    return element("figure", element("div", picture, class_="scroll", tabindex="0"), told)


def legend(entries: Sequence[tuple[Markup, str]], x: float, y: float, *, room: float = 1e9) -> Markup:
    """Return what symbols (drawn around 0, 0) mean, side by side from a place on, in more lines where the room ends."""
    parts, at, line = [], x, y
    for symbol, text in entries:
        width = 36 + 7.2 * len(text)
        if at > x and at + width > x + room:
            at, line = x, line + 16
        parts.append(element("g", symbol, transform=f"translate({number_text(at + 8)} {number_text(line - 4)})"))
        parts.append(element("text", text, x=at + 20, y=line))
        at += width
    return joined(parts)
