"""Results of fine-tuning -> the paper's tables, with the paper's numbers next to ours: sections of a report.

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

from linkbert.config import Config
from linkbert.tasks.metrics import suite_score
from linkbert.tasks.results import Column, Result, Score, choose_scores, differences, is_scored, mean_text, read_folders
from linkbert.tasks.splits import at_hand
from linkbert.tasks.table import suite, task_of, tasks
from linkbert.views.page import Measured, Section, lay_out


@dataclass(frozen=True)
class Layout:
    """One of the paper's tables."""

    title: str
    columns: tuple[Column, ...]
    digits: int = 1
    averaged: bool = False  # a whole suite, whose average is the last place of the paper's rows
    paper: Mapping[str, list[float | None]] = field(default_factory=dict)  # by model, in per cent


def layouts() -> Iterator[Layout]:
    """Read the nine tables of the paper."""
    tables = tomllib.loads(resources.files("linkbert.views").joinpath("tables.toml").read_text(encoding="utf-8"))
    for number, table in tables.items():
        title = f"Table {number}. {table['title']}"
        if "columns" in table:
            names = [name.partition(" ") for name in table["columns"]]
            yield Layout(title, tuple(Column(task, varied) for task, _, varied in names), paper=table["paper"])
            continue
        tasks, averages = suite(table["suite"]), table.get("average", {})
        paper = {}
        for model in dict.fromkeys([*(model for task in tasks for model in task.paper), *averages]):
            paper[model] = [task.paper.get(model) for task in tasks]
            if len(tasks) > 1:
                whole = None not in paper[model] and [(t, dict.fromkeys(t.metrics, t.paper[model])) for t in tasks]
                paper[model].append(averages.get(model, suite_score(whole) if whole else None))
        columns = tuple(Column(task.name) for task in tasks)
        yield Layout(title, columns, table.get("digits", 1), len(tasks) > 1, paper)


def report_sections(folders: Sequence[Path], config: Config) -> list[Section]:
    """Lay out stores, runs and results of fine-tuning."""
    from linkbert.views.runs import runs_section
    from linkbert.views.stats import statistics_section, store_statistics

    found: dict[str, list[Path]] = {"store.json": [], "run.json": [], "results.jsonl": []}
    for folder in folders:
        kind = next((name for name in found if (folder / name).is_file()), None)
        if kind is None and not (folder / "plan.json").is_file():
            raise ValueError(f"{folder} is neither a STORE, a RUN nor RESULTS: it has no {', '.join(found)}")
        found[kind or "store.json"].append(folder)
    sections = [statistics_section(store_statistics(store, config)) for store in found["store.json"]]
    sections += [runs_section(found["run.json"])] if found["run.json"] else []
    return [*sections, *results_sections(read_folders(found["results.jsonl"]))]


def list_tasks(data: Path | None) -> list[dict[str, Any]]:
    """List the datasets, a dictionary each, and which have their files in `data`, a folder or a dataset of the hub."""
    known = list(tasks().values())
    on_hub = [task for task in known if data and task.hub == str(data) and not data.is_dir()]
    here = on_hub or (at_hand(known, data)[0] if data else [])
    keys = ("name", "title", "suite", "kind", "metrics", "where", "hub", "licence")
    return [{key: getattr(t, key) for key in keys} | ({"files": t in here} if data else {}) for t in known]


def tasks_lines(listed: list[dict[str, Any]]) -> list[str]:
    """Lay the datasets out, a line each."""
    there = {True: "found", False: "not found", None: ""}
    keys = ("name", "suite", "kind", "metrics", "files", "title", "hub")
    rows = [each | {"metrics": ", ".join(each["metrics"]), "files": there[each.get("files")]} for each in listed]
    return lay_out([keys, *([row[key] for key in keys] for row in rows)], right=False)


