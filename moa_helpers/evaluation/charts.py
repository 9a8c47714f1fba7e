"""Pictures of comparisons: intervals, curves with intervals, and what quality costs. They draw and do not measure.

Colours, patterns and text alternatives as in ``figures``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import isnan

from moa_helpers.evaluation.measures import Interval
from moa_helpers.ui.figures import LINES, Picture, blank

MARKERS = "osD^vP"


def intervals(rows: Mapping[str, Interval], xlabel: str, *, against: float | None = None) -> Picture:
    """A dot and a bar for each: the estimate and its interval. An interval without a width is a dot alone.

    Args:
        rows: in the order from top to bottom.
        xlabel: what is measured, with its unit.
        against: where a vertical line shows what to compare with, such as no difference.
    """
    picture, axes = blank(1.0 + 0.34 * len(rows), xlabel)
    for place, found in enumerate(rows.values()):
        axes.errorbar(found.value, place, xerr=_reach([found]), fmt="o", color="#0072B2", capsize=3)
        axes.annotate(f"{found.value:.3g}", (found.value, place), (0, 5), textcoords="offset points", ha="center")
    if against is not None:
        axes.axvline(against, color="#444444", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.7)
    parts = []
    for name, found in rows.items():
        width = f" ({found.low:.3g} to {found.high:.3g})" if found.low < found.high else ""
        parts.append(f"{name} {found.value:.3g}{width}")
    picture.alt = f"{xlabel}: {'; '.join(parts)}"
    return picture


def curves(lines: Mapping[str, Mapping[int, Interval]], xlabel: str, ylabel: str) -> Picture:
    """A line for each, with its interval at each whole number on the horizontal axis, and its name in the legend."""
    picture, axes = blank(3.8, xlabel, ylabel)
    looks = zip(cycle(LINES), cycle(MARKERS))
    for number, ((name, line), ((colour, dashes), marker)) in enumerate(zip(lines.items(), looks, strict=False)):
        places = [x + 0.05 * (number - (len(lines) - 1) / 2) for x in line]  # so that the bars stand beside each other
        values, reach = [found.value for found in line.values()], _reach(line.values())
        axes.errorbar(places, values, yerr=reach, color=colour, linestyle=dashes, marker=marker, capsize=2, label=name)
    axes.set_xticks(sorted({x for line in lines.values() for x in line}))
    for text in picture.legend(loc="outside right upper", frameon=False).get_texts():
        text.set_parse_math(False)
    parts = [f"{name}: {', '.join(f'{x}: {found}' for x, found in line.items())}." for name, line in lines.items()]
    picture.alt = f"{ylabel} by {xlabel}. {' '.join(parts)}"
    return picture


def tradeoff(
    points: Mapping[str, tuple[float, float]],
    xlabel: str,
    ylabel: str,
    *,
    named: Sequence[str] | None = None,
    front: bool = True,
) -> Picture:
    """Cost (to the right) against quality (up).

    Args:
        points: name -> cost and quality; a point with an unknown one (NaN) is left out of the picture and the front.
        xlabel, ylabel: what they are, with their units.
        named: which points have their name beside them; default: all.
        front: join the points that no other beats, the Pareto front.
    """
    picture, axes = blank(4.2, xlabel, ylabel)
    shown = points if named is None else {name: points[name] for name in named}
    others = [place for name, place in points.items() if name not in shown]
    if others:
        axes.scatter(*_columns(others), color="#BBBBBB", marker=".", label=f"{len(others)} others")
        picture.legend(loc="outside upper right", frameon=False)
    best = sorted(pareto_front(points), key=lambda name: points[name])
    if front:
        axes.step(*_columns(points[name] for name in best), where="post", color="#444444", linestyle="--", linewidth=1)
    from_left = sorted(shown, key=lambda name: shown[name][0])
    for (name, place), (colour, _), marker in zip(shown.items(), cycle(LINES), cycle(MARKERS), strict=False):
        axes.scatter(*place, color=colour, marker=marker, s=50, zorder=3)
        above = from_left.index(name) % 2 == 0  # in turns, so that the names of neighbours do not meet
        axes.annotate(
            name,
            place,
            (0, 6 if above else -6),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
    axes.margins(x=0.2, y=0.15)
    along = f" Beaten by none in both: {', '.join(best)}." if front and best else ""
    rest = f", and {len(others)} others" if others else ""
    parts = [f"{name} {_value(quality)} at {_value(cost)}" for name, (cost, quality) in shown.items()]
    picture.alt = f"{ylabel} against {xlabel}: {'; '.join(parts)}{rest}.{along}"
    return picture


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The points that no other beats: none costs at most as much, is at least as good, and differs.

    A point with an unknown value (NaN) is left out.
    """
    points = {name: place for name, place in points.items() if not any(map(isnan, place))}

    def beaten(cost: float, quality: float) -> bool:
        return any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in points.values())

    return [name for name, place in points.items() if not beaten(*place)]


def _reach(found: Iterable[Interval]) -> list[tuple[float, ...]]:
    """How far each interval reaches below its value, and above it."""
    return [*zip(*((each.value - each.low, each.high - each.value) for each in found), strict=True)]


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [cost for cost, _ in pairs], [quality for _, quality in pairs]


def _value(number: float) -> str:
    return "unknown" if isnan(number) else f"{number:.3g}"
