"""What a study found: means, paired differences with intervals, and the sentences that were asked for.

In: the answers of every model of a study. Out: study.json. A difference is paired by pretraining seed: of each the
mean over fine-tuning seeds of one arm minus that of the other, on the same examples. The variance of it has two
components, estimated apart: how the differences of seeds spread beyond what the draw of examples explains, and a
bootstrap over examples (whole documents, where a set names them) of the mean over seeds. With two or three seeds a
bootstrap over seeds is far too narrow (it covers the truth in a half and in three quarters of all studies), so the
components are added, and the sum is widened by Student's t (Welch-Satterthwaite). An estimate of the first near 0 says
little, of few seeds: an interval is never narrower than that of the seeds alone. tests/trials simulates it.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from linkbert.config import show_value
from linkbert.pretraining.journal import read_journal
from linkbert.tasks.compare import gain
from linkbert.tasks.metrics import bootstrap, counted_metrics, sum_groups
from linkbert.tasks.results import Column, Score, is_scored, read_results, variation
from linkbert.trials.arms import Question
from linkbert.trials.study import Run, read_answer

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

    A draw has the same examples for all seeds. Without draws the seeds alone count. There is no interval of one seed
    without draws (with them, it is that of its examples), nor of what is not 0 and does not vary. It is never narrower
    than that of the seeds alone:

    >>> [round(each, 2) for each in interval([1.0, 3.0])]
    [2.0, -10.71, 14.71, 0.3]
    >>> [round(each, 2) for each in interval([2.0, 2.1, 1.9])]
    [2.0, 1.75, 2.25, 0.0]
    """
    from scipy.special import stdtr, stdtrit  # Student's t and its quantile

    seeds, value = len(values), float(np.mean(values))
    spread = alone = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
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
    if not total:  # nothing varied: no difference at all, or too little was asked
        return Difference(value, *(None, None, None) if value else (value, value, 1.0))
    freedom = total**2 / (spread**2 / max(seeds - 1, 1) + of_examples**2 / max(groups - 1, 1))
    ways = [(total, freedom), *[(alone, seeds - 1)] * (alone > 0)]
    half = max(float(stdtrit(free, 0.975)) * variance**0.5 for variance, free in ways)
    p = max(float(2 * stdtr(free, -abs(value) / variance**0.5)) for variance, free in ways)
    return Difference(value, value - half, value + half, p)


@dataclass
class Measure:
    """A number that every model has, by arm and seed, and what it is the mean of: a Score, or values by example."""

    label: str  # the question
    name: str  # of one of its numbers
    title: str
    metric: str
    column: Column | None = None  # of a task, whose numbers are shown in per cent
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    answers: dict[tuple[str, int], Any] = field(default_factory=dict)

    def difference(self, a: str, b: str) -> dict[str, Any] | None:
        """Compare two arms over the seeds that both have; None where there is none."""
        seeds = [seed for seed in self.values.get(a, {}) if seed in self.values.get(b, {})]
        if not seeds or a == b:
            return None
        pairs: list[tuple[Any, Any]] = [(self.answers.get((a, seed)), self.answers.get((b, seed))) for seed in seeds]
        values = [self.values[a][seed] - self.values[b][seed] for seed in seeds]
        tuned = min((len(score.runs) for pair in pairs for score in pair if self.column and score), default=1)
        if self.column and len(seeds) == 1 and None not in pairs[0]:  # fine-tuning seeds are what there is
            mine, other = pairs[0]
            both = zip(mine.runs, other.runs, strict=False)
            pairs = [(replace(mine, runs=[x]), replace(other, runs=[y])) for x, y in both]
            values = [100 * float(x.values[0] - y.values[0]) for x, y in pairs]
        draws, groups = self._draws(pairs)
        found = interval(values, draws, groups)
        counts = {"runs": 2 * len(seeds), "fine_tuning_seeds": tuned, "groups_of_examples": groups}
        return found._asdict() | {"seeds": seeds} | counts

    def _draws(self, pairs: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray | None, int]:
        if any(None in pair for pair in pairs):
            return None, 0
        try:
            if not self.column:
                return draw_rows(pairs)
            columns, groups = zip(*(gain(a, b, samples=SAMPLES) for a, b in pairs), strict=True)
            return 100 * np.stack(columns, axis=1)[1:], min(groups)
        except (KeyError, ValueError):  # predictions are gone, or of other examples
            return None, 0