def results_sections(results: Sequence[Result]) -> Iterator[Section]:
    """Lay results out: the paper's tables that they have a part in, what is not in the paper, every score, no score."""
    scores = choose_scores(results)
    left = list(scores)
    for layout in layouts():
        if found := [score for score in scores if score.column in layout.columns]:
            left = [score for score in left if score not in found]
            yield Section(layout.title, notes(found), scores_table(layout, found), caption=_caption(found))
    if left:
        further = Layout("Not in the paper", tuple(dict.fromkeys(score.column for score in left)))
        table = list(zip(*scores_table(further, left), strict=True))  # models are columns, tasks rows
        yield Section(further.title, notes(left), table, caption=_caption(left))
    if scores:
        yield Section("Every score", table=details_table(scores), caption=_caption(scores))
    if unscored := dict.fromkeys(task_of(result).title for result in results if not is_scored(result)):
        lines = [f"{title}: not scored, the labels of its only set are not public" for title in unscored]
        yield Section("Not scored", lines)


def scores_table(layout: Layout, scores: Sequence[Score]) -> list[list[str]]:
    """Make a table of the scores: models, what one gets without a model, the paper's rows."""
    columns, width = layout.columns, len(layout.columns) + layout.averaged
    shown = partial(mean_text, digits=layout.digits)
    rows = [["model", *[*(column.title for column in columns), "average"][:width]]]
    for model in dict.fromkeys(score.model for score in scores):
        own = {score.column: score for score in scores if score.model == model}
        values = [own[each].values if each in own else () for each in columns]
        rows.append([model, *map(shown, [*values, _average(layout, own)][:width])])
    for name in ("majority", "chance"):
        known = {score.column: score.baselines[name] for score in scores if name in score.baselines}
        cells = [[suite_score([(each.task, known[each])])] if each in known else [] for each in columns]
        rows.append([name, *map(shown, [*cells, ()][:width])])
    for model, row in layout.paper.items():
        rows.append([f"{model} (paper)", *("-" if value is None else f"{value:.{layout.digits}f}" for value in row)])
    return rows


def _caption(scores: Sequence[Score]) -> str:
    folders = dict.fromkeys(str(run["folder"]) for score in scores for run in score.runs if "folder" in run)
    return f"In %, mean ± standard deviation over seeds, from {', '.join(folders)}; (paper): the paper's own numbers"


def _average(layout: Layout, own: Mapping[Column, Score]) -> list[float]:
    """Average a whole suite, for each seed where all of its tasks have the same ones, else once; none if it is not."""
    if any(column not in own for column in layout.columns):
        return []
    scores = [own[column] for column in layout.columns]
    same = len({tuple(run["seed"] for run in score.runs) for score in scores}) == 1
    averages = []
    for i in range(len(scores[0].runs)) if same else [slice(None)]:
        tables = [{name: score.of(name)[i].mean() for name in score.column.task.metrics} for score in scores]
        averages.append(suite_score([(score.column.task, each) for score, each in zip(scores, tables, strict=True)]))
    return averages


def notes(scores: Sequence[Score]) -> list[str]:
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
    return [f"{'; '.join(titles)}: {note}" for note, titles in found.items()]


def details_table(scores: Sequence[Score]) -> list[list[str]]:
    """List every metric of every score, its groups and its interval over the examples (the mean of the runs')."""
    rows = [["task", "model", "set", "metric", "score", "runs", "95 % interval", "majority", "chance"]]
    for score in scores:
        title, parts = score.column.title, [run["groups"].get(score.split, {}) for run in score.runs]
        for metric in score.column.task.metrics:
            head, values, ends = [score.model, score.split, metric], score.of(metric), score.interval(metric)
            interval = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else "-"
            found = {"value": values.mean(), "low": ends[0], "high": ends[1]} if ends else None
            bases = [score.baselines.get(name, {}).get(metric) for name in ("majority", "chance")]
            cells = [mean_text([] if base is None else [base]) for base in bases]
            rows.append([title, *head, mean_text(values), str(len(values)), Measured(interval, found, 1.0), *cells])
            for group in dict.fromkeys(name for part in parts for name in part):
                own = [part[group][metric] for part in parts if group in part]
                rows.append([f"{title}, {group}", *head, mean_text(own), str(len(own)), "-", "-", "-"])
    return rows
