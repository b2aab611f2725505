"""Scores of answers: by hand, against the official numbers of real predictions; the threshold against a search."""

import json
import lzma
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkbert.tasks.examples import Prediction, QuestionExample
from linkbert.tasks.formats import Source, read_squad
from linkbert.tasks.metrics import answer_scores, best_threshold, normalise, refuse, score, score_answer
from linkbert.tasks.table import find_task


@pytest.mark.parametrize(
    ("answers", "predicted", "exact", "f1"),
    [
        (["the U.S."], "US!", 1, 1),
        (["in Rome", "Rome"], "rome", 1, 1),  # the best of several
        (["the cat sat"], "a cat", 0, 2 / 3),
        (["to be or not to be"], "be be be", 0, 4 / 9),  # a word counts as often as it stands in both: P 2/3, R 2/6
        (["anthem"], "an them", 0, 0),  # articles are whole words
        (["twenty-one"], "twentyone", 1, 1),  # punctuation leaves no gap
        (["a"], "the", 1, 0),  # as the scripts have it: nothing is nothing, and has no word in common with it
        (["Rome"], "", 0, 0),
        ([], "", 1, 1),
        ([], "the", 1, 1),
        ([], "Rome", 0, 0),
    ],
)
def test_answers_by_hand(answers, predicted, exact, f1):
    assert score_answer(answers, predicted) == pytest.approx((exact, f1), abs=1e-15)


def test_an_answer_of_which_nothing_is_compared_is_none_for_squad_2_alone():
    assert score_answer(["a"], "the", refusable=True) == score_answer(["."], "", refusable=True) == (1, 1)
    assert score_answer([".", "Rome"], "", refusable=True) == (0, 0)
    examples = [QuestionExample("0", "", "", ("the",)), QuestionExample("1", "", "")]
    predictions = [Prediction("0", ""), Prediction("1", "")]
    assert answer_scores(examples, predictions).tolist() == [[1, 1], [1, 1]]
    assert answer_scores(examples[:1], predictions[:1]).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("answer", "predicted", "f1"),
    [("no", "No one", 0), ("no one", "no", 0), ("yes", "Yes.", 1), ("Yes men", "men yes", 1), ("no-answer", "no", 0)],
)
def test_yes_and_no_are_right_as_a_whole_for_hotpotqa_alone(answer, predicted, f1):
    question, said = [QuestionExample("0", "?", "", (answer,))], [Prediction("0", predicted)]
    assert score(["hotpot_f1"], question, said) == {"hotpot_f1": f1}
    assert score(["answer_f1"], question, said)["answer_f1"] >= f1
    assert find_task("hotpotqa-distractor").metrics[0] == "hotpot_f1"
    assert find_task("hotpotqa").metrics[0] == "answer_f1"  # MRQA's


def test_what_does_not_count():
    assert normalise(" The\u00a0U.S.,\ta “state” ") == "us “state”"  # ASCII punctuation only, as in the scripts


@pytest.mark.data
def test_the_official_numbers_of_googles_predictions(data):
    folder = data / "tasks" / "qa" / "squad"
    with lzma.open(folder / "squad-v1.1-dev.reconstructed.json.xz", "rt") as stream:
        examples = list(read_squad([Source("dev", stream)], {}, Counter()))
    with lzma.open(folder / "bert-ensemble-official-predictions-v1.1-dev.json.xz", "rt") as stream:
        texts = json.load(stream)
    scores = score(["exact", "answer_f1"], examples, [Prediction(each.id, texts[each.id]) for each in examples])
    assert {name: round(100 * value, 2) for name, value in scores.items()} == {"exact": 86.21, "answer_f1": 92.20}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=12))
def test_no_other_threshold_is_better(rows):
    examples = [QuestionExample(str(i), "", "", ("yes",) if has else ()) for i, (has, _, _) in enumerate(rows)]
    predictions = [
        Prediction(str(i), "yes" if right else "no", {"null": float(null)}) for i, (_, right, null) in enumerate(rows)
    ]
    found = best_threshold(examples, predictions)
    if all(has for has, _, _ in rows):
        assert found == np.inf
        assert refuse(predictions, found) == predictions
        return
    tried = [answer_scores(examples, refuse(predictions, at))[:, 1].sum() for at in np.arange(-4, 4, 0.5)]
    assert answer_scores(examples, refuse(predictions, found))[:, 1].sum() == max(tried)
    assert np.isfinite(found)


def test_answers_that_are_nothing_when_compared_count_as_none_for_the_threshold():
    """The threshold is the best of all that there are, by the scores that answers get after it."""
    rng = random.Random(1)
    for _ in range(200):
        size = rng.randint(1, 6)
        examples = [QuestionExample(str(i), "?", "", rng.choice([(), ("",), ("the",), ("dog",), ("dog", ".")]))
                    for i in range(size)]  # fmt: skip
        predictions = [Prediction(str(i), rng.choice(["dog", "", "the", "cat"]), {"null": rng.choice([-1.0, 0.0, 2.0])})
                       for i in range(size)]  # fmt: skip
        if all(example.answers for example in examples):
            continue
        sums = [answer_scores(examples, refuse(predictions, at))[:, 1].sum() for at in (-2, -0.5, 1, 3)]
        found = refuse(predictions, best_threshold(examples, predictions))
        assert answer_scores(examples, found)[:, 1].sum() == max(sums)
