"""What a study found: means, paired differences with intervals, and the sentences that were asked for.

In: the answers of every model of a study. Out: study.json. A difference is paired by pretraining seed: of each the
mean over fine-tuning seeds of one arm minus that of the other, on the same examples. The variance of it has two
components, estimated apart: how the differences of seeds spread beyond what the draw of examples explains, and a
bootstrap over examples (whole documents, where a set names them) of the mean over seeds. With two or three seeds a
bootstrap over seeds is far too narrow (it covers the truth in a half and in three quarters of all studies), so the
components are added, and the sum is widened by Student's t (Welch-Satterthwaite). tests/trials simulates it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linkbert.config import show_value
from linkbert.files import read_json
from linkbert.pretraining.journal import read_journal
from linkbert.tasks.compare import gain
from linkbert.tasks.metrics import bootstrap, counted_metrics, sum_groups
from linkbert.tasks.results import Column, Score, is_scored, read_results, variation
from linkbert.trials.study import Job, Question, Study, is_done, place, read_comparison

SAMPLES = 1_000  # of a bootstrap
PaperNumber = Callable[[str, Column], float | None]  # of a row of the paper's tables, in per cent


class Difference(NamedTuple):
    """A paired difference with its 95 % interval, and the two-sided p that there is none; None where it has no end."""

    value: float
    low: float | None
    high: float | None
    p: float | None


def interval(values: Sequence[float], draws: np.ndarray | None = None, groups: int = 0) -> Difference:
    """Give the mean of differences by seed, (S,), an interval; `draws` (B, S): a bootstrap over `groups` of examples.

    A draw has the same examples for all seeds. Without draws the seeds alone count; one seed without draws has no
    interval, one with draws that of its examples. Seeds that agree to within what examples explain add nothing:

    >>> [round(each, 2) for each in interval([1.0, 3.0])]
    [2.0, -10.71, 14.71, 0.3]
    >>> [round(each, 2) for each in interval([2.0, 2.1, 1.9])]
    [2.0, 1.75, 2.25, 0.0]
    """
    from scipy.special import stdtr, stdtrit  # Student's t and its quantile

    seeds, value = len(values), float(np.mean(values))
    spread = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
    of_examples = 0.0
    if draws is not None and groups > 1:
        covariance = np.atleast_2d(np.cov(draws, rowvar=False))
        of_examples = float(covariance.mean())
        if seeds > 1:  # part of the spread of seeds is that each answers examples in its own way: it is counted there
            spread -= max(0.0, (float(np.trace(covariance)) / seeds - of_examples) / (seeds - 1))
    elif seeds < 2:
        return Difference(value, None, None, None)
    spread = max(spread, 0.0)
    total = spread + of_examples
    if not total:
        return Difference(value, value, value, float(value == 0))
    freedom = total**2 / (spread**2 / max(seeds - 1, 1) + of_examples**2 / max(groups - 1, 1))
    half = float(stdtrit(freedom, 0.975)) * total**0.5
    return Difference(value, value - half, value + half, float(2 * stdtr(freedom, -abs(value) / total**0.5)))


@dataclass
class Measure:
    """A number that every model has: its values by arm and seed, and how two arms' differences vary with examples."""

    label: str  # the question
    name: str  # of one of its numbers
    title: str
    metric: str
    scale: int  # 100: shown in per cent
    column: Column | None = None  # of a task
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    answers: dict[tuple[str, int], Any] = field(default_factory=dict)  # a Score, or a file of values by example

    def difference(self, a: str, b: str) -> dict[str, Any] | None:
        """Compare two arms over the seeds that both have; None where there is none."""
        seeds = [seed for seed in self.values.get(a, {}) if seed in self.values.get(b, {})]
        if not seeds:
            return None
        values = [self.values[a][seed] - self.values[b][seed] for seed in seeds]
        pairs = [(self.answers.get((a, seed)), self.answers.get((b, seed))) for seed in seeds]
        draws, groups = (None, 0) if any(None in pair for pair in pairs) else self._draws(pairs)
        found = interval(values, draws, groups)._asdict()
        scaled = {
            key: None if value is None else float(value) * (1 if key == "p" else self.scale)
            for key, value in found.items()
        }
        return scaled | {"seeds": seeds, "runs": 2 * len(seeds), "groups_of_examples": groups}

    def _draws(self, pairs: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray | None, int]:
        try:
            if self.column:
                columns = [gain(a, b, samples=SAMPLES)[1:] for a, b in pairs]
                first = pairs[0][0]
                return np.stack(columns, axis=1), first.runs[0]["counts"].get(f"{first.split}: examples", 2)
            return draw_rows(pairs)
        except (KeyError, ValueError):  # predictions are gone, or of other examples
            return None, 0


