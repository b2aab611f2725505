"""Plots: values come in; PNG files (`linkbert stats --plots`) or SVG that stands in a page go out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

from linkbert.files import replacing


@dataclass(frozen=True)
class Plot:
    """Lines by name, each as x and y values, and the words at the axes, whose scale is "linear" or "log"."""

    name: str  # of its file
    title: str
    x: str
    y: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    scale: str = "linear"


def graph_plots(shapes: Mapping[str, Mapping[str, Any]]) -> list[Plot]:
    """Plot `describe_graph` of graphs: degrees, and which share of linked pairs the most drawn documents get."""
    degrees = {}
    for name, shape in shapes.items():
        for key in ("in_degree", "out_degree"):
            # A bin holds `start` degrees, from start to 2 start - 1: so many documents to a single one.
            bins = [(start, count) for start, count in shape[key] if count]
            middles = [(start * (2 * start - 1)) ** 0.5 for start, _ in bins]
            degrees[f"{name}, {key.replace('_', '-')}"] = (middles, [count / start for start, count in bins])
    plots = [Plot("degrees", "Documents by degree", "links to or from a document", "documents", degrees, "log")]
    axes = ("most drawn documents, % of all", "% of linked pairs")
    for name, shape in shapes.items():
        curves = {f"alpha = {alpha}": (range(101), [100 * share for share in coverage["curve"]])
                  for alpha, coverage in shape["coverage"].items()}  # fmt: skip
        plots.append(Plot(f"coverage-{name}", f"Graph {name}: spread of linked targets", *axes, curves))
    return plots if shapes else []


def mean_plots(found: Mapping[tuple[str, str, str, str], Any]) -> Iterator[Plot]:
    """Plot means: (name, title, x, y) -> a line's name -> x -> values; what has two points in one of its lines."""
    for words, lines in found.items():
        if any(len(line) > 1 for line in lines.values()):
            means = {name: (sorted(line), [fmean(line[x]) for x in sorted(line)]) for name, line in lines.items()}
            yield Plot(*words, means)


def draw(plot: Plot) -> Any:
    """Draw a plot, without its title and the names of its lines; return matplotlib's Figure."""
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axis = figure.subplots()
    for i, (name, (x, y)) in enumerate(plot.lines.items()):
        dash = ("-", "--", "-.", ":")[i % 4]
        axis.plot(x, y, dash, label=name, marker="o" if len(x) < 20 else "", markersize=4)
    seen = any(min(point) > 0 for x, y in plot.lines.values() for point in zip(x, y, strict=True))
    axis.set(xlabel=plot.x, ylabel=plot.y, **dict.fromkeys(("xscale", "yscale"), plot.scale if seen else "linear"))
    if plot.scale == "linear" and all(float(each).is_integer() for x, _ in plot.lines.values() for each in x):
        axis.locator_params(axis="x", integer=True)  # epochs, steps
    return figure


def write_plots(statistics: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what `graph_plots` has of a store's statistics into FOLDER; return the PNG files."""
    plots = {folder / f"{plot.name}.png": plot for plot in graph_plots(statistics.get("shapes", {}))}
    if not plots:
        raise ValueError(f"{statistics['path']} has no graph to plot: make one with `linkbert graph`")
    for path, plot in plots.items():
        figure = draw(plot)
        figure.axes[0].legend(
            figure.axes[0].lines, [f"\u200b{name}" for name in plot.lines], title=plot.title
        )  # "_r" too
        with replacing(path) as part:
            figure.savefig(part, format="png", dpi=120)
    return list(plots)


def svg(plot: Plot, prefix: str) -> str:
    """Draw a plot as an SVG element whose ids start with `prefix`; base.html gives it the colours of the page."""
    from matplotlib import rc_context

    file, none = StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "axes.formatter.useoffset": False}):
        draw(plot).savefig(file, format="svg", transparent=True, metadata=none)
    text = re.sub(r' (xmlns|xmlns:xlink|width|height)="[^"]*"', "", file.getvalue().partition("<svg")[2], count=4)
    return "<svg" + re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
