"""Scores as the official scorers have them, with intervals, and averages of suites.

A metric is a row of numbers for each example and a function of their sum: `value(statistics.sum(0))`. So the score of
any selection of examples, a bootstrap's or a group's, costs one sum, and a thousand of them one product of matrices.
Scores are in [0, 1], correlations in [-1, 1]. An undefined one (nothing to be found and nothing found, a constant
prediction) is 0, as scikit-learn and seqeval have it.

Answers are scored as the scripts of SQuAD 1.1 and 2.0, MRQA and HotpotQA score them. Case, punctuation, articles and
spaces do not count. A question with several answers has the best score among them. One without an answer is right when
"" is answered, and then only.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import nearest
from linkbert.files import replacing
from linkbert.tasks.examples import Prediction, known_gold
from linkbert.tasks.table import Task

NEGATIVE = "0"  # the class of "no relation" in ChemProt, DDI and GAD
POSITIVE = "1"  # of paraphrases, in MRPC and QQP
YES_NO = frozenset({"yes", "no", "noanswer"})  # answers of HotpotQA that are not words of a context
_PUNCTUATION = str.maketrans("", "", string.punctuation)
DRAWN = 1 << 22  # examples drawn at a time by the bootstrap: 32 MB

Examples = Sequence[Any]
Predictions = Sequence[Prediction]
Value = Callable[[np.ndarray], np.ndarray]
Found = tuple[set[Any], set[Any]]  # what there is in an example (gold), and what is predicted


@dataclass(frozen=True)
class Metric:
    """A score: `value` of the sum of the examples' `statistics`."""

    name: str
    statistics: Callable[[Examples, Predictions], np.ndarray]  # (examples, predictions) -> (N, K) float64
    value: Value  # (..., K) -> (...)
    each: Value  # (N, K) -> (N,): how well one example is answered, higher is better; an F1 of nothing at all is 1
    about: str = ""  # the class without which it says nothing


def normalise(text: str) -> str:
    """Return what is compared: "The U.S., a state" -> "us state"."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def score_answer(
    answers: Sequence[str], predicted: str, *, refusable: bool = False, whole: frozenset[str] = frozenset()
) -> tuple[float, float]:
    """Return exact match (0 or 1) and the F1 of words: the best against any of the answers, each by itself.

    F1 is of words as often as they stand in both: ("cat sat", "a cat") -> 0.0, 2/3. Without answers, "" is right.
    `refusable` is SQuAD 2.0's script: an answer of which nothing is compared ("the", ".") is none. One that is among
    `whole` is right or wrong as a whole: HotpotQA's script gives "no" nothing for "no one".
    """
    said, known = normalise(predicted), [normalise(answer) for answer in answers]
    if refusable:
        known = [answer for answer in known if answer]
    if not known:
        return (float(not said),) * 2
    words, exact, best = Counter(said.split()), 0.0, 0.0
    for answer in known:
        gold = Counter(answer.split())
        common = (words & gold).total()
        exact = max(exact, float(said == answer))
        if common and (said == answer or whole.isdisjoint((said, answer))):
            # precision = common / words, recall = common / gold; written out for the scripts' own last digit
            precision, recall = common / words.total(), common / gold.total()
            best = max(best, 2 * precision * recall / (precision + recall))
    return exact, best


def answer_scores(examples: Examples, predictions: Predictions, whole: frozenset[str] = frozenset()) -> np.ndarray:
    """Return exact match and F1 of each prediction, (N, 2) float64; as SQuAD 2.0's script where some have no answer."""
    pairs, refusable = zip(examples, predictions, strict=True), not all(e.answers for e in examples)
    scores = [score_answer(e.answers, p.value, refusable=refusable, whole=whole) for e, p in pairs]
    return np.array(scores, np.float64).reshape(-1, 2)


def best_threshold(examples: Examples, predictions: Predictions) -> float:
    """Find the threshold of details["null"] above which no answer is the better one, by F1: on dev, never on test.

    It lies halfway between two scores, or at the highest, and is infinite where every question has an answer.
    """
    if all(example.answers for example in examples):
        return np.inf
    null = np.array([prediction.details["null"] for prediction in predictions])
    order = np.argsort(null, kind="stable")
    answered = answer_scores(examples, predictions)[order, 1]
    refused = np.array([score_answer(example.answers, "", refusable=True)[1] for example in examples])[order]
    total = np.append(0, np.cumsum(answered)) + np.append(np.cumsum(refused[::-1])[::-1], 0)  # of answering the first k
    ends = np.concatenate([[null.min() - 1], null[order], [np.inf]])
    places = np.flatnonzero(ends[1:] > ends[:-1])  # none lies between equal scores
    k = places[np.argmax(total[places])]
    return float(ends[k] if ends[k + 1] == np.inf else (ends[k] + ends[k + 1]) / 2)


