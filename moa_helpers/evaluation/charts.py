"""Pictures of comparisons: intervals, curves with intervals, and quality against cost. They measure nothing.

Colours, patterns and text alternatives as in ``figures``.
"""

from collections.abc import Mapping
from itertools import cycle
from math import isnan
from typing import Any, TypeAlias

from moa_helpers.evaluation.measures import Interval
from moa_helpers.ui.figures import LINES, Picture, blank

MARKERS = "osD^vP"
BESIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}  # the place of a mark's text
Points: TypeAlias = Mapping[str, tuple[float, float]]  # name -> cost and quality


def intervals(rows: Mapping[str, Interval], xlabel: str, *, against: float | None = None) -> Picture:
    """A dot and a bar for each, from top to bottom: the estimate and its interval; a dot alone if that has no width.

    ``xlabel`` names the measure and its unit. A vertical line at ``against`` shows the value to compare with.
    """
    picture, axes = blank(1.0 + 0.34 * len(rows), xlabel)
    parts = []
    for place, (name, found) in enumerate(rows.items()):
        reach = [[found.value - found.low], [found.high - found.value]]
        axes.errorbar(found.value, place, xerr=reach, fmt="o", color="#0072B2", capsize=3)
        axes.annotate(f"{found.value:.3g}", (found.value, place), (0, 5), **BESIDE)
        width = f" ({found.low:.3g} to {found.high:.3g})" if found.low < found.high else ""
        parts.append(f"{name} {found.value:.3g}{width}")
    if against is not None:
        axes.axvline(against, color="#444444", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.7)
    picture.alt = f"{xlabel}: {'; '.join(parts)}"
    return picture


def curves(lines: Mapping[str, Mapping[int, Interval]], xlabel: str, ylabel: str) -> Picture:
    """A line for each, with its interval at each whole number on the horizontal axis, and its name in the legend."""
    picture, axes = blank(3.8, xlabel, ylabel)
    drawn: dict[str, Any] = {}
    looks = zip(cycle(LINES), cycle(MARKERS))
    for number, ((name, line), ((colour, dashes), marker)) in enumerate(zip(lines.items(), looks, strict=False)):
        places = [x + 0.05 * (number - (len(lines) - 1) / 2) for x in line]  # so that the bars are side by side
        values = [found.value for found in line.values()]
        reach = [*zip(*((each.value - each.low, each.high - each.value) for each in line.values()), strict=True)]
        drawn[name] = axes.errorbar(places, values, reach, color=colour, linestyle=dashes, marker=marker, capsize=2)
    axes.set_xticks(sorted({x for line in lines.values() for x in line}))
    picture.legend([*drawn.values()], [*drawn], frameon=False, loc="outside right upper")
    parts = [f"{name}: {', '.join(f'{x}: {found}' for x, found in line.items())}." for name, line in lines.items()]
    picture.alt = f"{ylabel} by {xlabel}. {' '.join(parts)}"
    return picture


def tradeoff(points: Points, xlabel: str, ylabel: str) -> Picture:
    """Cost (to the right) against quality (up), with the Pareto front. It is drawn from means, and chance moves it.

    What has an unknown value (NaN) is left out. ``xlabel`` and ``ylabel`` name the measures and their units.
    """
    picture, axes = blank(4.2, xlabel, ylabel)
    best = sorted(pareto_front(points), key=lambda name: points[name])
    costs, qualities = ([points[name][side] for name in best] for side in (0, 1))
    axes.step(costs, qualities, where="post", color="#444444", linestyle="--", linewidth=1)
    from_left = sorted(points, key=lambda name: points[name][0])
    for (name, place), (colour, _), marker in zip(points.items(), cycle(LINES), cycle(MARKERS), strict=False):
        axes.scatter(*place, color=colour, marker=marker, s=50, zorder=3)
        above = from_left.index(name) % 2 == 0  # in turns, so that the names of neighbours do not meet
        offset, va = ((0, 6), "bottom") if above else ((0, -6), "top")
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        axes.annotate(name, place, offset, va=va, bbox=box, **BESIDE)
    axes.margins(x=0.2, y=0.15)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]))  # an axis that begins elsewhere makes a small gain look large
    along = f" Beaten by none in both: {', '.join(best)}." if best else ""
    parts = [name + f" {good:.3g} at {cost:.3g}".replace("nan", "unknown") for name, (cost, good) in points.items()]
    picture.alt = f"{ylabel} against {xlabel}: {'; '.join(parts)}.{along}"
    return picture


def pareto_front(points: Points) -> list[str]:
    """The points, without unknown ones (NaN), that no other beats: none is as cheap, as good, and better in one."""
    points = {name: place for name, place in points.items() if not any(map(isnan, place))}

    def beaten(cost: float, quality: float) -> bool:
        return any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in points.values())

    return [name for name, place in points.items() if not beaten(*place)]
