"""Plots of a store's graphs: what `linkbert stats` counts comes in, PNG files go out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linkbert.files import replacing


def plot_degrees(shapes: dict[str, dict[str, Any]], to: Path) -> None:
    """Draw the distributions of in- and out-degrees of graphs, both axes logarithmic: {name: shape} -> a PNG."""
    figure, axes = _figure(2)
    meanings = {"in_degree": "documents that link here", "out_degree": "documents linked from here"}
    for axis, (key, meaning) in zip(axes, meanings.items(), strict=True):
        for name, shape in shapes.items():
            # A bin holds `start` degrees, from start to 2 start - 1: so many documents to a single one.
            bins = [(start, count) for start, count in shape[key] if count]
            middles = [(start * (2 * start - 1)) ** 0.5 for start, _ in bins]
            axis.loglog(middles, [count / start for start, count in bins], marker="o", label=name)
        axis.set(xlabel=f"{key.replace('_', '-')}: {meaning}", ylabel="documents of this degree")
        axis.legend()
    _save(figure, to)


def plot_coverage(name: str, shape: dict[str, Any], to: Path) -> None:
    """Draw which share of linked pairs the most drawn documents get, for each alpha."""
    figure, (axis,) = _figure(1)
    for alpha, coverage in shape["coverage"].items():
        axis.plot(range(len(coverage["curve"])), [100 * share for share in coverage["curve"]], label=f"alpha = {alpha}")
    axis.set(title=f"graph {name}", xlabel="most drawn documents, % of all", ylabel="% of linked pairs")
    axis.set(xlim=(0, 100), ylim=(0, 100))
    axis.legend()
    _save(figure, to)


def _figure(columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(5.5 * columns, 4), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Any, to: Path) -> None:
    with replacing(to) as part:
        figure.savefig(part, format="png", dpi=120)
