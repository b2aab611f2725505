"""Scores as the official scorers have them, with intervals, and averages of suites.

A metric is a row of numbers for each example and a function of their sum: `value(statistics.sum(0))`. So the score of
any selection of examples, a bootstrap's or a group's, costs one sum, and a thousand of them one product of matrices.
Scores are in [0, 1], correlations in [-1, 1]. An undefined one (nothing to be found and nothing found, a constant
prediction) is 0, as scikit-learn and seqeval have it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linkbert.config import nearest
from linkbert.files import replacing
from linkbert.tasks.answers import YES_NO, answer_scores
from linkbert.tasks.examples import Prediction, known_gold

if TYPE_CHECKING:
    from linkbert.tasks.table import Task

NEGATIVE = "0"  # the class of "no relation" in ChemProt, DDI and GAD
POSITIVE = "1"  # of paraphrases, in MRPC and QQP
DRAWN = 1 << 22  # examples drawn at a time by the bootstrap: 32 MB

Examples = Sequence[Any]
Predictions = Sequence[Prediction]
Value = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A score: `value` of the sum of the examples' `statistics`."""

    name: str
    statistics: Callable[[Examples, Predictions], np.ndarray]  # (examples, predictions) -> (N, K) float64
    value: Value  # (..., K) -> (...)
    each: Value  # (N, K) -> (N,): how well one example is answered, higher is better