def draw_rows(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> tuple[np.ndarray, int]:
    """Bootstrap the mean difference of pairs of models by example, {"rows": (N,), "groups": (N,)} each: (B, S)."""
    groups = pairs[0][0]["groups"]
    if any(not np.array_equal(each["groups"], groups) for pair in pairs for each in pair):
        raise ValueError("values are of other examples")
    differences = np.stack([a["rows"] - b["rows"] for a, b in pairs], axis=1)  # (N, S)
    known = np.isfinite(differences).all(axis=1)  # what is not a number for one model counts for none
    sums = sum_groups(np.column_stack([differences, known])[known], groups[known].tolist())
    return bootstrap(sums, lambda found: found[:, :-1] / found[:, -1:], samples=SAMPLES), len(sums)


def measures_of(runs: Sequence[Run]) -> list[Measure]:
    """Return the numbers that the models of a study have so far, in the order of its questions."""
    found: dict[tuple[str, str], Measure] = {}
    for question in runs[0].study.questions:
        for run in runs:
            if (path := run.answer(question)).is_file():
                for measure, value, answer in (read_task if question.kind == "task" else read_probe)(question, path):
                    own = found.setdefault((measure.label, measure.name), measure)
                    own.values.setdefault(run.arm, {})[run.seed] = value
                    own.answers[run.arm, run.seed] = answer
    return [*found.values()]


def read_task(question: Question, path: Path) -> Iterator[tuple[Measure, float, Score]]:
    """Read what fine-tuning found, in per cent; nothing where a test set's labels are not public."""
    known, task = read_results(path.with_suffix("")), question.task
    keys = read_answer(path, "keys", list[str])
    if not known.keys() >= {*keys}:
        raise ValueError(f"{path.with_suffix('')} has lost results: delete {path}, and run the study again")
    runs = [known[key] | {"folder": path.with_suffix("")} for key in keys]
    if all(map(is_scored, runs)):
        column = Column(task.name, variation(runs[0]["settings"]), task if task.file else None)
        metric = " and ".join(counted_metrics(task)).removeprefix("answer_").replace("_", " ").replace("f1", "F1")
        measure, score = (
            Measure(question.label, "", question.title or column.title, metric, column),
            Score("", column, runs, 0),
        )
        yield measure, 100 * score.values.mean(), score


def read_probe(question: Question, path: Path) -> Iterator[tuple[Measure, float, dict[str, np.ndarray] | None]]:
    """Read what a probe found; an example without a group is one by itself."""
    if not (measures := read_answer(path, "measures", dict[str, float])):
        return  # the probe had nothing to ask: `note` says why
    try:
        with path.with_suffix(".npz").open("rb") as file, np.load(file) as arrays:
            held = dict(arrays)
    except (FileNotFoundError, EOFError, ValueError, NotImplementedError, BadZipFile, zlib.error):
        remedy = f"delete it and {path}, and run the study again"
        raise ValueError(f"{path.with_suffix('.npz')} is damaged or lost: {remedy}") from None
    for name, value in measures.items():
        answer = None
        if (rows := held.get(f"rows/{name}")) is not None:
            answer = {"rows": rows.astype(np.float64), "groups": held.get(f"groups/{name}", np.arange(len(rows)))}
        title = f"{question.title or question.label}: {name.replace('_', ' ')}"
        yield Measure(question.label, name, title, ""), value, answer


def summarise(runs: Sequence[Run], paper: PaperNumber = lambda *_: None) -> dict[str, Any]:
    """Return the content of study.json: arms, every number of each with its difference, and what was asked."""
    study, measures = runs[0].study, measures_of(runs)
    against = {name: study.against(name) for name in study.arms}
    tables = []
    for each in measures:
        rows = {}
        for name, by_seed in each.values.items():
            own, base = [study.read_arms[arm].paper for arm in (name, against[name])]
            known, whole = paper_numbers(paper, (own, base), each.column)
            gap = None if None in known or own == base else round(known[0] - known[1], 2)  # type: ignore[operator]
            values = [*by_seed.values()]
            rows[name] = {"values": by_seed, "mean": float(np.mean(values)), "runs": len(values),
                          "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                          "difference": each.difference(name, against[name]),
                          "paper": known[0], "paper_difference": gap, "paper_of_whole_set": whole}  # fmt: skip
        about = {"question": each.label, "measure": each.name, "title": each.title, "metric": each.metric}
        tables.append(about | {"per_cent": each.column is not None, "arms": rows})
    asked = study.compare or [[name, other] for name, other in against.items() if name != other]
    comparisons = [
        {"a": a, "b": b, "question": each.label, "measure": each.name, **found,
         "sentence": sentence([study.read_arms[name].title for name in (a, b)], each, found)}
        for a, b, *labels in asked for each in measures
        if each.label in (labels or [each.label]) and (found := each.difference(a, b))
    ]  # fmt: skip
    answered = {(each.label, arm) for each in measures for arm in each.values}
    lacking: dict[str, list[str]] = {}  # of an arm whose answer has no such number, as BERT's of three relations
    for each in measures:
        arms = [arm for words in asked if each.label in (words[2:] or [each.label]) for arm in words[:2]]
        for arm in dict.fromkeys(arms):
            if arm not in each.values and (each.label, arm) in answered:
                lacking.setdefault(study.read_arms[arm].title, []).append(each.title)
    return {"title": study.title, "note": study.note, "runs": len(runs), "done": sum(run.done for run in runs),
            "arms": {name: describe_arm(name, runs) for name in study.arms}, "measures": tables,
            "comparisons": comparisons, "not_compared": lacking}  # fmt: skip


def paper_numbers(paper: PaperNumber, rows: Sequence[str], column: Column | None) -> tuple[list[float | None], bool]:
    """Return the paper's numbers of rows, all of a part of the train set, or all of the whole: where it has more."""
    if not column:
        return [None] * len(rows), False
    words = " ".join(word for word in column.variation.split() if not word.startswith("fraction="))
    found = [[paper(row, each) if row else None for row in rows] for each in (column, Column(column.name, words))]
    whole = found[1].count(None) < found[0].count(None)
    return found[whole], whole


def describe_arm(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Return what an arm is, in which settings it differs from the one it is compared with, and what it took so far."""
    study, own = runs[0].study, [run for run in runs if run.arm == name]
    mine, base = (study.config(study.read_arms[arm])[0].model_dump() for arm in (name, study.against(name)))
    lines = [read_journal(run.path / "journal.jsonl") for run in own]
    tokens = [max(line.get("tokens", 0) for line in each) for each in lines if each]
    return {"title": study.read_arms[name].title, "against": study.against(name),
            "settings_that_differ": {key: show_value(value) for key, value in mine.items()
                                     if value != base[key] and key != "max_steps"},  # the budget's
            "runs": {run.seed: run.key for run in own}, "trained": sum(run.trained for run in own),
            "steps": own[0].config.max_steps, "tokens": max(tokens, default=0),
            "hours": sum(each[-1]["elapsed"] for each in lines if each) / 3600}  # fmt: skip


def digits_of(found: Mapping[str, Any], digits: int) -> int:
    """Return the decimals that a difference is shown with: two more than others where it is below 0.01."""
    return digits + 2 * (max(abs(found[key] or 0) for key in ("value", "low", "high")) < 0.01 and digits > 1)


def sentence(titles: Sequence[str], measure: Measure, found: Mapping[str, Any]) -> str:
    """Say what a comparison found: "LinkBERT - BERT on OTT-QA: +3.1 F1 (0.8 to 5.2), 6 pretraining runs"."""
    digits, runs = digits_of(found, 1 if measure.column else 3), f"{found['runs']} pretraining runs"
    words = f"{titles[0]} - {titles[1]} on {measure.title}: {found['value']:+.{digits}f} {measure.metric}".rstrip()
    if found["low"] is None:
        return f"{words}, {runs}: {'one of each has' if len(found['seeds']) == 1 else 'nothing varies:'} no interval"
    if len(found["seeds"]) == 1:
        counts = {"examples": found["groups_of_examples"], "fine-tuning seeds": found["fine_tuning_seeds"] - 1}
        over = [what for what, count in counts.items() if count]
        runs += f", one of each: the interval is over {' and '.join(over)}{' alone' * (len(over) == 1)}"
    told = "" if found["low"] > 0 or found["high"] < 0 else "; not told from 0"
    return f"{words} ({found['low']:.{digits}f} to {found['high']:.{digits}f}), {runs}{told}"
