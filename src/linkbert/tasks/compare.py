"""Where two models differ on a task: examples, counts and a paired test.

In: the predictions of two Scores, by example, of all their seeds. Out: plain values for JSON, and their lines. What is
compared is the number that a report shows: a draw of the bootstrap is the metric of A's answers minus that of B's on
the same examples, each the mean over its runs. Where one run of each is right or wrong, p is McNemar's exact one.
Sentences of one document are drawn together; other examples are taken as independent.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from linkbert.config import check_content
from linkbert.tasks.examples import Prediction
from linkbert.tasks.metrics import METRICS, PUBLISHED, bootstrap, counted_metrics, interval_of, sum_groups
from linkbert.tasks.results import Score, differences, read_predictions

SAMPLES = 10_000  # of the bootstrap
WIDTH = 200  # characters of a question or an answer that are shown
Line = dict[str, Any]  # of a file of predictions
Value = Callable[[np.ndarray], np.ndarray]


def answers_of(score: Score, split: str) -> list[dict[str, Line]]:
    """Return each run's answers by the example's id; ValueError where they are not there."""
    found = []
    for run in score.runs:
        folder = run["folder"]
        if not run["scores"].get(split):
            raise ValueError(f"{folder} has no scores on the {split} set of {run['task']}: run both on the same data")
        lines = read_predictions(run, folder, split, "id", "input", "gold", "prediction", "score")
        path = folder / run["predictions"][split]
        check_content(list[tuple[str, float]], [(line["id"], line["score"]) for line in lines], path)
        found.append({line["id"]: line for line in lines})
    return found


def merge(lines: Sequence[Line]) -> Line:
    """Merge the runs' answers to one example: the one that most of them gave, and the mean of their scores."""
    texts = Counter(json.dumps(line["prediction"], ensure_ascii=False) for line in lines)
    common = json.loads(texts.most_common(1)[0][0])
    return {**lines[0], "prediction": common, "score": float(np.mean([line["score"] for line in lines]))}


def rows_of(name: str, lines: Sequence[Line]) -> tuple[np.ndarray, Value]:
    """Return a metric's statistics of one run (N, K), and its value of their sums."""
    if name not in PUBLISHED:  # one's own may read more of an example than is written down: the mean of its scores
        return np.array([(line["score"], 1) for line in lines], float), lambda sums: sums[..., 0] / sums[..., 1]
    given, said = ([(line["id"], tuple(each) if isinstance(each := line[key], list) else each) for line in lines]
                   for key in ("gold", "prediction"))  # fmt: skip
    examples = [SimpleNamespace(id=id_, gold=gold, answers=gold) for id_, gold in given]
    return METRICS[name].statistics(examples, [Prediction(*each) for each in said]), METRICS[name].value


def read_pair(a: Score, b: Score) -> tuple[str, list[dict[str, Line]], list[dict[str, Line]], list[str]]:
    """Return the set that two scores of one task share, the answers of their runs, and the ids that all have."""
    split = replace(a, runs=[*a.runs, *b.runs]).split
    ours, theirs = answers_of(a, split), answers_of(b, split)
    # An example is the same where its input and gold answer are: ids may be numbers of rows only.
    asked = [{key: (line["input"], line["gold"]) for key, line in run.items()} for run in [*ours, *theirs]]
    both = [key for key, what in asked[0].items() if all(run.get(key) == what for run in asked[1:])]
    if not both:
        raise ValueError(f"{a.model} and {b.model} share no example of {a.column.title}: score them on one set")
    return split, ours, theirs, both


def groups_of(sides: Sequence[Sequence[dict[str, Line]]], both: Sequence[str]) -> list[Hashable]:
    """Return the document of each example, or the example itself where a set names none."""
    return [sides[0][0][key].get("group") or (key,) for key in both]


