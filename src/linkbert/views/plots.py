"""Plots of a store's graphs: the numbers of `store_statistics` come in, PNG files go out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linkbert.files import replacing


def write_plots(statistics: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the degrees of all graphs, and for each graph what alpha does, into FOLDER; return the PNG files.

    coverage-NAME.png has for each alpha which share of the linked pairs the most drawn documents get.
    """
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    if not (shapes := statistics.get("shapes")):
        raise ValueError(f"{statistics['path']} has no graph to plot: make one with `linkbert graph`")
    figures = {"degrees": Figure(figsize=(11, 4), layout="constrained")}
    meanings = {"in_degree": "documents that link here", "out_degree": "documents linked from here"}
    for axis, (key, meaning) in zip(figures["degrees"].subplots(1, 2), meanings.items(), strict=True):
        for name, shape in shapes.items():
            # A bin holds `start` degrees, from start to 2 start - 1: so many documents to a single one.
            bins = [(start, count) for start, count in shape[key] if count]
            middles = [(start * (2 * start - 1)) ** 0.5 for start, _ in bins]
            axis.loglog(middles, [count / start for start, count in bins], marker="o", label=name)
        axis.set(xlabel=f"{key.replace('_', '-')}: {meaning}", ylabel="documents of this degree")
    for name, shape in shapes.items():
        figures[f"coverage-{name}"] = Figure(figsize=(5.5, 4), layout="constrained")
        axis = figures[f"coverage-{name}"].subplots()
        for alpha, coverage in shape["coverage"].items():
            axis.plot([100 * share for share in coverage["curve"]], label=f"alpha = {alpha}")
        axis.set(title=f"graph {name}", xlabel="most drawn documents, % of all", ylabel="% of linked pairs")
        axis.set(xlim=(0, 100), ylim=(0, 100))
    for name, figure in figures.items():
        for axis in figure.axes:
            axis.legend()
        with replacing(folder / f"{name}.png") as part:
            figure.savefig(part, format="png", dpi=120)
    return [folder / f"{name}.png" for name in figures]
