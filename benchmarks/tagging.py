"""Scoring entities against seqeval: the test sets of the five NER sets of BLURB, in CPU time of one process.

    python benchmarks/tagging.py DATA VOCABULARY [--rounds 3]

DATA holds the files as docs/tasks.md says, VOCABULARY is a folder or a vocab.txt. The tags compared are the gold ones
with one in ten drawn at random. "scoring" starts from tags; "prediction and scoring" from a float32 score of each token
and tag, as a model puts them out: for seqeval the usual way, the best tag of each token, those of no word left out in a
loop. The two ways take turns; printed is the best of the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from seqeval.metrics import f1_score

from linkbert.instances.vocabulary import load_vocabulary
from linkbert.tasks.examples import Prediction
from linkbert.tasks.features import Rows
from linkbert.tasks.kinds import RowForm, kind_of
from linkbert.tasks.metrics import score
from linkbert.tasks.splits import read_splits
from linkbert.tasks.table import find_task

SETS = ("bc5-chem", "bc5-disease", "ncbi-disease", "bc2gm", "jnlpba")


def main() -> None:
    """Score each set both ways in turn; print seconds, ratios and the two scores' distance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tokenizer = open_tokenizer(arguments.vocabulary)
    rng = np.random.default_rng(1)
    totals = np.zeros(4)
    for name in SETS:
        task = find_task(name)
        kind = kind_of(task)
        examples = read_splits(task, arguments.data).test
        labels = kind.labels(examples)
        gold = [list(example.tags) for example in examples]
        drawn = [np.where(rng.random(len(tags)) < 0.1, rng.choice(labels, len(tags)), tags).tolist() for tags in gold]
        said = [Prediction(each.id, tuple(tags)) for each, tags in zip(examples, drawn, strict=True)]
        rows: Any = kind.rows(examples, RowForm(tokenizer, 512, labels=labels), training=True)
        outputs = [rng.random((length, len(labels)), dtype=np.float32) for length in rows.lengths]
        tags = [tag for each in drawn for tag in each]
        for output, begin in zip(outputs, rows.offsets, strict=False):  # the same tags as scores
            word = rows.words[begin : begin + len(output)]
            at = np.flatnonzero(word >= 0)
            output[at, [labels.index(tags[w]) for w in word[at]]] += 1

        ways = (
            lambda e=examples, s=said: score(["entity_f1"], e, s)["entity_f1"],
            lambda g=gold, d=drawn: f1_score(g, d),
            lambda k=kind, e=examples, r=rows, o=outputs: k.score(e, k.decode(r, o))["entity_f1"],
            lambda r=rows, o=outputs, names=labels: usual(r, o, names),
        )
        seconds, found = np.full(4, np.inf), [0.0] * 4
        for _ in range(arguments.rounds):
            for i, way in enumerate(ways):
                took, found[i] = timed(way)
                seconds[i] = min(seconds[i], took)
        totals += seconds
        apart = max(abs(found[0] - found[1]), abs(found[2] - found[3]))
        print(f"{name}: {sum(map(len, gold))} words, F1 {found[0]:.6f}, apart by {apart:.0e}; {ratios(seconds)}")
    print(f"all: {ratios(totals)}")


def usual(rows: Rows, outputs: list[np.ndarray], names: tuple[str, ...]) -> float:
    """Take the best tag of each token, leave out those of no word, and ask seqeval."""
    gold, said = [], []
    for i, output in enumerate(outputs):
        known = rows.token_labels[rows.offsets[i] : rows.offsets[i + 1]].tolist()
        best = output.argmax(1).tolist()
        gold.append([names[label] for label in known if label != -100])
        said.append([names[tag] for tag, label in zip(best, known, strict=True) if label != -100])
    return f1_score(gold, said)


def timed(way: Callable[[], float]) -> tuple[float, float]:
    """Give the seconds of CPU that a call takes, and what it returns."""
    begin = time.process_time()
    found = way()
    return time.process_time() - begin, found


def ratios(seconds: np.ndarray) -> str:
    """Write seconds and ratios."""
    ours, seqeval, decoded, usually = seconds
    return (
        f"scoring {ours:.3f} s, seqeval {seqeval:.3f} s, {seqeval / ours:.1f}x; "
        f"prediction and scoring {decoded:.3f} s, the usual way {usually:.3f} s, {usually / decoded:.1f}x"
    )


def open_tokenizer(path: Path) -> Any:
    """Open a vocabulary as a fast tokenizer of Hugging Face."""
    import tempfile

    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        load_vocabulary(path).save(Path(name) / "vocabulary")
        return AutoTokenizer.from_pretrained(Path(name) / "vocabulary")


if __name__ == "__main__":
    main()
