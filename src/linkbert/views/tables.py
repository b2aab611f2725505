"""Results of fine-tuning -> the paper's tables, with the paper's numbers beside ours: sections of a report, and plots.

A row is a model, a column a task, a cell the mean over runs ± their standard deviation (n - 1), times 100. An average
is that of a whole suite, its deviation that of the averages of single seeds. What keeps two rows from being compared
(settings, data files, another set) stands below them, as do the results' own notes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import Config
from linkbert.tasks.metrics import counted_metrics, suite_score
from linkbert.tasks.results import Column, Result, Score, choose_scores, differences, is_scored, mean_text, read_folders
from linkbert.tasks.suite import at_hand
from linkbert.tasks.table import Task, suite, task_of, tasks
from linkbert.views.page import Section, Table, lay_out
from linkbert.views.plots import plot_runs, plot_scores

Row = list[float | None]


@dataclass(frozen=True)
class Layout:
    """One of the paper's tables."""

    title: str
    columns: tuple[Column, ...]
    digits: int = 1
    averaged: bool = False  # a whole suite, whose average is the last place of the paper's rows
    paper: Mapping[str, Row] = field(default_factory=dict)  # by model, in per cent


def layouts() -> list[Layout]:
    """Read the nine tables of the paper."""
    tables = tomllib.loads(resources.files("linkbert.views").joinpath("tables.toml").read_text(encoding="utf-8"))
    return [_layout(number, table) for number, table in tables.items()]


def _layout(number: str, table: Mapping[str, Any]) -> Layout:
    title = f"Table {number}. {table['title']}"
    if "columns" in table:
        names = [name.partition(" ") for name in table["columns"]]
        return Layout(title, tuple(Column(task, varied) for task, _, varied in names), paper=table["paper"])
    tasks = suite(table["suite"])
    averages = table.get("average", {})
    paper: dict[str, Row] = {}
    for model in dict.fromkeys([*(model for task in tasks for model in task.paper), *averages]):
        row: Row = [task.paper.get(model) for task in tasks]
        if len(tasks) > 1:
            whole = None not in row and [(t, dict.fromkeys(t.metrics, t.paper[model])) for t in tasks]
            row.append(averages.get(model, suite_score(whole) if whole else None))
        paper[model] = row
    columns = tuple(Column(task.name) for task in tasks)
    return Layout(title, columns, table.get("digits", 1), len(tasks) > 1, paper)


def report_sections(folders: Sequence[Path], config: Config, plots: Path | None = None) -> list[Section]:
    """Lay out stores, runs and results of fine-tuning; plots go into the folder `plots`, where one is given."""
    from linkbert.views.runs import read_runs, run_curves, run_lines, runs_table
    from linkbert.views.stats import statistics_lines, store_statistics, write_plots

    found: dict[str, list[Path]] = {"store.json": [], "run.json": [], "results.jsonl": []}
    for folder in folders:
        kind = next((name for name in found if (folder / name).is_file()), None)
        if kind is None and not (folder / "plan.json").is_file():
            raise ValueError(
                f"{folder} is neither a STORE, a RUN nor RESULTS (it has no {', '.join(found)}); check the path"
            )
        found[kind or "store.json"].append(folder)
    sections = []
    for number, store in enumerate(found["store.json"]):
        statistics = store_statistics(store, config)
        drawn = write_plots(statistics, plots / str(number)) if plots and statistics.get("shapes") else []
        sections.append(Section(store.resolve().name, list(statistics_lines(statistics)), drawn))
    if runs := read_runs(found["run.json"]):
        curves = [plots / "runs.png"] if plots else []
        for path in curves:
            plot_runs({run.name: run_curves(run) for run in runs}, path)
        sections.append(Section("Runs", list(runs_table(runs)), curves))
        sections += [Section(run.name, run_lines(run), []) for run in runs if plots]
    return [*sections, *results_sections(read_folders(found["results.jsonl"]), plots)]


def list_tasks(data: Path | None) -> list[dict[str, Any]]:
    """List the datasets, a dictionary each, and which have their files in `data`, a folder or a dataset of the hub."""
    known = list(tasks().values())
    here: list[Task] = []
    if data:
        here = [task for task in known if task.hub == str(data) and not data.is_dir()] or at_hand(known, data)[0]
    keys = ("name", "title", "suite", "kind", "metrics", "where", "hub", "licence")
    return [{key: getattr(t, key) for key in keys} | ({"files": t in here} if data else {}) for t in known]


def tasks_lines(listed: list[dict[str, Any]]) -> list[str]:
    """Lay the datasets out, a line each."""
    there = {True: "found", False: "not found", None: ""}
    rows = [[each["name"], each["suite"], each["kind"], ", ".join(each["metrics"]), there[each.get("files")],
             each["title"], each["hub"]] for each in listed]  # fmt: skip
    return lay_out(Table(["name", "suite", "kind", "metrics", "files", "title", "hub"], rows), right=False)