def refuse(predictions: Predictions, threshold: float) -> list[Prediction]:
    """Answer "" where the score of having no answer is above the threshold."""
    return [replace(p, value="") if p.details["null"] > threshold else p for p in predictions]


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


def _of_answers(examples: Examples, predictions: Predictions, *, column: int, **how: Any) -> np.ndarray:
    """Columns: exact match (0) or F1 (1), 1."""
    return np.stack([answer_scores(examples, predictions, **how)[:, column], np.ones(len(examples))], axis=1)


def _classes(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns: 1 where it is right, then the class that is right, then the one predicted, as 0 or 1 for each."""
    gold, predicted = [known_gold(example) for example in examples], [each.value for each in predictions]
    numbers = {label: i for i, label in enumerate(sorted({*gold, *predicted}))}
    rows = [np.eye(len(numbers))[[numbers[each] for each in of]] for of in (gold, predicted)]
    return np.column_stack([[g == p for g, p in zip(gold, predicted, strict=True)], *rows])


def _matthews(sums: np.ndarray) -> np.ndarray:
    gold, predicted = np.split(sums[..., 1:], 2, axis=-1)
    count = gold.sum(-1)
    spread = (count**2 - (gold**2).sum(-1)) * (count**2 - (predicted**2).sum(-1))
    return _divide(_first(sums) * count - (gold * predicted).sum(-1), np.sqrt(spread))


def _first(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0]


def _f1(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """2 PR / (P + R) of the columns: found and right, found, to be found."""
    return _divide(2 * sums[..., 0], sums[..., 1] + sums[..., 2], empty)


def _labels(examples: Examples, predictions: Predictions, *, only: str = "", never: str = "") -> Iterator[Found]:
    """Yield the labels of each example that count: `only` one, or all but the one that `never` does."""
    for example, prediction in zip(examples, predictions, strict=True):
        held = [each if isinstance(each, tuple) else (each,) for each in (known_gold(example), prediction.value)]
        gold, said = ({(label,) for label in labels if label != never and only in ("", label)} for labels in held)
        yield gold, said


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


def entities_of(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return begin, end and type of each entity; as CoNLL's script has it, an I after O or another type starts one."""
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


def _tagged(examples: Examples, predictions: Predictions, *, of: Callable[[list[str]], set[Any]]) -> Iterator[Found]:
    """Yield the entities, or their words, of each example."""
    return ((of(gold), of(said)) for gold, said in _read_tags(examples, predictions))


def _of_found(examples: Examples, predictions: Predictions, *, find: Callable[..., Any], **how: Any) -> np.ndarray:
    """Columns of _f1."""
    pairs = find(examples, predictions, **how)
    return np.array([(len(gold & said), len(said), len(gold)) for gold, said in pairs], float).reshape(-1, 3)


def _of_words(examples: Examples, predictions: Predictions) -> np.ndarray:
    """Columns of _f1 over words, for one type after the other."""
    tags = chain(*(known_gold(example) for example in examples), *(each.value for each in predictions))
    types = sorted({tag[2:] for tag in set(tags) - {"O", ""}}) or [""]
    sets = [(gold & said, said, gold) for gold, said in _tagged(examples, predictions, of=_words)]
    rows = [[sum(kind == of for _, kind in each) for of in types for each in found] for found in sets]
    return np.array(rows, float).reshape(len(examples), -1)


def _macro(sums: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return _f1(sums.reshape(*sums.shape[:-1], -1, 3), empty).mean(-1)


def _of_numbers(examples: Examples, predictions: Predictions, *, ranks: bool = False) -> np.ndarray:
    """Columns: 1, x, y, xx, yy, xy of numbers or their ranks, moved by their medians (a constant is 0); -distance."""
    from scipy.stats import rankdata

    gold = np.array([known_gold(example) for example in examples], dtype=float)
    predicted = np.array([each.value for each in predictions], dtype=float)
    for what, values in (("labels", gold), ("predictions", predicted)):
        if bad := np.flatnonzero(~np.isfinite(values)).tolist():
            of = f"{len(bad)} of {len(values)} {what} are not numbers"
            raise ValueError(f"{of}: the first is {values[bad[0]]}, of example {examples[bad[0]].id}")
    x, y = (each - np.median(each) for each in ((rankdata(gold), rankdata(predicted)) if ranks else (gold, predicted)))
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y, -abs(gold - predicted)], axis=1)


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums[..., :6], -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    defined = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)  # not a constant, but for rounding
    scale = np.where(defined, np.sqrt(np.maximum(spread_x, 0)) * np.sqrt(np.maximum(spread_y, 0)), 0)
    return _divide(n * xy - x * y, scale)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _right, _mean, _mean),
        Metric("matthews", _classes, _matthews, _first),
        Metric("f1", partial(_of_found, find=_labels, only=POSITIVE), _f1, partial(_f1, empty=1.0), POSITIVE),
        Metric("relation_f1", partial(_of_found, find=_labels, never=NEGATIVE), _f1, partial(_f1, empty=1.0), NEGATIVE),
        Metric("multilabel_f1", partial(_of_found, find=_labels), _f1, partial(_f1, empty=1.0)),
        Metric("entity_f1", partial(_of_found, find=_tagged, of=entities_of), _f1, partial(_f1, empty=1.0)),
        Metric("token_macro_f1", _of_words, _macro, partial(_macro, empty=1.0)),
        Metric("exact", partial(_of_answers, column=0), _mean, _mean),
        Metric("answer_f1", partial(_of_answers, column=1), _mean, _mean),
        Metric("hotpot_f1", partial(_of_answers, column=1, whole=YES_NO), _mean, _mean),
        Metric("pearson", _of_numbers, _correlation, itemgetter((..., 6))),
        Metric("spearman", partial(_of_numbers, ranks=True), _correlation, itemgetter((..., 6))),
    )
}
PUBLISHED = frozenset(METRICS)  # those that need of an example only what is written down: its gold answer