def paired_draws(
    metrics: Sequence[str], sides: Sequence[Sequence[dict[str, Line]]], both: Sequence[str], samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two sides' means over runs and metrics, (2,), and the bootstrap's draws of their difference."""
    parts = [[rows_of(name, [run[key] for key in both]) for run in side for name in metrics] for side in sides]
    rows = np.hstack([each for side in parts for each, _ in side])
    ends = np.cumsum([each.shape[1] for side in parts for each, _ in side])[:-1]

    def means(sums: np.ndarray) -> np.ndarray:
        pieces = iter(np.split(sums, ends, axis=-1))
        return np.stack([np.mean([value(next(pieces)) for _, value in side], axis=0) for side in parts], axis=-1)

    sums = sum_groups(rows, groups_of(sides, both))
    return means(rows.sum(0)), bootstrap(sums, lambda found: means(found) @ [1, -1], samples=samples)


def gain(a: Score, b: Score, *, samples: int = 1000) -> tuple[np.ndarray, int]:
    """Return by how much a's number is above b's on the examples that both have, and draws of it: (1 + samples,).

    And what was drawn: how many documents, or examples where a set names none.
    """
    _, *sides, both = read_pair(a, b)
    means, draws = paired_draws(counted_metrics(a.column.task), sides, both, samples)
    return np.append(means[0] - means[1], draws), len(set(groups_of(sides, both)))


def compare(a: Score, b: Score) -> dict[str, Any]:
    """Compare two scores of one task on the set that a report shows, or the other one where a run lacks that.

    `means` are the metric of a's answers and of b's to the examples that both have; `difference` is a's minus b's, with
    its 95 % `interval` and the two-sided `p` that there is none. `examples` are those on which the answers' scores
    differ, the farthest apart first.
    """
    from scipy.stats import binomtest  # half a second

    metrics = counted_metrics(a.column.task)
    split, ours, theirs, both = read_pair(a, b)
    means, draws = paired_draws(metrics, (ours, theirs), both, SAMPLES)
    merged = [[merge([run[key] for run in side]) for key in both] for side in (ours, theirs)]
    scores = np.array([[line["score"] for line in side] for side in merged]).T  # (N, 2)
    right = scores > 0.5
    neither, only_b, only_a, both_right = np.bincount(2 * right[:, 0] + right[:, 1], minlength=4).tolist()
    exact = len(ours) == len(theirs) == 1 and set(metrics) <= {"accuracy", "exact"}  # seeds' votes are not their mean
    p = float(binomtest(only_a, max(1, only_a + only_b)).pvalue) if exact else two_sided(draws)
    names = [each.model if a.model != b.model else f"{each.runs[0]['folder']}:{each.model}" for each in (a, b)]
    gap = np.round(scores[:, 0] - scores[:, 1], 9)  # thirds of seeds, so that equal ones are
    examples = [
        {key: merged[0][i].get(key) for key in ("id", "input", "options", "gold")}
        | {"a": merged[0][i]["prediction"], "b": merged[1][i]["prediction"], "scores": scores[i].tolist()}
        for i in np.argsort(-abs(gap), kind="stable").tolist()
        if gap[i]
    ]
    return {
        "task": a.column.name, "variation": a.column.variation, "split": split, "metric": " and ".join(metrics),
        "a": names[0], "b": names[1], "runs": [len(a.runs), len(b.runs)], "count": len(both),
        "left_out": len(set().union(*ours)) + len(set().union(*theirs)) - 2 * len(both),
        "both_right": both_right, "only_a": only_a, "only_b": only_b, "neither": neither,
        "other_words": sum(one["prediction"] != other["prediction"] for one, other in zip(*merged, strict=True)),
        "means": means.tolist(), "difference": float(means[0] - means[1]), "interval": list(interval_of(draws)),
        "p": p, "test": "McNemar, exact" if exact else "paired bootstrap",
        "differences": list(differences([a, b])), "examples": examples,
    }  # fmt: skip


def two_sided(values: np.ndarray) -> float:
    """Return the two-sided p that a bootstrapped value is 0: twice the smaller share on one side of it."""
    side = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(values) + 1)))


def comparison_lines(found: Mapping[str, Any], top: int) -> Iterator[str]:
    """Lay a comparison out for reading: counts, the test, and the `top` examples that are farthest apart."""
    a, b = (f"{found[key]} ({count} runs)" for key, count in zip("ab", found["runs"], strict=True))
    near = {"pearson", "spearman"} & set(found["metric"].split())  # an example's score is minus its distance from gold
    mean_a, mean_b = (f"{100 * each:.2f}" for each in found["means"])
    gap, low, high = (f"{100 * each:+.2f}" for each in (found["difference"], *found["interval"]))
    title = f"{found['task']} {found['variation']}".strip()
    yield f"{title}, {found['split']}: {found['count']:,} examples; A: {a}, B: {b}"
    yield f"  {found['metric']}, in %: A {mean_a}, B {mean_b}"
    yield f"  A - B: {gap} ({low} to {high}); p {found['p']:.3g} ({found['test']})"
    if not near:
        right = "right: both {both_right:,}, only A {only_a:,}, only B {only_b:,}, neither {neither:,}"
        yield f"  {right.format_map(found)}; other answers in {found['other_words']:,}"
    if found["left_out"]:
        yield f"  {found['left_out']:,} answers are left out: to examples that only one of the two has"
    if found["differences"]:
        yield f"  they differ in {'; '.join(found['differences'])}"
    for each in found["examples"][:top]:
        options = each["options"] or ()
        yield from ("", f"{each['id']}: {' '.join(each['input'].split())[:WIDTH]}")
        yield f"  gold: {_shown(each['gold'], options)}"
        for name, key, score in zip("AB", ("a", "b"), each["scores"], strict=True):
            how = f"{score:.2f} from gold" if near else f"{100 * score:.0f}"
            yield f"  {name}, {how.removeprefix('-')}: {_shown(each[key], options)}"


def _shown(value: Any, options: Sequence[str]) -> str:
    if options and isinstance(value, int):
        return f"{value} {options[value]}"[:WIDTH]
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words[:WIDTH] or "(nothing)"
