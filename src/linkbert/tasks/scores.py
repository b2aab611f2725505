"""Results of fine-tuning -> a score for each model and task: the runs that say it, their mean and spread.

In: folders with a results.jsonl, a JSON line for each run. Runs that differ in their seed only say one score. Where a
model has been run with several settings, as by a grid, the score is that of the most seeds, then of the best mean on
dev; the test set chooses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.tasks.metrics import suite_score
from linkbert.tasks.results import read_results
from linkbert.tasks.table import Task, find_task, tasks

VARIATIONS = {"distract": "0", "distract_in": "all", "fraction": "1"}  # settings that make another task, if not these

Result = dict[str, Any]  # a line of results.jsonl; `folder` is where it stands


@dataclass(frozen=True)
class Column:
    """A task, or a variation of it: `squad distract=1..2`."""

    name: str
    variation: str = ""

    @property
    def task(self) -> Task:
        """Give its table."""
        return find_task(self.name)

    @property
    def title(self) -> str:
        """Name it in the head of a table."""
        return f"{self.task.title} {self.variation}".strip()


@dataclass(frozen=True)
class Score:
    """What the runs of one model say of one task."""

    model: str
    column: Column
    runs: Sequence[Result]  # of one model, task and settings, by seed
    others: int  # settings that were not chosen

    @property
    def wanted(self) -> str:
        """Say on which set the paper reads it."""
        return wanted_split(self.column.task)

    @property
    def split(self) -> str:
        """Say on which set it is read."""
        return split_of(self.column.task, self.runs)

    def of(self, metric: str) -> np.ndarray:
        """Give a metric of every run: float64 (runs,)."""
        return np.array([run["scores"][self.split][metric] for run in self.runs])

    @property
    def values(self) -> np.ndarray:
        """Give the score of every run that a table shows: the first metric, in GLUE the mean of all; (runs,)."""
        return np.array([suite_score([(self.column.task, run["scores"][self.split])]) for run in self.runs])

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Give the mean of the runs' 95 % intervals over the examples, where every run has one."""
        known = [run["intervals"].get(self.split, {}).get(metric) for run in self.runs]
        return tuple(np.mean(known, axis=0).tolist()) if all(known) else None

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Give what the commonest answer and chance score on the same set."""
        return self.runs[0]["baselines"].get(self.split, {})

    @property
    def settings(self) -> dict[str, Any]:
        """Give what the runs were made with."""
        return self.runs[0]["settings"]


def wanted_split(task: Task) -> str:
    """Say on which set the paper reads a task: GLUE's on dev."""
    return "dev" if task.suite == "glue" else "test"


def split_of(task: Task, runs: Sequence[Mapping[str, Any]]) -> str:
    """Say on which set runs of a task are read: the paper's, where every one has it."""
    wanted = wanted_split(task)
    return wanted if all(run["scores"].get(wanted) for run in runs) else {"dev": "test", "test": "dev"}[wanted]


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """Read every finished run of results folders."""
    return [{**result, "folder": folder} for folder in folders for result in read_results(folder)]


def is_scored(run: Mapping[str, Any]) -> bool:
    """Say whether a run has any score; one whose only set is a test set without public labels has none."""
    return any(run["scores"].values())


def choose_scores(results: Sequence[Result]) -> list[Score]:
    """Group runs by model, task, variation and settings, and choose the settings that count; in the tasks' order.

    Runs without a score are left out. An unknown task is a ValueError.
    """
    names = model_names(results)
    found: dict[tuple[str, str, str], dict[str, dict[int, Result]]] = {}
    for result in results:
        if not is_scored(result):
            continue
        key = names[result["model_hash"]], find_task(result["task"]).name, variation(result["settings"])
        settings = json.dumps([result["settings"], result["hashes"]], sort_keys=True)
        found.setdefault(key, {}).setdefault(settings, {})[result["seed"]] = result  # a seed again: the later run

    def worth(runs: Mapping[int, Result]) -> tuple[int, float]:
        scores = [run["scores"]["dev"] for run in runs.values() if run["scores"].get("dev")]
        first = [next(iter(each.values())) for each in scores]
        return len(runs), float(np.mean(first)) if first else 0.0

    scores = []
    for (model, task, varied), groups in found.items():
        runs = max(groups.values(), key=worth)
        chosen = [runs[seed] for seed in sorted(runs)]
        scores.append(Score(model, Column(task, varied), chosen, len(groups) - 1))
    order = {name: number for number, name in enumerate(tasks())}
    return sorted(scores, key=lambda score: (order[score.column.name], score.column.variation))


def scores_of(words: str, task: str | None = None) -> dict[Column, Score]:
    """Find the scores that words name: "DIR" where it has one model, or "DIR:MODEL"; ValueErrors say what there is."""
    folder, _, model = (words, "", "") if Path(words).is_dir() else words.rpartition(":")
    if not (Path(folder or words) / "results.jsonl").is_file():
        raise ValueError(f"{folder or words} has no results: fine-tune a model with `linkbert finetune ... --to DIR`")
    scores = [score for score in choose_scores(read_folders([Path(folder)])) if not task or score.column.name == task]
    names = list(dict.fromkeys(score.model for score in scores))
    if not names:
        raise ValueError(f"{folder} has no results of {task or 'any task'}: name another --task or folder")
    if not model and len(names) == 1:
        model = names[0]
    if model not in names:
        raise ValueError(f"name one model of {folder} as {folder}:MODEL, of {', '.join(names)}")
    return {score.column: score for score in scores if score.model == model}


def model_names(results: Iterable[Result]) -> dict[str, str]:
    """Name models by the last part of their path, by all of it where two have one, with their hash where that is one.

    A RUN's model is named as the RUN is.

    >>> model_names([{"model": "runs/a", "model_hash": "12"}, {"model": "other/a/model", "model_hash": "34"}])
    {'12': 'runs/a', '34': 'other/a'}
    """
    paths = {result["model_hash"]: str(result["model"]).rstrip("/").removesuffix("/model") for result in results}
    names = {key: path.rpartition("/")[2] for key, path in paths.items()}
    for longer in (paths, {key: f"{path} {key[:6]}" for key, path in paths.items()}):
        taken = list(names.values())
        names = {key: name if taken.count(name) == 1 else longer[key] for key, name in names.items()}
    return names


def variation(settings: Mapping[str, Any]) -> str:
    """Say which other task the settings make of one: {"fraction": 0.1, "epochs": 3} -> "fraction=0.1"."""
    given = ((key, f"{settings[key]:g}" if isinstance(settings[key], float) else str(settings[key] or usual))
             for key, usual in VARIATIONS.items() if key in settings)  # fmt: skip
    return " ".join(f"{key}={value}" for key, value in given if value != VARIATIONS[key])


def differences(scores: Sequence[Score]) -> Iterator[str]:
    """Say in which settings and data files scores of one column differ: "epochs 3 (a), 10 (b)"."""
    for what, name in (("settings", ""), ("hashes", "the file ")):
        tables = [score.runs[0][what] for score in scores]
        for key in dict.fromkeys(key for table in tables for key in table):
            values = [str(table.get(key, "-"))[:12] for table in tables]
            if len(set(values)) > 1:
                said = ", ".join(f"{value} ({score.model})" for value, score in zip(values, scores, strict=True))
                yield f"{name}{key} {said}"
