"""Results of fine-tuning -> the paper's tables, with the paper's numbers next to ours: sections of a report.

A row is a model, a column a task, a cell the mean over runs ± their standard deviation (n - 1), times 100; another
count of runs than the row's stands in brackets. An average is that of a whole suite, its deviation that of the averages
of single seeds. What keeps two rows from being compared (settings, data files, another set) stands below them, as do
the results' own notes; then what each model gains over the first, with paired intervals.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import Config
from linkbert.tasks.compare import gain
from linkbert.tasks.metrics import interval_of, suite_score
from linkbert.tasks.results import Column, Result, Score, choose_scores, differences, is_scored, mean_text, read_folders
from linkbert.tasks.splits import at_hand
from linkbert.tasks.table import suite, task_of, tasks
from linkbert.views.page import Measured, Section, lay_out
from linkbert.views.plots import Plot, mean_plots


@dataclass(frozen=True)
class Layout:
    """One of the paper's tables."""

    title: str
    columns: tuple[Column, ...]
    digits: int = 1
    averaged: bool = False  # a whole suite, whose average is the last place of the paper's rows
    drop: bool = False  # what the last column loses against the first is shown
    size: str = ""  # of the encoders that are compared
    note: str = ""
    paper: Mapping[str, list[float | None]] = field(default_factory=dict)  # by model, in per cent


def layouts() -> Iterator[Layout]:
    """Read the nine tables of the paper."""
    tables = tomllib.loads(resources.files("linkbert.views").joinpath("tables.toml").read_text(encoding="utf-8"))
    for number, table in tables.items():
        title = f"Table {number}. {table['title']}"
        more = {key: table[key] for key in ("drop", "size", "note") if key in table}
        if "columns" in table:
            names = [name.partition(" ") for name in table["columns"]]
            yield Layout(title, tuple(Column(task, varied) for task, _, varied in names), paper=table["paper"], **more)
            continue
        tasks, averages = suite(table["suite"]), table.get("average", {})
        paper, columns = {}, tuple(Column(task.name) for task in tasks)
        for model in dict.fromkeys([*(model for task in tasks for model in task.paper), *averages]):
            paper[model] = [task.paper.get(model) for task in tasks]
            if len(tasks) > 1:
                whole = None if None in paper[model] else average(columns, paper[model])
                paper[model].append(averages.get(model, whole))
        yield Layout(title, columns, table.get("digits", 1), len(tasks) > 1, paper=paper, **more)


def report_sections(folders: Sequence[Path], config: Config | None = None) -> list[Section]:
    """Lay out stores, as `config` draws pairs of them or else the runs beside them, runs, and results."""
    from linkbert.views.runs import runs_section, settings_on
    from linkbert.views.stats import statistics_section, store_statistics

    found: dict[str, list[Path]] = {"store.json": [], "run.json": [], "results.jsonl": []}
    for folder in folders:
        kind = next((name for name in found if (folder / name).is_file()), None)
        if kind is None and not (folder / "plan.json").is_file():
            raise ValueError(f"{folder} is neither a STORE, a RUN nor RESULTS: it has no {', '.join(found)}")
        found[kind or "store.json"].append(folder)
    drawn = [(config, "a run") if config else settings_on(store, found["run.json"]) for store in found["store.json"]]
    stores = zip(found["store.json"], drawn, strict=True)
    sections = [statistics_section(store_statistics(store, *each)) for store, each in stores]
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
    papers = list(layouts())
    listed = {column for layout in papers for column in layout.columns}
    further = tuple(dict.fromkeys(score.column for score in scores if score.column not in listed))
    for layout in [*papers, Layout("Not in the paper", further)]:
        named = [score for score in scores if score.column in layout.columns]
        if found := [score for score in named if not layout.size or score.size in ("", layout.size)]:
            unknown = dict.fromkeys(score.model for score in found if layout.size and not score.size)
            sizes = [f"{name}: of a size that its results do not have; these are {layout.size}" for name in unknown]
            table = scores_table(layout, found)
            if not layout.paper:  # models are columns, tasks rows
                table = [list(row) for row in zip(*table, strict=True)]
            lines = [*filter(None, [layout.note]), *notes(found), *sizes]
            yield Section(layout.title, lines, table, caption=_caption(found))
            yield from gains_section(layout, found)
    if scores:
        plots = list(score_plots(scores))
        yield Section("Every score", table=details_table(scores), caption=_caption(scores), plots=plots)
    if unscored := dict.fromkeys(task_of(result).title for result in results if not is_scored(result)):
        lines = [f"{title}: not scored, the labels of its only set are not public" for title in unscored]
        yield Section("Not scored", lines)


def scores_table(layout: Layout, scores: Sequence[Score]) -> list[list[str]]:
    """Make a table of the scores: models, what one gets without a model, the paper's rows; an average stands first."""
    columns = layout.columns
    shown = partial(mean_text, digits=layout.digits)
    titles = [column.title for column in columns]
    rows = [["model", *["average"] * layout.averaged, "runs", *titles, *["drop"] * layout.drop]]
    for model in dict.fromkeys(score.model for score in scores):
        own = {score.column: score for score in scores if score.model == model}
        values: list[Any] = [own[each].values if each in own else () for each in columns]
        most = max(map(len, values))
        cells = [shown(each) + (f" ({len(each)})" if 0 < len(each) < most else "") for each in values]
        ends = [_by_seed(own, columns, lambda each: each[-1] - each[0])] * layout.drop
        averages = [_by_seed(own, columns, partial(average, columns))] * layout.averaged
        rows.append([model, *map(shown, averages), str(most), *cells, *map(shown, ends)])
    for name in ("majority", "chance"):
        known = {score.column: score.baselines[name] for score in scores if name in score.baselines}
        cells = [shown([suite_score([(each.task, known[each])])] if each in known else []) for each in columns]
        rows.append([name, *["-"] * layout.averaged, "-", *cells, *["-"] * layout.drop])
    for model, row in layout.paper.items():
        lost = [row[-1] - row[0]] if layout.drop and row[-1] and row[0] else []
        numbers = [*row[len(columns) :], None, *row[: len(columns)], *lost]
        cells = ["-" if value is None else f"{value:.{layout.digits}f}" for value in numbers]
        rows.append([f"{model} (paper)", *cells])
    return rows


