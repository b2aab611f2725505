"""Plots of a store's graphs, of runs and of scores: plain values come in, PNG files go out."""

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


def plot_runs(curves: dict[str, dict[str, Any]], to: Path) -> None:
    """Draw runs over one another, a colour each: losses, relations, gains with their intervals, learning rates.

    `curves` are what runs.run_curves gives, by the run's name; what is of held-out documents has markers.
    """
    figure, (losses, relations, gains, rates) = _figure(2, rows=2)
    for number, (name, curve) in enumerate(curves.items()):
        colour = f"C{number % 10}"
        _line(losses, curve["mlm_loss"], color=colour, alpha=0.5)
        _line(losses, curve["held_out_mlm_loss"], color=colour, marker="o", label=name)
        for relation, style in zip(curve["held_out_relations"], ("-", "--", ":"), strict=True):
            _line(relations, curve["relation_accuracies"][relation], color=colour, linestyle=style, alpha=0.4)
            held_out = curve["held_out_relations"][relation]
            _line(relations, held_out, color=colour, linestyle=style, marker="o", label=f"{name}, {relation}")
        for kind, style in (("link_gain", "-"), ("context_gain", "--")):
            if points := curve[kind]:
                steps, _, low, high = zip(*points, strict=True)
                label = f"{name}, {kind.replace('_', ' ')}"
                _line(gains, [point[:2] for point in points], color=colour, linestyle=style, marker="o", label=label)
                gains.fill_between(steps, low, high, color=colour, alpha=0.15)
        _line(rates, curve["learning_rate"], color=colour, label=name)
    losses.set(xlabel="step", ylabel="masked-token loss, nats (o: held out)")
    relations.set(xlabel="step", ylabel="relations right, by relation (o: held out)", ylim=(0, 1))
    gains.set(xlabel="step", ylabel="gain beside a random B, nats a token")
    rates.set(xlabel="step", ylabel="learning rate")
    for axis in (losses, relations, gains, rates):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    _save(figure, to)


def plot_scores(
    title: str,
    tasks: list[str],
    ours: dict[str, list[tuple[float, float, float] | None]],
    paper: dict[str, list[float | None]],
    to: Path,
) -> None:
    """Draw scores in per cent, a row for each task: ours as (score, low, high), filled; the paper's hollow."""
    figure, (axis,) = _figure(1, width=9, height=1.5 + 0.5 * len(tasks) + 0.12 * (len(ours) + len(paper)))
    for number, (name, points) in enumerate(ours.items()):
        shift = 0.5 * (number + 1) / (len(ours) + 1) - 0.25  # models stand apart, lest they hide each other
        for row, point in enumerate(points):
            if point:
                middle, low, high = point
                axis.plot([low, high], [row + shift] * 2, color=f"C{number % 10}")
                axis.plot(middle, row + shift, "o", color=f"C{number % 10}", label=name)
    for number, (name, scores) in enumerate(paper.items()):
        for row, score in enumerate(scores):
            if score is not None:
                axis.plot(score, row, "sD^v<>ph*d"[number % 10], color="0.4", fillstyle="none", label=f"{name} (paper)")
    axis.set(title=title, xlabel="score, %", yticks=range(len(tasks)), yticklabels=tasks)
    axis.set_ylim(len(tasks) - 0.5, -0.5)
    handles, names = axis.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    axis.legend(once.values(), once.keys(), fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, to)


def _line(axis: Any, points: list[tuple[float, float]], **style: Any) -> None:
    if points:
        axis.plot(*zip(*points, strict=True), **style)


def _figure(columns: int, *, rows: int = 1, width: float = 5.5, height: float = 4) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _save(figure: Any, to: Path) -> None:
    with replacing(to) as part:
        figure.savefig(part, format="png", dpi=120)
