"""What fine-tuning leaves behind, a folder with a line for each finished run, and the scores that are read from it.

    DIR/results.jsonl               a JSON object a run: task, model, settings, seed, scores, intervals, counts ...
    DIR/grid.jsonl                  the same, of runs that chose settings; they have scores on dev alone
    DIR/predictions/KEY-dev.jsonl   {"id", "input", "options", "gold", "prediction", "score", "details"} an example
    DIR/submission/RTE.tsv          the same for GLUE's server, of the model that was run last
    DIR/models/KEY/                 the fine-tuned model, a Hugging Face folder, where it was to be kept

KEY is a hash of what decides a run. A line is written in one piece under a lock, after everything it names: a run that
is killed leaves no line. Scores are in [0, 1]. Runs that differ only in their seed make one Score. Where a model has
been run with several settings, the score is that of the most seeds, then of the best mean on dev, never on test.
"""

import fcntl
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import check_content
from linkbert.files import made_of, read_json_lines, replacing
from linkbert.tasks.examples import ChoiceExample, Prediction
from linkbert.tasks.metrics import Examples, Predictions, suite_score, write_submission
from linkbert.tasks.table import Task, find_task, task_of, tasks

GIVEN = "the model as given"  # the source of a run that trains nothing
FILES = ("results.jsonl", "grid.jsonl")
VARIATIONS = {"distract": "0", "distract_in": "all", "fraction": "1"}  # settings that make another task, if not these
log = logging.getLogger(__name__)
Result = dict[str, Any]  # a line of results.jsonl; `folder` is where it stands
Scores = dict[str, dict[str, float | None]]
Run = made_of("Run", key=str, task=str, model=(str, ""), seed=(int, 0), settings=(dict[str, Any], {}),
              scores=(Scores, {}), predictions=(dict[str, str], {}), groups=(dict[str, Scores], {}),
              intervals=(dict[str, dict[str, tuple[float, float] | None]], {}), counts=(dict[str, int], {}),
              baselines=(dict[str, dict[str, Any]], {}), notes=(list[str], []))  # fmt: skip


def run_key(decisive: Mapping[str, Any]) -> str:
    """Name a run by what decides it: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_results(folder: Path, *, grid: bool = False) -> dict[str, dict[str, Any]]:
    """Read the finished runs of a folder, the last of each key; a line that was cut off is skipped."""
    records = read_json_lines(path := folder / FILES[grid], "key", "task")
    check_content(list[Run], records, path, "; it is damaged: remove that line")  # type: ignore[valid-type]
    return {record["key"]: record for record in records}


def read_predictions(run: Mapping[str, Any], folder: Path, split: str, *keys: str) -> list[dict[str, Any]]:
    """Read a run's predictions on a split, of all its examples; a ValueError where the file is gone or cut."""
    path, remedy = folder / run["predictions"][split], "remove its line in results.jsonl and run again"
    if not path.is_file():
        raise ValueError(f"{path} is not there: {remedy}")
    lines = read_json_lines(path, *keys)
    if len(lines) < (count := run.get("counts", {}).get(f"{split}: examples", 0)):
        raise ValueError(f"{path} holds {len(lines):,} of {count:,} answers: {remedy}")
    return lines


def gather_submission(folder: Path, model_hash: str) -> None:
    """Write FOLDER/submission for GLUE's server from the runs of a model alone; log what its archive still lacks."""
    best: dict[str, tuple[float, Task, Result]] = {}  # of several seeds and settings: on dev, the first of equals
    for run in read_results(folder).values():
        task, split = task_of(run), "test"
        if task.submission and run["model_hash"] == model_hash and split in run["predictions"].keys() - run["scores"]:
            value = suite_score([(task, run["scores"]["dev"])]) if run["scores"].get("dev") else 0.0
            if task.submission not in best or value > best[task.submission][0]:
                best[task.submission] = value, task, run
    if not best:
        return
    with (folder / FILES[0]).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process may be at it
        with replacing(folder / "submission", folder=True) as part:
            for _, task, run in best.values():
                lines = read_predictions(run, folder, "test", "id", "prediction")
                write_submission(task, [Prediction(line["id"], line["prediction"]) for line in lines], part)
    if lacking := [task.name for task in tasks().values() if task.submission and task.submission not in best]:
        log.warning("%s/submission is not whole, as GLUE's server wants it: run --tasks %s", folder, ",".join(lacking))


