"""Our scores next to those of the official scorers, on seeded random gold answers and predictions.

    python benchmarks/scorers.py [--inputs 235000] [--seed 1] [--workers 1] [--squad1 FILE] [--squad2 FILE]
                                 [--mrqa FILE] [--hotpot FILE]

An input is a small set of examples with answers, so that edges (nothing found, one class, answers that are nothing once
articles are gone, "yes" and "no one") are frequent. Classes are scored by scikit-learn, tags by seqeval, numbers by
scipy; questions by the published scripts evaluate-v1.1.py, evaluate-v2.0.py (its best threshold, too),
mrqa_official_eval.py and hotpot_evaluate_v1.py, where their files are named. The inputs follow from the seed, whatever
the number of workers. A line for each scorer; the exit status is 1 where any score differs by more than 1e-9.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import runpy
import sys
import time
import types
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn
from sklearn import set_config
from sklearn.preprocessing import MultiLabelBinarizer

from linkbert.tasks.examples import Prediction, QuestionExample, TaggedExample, TextExample
from linkbert.tasks.metrics import best_threshold, normalise, refuse, score

LABELS = ("0", "1", "2", "3")
TAGS = ("O", "O", "B", "I", "B-INT", "I-INT", "B-PAR", "I-PAR")
WORDS = ("the", "a", "cat", "Cat", "sat,", "on", "U.S.", "the", "--", "dog's", "42", "été", "no", "Yes.")
AT_ONCE = 500  # inputs of a seed
Pair = tuple[dict[str, float], dict[str, float]]  # ours, theirs


def texts(gold: Sequence[Any]) -> list[TextExample]:
    """Make examples of labels."""
    return [TextExample(str(i), "a", label=label) for i, label in enumerate(gold)]


def answered(values: Sequence[Any]) -> list[Prediction]:
    """Make predictions of answers."""
    return [Prediction(str(i), value) for i, value in enumerate(values)]


def classes(rng: random.Random) -> Pair:
    """Score accuracy, Matthews' correlation, and F1 of one class and of all but one."""
    some = rng.sample(LABELS, rng.randint(1, 4))
    gold, said = (rng.choices(some, k=size) for size in [rng.randint(1, 12)] * 2)
    of = partial(sklearn.f1_score, gold, said, average="micro", zero_division=0)
    theirs = {"accuracy": sklearn.accuracy_score(gold, said), "matthews": sklearn.matthews_corrcoef(gold, said),
              "f1": of(labels=["1"]), "relation_f1": of(labels=["1", "2", "3"])}  # fmt: skip
    return score([*theirs], texts(gold), answered(said)), theirs


def several(rng: random.Random) -> Pair:
    """Score labels of which any number hold."""
    gold, said = ([tuple(label for label in LABELS if rng.random() < 0.4) for _ in range(size)]
                  for size in [rng.randint(1, 10)] * 2)  # fmt: skip
    marks = MultiLabelBinarizer(classes=LABELS).fit([LABELS])
    theirs = sklearn.f1_score(marks.transform(gold), marks.transform(said), average="micro", zero_division=0)
    return score(["multilabel_f1"], texts(gold), answered(said)), {"multilabel_f1": theirs}


def tags(rng: random.Random) -> Pair:
    """Score entities, and words by type where each is an entity."""
    from seqeval.metrics import f1_score

    sizes = [rng.randint(1, 8) for _ in range(rng.randint(1, 4))]
    kinds = [tag for tag in TAGS if tag == "O" or tag.startswith("B-")]
    made = [[[rng.choices(of, k=size) for size in sizes] for _ in range(2)] for of in (TAGS, kinds)]
    ours, theirs = {}, {}
    for name, average, (gold, said) in zip(("entity_f1", "token_macro_f1"), ("micro", "macro"), made, strict=True):
        examples = [TaggedExample(str(i), ("w",) * len(each), tuple(each)) for i, each in enumerate(gold)]
        ours |= score([name], examples, answered([tuple(each) for each in said]))
        found = any(tag != "O" for each in gold + said for tag in each)
        theirs[name] = float(f1_score(gold, said, average=average, zero_division=0)) if found else 0.0
    return ours, theirs


def numbers(rng: random.Random) -> Pair:
    """Score correlations of numbers and of ranks; of a constant, where scipy has none, ours is 0."""
    size = rng.randint(2, 20)
    gold = [rng.randint(0, 20) / 4 for _ in range(size)]
    said = [each + rng.gauss(0, 1) if rng.random() < 0.9 else 2.0 for each in gold]
    known = len(set(gold)) > 1 and len(set(said)) > 1
    of = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
    theirs = {name: float(each(gold, said)[0]) if known else 0.0 for name, each in of.items()}
    return score([*theirs], texts(gold), answered(said)), theirs


