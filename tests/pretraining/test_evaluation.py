import random
from dataclasses import replace

import pytest
import torch

from linkbert.model.linkbert import Predictions
from linkbert.pretraining.evaluation import (
    clustered,
    describe,
    evaluate,
    from_json,
    percent,
    student_95,
    to_json,
    wilson,
)
from linkbert.records import IGNORED


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3: score intervals, uncorrected.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_wilson_intervals_against_published_ones(correct, count, low, high):
    share = wilson(correct, count)
    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


def test_nothing_of_nothing_says_nothing():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.776), (9, 2.262), (30, 2.042), (63, 1.998), (10**6, 1.960)])
def test_students_t_against_the_tables(freedom, quantile):
    assert student_95(freedom) == pytest.approx(quantile, abs=0.01)


def test_single_draws_are_groups_of_one():
    share, alone = clustered([1] * 81 + [0] * 182, [1] * 263), wilson(81, 263)
    assert (share.low, share.high) == pytest.approx((alone.low, alone.high), abs=0.001)


def test_the_example_of_the_docstring():
    shown = percent(clustered([10, 10, 0], [10, 10, 10])), percent(wilson(20, 30))
    assert shown == ("66.7 % (4.6 to 98.8; 20 of 30)", "66.7 % (48.8 to 80.8; 20 of 30)")
    assert str(shown) in clustered.__doc__


def test_asking_the_same_again_says_nothing_new():
    once, often = clustered([3, 0, 4, 5], [5, 5, 5, 5]), clustered([30, 0, 40, 50], [50] * 4)
    assert (often.correct, often.count) == (120, 200)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (often.low, often.high) != pytest.approx((wilson(120, 200).low, wilson(120, 200).high), abs=0.1)


def test_an_interval_over_documents_holds_the_truth_as_often_as_it_says():
    draw = random.Random(0)
    held = {clustered: 0, wilson: 0}
    for _ in range(1_000):
        chances = [draw.betavariate(2, 3) for _ in range(20)]  # of each document; 0.4 on average
        right = [sum(draw.random() < chance for _ in range(15)) for chance in chances]
        held[clustered] += (share := clustered(right, [15] * 20)).low <= 0.4 <= share.high
        held[wilson] += (share := wilson(sum(right), 300)).low <= 0.4 <= share.high
    assert 930 <= held[clustered] <= 975
    assert held[wilson] < 800


class Oracle:
    """Predicts token 7 everywhere, and relation 2 for what is 1."""

    training = False

    def __init__(self, objective="drp"):
        self.objective = objective
        self.config = type("Sizes", (), {"vocab_size": 40})

    def eval(self): ...

    def train(self, mode): ...

    def predict(self, ids, types, positions, pairs, first, masked_positions, labels):
        tokens = torch.full_like(masked_positions, 7)
        relation = torch.nn.functional.one_hot(self.answers.pop(0), 3).float()
        losses = torch.where(labels == IGNORED, 0.0, 2.0)
        return Predictions(tokens, losses, relation[:, : 3 if self.objective == "drp" else 2])


def test_scores_by_hand(toy_batches, small):
    batches = toy_batches(small(batch_size=40, micro_batch=16)).micro_batches(0)
    batches[0].masked_labels[:5] = 7
    batches[0].masked_labels[5] = IGNORED
    labels = torch.cat([batch.masked_labels for batch in batches])
    model = Oracle()
    model.answers = [torch.where(batch.relations == 1, 2, batch.relations) for batch in batches]
    scores = evaluate(model, batches)
    counted = labels[labels != IGNORED]
    assert scores.pairs == 40
    assert scores.mlm_loss == 2.0
    assert (scores.mlm_accuracy.correct, scores.mlm_accuracy.count) == (int((counted == 7).sum()), len(counted))
    assert scores.baseline_accuracy.correct == int(counted.bincount().max())
    assert int((counted == scores.baseline_token).sum()) == scores.baseline_accuracy.correct
    assert scores.confusion["random"] == {"contiguous": 0, "random": 0, "linked": 13}
    assert scores.relations["linked"].value == 1.0
    assert scores.relation_accuracy.correct == 27
    assert scores.too_few == ["contiguous", "random", "linked"]
    assert from_json(to_json(scores)) == scores
    lines = describe(scores, before=scores, vocabulary=["word"] * 40)
    assert lines[-4].startswith("relations right: 67.5 % (")
    assert lines[-2].startswith("  random: 0.0 % (")
    assert lines[-2].endswith("; 0 of 13); taken for linked 13; too few pairs to say anything")
    assert lines[1].startswith("  before training: ")
    assert lines[2].startswith("  always the commonest token ('word'): ")
    twice = describe(replace(scores, stores={"wiki": scores}))
    assert twice[len(lines) - 1 :] == ["wiki, 40 pairs:", *("  " + line for line in describe(scores))]


def test_scores_do_not_depend_on_the_micro_batch_nor_on_dropout(make_toy, toy_batches, small):
    config = small(batch_size=60)
    model = make_toy().train()
    scores = [evaluate(model, toy_batches(replace(config, micro_batch=size)).micro_batches(0)) for size in (60, 7, 7)]
    assert scores[1] == scores[2]
    assert scores[0].confusion == scores[1].confusion
    assert scores[0].mlm_accuracy == scores[1].mlm_accuracy
    assert scores[0].mlm_loss == pytest.approx(scores[1].mlm_loss, rel=1e-6)
    assert model.training


def test_other_objectives(make_toy, toy_batches, small):
    pairs = toy_batches(small(batch_size=6)).micro_batches(0)
    mlm = evaluate(make_toy(small(objective="none")), pairs)
    assert (mlm.relation_accuracy, mlm.relations, mlm.confusion, mlm.pairs) == (None, {}, {}, 6)
    for batch in pairs:
        batch.relations.clamp_(max=1)
    nsp = evaluate(make_toy(small(objective="nsp", shares=(0.5, 0.5, 0.0))), pairs)
    assert list(nsp.confusion) == list(nsp.relations) == ["contiguous", "random"]
    assert nsp.relation_accuracy.count == 6


def test_a_share_for_reading():
    assert percent(wilson(8, 10)) == "80.0 % (49.0 to 94.3; 8 of 10)"