def own_metric(name: str, found: Any) -> Metric:
    """Make a Metric of a function (examples, predictions) -> a number for each example, whose mean is the score."""

    def statistics(examples: Examples, predictions: Predictions) -> np.ndarray:
        values = np.asarray(found(examples, predictions), float)
        if values.shape != (len(examples),):
            raise ValueError(f"{name} gave {values.shape}, not ({len(examples)},): a number for each example")
        return np.column_stack([values, np.ones(len(values))])

    return found if isinstance(found, Metric) else Metric(name, statistics, _mean, _mean)


def counted_metrics(task: Task) -> Sequence[str]:
    """Name the metrics whose mean is a task's number in a table: its first one, in GLUE all."""
    return task.metrics if task.suite == "glue" else task.metrics[:1]


def score(names: Sequence[str], examples: Examples, predictions: Predictions) -> dict[str, float]:
    """Score predictions, in the order of the examples, by each metric named; ValueError: other examples, no label."""
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
    of_tags: dict[str, Callable[[list[str]], set[Any]]] = {"entity_f1": entities_of, "token_macro_f1": _words}
    labels = _labels(examples, predictions, never=NEGATIVE if name == "relation_f1" else "")
    pairs = [*(_tagged(examples, predictions, of=of_tags[name]) if name in of_tags else labels)]
    right = Counter(thing[-1] for gold, said in pairs for thing in gold & said)
    known, found = (Counter(thing[-1] for sets in pairs for thing in sets[side]) for side in (0, 1))
    table = {}
    for kind in sorted({*known, *found}):
        precision, recall = _divide(np.full(2, right[kind]), np.array([found[kind], known[kind]])).tolist()
        f1 = float(_f1(np.array([right[kind], found[kind], known[kind]])))
        table[kind] = {"precision": precision, "recall": recall, "f1": f1, "gold": known[kind], "found": found[kind]}
    return table


def per_example(name: str, examples: Examples, predictions: Predictions) -> np.ndarray:
    """Return how well each example is answered by a metric, (N,) float64: 1 or 0, an F1, or minus a distance."""
    return METRICS[name].each(statistics([name], examples, predictions)[name])


def intervals(
    names: Sequence[str], examples: Examples, predictions: Predictions, *, samples: int = 1000
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each score: the bootstrap's percentiles over examples, or over groups of them.

    Sentences of one document, which share their `group`, are drawn together; not so questions, whose group is a kind.
    Ranks (spearman) are those of the whole sample.
    """
    keys = [i if each.reports_groups or not each.group else each.group for i, each in enumerate(examples)]
    sums = {name: sum_groups(rows, keys) for name, rows in statistics(names, examples, predictions).items()}
    return {name: interval_of(bootstrap(each, METRICS[name].value, samples=samples)) for name, each in sums.items()}


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
    """Average the scores of a suite's tasks as its authors do, a task by its first metric, in GLUE the mean of all."""
    groups: dict[str, list[float]] = {}  # MNLI's two sets, BLURB's kinds: each has a mean that counts as a task's
    for task, scores in scored:
        value = float(np.mean([scores[name] for name in counted_metrics(task)]))
        groups.setdefault(task.group or task.name, []).append(value)
    return float(np.mean([np.mean(values) for values in groups.values()]))


def write_submission(task: Task, predictions: Sequence[Prediction], folder: Path) -> Path:
    """Write a file for GLUE's server, `folder/RTE.tsv`: `index<TAB>prediction`, a label's word, or a number up to 5."""
    path, lines = folder / f"{task.submission}.tsv", ["index\tprediction"]
    for i, value in enumerate(each.value for each in predictions):  # in the order of the test file's lines
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
