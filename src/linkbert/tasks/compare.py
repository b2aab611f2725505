"""Where two models differ on a task: examples, counts and a paired test.

In: the predictions of two Scores, by example, over all their seeds. Out: plain values for JSON, and their lines.
An example is right for a model where it is in more than half of its runs. Right and wrong are tested by McNemar's exact
test, other scores (an F1 for each example) by a bootstrap of the mean difference; both take examples as independent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from linkbert.files import read_json_lines
from linkbert.tasks.metrics import bootstrap, interval_of
from linkbert.tasks.results import Score, differences

SAMPLES = 10_000  # of the bootstrap
WIDTH = 200  # characters of a question or an answer that are shown


def answers_of(score: Score, split: str) -> dict[str, dict[str, Any]]:
    """Return the answer that most runs gave to each example, by its id, and the mean of its scores.

    ValueError where a run has no scores on that set, or the file of its answers is gone or broken.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for run in score.runs:
        folder = run["folder"]
        if not run["scores"].get(split):
            raise ValueError(f"{folder} has no scores on the {split} set of {run['task']}: run both on the same data")
        path = folder / run["predictions"][split]
        if not path.is_file():
            raise ValueError(f"{path} is not there: remove its line in results.jsonl and run again")
        for line in read_json_lines(path, "id", "input", "gold", "prediction", "score"):
            found.setdefault(line["id"], []).append(line)
    merged = {}
    for name, lines in found.items():
        texts = Counter(json.dumps(line["prediction"], ensure_ascii=False) for line in lines)
        common = json.loads(texts.most_common(1)[0][0])
        merged[name] = {**lines[0], "prediction": common, "score": float(np.mean([line["score"] for line in lines]))}
    return merged


def compare(a: Score, b: Score) -> dict[str, Any]:
    """Compare two scores of one task on the set that a report shows, or the other one where a run lacks that.

    `examples` are those on which the scores differ, the farthest apart first; `difference` is the mean of a's score
    minus b's, with its 95 % `interval` and the two-sided `p` that there is none.
    """
    from scipy.stats import binomtest  # half a second

    task = a.column.task
    split = replace(a, runs=[*a.runs, *b.runs]).split
    ours, theirs = answers_of(a, split), answers_of(b, split)
    both = [(ours[name], theirs[name]) for name in ours if name in theirs]
    both = [pair for pair in both if all(pair[0][key] == pair[1][key] for key in ("input", "gold"))]  # not the row only
    if not both:
        raise ValueError(f"{a.model} and {b.model} share no example of {a.column.title}: score them on one set")
    scores = np.array([[one["score"], other["score"]] for one, other in both])  # (N, 2)
    right = scores > 0.5
    cells = np.bincount(2 * right[:, 0] + right[:, 1], minlength=4)
    neither, only_b, only_a, both_right = cells.tolist()
    gap = np.round(scores[:, 0] - scores[:, 1], 9)  # thirds of seeds, so that equal ones are
    means = bootstrap(gap[:, None], lambda sums: sums[..., 0] / len(gap), samples=SAMPLES)
    whole = scores * [len(a.runs), len(b.runs)]  # sums of zeros and ones are whole numbers
    binary = bool(np.isclose(whole, whole.round()).all())
    p = float(binomtest(only_a, max(1, only_a + only_b)).pvalue) if binary else two_sided(means)
    names = [each.model if a.model != b.model else f"{each.runs[0]['folder']}:{each.model}" for each in (a, b)]
    examples = [
        {key: both[i][0].get(key) for key in ("id", "input", "options", "gold")}
        | {"a": both[i][0]["prediction"], "b": both[i][1]["prediction"], "scores": scores[i].tolist()}
        for i in np.argsort(-abs(gap), kind="stable").tolist()
        if gap[i]
    ]
    return {
        "task": a.column.name,
        "variation": a.column.variation,
        "split": split,
        "metric": task.metrics[0],
        "a": names[0],
        "b": names[1],
        "runs": [len(a.runs), len(b.runs)],
        "count": len(both),
        "left_out": len(ours) + len(theirs) - 2 * len(both),
        "both_right": both_right,
        "only_a": only_a,
        "only_b": only_b,
        "neither": neither,
        "other_words": sum(one["prediction"] != other["prediction"] for one, other in both),
        "means": scores.mean(0).tolist(),
        "difference": float(gap.mean()),
        "interval": list(interval_of(means)),
        "p": p,
        "test": "McNemar, exact" if binary else "bootstrap",
        "differences": list(differences([a, b])),
        "examples": examples,
    }


def two_sided(values: np.ndarray) -> float:
    """Return the two-sided p that a bootstrapped value is 0: twice the smaller share on one side of it."""
    side = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(values) + 1)))


def comparison_lines(found: Mapping[str, Any], top: int) -> Iterator[str]:
    """Lay a comparison out for reading: counts, the test, and the `top` examples that are farthest apart."""
    a, b = (f"{found[key]} ({count} runs)" for key, count in zip("ab", found["runs"], strict=True))
    near = found["metric"] in ("pearson", "spearman")  # an example's score is minus its distance from gold
    unit, digits = (1, 4) if near else (100, 2)
    mean_a, mean_b = (f"{unit * each:.{digits}f}" for each in found["means"])
    gap, low, high = (f"{unit * each:+.{digits}f}" for each in (found["difference"], *found["interval"]))
    title = f"{found['task']} {found['variation']}".strip()
    yield f"{title}, {found['split']}: {found['count']:,} examples; A: {a}, B: {b}"
    yield f"  mean {'of minus the distance from gold' if near else 'score of an example'}: A {mean_a}, B {mean_b}"
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
        yield f"\n{each['id']}: {' '.join(each['input'].split())[:WIDTH]}"
        yield f"  gold: {_shown(each['gold'], options)}"
        for name, key, score in zip("AB", ("a", "b"), each["scores"], strict=True):
            yield f"  {name}, {unit * score:.{2 if near else 0}f}: {_shown(each[key], options)}"


def _shown(value: Any, options: Sequence[str]) -> str:
    if options and isinstance(value, int):
        return f"{value} {options[value]}"[:WIDTH]
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words[:WIDTH] or "(nothing)"