def add_result(folder: Path, record: Mapping[str, Any], *, grid: bool = False) -> None:
    """Add a run's line; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILES[grid]).open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # what a process left that was killed while it wrote
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_predictions(path: Path, examples: Examples, predictions: Predictions, scores: Sequence[float | None]) -> None:
    """Write what a model answered to each example; `scores` is how well, None where it is not known."""
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        for example, answer, score in zip(examples, predictions, scores, strict=True):
            line = {"id": example.id, "input": example.shown}
            if isinstance(example, ChoiceExample):
                line["options"] = example.options
            if example.group and not example.reports_groups:
                line["group"] = example.group  # of sentences that a bootstrap draws together
            line |= {"gold": example.gold, "prediction": answer.value, "score": score, "details": answer.details}
            file.write(json.dumps(line, ensure_ascii=False, default=methodcaller("item")) + "\n")  # numpy's


@dataclass(frozen=True)
class Column:
    """A task, or a variation of it: `squad distract=1..2`."""

    name: str
    variation: str = ""
    own: Task | None = field(default=None, compare=False)  # where it is not known by its name

    @property
    def task(self) -> Task:
        """Return its table."""
        return self.own or find_task(self.name)

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
    def split(self) -> str:
        """Return the set on which it is read: the paper's, where every run has it."""
        wanted = self.column.task.paper_split
        return wanted if all(run["scores"].get(wanted) for run in self.runs) else {"dev": "test", "test": "dev"}[wanted]

    def of(self, metric: str) -> np.ndarray:
        """Return a metric of every run: float64 (runs,)."""
        return np.array([run["scores"][self.split][metric] for run in self.runs])

    @property
    def values(self) -> np.ndarray:
        """Return the score of every run that a table shows: the first metric, in GLUE the mean of all; (runs,)."""
        return np.array([suite_score([(self.column.task, run["scores"][self.split])]) for run in self.runs])

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the mean of the runs' 95 % intervals over the examples, where every run has one."""
        known = [run["intervals"].get(self.split, {}).get(metric) for run in self.runs]
        return tuple(np.mean(known, axis=0).tolist()) if all(known) else None

    @property
    def size(self) -> str:
        """Return the paper's size of the encoder, tiny, base or large; of old results by the model's name, or ""."""
        named = [size for size in ("tiny", "base", "large") if size in self.model.lower()]
        return str(self.runs[0].get("size", "")) or (named[0] if len(named) == 1 else "")

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Return what the commonest answer and chance score on the same set."""
        return self.runs[0]["baselines"].get(self.split, {})


def mean_text(values: Any, digits: int = 1) -> str:
    """Write the mean of values and their standard deviation, in per cent: [0.5, 0.52] -> '51.0 ± 1.4', [] -> '-'."""
    if not len(values):
        return "-"
    spread = f" ± {100 * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.{digits}f}{spread}"


def read_folders(folders: Iterable[Path]) -> list[Result]:
    """Read every finished run of results folders."""
    return [{**result, "folder": folder} for folder in folders for result in read_results(folder).values()]


def is_scored(run: Mapping[str, Any]) -> bool:
    """Check whether a run has any score; one whose only set is a test set without public labels has none."""
    return any(run["scores"].values())


def choose_scores(results: Sequence[Result]) -> list[Score]:
    """Group runs by model, task, variation and settings, and choose the settings that count; in the tasks' order.

    Runs without a score are left out, and those with other metrics than the latest: their table has changed since. An
    unknown task is a ValueError.
    """
    names, known = model_names(results), dict[tuple[str, str, str], Any]()
    found: dict[tuple[str, str, str], dict[str, dict[int, Result]]] = {}
    for result in results:
        if not is_scored(result):
            continue
        key = names[result["model_hash"]], task_of(result).name, variation(result["settings"])
        metrics = next(filter(None, result["scores"].values())).keys()
        if metrics != known.get(key):
            known[key], found[key] = metrics, {}
        alone = result.get("source") == GIVEN  # not fine-tuned: no seed of those that were
        settings = json.dumps([result["settings"], result["hashes"], alone], sort_keys=True)
        found[key].setdefault(settings, {})[result["seed"]] = result  # a seed again: the later run

    def worth(runs: Mapping[int, Result]) -> tuple[int, float]:
        first = [next(iter(run["scores"]["dev"].values())) for run in runs.values() if run["scores"].get("dev")]
        return len(runs), float(np.mean(first)) if first else 0.0

    scores = []
    for (model, name, varied), groups in found.items():
        runs = max(groups.values(), key=worth)
        task = task_of(next(reversed(runs.values())))
        column = Column(name, varied, task if task.file else None)
        scores.append(Score(model, column, [runs[seed] for seed in sorted(runs)], len(groups) - 1))
    order = {name: number for number, name in enumerate(tasks())}  # other tasks come last
    return sorted(scores, key=lambda score: (order.get(score.column.name, len(order)), score.column.variation))


def scores_of(words: str, task: str | None = None) -> dict[Column, Score]:
    """Find the scores that words name: "DIR" where it has one model, or "DIR:MODEL"; ValueErrors say what there is."""
    folder, _, model = (words, "", "") if Path(words).is_dir() else words.rpartition(":")
    if not (Path(folder or words) / "results.jsonl").is_file():
        raise ValueError(f"{folder or words} has no results: fine-tune a model with `linkbert finetune ... --to DIR`")
    scores = [each for each in choose_scores(read_folders([Path(folder)])) if task in (None, each.column.name)]
    names = list(dict.fromkeys(score.model for score in scores))
    if (model or len(names) != 1) and model not in names:
        if not names:
            raise ValueError(f"{folder} has no results of {task or 'any task'}: name another folder or --task")
        raise ValueError(f"name one model of {folder} as {folder}:MODEL, of {', '.join(names)}")
    return {score.column: score for score in scores if score.model == (model or names[0])}


def model_names(results: Iterable[Result]) -> dict[str, str]:
    """Name models by the last part of their path, by all of it where two have one, with their hash where that is one.

    >>> model_names([{"model": "runs/a", "model_hash": "12"}, {"model": "other/a/model", "model_hash": "34"}])
    {'12': 'runs/a', '34': 'other/a'}
    """
    # A RUN's model is named as the RUN is.
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


def summary(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write scores for people, of the set that a report shows, in %: mean ± sd over seeds, mean interval, baselines."""
    for _, each in itertools.groupby(records, key=lambda record: record["task"]):
        runs: list[Any] = list(each)
        task = task_of(runs[0])
        score = Score(runs[0]["model"], Column(task.name, own=task), runs, 0)
        yield f"{task.title}, {score.split}, {len(runs)} run{'s' * (len(runs) > 1)} of {score.model}"
        scored = is_scored(runs[0])
        if not scored:
            yield "  not scored: its labels are not public"
        for metric in task.metrics if scored else ():
            low, high = score.interval(metric) or (0.0, 0.0)
            base = ", ".join(f"{name} {100 * scores[metric]:.2f}" for name, scores in score.baselines.items())
            mean = mean_text(score.of(metric), 2)
            yield f"  {metric:<15} {mean:>6}  95 % [{100 * low:.2f}, {100 * high:.2f}]  {base}"
            for group, scores in runs[0]["groups"].get(score.split, {}).items():
                mean = np.mean([run["groups"][score.split][group][metric] for run in runs])
                yield f"    {group:<13} {100 * mean:6.2f}  of {scores['examples']} examples"
        yield from (f"  {note}" for note in runs[0]["notes"])
        if kept := [run["kept"] for run in runs if "kept" in run]:
            yield f"  kept: {', '.join(kept)}"
        counts = runs[0]["counts"].items()
        if odd := [f"{what} {count:,}" for what, count in counts if not what.endswith((": examples", ": entities"))]:
            yield f"  counted: {'; '.join(odd)}"