def words(rng: random.Random) -> str:
    """Make an answer of up to five words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(0, 5)))


def questions(rng: random.Random, official: Callable[..., dict[str, float]], name: str) -> Pair:
    """Score questions by a published script; of SQuAD 2 some have no answer, and a threshold is chosen."""
    size, unanswered = rng.randint(1, 8), name == "squad2"
    most = 1 if name == "hotpot" else 3
    gold = [[words(rng) for _ in range(rng.randint(0 if unanswered else 1, most))] for _ in range(size)]
    said = [words(rng) if rng.random() < 0.5 or not each else rng.choice(each) for each in gold]
    if unanswered and all(gold):
        gold[0] = []
    null = [rng.gauss(0, 1) for _ in gold]  # no two alike: the script's threshold may lie between equal ones
    examples = [QuestionExample(str(i), "?", "", tuple(each)) for i, each in enumerate(gold)]
    predictions = [Prediction(str(i), each, {"null": at}) for i, (each, at) in enumerate(zip(said, null, strict=True))]
    metrics = ["exact", "hotpot_f1" if name == "hotpot" else "answer_f1"]
    ours = {key: 100 * value for key, value in score(metrics, examples, predictions).items()}
    if unanswered and all(normalise(each) for each in said if each):  # the script counts "the" as an answer there
        chosen = refuse(predictions, best_threshold(examples, predictions))
        ours["best_f1"] = 100 * score(["answer_f1"], examples, chosen)["answer_f1"]
    theirs = official(gold, said, null)
    return ours, {key: theirs[key] for key in ours}


def squad1(script: dict[str, Any], gold: list[list[str]], said: list[str], _null: Any) -> dict[str, float]:
    """Score by evaluate-v1.1.py."""
    asked = [{"id": str(i), "answers": [{"text": text} for text in each]} for i, each in enumerate(gold)]
    found = script["evaluate"]([{"paragraphs": [{"qas": asked}]}], {str(i): each for i, each in enumerate(said)})
    return {"exact": found["exact_match"], "answer_f1": found["f1"]}


def squad2(script: dict[str, Any], gold: list[list[str]], said: list[str], null: list[float]) -> dict[str, float]:
    """Score by evaluate-v2.0.py, and by the best of its thresholds."""
    asked = [{"id": str(i), "answers": [{"text": text} for text in each]} for i, each in enumerate(gold)]
    predictions = {str(i): each for i, each in enumerate(said)}
    exact, f1 = script["get_raw_scores"]([{"paragraphs": [{"qas": asked}]}], predictions)
    whole = script["make_eval_dict"](exact, f1)
    known = {each["id"]: any(map(script["normalize_answer"], gold[int(each["id"])])) for each in asked}
    best, _ = script["find_best_thresh"](predictions, f1, {str(i): each for i, each in enumerate(null)}, known)
    return {"exact": whole["exact"], "answer_f1": whole["f1"], "best_f1": best}


def mrqa(script: dict[str, Any], gold: list[list[str]], said: list[str], _null: Any) -> dict[str, float]:
    """Score by mrqa_official_eval.py."""
    found = script["evaluate"]({str(i): each for i, each in enumerate(gold)}, {str(i): s for i, s in enumerate(said)})
    return {"exact": found["exact_match"], "answer_f1": found["f1"]}


def hotpot(script: dict[str, Any], gold: list[list[str]], said: list[str], _null: Any) -> dict[str, float]:
    """Score by hotpot_evaluate_v1.py."""
    found = {"em": 0.0, "f1": 0.0, "prec": 0.0, "recall": 0.0}
    for [answer], given in zip(gold, said, strict=True):
        script["update_answer"](found, given, answer)
    return {"exact": 100 * found["em"] / len(gold), "hotpot_f1": 100 * found["f1"] / len(gold)}


SCRIPTS = {"squad1": squad1, "squad2": squad2, "mrqa": mrqa, "hotpot": hotpot}
SCORERS = {"classes": classes, "several labels": several, "tags": tags, "numbers": numbers}


@cache
def load(path: Path) -> dict[str, Any]:
    """Load a published script; what it imports to fetch files by address, or to read them faster, is not needed."""
    for name in ("allennlp", "allennlp.common", "allennlp.common.file_utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["allennlp.common.file_utils"].cached_path = lambda each: each  # type: ignore[attr-defined]
    sys.modules.setdefault("ujson", json)
    return runpy.run_path(str(path))


def compare(name: str, path: Path | None, seed: int, start: int, count: int) -> tuple[int, float]:
    """Score so many inputs in both ways: how many differ, and by how much at most."""
    rng, different, farthest = random.Random(f"{seed} {name} {start}"), 0, 0.0
    scorer: Callable[[random.Random], Pair] = (
        partial(questions, official=partial(SCRIPTS[name], load(path)), name=name) if path else SCORERS[name]
    )
    set_config(assume_finite=True, skip_parameter_validation=True)  # of scikit-learn: a third of its time
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of the references, where nothing is found
        for _ in range(count):
            ours, theirs = scorer(rng)
            if ours.keys() != theirs.keys():
                raise ValueError(f"{name}: {sorted(ours)} are not {sorted(theirs)}")
            gap = max(abs(ours[key] - theirs[key]) for key in ours)
            different, farthest = different + bool(not gap <= 1e-9), max(farthest, float(np.nan_to_num(gap, nan=9)))
    return different, farthest


def main() -> None:
    """Run each scorer on its part of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=235_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    for name in SCRIPTS:
        parser.add_argument(f"--{name}", type=Path)
    arguments = parser.parse_args()
    paths = dict.fromkeys(SCORERS) | {name: path for name in SCRIPTS if (path := getattr(arguments, name))}
    different, share = 0, -(-arguments.inputs // len(paths))
    with ProcessPoolExecutor(arguments.workers) as pool:
        for name, path in paths.items():
            begin = time.perf_counter()
            starts = range(0, share, AT_ONCE)
            sizes = [min(AT_ONCE, share - start) for start in starts]
            found = [
                *pool.map(compare, *([each] * len(starts) for each in (name, path, arguments.seed)), starts, sizes)
            ]
            wrong, farthest = sum(each[0] for each in found), max(each[1] for each in found)
            different += wrong
            seconds = time.perf_counter() - begin
            print(f"{name}: {share:,} inputs, {wrong:,} differ, by {farthest:.1e} at most; {seconds:.0f} s", flush=True)
    print(f"{share * len(paths):,} inputs, {different:,} differ")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
