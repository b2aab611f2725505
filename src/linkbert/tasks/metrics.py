"""Scores as the official scorers have them, with intervals; averages of suites; what one scores without a model.

A metric is a row of numbers for each example and a function of their sum: `value(statistics.sum(0))`. So the score of
any selection of examples, a bootstrap's or a group's, costs one sum, and a thousand of them one product of matrices.
Scores are in [0, 1], correlations in [-1, 1]. An undefined one (nothing to be found and nothing found, a constant
prediction) is 0, as scikit-learn and seqeval have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.files import replacing
from linkbert.tasks.answers import answer_scores
from linkbert.tasks.examples import (
    ChoiceExample,
    Example,
    Prediction,
    QuestionExample,
    TaggedExample,
    TextExample,
    gold,
)
from linkbert.tasks.table import Task

NEGATIVE = "0"  # the class of "no relation" in ChemProt, DDI and GAD
POSITIVE = "1"  # of paraphrases, in MRPC and QQP
DRAWN = 1 << 22  # examples drawn at a time by the bootstrap: 32 MB

Statistics = Callable[[Sequence[Any], Sequence[Prediction]], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A score: `value` of the sum of the examples' `statistics`."""

    name: str
    statistics: Statistics  # (examples, predictions) -> (N, K) float64
    value: Callable[[np.ndarray], np.ndarray]  # (..., K) -> (...)
    each: Callable[[np.ndarray], np.ndarray]  # (N, K) -> (N,): how well one example is answered, higher is better


def score(names: Sequence[str], examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score predictions, which stand in the order of the examples, by each of the metrics named.

    An example without a label, and a prediction of another id, are ValueErrors.
    """
    return {name: float(metric.value(found.sum(0))) for name, metric, found in _found(names, examples, predictions)}


def per_example(names: Sequence[str], examples: Sequence[Example], predictions: Sequence[Prediction]) -> np.ndarray:
    """Give how well each example is answered by the first metric, (N,) float64, to compare two models.

    Right or wrong (1, 0) for classes and options; the F1 of a sentence's entities, or of an abstract's labels, 1 where
    there is nothing to find and nothing found; for a number, minus its distance from the gold one.
    """
    ((_, metric, found),) = _found(names[:1], examples, predictions)
    return metric.each(found)


def intervals(
    names: Sequence[str],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Give the 95 % interval of each score: the bootstrap's percentiles over examples, or over groups of them.

    Sentences of one document, which share their `group`, are drawn together; not so questions, whose group is a kind.
    Ranks (spearman) are those of the whole sample.
    """
    rng = np.random.default_rng(seed)
    keys = [
        i if isinstance(example, QuestionExample) or not example.group else example.group
        for i, example in enumerate(examples)
    ]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    group, size = np.array([numbers[key] for key in keys], dtype=np.int64), len(numbers)
    found = [(name, metric, _sums(each, group, size)) for name, metric, each in _found(names, examples, predictions)]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in names}
    step = max(1, DRAWN // max(size, 1))
    for begin in range(0, samples, step):
        count = min(step, samples - begin)
        drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)  # how often each is drawn
        for name, metric, sums in found:
            scores[name].append(metric.value(times @ sums))
    ends = {name: np.percentile(np.concatenate(values), (2.5, 97.5)) for name, values in scores.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def counted_metrics(task: Task) -> tuple[str, ...]:
    """Give the metrics whose mean is a task's score: in GLUE all, else the first."""
    return task.metrics if task.suite == "glue" else task.metrics[:1]


def suite_score(scored: Sequence[tuple[Task, Mapping[str, float]]]) -> float:
    """Average the scores of a suite's tasks as its authors do; which tasks it takes is the caller's affair.

    A task counts with the mean of its `counted_metrics`. Tasks of one group (MNLI's two sets,
    BLURB's kinds) are averaged first, then the groups and the tasks without one.
    """
    groups: dict[str, list[float]] = {}
    for task, scores in scored:
        value = float(np.mean([scores[name] for name in counted_metrics(task)]))
        groups.setdefault(task.group or task.name, []).append(value)
    return float(np.mean([np.mean(values) for values in groups.values()]))


def majority(task: Task, train: Sequence[Example], examples: Sequence[Example]) -> list[Prediction]:
    """Answer without reading: the commonest label of train (of the examples, where there is no train).

    A number: their mean. Tags: O. A question: no answer, which is right where there is none.
    """
    labels = [_gold(example) for example in train or examples]
    if task.kind in ("tags", "question"):
        return [_constant(example, "O" if task.kind == "tags" else "") for example in examples]
    if isinstance(labels[0], float):
        common: Any = float(np.mean(labels))
    else:
        common = min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]
    return [_constant(example, common) for example in examples]