def _divide(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Divide; `empty` where there is nothing to divide by."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.full(part.shape, empty), where=whole > 0)


def _right(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns: right, 1."""
    pairs = zip(examples, predictions, strict=True)
    return np.array([(known_gold(example) == each.value, 1) for example, each in pairs], float).reshape(-1, 2)


def _mean(sums: np.ndarray) -> np.ndarray:
    return _divide(sums[..., 0], sums[..., 1])


def _of_answers(
    examples: Examples, predictions: Predictions, *, column: int, whole: frozenset[str] = frozenset()
) -> np.ndarray:
    """Columns: exact match (0) or F1 (1), 1."""
    return np.stack([answer_scores(examples, predictions, whole)[:, column], np.ones(len(examples))], axis=1)


def _confusion(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns: the cells of the confusion matrix, gold by predicted."""
    gold, predicted = [known_gold(example) for example in examples], [each.value for each in predictions]
    numbers = {label: i for i, label in enumerate(sorted({*gold, *predicted}))}
    cell = [numbers[g] * len(numbers) + numbers[p] for g, p in zip(gold, predicted, strict=True)]
    return np.eye(len(numbers) ** 2)[cell]


def _square(cells: np.ndarray) -> np.ndarray:
    size = round(cells.shape[-1] ** 0.5)
    return cells.reshape(*cells.shape[:-1], size, size)


def _matthews(sums: np.ndarray) -> np.ndarray:
    table = _square(sums)
    gold, predicted, count = table.sum(-1), table.sum(-2), sums.sum(-1)
    spread = (count**2 - (gold**2).sum(-1)) * (count**2 - (predicted**2).sum(-1))
    return _divide(_diagonal(sums) * count - (gold * predicted).sum(-1), np.sqrt(spread))


def _diagonal(cells: np.ndarray) -> np.ndarray:
    return np.trace(_square(cells), axis1=-2, axis2=-1)


def _f1(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """2 PR / (P + R) of the columns: found and right, found, to be found."""
    return _divide(2 * sums[..., 0], sums[..., 1] + sums[..., 2], empty)


def _of_labels(examples: Examples, predictions: Predictions, *, only: str = "", never: str = "") -> np.ndarray:
    """Columns of _f1, over the labels that count: `only` one, or all but the one that `never` does."""

    def counted(held: str | tuple[str, ...]) -> set[str]:
        labels = held if isinstance(held, tuple) else (held,)
        return {label for label in labels if label != never and only in ("", label)}

    pairs = [(counted(known_gold(e)), counted(each.value)) for e, each in zip(examples, predictions, strict=True)]
    return np.array([(len(p & g), len(p), len(g)) for g, p in pairs], dtype=float).reshape(-1, 3)


def _read_tags(examples: Examples, predictions: Predictions) -> Iterator[tuple[list[str], list[str]]]:
    """Yield gold and predicted tags of each example, without the words that were not read (predicted as "")."""
    for example, prediction in zip(examples, predictions, strict=True):
        gold, predicted = known_gold(example), prediction.value
        if len(gold) != len(predicted):
            raise ValueError(f"example {example.id} has {len(gold)} words and {len(predicted)} predicted tags")
        read = [pair for pair in zip(gold, predicted, strict=True) if pair[1]]
        yield [tag for tag, _ in read], [tag for _, tag in read]


@cache
def _type_of(tag: str) -> str | None:
    """Return the type of an entity's tag, "INT" of B-INT and "" of B; None for O."""
    if not re.fullmatch("O|[BI](-.*)?", tag):
        raise ValueError(f"the tag {tag!r} is none of O, B, I, B-TYPE and I-TYPE")
    return None if tag == "O" else tag[2:]


def _entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return begin, end and type of each entity.

    As CoNLL's script and seqeval do: an I after O, or after another type, starts an entity, too.
    """
    found, begin, before = set(), 0, None
    for place, tag in enumerate([*tags, "O"]):
        kind = _type_of(tag)
        if kind != before or tag[0] == "B":
            if before is not None:
                found.add((begin, place, before))
            begin, before = place, kind
    return found


def _words(tags: Sequence[str]) -> set[tuple[int, str]]:
    return {(place, kind) for place, kind in enumerate(map(_type_of, tags)) if kind is not None}


def _of_entities(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns of _f1, over entities: the same words, and the same type."""
    pairs = (map(_entities, tags) for tags in _read_tags(examples, predictions))
    return np.array([(len(g & p), len(p), len(g)) for g, p in pairs], float).reshape(-1, 3)


def _of_words(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns of _f1 over words, for one type after the other."""
    tags = chain(*(known_gold(example) for example in examples), *(each.value for each in predictions))
    types = sorted({tag[2:] for tag in set(tags) - {"O", ""}}) or [""]
    rows = []
    for gold, predicted in _read_tags(examples, predictions):
        g, p = ([_type_of(tag) for tag in each] for each in (gold, predicted))
        both = [a for a, b in zip(g, p, strict=True) if a == b]
        rows.append([each.count(kind) for kind in types for each in (both, p, g)])
    return np.array(rows, float).reshape(len(examples), -1)


def _macro(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return _f1(sums.reshape(*sums.shape[:-1], -1, 3), empty).mean(-1)


def _of_numbers(examples: Examples, predictions: Predictions, *, ranks: bool = False) -> np.ndarray:
    """Columns: 1, x, y, xx, yy, xy of numbers or their ranks, moved by their medians (a constant is 0); distance."""
    from scipy.stats import rankdata

    gold = np.array([known_gold(example) for example in examples], dtype=float)
    predicted = np.array([each.value for each in predictions], dtype=float)
    for what, values in (("labels", gold), ("predictions", predicted)):
        if bad := np.flatnonzero(~np.isfinite(values)).tolist():
            of = f"{len(bad)} of {len(values)} {what} are not numbers"
            raise ValueError(f"{of}: the first is {values[bad[0]]}, of example {examples[bad[0]].id}")
    x, y = (each - np.median(each) for each in ((rankdata(gold), rankdata(predicted)) if ranks else (gold, predicted)))
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y, abs(gold - predicted)], axis=1)


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums[..., :6], -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    defined = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)  # not a constant, but for rounding
    scale = np.where(defined, np.sqrt(np.maximum(spread_x, 0)) * np.sqrt(np.maximum(spread_y, 0)), 0)
    return _divide(n * xy - x * y, scale)


def _nearness(found: np.ndarray) -> np.ndarray:
    return -found[..., 6]


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _right, _mean, _mean),
        Metric("matthews", _confusion, _matthews, _diagonal),
        Metric("f1", partial(_of_labels, only=POSITIVE), _f1, partial(_f1, empty=1.0)),
        Metric("relation_f1", partial(_of_labels, never=NEGATIVE), _f1, partial(_f1, empty=1.0)),
        Metric("multilabel_f1", _of_labels, _f1, partial(_f1, empty=1.0)),
        Metric("entity_f1", _of_entities, _f1, partial(_f1, empty=1.0)),
        Metric("token_macro_f1", _of_words, _macro, partial(_macro, empty=1.0)),
        Metric("exact", partial(_of_answers, column=0), _mean, _mean),
        Metric("answer_f1", partial(_of_answers, column=1), _mean, _mean),
        Metric("hotpot_f1", partial(_of_answers, column=1, whole=YES_NO), _mean, _mean),
        Metric("pearson", _of_numbers, _correlation, _nearness),
        Metric("spearman", partial(_of_numbers, ranks=True), _correlation, _nearness),
    )
}
PUBLISHED = frozenset(METRICS)  # those that need of an example only what is written down: its gold answer


def counted_metrics(task: Task) -> Sequence[str]:
    """Name the metrics whose mean is a task's number in a table: its first one, in GLUE all."""
    return task.metrics if task.suite == "glue" else task.metrics[:1]


def score(names: Sequence[str], examples: Examples, predictions: Predictions) -> dict[str, float]:
    """Score predictions, which stand in the order of the examples, by each of the metrics named.

    An example without a label, and a prediction of another id, are ValueErrors.
    """
    return group_scores(names, examples, predictions, {"": range(len(examples))})[""]


def group_scores(
    names: Sequence[str], examples: Examples, predictions: Predictions, groups: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """Score groups of examples, by their numbers; what decides how an example is scored is that of the whole set."""
    found = statistics(names, examples, predictions)
    return {
        group: {name: float(METRICS[name].value(rows[[*numbers]].sum(0))) for name, rows in found.items()}
        for group, numbers in groups.items()
    }


def scores_by_type(name: str, examples: Examples, predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return precision, recall and f1 of each class, tag or type of entity, and how many there are (`gold`, `found`).

    What a metric leaves out (O, the class of no relation) has none; numbers, options and answers have no types. An
    example of several is counted under each: [("a", "b")] found as [("a",)] -> a 1, 1, 1 and b 0, 0, 0.
    """
    if not any(isinstance(label, str) for example in examples for label in example.classes):
        return {}
    never, pairs = (NEGATIVE if name == "relation_f1" else None), list[tuple[set[Any], set[Any]]]()
    of_tags: dict[str, Callable[[Sequence[str]], set[Any]]] = {"entity_f1": _entities, "token_macro_f1": _words}
    if name in of_tags:
        pairs += [(of_tags[name](gold), of_tags[name](said)) for gold, said in _read_tags(examples, predictions)]
    else:
        for example, prediction in zip(examples, predictions, strict=True):
            held = [v if isinstance(v, tuple) else (v,) for v in (known_gold(example), prediction.value)]
            gold, said = ({(label,) for label in labels if label != never} for labels in held)
            pairs.append((gold, said))
    right = Counter(thing[-1] for gold, said in pairs for thing in gold & said)
    known, found = (Counter(thing[-1] for sets in pairs for thing in sets[side]) for side in (0, 1))
    table = {}
    for kind in sorted({*known, *found}):
        precision, recall = _divide(np.full(2, right[kind]), np.array([found[kind], known[kind]])).tolist()
        f1 = float(_f1(np.array([right[kind], found[kind], known[kind]])))
        table[kind] = {"precision": precision, "recall": recall, "f1": f1, "gold": known[kind], "found": found[kind]}
    return table


def per_example(name: str, examples: Examples, predictions: Predictions) -> np.ndarray:
    """Return how well each example is answered by a metric, (N,) float64: 1 or 0, an F1, or minus a distance.

    An F1 is 1 where there is nothing to find and nothing found.
    """
    return METRICS[name].each(statistics([name], examples, predictions)[name])


def intervals(
    names: Sequence[str], examples: Examples, predictions: Predictions, *, samples: int = 1000
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each score: the bootstrap's percentiles over examples, or over groups of them.

    Sentences of one document, which share their `group`, are drawn together; not so questions, whose group is a kind.
    Ranks (spearman) are those of the whole sample.
    """
    keys = [i if each.reports_groups or not each.group else each.group for i, each in enumerate(examples)]
    found = statistics(names, examples, predictions).items()
    return {
        name: interval_of(bootstrap(sum_groups(rows, keys), METRICS[name].value, samples=samples))
        for name, rows in found
    }


def sum_groups(rows: np.ndarray, keys: Sequence[Hashable]) -> np.ndarray:
    """Add up the rows (N, K) of one key: (groups, K), in the order in which keys occur."""
    numbers: dict[Hashable, int] = {}
    group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return np.stack([np.bincount(group, column, len(numbers)) for column in rows.T], axis=1)


def bootstrap(rows: np.ndarray, value: Value, *, samples: int, seed: int = 0) -> np.ndarray:
    """Draw as many rows (N, K) as there are, with replacement, `samples` times: the `value` of each sum, (samples,)."""
    rng, size, found = np.random.default_rng(seed), len(rows), []
    step = max(1, DRAWN // max(size, 1))
    for begin in range(0, samples, step):
        count = min(step, samples - begin)
        drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)  # how often each is drawn
        found.append(value(times @ rows))
    return np.concatenate(found)


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a bootstrap's values: its percentiles."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def suite_score(scored: Sequence[tuple[Task, Mapping[str, float]]]) -> float:
    """Average the scores of a suite's tasks as its authors do, a task by its first metric, in GLUE the mean of all.

    Tasks of one group (MNLI's two sets, BLURB's kinds) are averaged first, then the groups and the tasks without one.
    """
    groups: dict[str, list[float]] = {}
    for task, scores in scored:
        value = float(np.mean([scores[name] for name in counted_metrics(task)]))
        groups.setdefault(task.group or task.name, []).append(value)
    return float(np.mean([np.mean(values) for values in groups.values()]))


def write_submission(task: Task, predictions: Sequence[Prediction], folder: Path) -> Path:
    """Write a file for GLUE's server, `folder/RTE.tsv`: `index<TAB>prediction`, the label's word or a number of 0 to 5.

    The index counts the lines of the test file, whose order the predictions keep.
    """
    path, lines = folder / f"{task.submission}.tsv", ["index\tprediction"]
    for i, value in enumerate(each.value for each in predictions):
        lines.append(f"{i}\t{min(max(value, 0.0), 5.0):.3f}" if isinstance(value, float) else f"{i}\t{value}")
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def statistics(names: Sequence[str], examples: Examples, predictions: Predictions) -> dict[str, np.ndarray]:
    """Return the statistics of each metric, (N, K)."""
    if [example.id for example in examples] != [each.id for each in predictions]:
        of = f"the {len(examples)} examples"
        raise ValueError(f"{len(predictions)} predictions are not those of {of}, in their order")
    if unknown := sorted(set(names) - set(METRICS)):
        raise ValueError(f"unknown metric {unknown[0]!r}; {nearest(unknown[0], METRICS)}")
    return {name: METRICS[name].statistics(examples, predictions) for name in names}