def _caption(scores: Sequence[Score]) -> str:
    folders = dict.fromkeys(str(run["folder"]) for score in scores for run in score.runs if "folder" in run)
    return f"In %, mean ± standard deviation over seeds, from {', '.join(folders)}; (paper): the paper's own numbers"


def _by_seed(own: Mapping[Column, Score], columns: Sequence[Column], of: Callable[[list[float]], float]) -> list[float]:
    """Apply `of` to the columns' numbers, by seed where all have the same ones, else once; [] where one is lacking."""
    if any(column not in own for column in columns):
        return []
    scores = [own[column] for column in columns]
    same = len({tuple(run["seed"] for run in score.runs) for score in scores}) == 1
    table = [score.values if same else score.values.mean(keepdims=True) for score in scores]
    return [float(of(list(values))) for values in zip(*table, strict=True)]


def average(columns: Sequence[Column], values: Sequence[Any]) -> float:
    """Average the numbers of a whole suite's tasks."""
    pairs = zip((column.task for column in columns), values, strict=True)
    return suite_score([(task, dict.fromkeys(task.metrics, value)) for task, value in pairs])


def gains_section(layout: Layout, scores: Sequence[Score]) -> Iterator[Section]:
    """Show what each model gains over the first, with paired 95 % intervals over the examples that both have."""
    found = {(score.model, score.column): score for score in scores}
    base, *models = dict.fromkeys(score.model for score in scores)
    gains, lacking = dict[tuple[str, Column], np.ndarray](), list[str]()
    for (model, column), score in found.items():
        if model != base and (base, column) in found:
            try:
                gains[model, column], _ = gain(score, found[base, column])
            except (KeyError, ValueError):
                lacking.append(f"{column.title} of {model}")
    why = f"no paired interval, as predictions are not there or of other examples: {'; '.join(lacking)}"
    most = {name: max(len(score.runs) for score in scores if score.model == name) for name in (base, *models)}
    heads = [f"{name}, {count} run{'s' * (count > 1)}" for name, count in most.items()]
    rows, columns, whole = [[f"gain over {heads[0]}", *heads[1:]]], layout.columns, Column("average")
    if layout.averaged:  # the sum of its tasks, each drawn by itself
        weights = np.array([average(columns, [float(of == each) for of in columns]) for each in columns])
        full = [model for model in models if all((model, column) in gains for column in columns)]
        gains |= {(model, whole): weights @ np.stack([gains[model, each] for each in columns]) for model in full}
    for column in [whole, *columns]:
        if any((model, column) in gains for model in models):
            rows.append([column.title if column != whole else column.name])
            for name in models:
                runs = len(found[name, column].runs) if (name, column) in found else most[name]
                fewer = f" ({runs})" * (runs < most[name])
                rows[-1].append(_gain(gains.get((name, column)), layout.digits, fewer))
    caption = f"By how much each model is above {base}, in %, and the 95 % interval of a paired bootstrap"
    if gains or lacking:
        lines, name = [why] if lacking else [], layout.title.partition(".")[0]
        yield Section(f"{name}: gains", lines, rows if gains else (), caption=caption)


def _gain(draws: np.ndarray | None, digits: int, runs: str) -> str:
    if draws is None:
        return "-"
    value, low, high = (100 * each for each in (draws[0], *interval_of(draws[1:])))
    words = f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f}){runs}"
    return Measured(words, {"value": value, "low": low, "high": high})


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
    """List every metric of every score, its groups, its interval over the examples (the mean of the runs'); types."""
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
        kinds = [run.get("types", {}).get(score.split, {}) for run in score.runs]
        for name in sorted({name for part in kinds for name in part}):
            own = [part[name] for part in kinds if name in part]
            f1, *both = (mean_text([each[key] for each in own]) for key in ("f1", "precision", "recall"))
            head = [f"{title}, {name or 'entity'}", score.model, score.split, "F1 (precision, recall)"]
            rows.append([*head, f"{f1} ({', '.join(both)})", str(len(own)), "-", "-", "-"])
    return rows


def score_plots(scores: Sequence[Score]) -> Iterator[Plot]:
    """Plot few-shot scores over the fraction of train, losses and dev scores over epochs; means over runs."""
    found: dict[tuple[str, str, str, str], dict[str, dict[float, list[float]]]] = {}
    for score in scores:
        points = list[tuple[str, str, str, float, float]]()
        for run in score.runs:
            for number, epoch in enumerate(run.get("epochs", ()), 1):
                for key, name, scale in (("loss", "training loss", 1), ("dev", "score on dev, %", 100)):
                    points += [(score.column.title, "epoch", name, number, scale * epoch[key])] if key in epoch else []
        key, _, share = (score.column.variation or "fraction=1").partition("=")
        if key == "fraction" and "=" not in share:
            shot = score.column.task.title, "% of train", "few-shot score, %", 100 * float(share)
            points += [(*shot, 100 * value) for value in score.values]
        for title, x, y, place, value in points:
            words = f"{title} {y}", f"{title}: {y}", x, y
            found.setdefault(words, {}).setdefault(score.model, {}).setdefault(place, []).append(value)
    return mean_plots(found)