def baselines(task: Task, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Score `majority`, and `chance`: every answer the same number of times, that is the expected sums of a guess.

    For several labels, each holds with probability 1/2; for tags, a sentence gets one tag; numbers and questions, which
    cannot be guessed so, get majority's score.
    """
    first = majority(task, train, examples)
    answers: list[Any] = []
    if isinstance(examples[0], ChoiceExample):
        answers = list(range(len(examples[0].options)))
    elif isinstance(examples[0], TaggedExample):
        answers = sorted({tag for example in train or examples for tag in _gold(example)})
    elif isinstance(examples[0], TextExample) and not isinstance(_gold(examples[0]), float):
        gold = [_gold(example) for example in train or examples]
        answers = [(), tuple(sorted(set().union(*gold)))] if isinstance(gold[0], tuple) else sorted(set(gold))
    guessed = [_constant(example, answer) for answer in answers for example in examples]
    return {
        "majority": score(task.metrics, examples, first),
        "chance": score(task.metrics, list(examples) * len(answers) or examples, guessed or first),
    }


def write_submission(task: Task, predictions: Sequence[Prediction], folder: Path) -> Path:
    """Write a file for GLUE's server, `folder/RTE.tsv`: `index<TAB>prediction`, the label's word or a number of 0 to 5.

    The index counts the lines of the test file, whose order the predictions keep.
    """
    if task.name not in SUBMISSIONS:
        raise ValueError(f"GLUE's server takes no {task.name}; it takes {', '.join(SUBMISSIONS)}")
    path = folder / f"{SUBMISSIONS[task.name]}.tsv"
    words = [
        f"{min(max(each.value, 0.0), 5.0):.3f}" if isinstance(each.value, float) else each.value for each in predictions
    ]
    with replacing(path) as part:
        lines = ["index\tprediction", *(f"{i}\t{word}" for i, word in enumerate(words))]
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SUBMISSIONS = {  # the names that GLUE's server wants, by the names of tasks.toml
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS-B",
    "mnli-matched": "MNLI-m",
    "mnli-mismatched": "MNLI-mm",
    "qnli": "QNLI",
    "rte": "RTE",
}


def _found(
    names: Sequence[str], examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[tuple[str, Metric, np.ndarray]]:
    """Give the statistics of each metric, (N, K)."""
    if [example.id for example in examples] != [each.id for each in predictions]:
        raise ValueError(
            f"{len(predictions)} predictions are not those of the {len(examples)} examples, in their order"
        )
    return [(name, METRICS[name], METRICS[name].statistics(examples, predictions)) for name in names]


def _gold(example: Example) -> Any:
    known = gold(example)
    if known is None:
        raise ValueError(f"example {example.id} has no label: its split can be predicted, not scored")
    return known


def _constant(example: Example, answer: Any) -> Prediction:
    return Prediction(example.id, (answer,) * len(example.words) if isinstance(example, TaggedExample) else answer)


def _sums(rows: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Add the rows (N, K) up by the group (N,) they belong to: (size, K)."""
    columns = [np.bincount(group, column, size) for column in rows.T]
    return np.stack(columns, axis=1)


def _divide(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Divide; `empty` where there is nothing to divide by."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.full(part.shape, empty), where=whole > 0)


# ---- the share of right answers ----


def _right(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    """Columns: right, 1."""
    right = [_gold(example) == each.value for example, each in zip(examples, predictions, strict=True)]
    return np.stack([np.array(right, dtype=float), np.ones(len(right))], axis=1)


def _mean(sums: np.ndarray) -> np.ndarray:
    return _divide(sums[..., 0], sums[..., 1])


def _of_answers(column: int) -> Statistics:
    """Columns: exact match or F1, 1."""

    def statistics(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
        return np.stack([answer_scores(examples, predictions)[:, column], np.ones(len(examples))], axis=1)

    return statistics


# ---- Matthews' correlation, of any number of classes ----


def _confusion(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    """Columns: the cells of the confusion matrix, gold by predicted."""
    gold, predicted = [_gold(example) for example in examples], [each.value for each in predictions]
    numbers = {label: i for i, label in enumerate(sorted({*gold, *predicted}))}
    cell = [numbers[g] * len(numbers) + numbers[p] for g, p in zip(gold, predicted, strict=True)]
    return np.eye(len(numbers) ** 2)[cell]


def _square(cells: np.ndarray) -> np.ndarray:
    size = round(cells.shape[-1] ** 0.5)
    return cells.reshape(*cells.shape[:-1], size, size)


def _matthews(sums: np.ndarray) -> np.ndarray:
    table = _square(sums)
    gold, predicted, count = table.sum(-1), table.sum(-2), sums.sum(-1)
    right = np.trace(table, axis1=-2, axis2=-1)
    spread = (count**2 - (gold**2).sum(-1)) * (count**2 - (predicted**2).sum(-1))
    return _divide(right * count - (gold * predicted).sum(-1), np.sqrt(spread))


def _diagonal(cells: np.ndarray) -> np.ndarray:
    return np.trace(_square(cells), axis1=-2, axis2=-1)


# ---- F1 ----


def _f1(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """2 PR / (P + R) of the columns: found and right, found, to be found."""
    return _divide(2 * sums[..., 0], sums[..., 1] + sums[..., 2], empty)


def _f1_each(found: np.ndarray) -> np.ndarray:
    return _f1(found, 1.0)


def _of_class(counts: Callable[[str], bool]) -> Statistics:
    """Columns of _f1, over the classes that count."""

    def statistics(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
        pairs = [(_gold(example), each.value) for example, each in zip(examples, predictions, strict=True)]
        rows = [(counts(p) and p == g, counts(p), counts(g)) for g, p in pairs]
        return np.array(rows, dtype=float).reshape(-1, 3)

    return statistics


def _of_labels(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    pairs = [(set(_gold(example)), set(each.value)) for example, each in zip(examples, predictions, strict=True)]
    return np.array([(len(p & g), len(p), len(g)) for g, p in pairs], dtype=float).reshape(-1, 3)


# ---- F1 of tags ----


class _Numbers(dict[str, int]):
    """Numbers of tags, in the order in which they are met."""

    def __missing__(self, tag: str) -> int:
        if tag not in ("O", "") and tag.partition("-")[0] not in ("B", "I"):
            raise ValueError(f"the tag {tag!r} is none of O, B, I, B-TYPE and I-TYPE")
        return self.setdefault(tag, len(self))


def _tag_codes(
    examples: Sequence[Any], predictions: Sequence[Prediction]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Flatten gold and predicted tags, without the words that the model did not read (their tag is "").

    Returned: the types of gold and predicted tags, (W,), 0 for O; whether they are a B, (W,); the example of each word,
    (W,); the number of types, with O.
    """
    gold, predicted = [_gold(example) for example in examples], [each.value for each in predictions]
    lengths = np.fromiter(map(len, gold), np.int64, len(gold))
    other = np.flatnonzero(lengths != np.fromiter(map(len, predicted), np.int64, len(gold)))
    if len(other):
        id_, words, tags = (each[other[0]] for each in ([each.id for each in examples], lengths, predicted))
        raise ValueError(f"example {id_} has {words} words and {len(tags)} predicted tags")
    numbers = _Numbers()
    g, p = (
        np.frombuffer(bytearray(map(numbers.__getitem__, chain.from_iterable(each))), np.uint8)
        for each in (gold, predicted)
    )
    example = np.repeat(np.arange(len(gold)), lengths)
    if "" in numbers:
        read = p != numbers[""]
        g, p, example = g[read], p[read], example[read]
    types = sorted({tag[2:] for tag in numbers if tag not in ("O", "")})
    kind = {tag: 0 if tag in ("O", "") else types.index(tag[2:]) + 1 for tag in numbers}
    type_, begins = np.array([*kind.values()], np.int16), np.array([tag[:1] == "B" for tag in numbers], bool)
    return type_[g], type_[p], begins[g], begins[p], example, len(types) + 1


def _entities(types: np.ndarray, begins: np.ndarray, example: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give a number for each entity's place and type, ascending, and the example it is in, both (E,).

    As CoNLL's script and seqeval do: an I after O, or after another type, starts an entity, too.
    """
    first = begins.copy()
    first[1:] |= (types[1:] != types[:-1]) | (example[1:] != example[:-1])
    first[:1] = True
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(types))
    places = (starts * (len(types) + 1) + ends)[types[starts] > 0]
    starts = starts[types[starts] > 0]
    return places * (1 << 8) + types[starts], example[starts]


def _of_entities(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    """Columns of _f1, over entities: the same words, and the same type."""
    gold, predicted, gold_begins, predicted_begins, example, _ = _tag_codes(examples, predictions)
    g, g_in = _entities(gold, gold_begins, example)
    p, p_in = _entities(predicted, predicted_begins, example)
    columns = (g_in[np.isin(g, p, assume_unique=True)], p_in, g_in)
    return np.stack([np.bincount(each, minlength=len(examples)) for each in columns], axis=1).astype(float)


def _of_words(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    """Columns of _f1 over words, for one type after the other."""
    gold, predicted, _, _, example, types = _tag_codes(examples, predictions)
    columns = [
        np.bincount(example[which], minlength=len(examples))
        for each in range(1, types)
        for which in ((gold == each) & (predicted == each), predicted == each, gold == each)
    ]
    return np.stack(columns, axis=1).astype(float) if columns else np.zeros((len(examples), 3))


def _macro(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return _f1(sums.reshape(*sums.shape[:-1], -1, 3), empty).mean(-1)


def _macro_each(found: np.ndarray) -> np.ndarray:
    return _macro(found, 1.0)


# ---- correlations ----


def _moments(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Columns: 1, x, y, xx, yy, xy, with x and y moved by their medians, so that a constant is 0."""
    x, y = gold - np.median(gold), predicted - np.median(predicted)
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)


def _numbers(examples: Sequence[Any], predictions: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
    gold = np.array([_gold(example) for example in examples], dtype=float)
    return gold, np.array([each.value for each in predictions], dtype=float)


def _of_numbers(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    gold, predicted = _numbers(examples, predictions)
    return np.column_stack([_moments(gold, predicted), abs(gold - predicted)])


def _of_ranks(examples: Sequence[Any], predictions: Sequence[Prediction]) -> np.ndarray:
    from scipy.stats import rankdata

    gold, predicted = _numbers(examples, predictions)
    return np.column_stack([_moments(rankdata(gold), rankdata(predicted)), abs(gold - predicted)])


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
        Metric("f1", _of_class(lambda label: label == POSITIVE), _f1, _f1_each),
        Metric("relation_f1", _of_class(lambda label: label != NEGATIVE), _f1, _f1_each),
        Metric("multilabel_f1", _of_labels, _f1, _f1_each),
        Metric("entity_f1", _of_entities, _f1, _f1_each),
        Metric("token_macro_f1", _of_words, _macro, _macro_each),
        Metric("exact", _of_answers(0), _mean, _mean),
        Metric("answer_f1", _of_answers(1), _mean, _mean),
        Metric("pearson", _of_numbers, _correlation, _nearness),
        Metric("spearman", _of_ranks, _correlation, _nearness),
    )
}