def draw_rows(pairs: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> tuple[np.ndarray, int]:
    """Bootstrap the mean difference of values by example, {"rows": (N,), "groups": (N,)}, of pairs of models: (B, S).

    What is not a number for one model counts for none. ValueError where models were asked other examples.
    """
    differences = np.stack([a["rows"] - b["rows"] for a, b in pairs], axis=1).astype(np.float64)  # (N, S)
    known: Any = np.isfinite(differences).all(axis=1)
    groups = pairs[0][0]["groups"]
    if any((each["groups"] != groups).any() for pair in pairs for each in pair):
        raise ValueError("values are of other examples")
    rows = np.column_stack([differences, np.ones(len(known))])[known]
    sums = sum_groups(rows, groups[known].tolist())
    return bootstrap(sums, lambda found: found[:, :-1] / found[:, -1:], samples=SAMPLES), len(sums)


class Findings:
    """The answers of a study's models."""

    def __init__(self, study: Study, jobs: Sequence[Job]) -> None:
        self.study, self.jobs = study, jobs

    @cached_property
    def measures(self) -> list[Measure]:
        """Return the numbers that models have so far, in the order of the questions."""
        found: dict[tuple[str, str], Measure] = {}
        for question in self.study.questions:
            for job in self.jobs:
                if (path := place(job, question)).is_file():
                    for measure, value, answer in self._read(job, question, path):
                        own = found.setdefault((measure.label, measure.name), measure)
                        own.values.setdefault(job.run.arm, {})[job.run.seed] = value
                        if answer is not None:
                            own.answers[job.run.arm, job.run.seed] = answer
        return list(found.values())

    def _read(self, job: Job, question: Question, path: Path) -> Iterator[tuple[Measure, float, Any]]:
        content, label = read_json(path), question.label
        if question.kind == "task":
            folder = path.with_name(path.stem)
            known = read_results(folder)
            runs = [known[key] | {"folder": folder} for key in content["keys"]]
            if all(map(is_scored, runs)):
                task = question.task
                column = Column(task.name, variation(runs[0]["settings"]), task if task.file else None)
                answer = Score(job.run.arm, column, runs, 0)
                metric = " and ".join(counted_metrics(task)).removeprefix("answer_").replace("_", " ")
                metric = metric.replace("f1", "F1")
                title = question.asked.title or column.title
                yield Measure(label, "", title, metric, 100, column), float(np.mean(answer.values)), answer
            return
        with np.load(path.with_name(f"{path.stem}.npz")) as arrays:  # allow_pickle is False
            held = dict(arrays)
        for name, value in content["measures"].items():
            values: Any = None
            if (rows := held.get(f"rows/{name}")) is not None:
                groups = held.get(f"groups/{name}")
                values = {"rows": rows, "groups": np.arange(len(rows)) if groups is None else groups}
            title = f"{question.title}: {name.replace('_', ' ')}"
            yield Measure(label, name, title, "", 1), value, values

    def arms(self) -> dict[str, Any]:
        """Return of every arm what it is, what differs from its baseline, and what it took."""
        found = {}
        for name, arm in self.study.read_arms.items():
            own = [job for job in self.jobs if job.run.arm == name]
            base, mine = (self.study.config(each)[0].model_dump() for each in (self.study.against(name), name))
            last = [lines[-1] for job in own if (lines := read_journal(job.path / "journal.jsonl"))]
            tokens = [
                max((line.get("tokens", 0) for line in read_journal(job.path / "journal.jsonl")), default=0)
                for job in own
            ]
            found[name] = {
                "title": arm.title,
                "against": self.study.against(name),
                "settings_that_differ": {key: show_value(value) for key, value in mine.items() if value != base[key]},
                "runs": {str(job.run.seed): job.run.key for job in own},
                "runs_done": sum((job.path / "model").is_dir() for job in own),
                "steps": own[0].run.length.steps,
                "tokens": round(float(np.mean(tokens))) if tokens else 0,
                "hours": sum(line["elapsed"] for line in last) / 3600,
            }
        return found

    def summary(self, paper: PaperNumber = lambda *_: None) -> dict[str, Any]:
        """Return the content of study.json."""
        study, arms = self.study, self.study.read_arms
        measures = []
        for each in self.measures:
            rows = {}
            for name, values in each.values.items():
                numbers = [each.scale * value for value in values.values()]
                own, base = [arms[arm].paper for arm in (name, study.against(name))] if each.column else ["", ""]
                known = [paper(row, each.column) if row and each.column else None for row in (own, base)]
                rows[name] = {
                    "values": {str(seed): each.scale * value for seed, value in values.items()},
                    "mean": float(np.mean(numbers)),
                    "sd": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
                    "runs": len(numbers),
                    "difference": None if study.against(name) == name else each.difference(name, study.against(name)),
                    "paper": known[0],
                    "paper_difference": None if None in known or own == base else round(known[0] - known[1], 6),  # type: ignore[operator]
                }
            about = {"question": each.label, "measure": each.name, "title": each.title, "metric": each.metric}
            measures.append(about | {"per_cent": each.scale == 100, "arms": rows})
        asked = study.compare or [f"{name} - {study.against(name)}" for name in arms if study.against(name) != name]
        sentences = [each for words in asked for each in self.sentences(words)]
        done = sum(map(is_done, self.jobs))
        return {"title": study.title, "note": study.note, "baseline": study.base, "runs": len(self.jobs), "done": done,
                "arms": self.arms(), "measures": measures, "comparisons": sentences}  # fmt: skip

    def sentences(self, words: str) -> Iterator[dict[str, Any]]:
        """Answer what was asked to be compared, a sentence a number."""
        a, b, labels = read_comparison(self.study, words)
        for each in self.measures:
            if each.label in labels and (found := each.difference(a, b)):
                titles = [self.study.read_arms[name].title for name in (a, b)]
                what = {"a": a, "b": b, "question": each.label, "measure": each.name}
                yield what | found | {"sentence": sentence(titles, each, found)}


def sentence(titles: Sequence[str], measure: Measure, found: Mapping[str, Any]) -> str:
    """Say what a comparison found: "LinkBERT - BERT on OTT-QA: +3.1 F1 (0.8 to 5.2), 6 pretraining runs"."""
    digits = 1 if measure.scale == 100 else 3
    words = f"{titles[0]} - {titles[1]} on {measure.title}: {found['value']:+.{digits}f} {measure.metric}".rstrip()
    runs = f"{found['runs']} pretraining runs"
    if found["low"] is None:
        return f"{words}, {runs}: one of each has no interval"
    if len(found["seeds"]) == 1:
        runs += ", one of each: the interval is over examples alone"
    told = "" if found["low"] > 0 or found["high"] < 0 else "; not told from 0"
    return f"{words} ({found['low']:.{digits}f} to {found['high']:.{digits}f}), {runs}{told}"