def results_sections(results: Sequence[Result], plots: Path | None = None) -> Iterator[Section]:
    """Lay results out: the paper's tables that they have a part in, what is not in the paper, every score, no score.

    A plot of each of the first goes into the folder `plots`, where one is given.
    """
    scores = choose_scores(results)
    left = list(scores)
    for number, layout in enumerate(layouts(), 1):
        found = [score for score in scores if score.column in layout.columns]
        left = [score for score in left if score not in found]
        if found:
            drawn = [plots / f"table-{number}.png"] if plots else []
            for path in drawn:
                plot_table(layout, found, path)
            yield Section(layout.title, list(notes(found)), drawn, [scores_table(layout, found)])
    if left:
        columns = tuple(dict.fromkeys(score.column for score in left))
        further = Layout("Not in the paper", columns)
        turned = scores_table(further, left)
        head, *rows = zip(turned.head, *turned.rows, strict=True)
        yield Section(further.title, list(notes(left)), [], [Table(head, rows)])
    if scores:
        yield Section("Every score", [], [], [details_table(scores)])
    if unscored := dict.fromkeys(task_of(result).title for result in results if not is_scored(result)):
        yield Section(
            "Not scored", [f"{title}: not scored, the labels of its only set are not public" for title in unscored]
        )


def scores_table(layout: Layout, scores: Sequence[Score]) -> Table:
    """Make a table of the scores: models, what one gets without a model, the paper's rows."""
    columns, average = layout.columns, ["average"] * layout.averaged
    shown = partial(mean_text, digits=layout.digits)
    rows = []
    for model in dict.fromkeys(score.model for score in scores):
        own = {score.column: score for score in scores if score.model == model}
        cells = [own[each].values if each in own else np.zeros(0) for each in columns]
        rows.append([model, *map(shown, [*cells, *(_average(layout, own) for _ in average)])])
    for name in ("majority", "chance"):
        known = {score.column: score.baselines[name] for score in scores if name in score.baselines}
        values = [[suite_score([(each.task, known[each])])] if each in known else [] for each in columns]
        rows.append([name, *map(shown, values), *("-" for _ in average)])
    said = [
        [f"{model} (paper)", *("-" if value is None else f"{value:.{layout.digits}f}" for value in row)]
        for model, row in layout.paper.items()
    ]
    return Table(["model", *(column.title for column in columns), *average], [*rows, *said], len(said))


def _average(layout: Layout, own: Mapping[Column, Score]) -> Sequence[float]:
    """Average a whole suite, for each seed where all of its tasks have the same ones, else once; none if it is not."""
    if any(column not in own for column in layout.columns):
        return []
    scores = [own[column] for column in layout.columns]
    same = len({tuple(run["seed"] for run in score.runs) for score in scores}) == 1
    found = [(score.column.task, {name: score.of(name) for name in score.column.task.metrics}) for score in scores]
    if not same:
        found = [(task, {name: each.mean(keepdims=True) for name, each in means.items()}) for task, means in found]
    seeds = range(len(scores[0].runs) if same else 1)
    return [
        suite_score([(task, {name: each[i] for name, each in means.items()}) for task, means in found]) for i in seeds
    ]


def notes(scores: Sequence[Score]) -> Iterator[str]:
    """Say what must be known to compare the rows of a table, a line for each thing: "RTE; CoLA: scored on dev"."""
    found: dict[str, dict[str, None]] = {}
    for column in dict.fromkeys(score.column for score in scores):
        own = [score for score in scores if score.column == column]
        said = [note for score in own for run in score.runs for note in run["notes"]]
        other = {f"scored on {score.split}" for score in own if score.split != score.column.task.paper_split}
        said += [words for words in other if not any(note.endswith(words) for note in said)]
        said += [f"{score.model}: chosen on dev of {score.others + 1} settings" for score in own if score.others]
        for note in [*said, *differences(own)]:
            found.setdefault(note, {})[column.title] = None
    for note, titles in found.items():
        yield f"{'; '.join(titles)}: {note}"


def details_table(scores: Sequence[Score]) -> Table:
    """List every metric of every score, its groups and its interval over the examples (the mean of the runs')."""
    rows = []
    for score in scores:
        for metric in score.column.task.metrics:
            values, ends = score.of(metric), score.interval(metric)
            interval = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else "-"
            bases = [score.baselines.get(name, {}).get(metric) for name in ("majority", "chance")]
            cells = [mean_text([] if base is None else [base]) for base in bases]
            head = [score.column.title, score.model, score.split, metric]
            rows.append([*head, mean_text(values), str(len(values)), interval, *cells])
            parts = [run["groups"].get(score.split, {}) for run in score.runs]
            for group in dict.fromkeys(name for part in parts for name in part):
                own = [part[group][metric] for part in parts if group in part]
                head[0] = f"{score.column.title}, {group}"
                rows.append([*head, mean_text(own), str(len(own)), "-", "-", "-"])
    return Table(["task", "model", "set", "metric", "score", "runs", "95 % interval", "majority", "chance"], rows)


def plot_table(layout: Layout, scores: Sequence[Score], to: Path) -> None:
    """Draw a table: our scores, with their intervals where a score is of one metric, and the paper's."""
    ours: dict[str, list[tuple[float, float, float] | None]] = {}
    for score in scores:
        row = ours.setdefault(score.model, [None] * len(layout.columns))
        middle = float(score.values.mean())
        metrics = counted_metrics(score.column.task)
        low, high = (score.interval(metrics[0]) if len(metrics) == 1 else None) or (middle, middle)
        row[layout.columns.index(score.column)] = 100 * middle, 100 * low, 100 * high
    paper = {model: row[: len(layout.columns)] for model, row in layout.paper.items()}
    plot_scores(layout.title, [column.title for column in layout.columns], ours, paper, to)
