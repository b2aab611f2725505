import random
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from linkbert.instances.mixture import open_parts
from linkbert.instances.parts import Part
from linkbert.model.checkpoint import write_model
from linkbert.model.heads import Predictions, find_objective
from linkbert.pretraining.distributed import DistributedContext
from linkbert.pretraining.evaluation import evaluate, held_out_batches, score_model
from linkbert.pretraining.scores import (
    clustered,
    clustered_gain,
    describe,
    from_json,
    nats,
    percent,
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


def test_single_draws_are_groups_of_one():
    share, alone = clustered([1] * 81 + [0] * 182, [1] * 263), wilson(81, 263)
    assert (share.low, share.high) == pytest.approx((alone.low, alone.high), abs=0.001)


def test_the_example_of_the_docstring():
    shown = percent(clustered([10, 10, 0], [10, 10, 10])), percent(wilson(20, 30))
    assert shown == ("66.7 % (4.4 to 98.9; 20 of 30)", "66.7 % (48.8 to 80.8; 20 of 30)")
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


ALONE = DistributedContext()


class Oracle:
    """Predicts token 7 everywhere, and relation 2 for what is 1."""

    training = False

    def __init__(self, objective="drp"):
        self.objective = find_objective(objective)
        self.config = type("Sizes", (), {"vocab_size": 40})

    def eval(self): ...

    def train(self, mode): ...

    def predict(self, inputs, labels):
        tokens = torch.full_like(inputs.masked_positions, 7)
        relation = torch.nn.functional.one_hot(self.answers.pop(0), 3).float()
        losses = torch.where(labels == IGNORED, 0.0, 2.0)
        return Predictions(tokens, losses, relation[:, : max(self.objective.relations, 2)])


def test_scores_by_hand(toy_batches, small):
    toys = toy_batches(small(batch_size=40, micro_batch_size=16))
    batches = toys.micro_batches(0)
    toys.one_by_one = lambda *_: batches
    batches[0].masked_labels[:5] = 7
    batches[0].masked_labels[5] = IGNORED
    labels = torch.cat([batch.masked_labels for batch in batches])
    model = Oracle()
    model.answers = [torch.where(batch.relations == 1, 2, batch.relations) for batch in batches]
    scores = evaluate(model, {"": [toys]}, ALONE)
    counted = labels[labels != IGNORED]
    assert scores.pairs == 40
    assert scores.mlm_loss == 2.0
    assert scores.mlm_losses == {"contiguous": 2.0, "random": 2.0, "linked": 2.0}
    assert (scores.link_gain, scores.context_gain) == (None, None)
    assert (scores.mlm_accuracy.correct, scores.mlm_accuracy.count) == (int((counted == 7).sum()), len(counted))
    assert scores.baseline_accuracy.correct == int(counted.bincount().max())
    assert int((counted == scores.baseline_token).sum()) == scores.baseline_accuracy.correct
    assert scores.confusion["random"] == {"contiguous": 0, "random": 0, "linked": 13}
    assert scores.relations["linked"].value == 1.0
    assert scores.relation_accuracy.correct == 27
    assert scores.too_few == ["contiguous", "random", "linked"]
    assert from_json(asdict(scores)) == scores
    lines = describe(scores, before=scores, vocabulary=["word"] * 40)
    assert lines[-5].startswith("relations right: 67.5 % (")
    assert lines[-4] == "  always the commonest relation: 35.0 %"  # 14 of 40
    assert lines[-2].startswith("  random: 0.0 % (")
    assert lines[-2].endswith("; 0 of 13); taken for linked 13; too few pairs to say anything")
    assert lines[1].startswith("  before training: ")
    assert lines[2].startswith("  always the commonest token ('word'): ")
    twice = describe(replace(scores, stores={"wiki": scores}))
    assert twice[len(lines) - 1 :] == ["wiki, 40 pairs:", *("  " + line for line in describe(scores))]


def test_scores_do_not_depend_on_the_micro_batch_nor_on_dropout(make_toy, toy_batches, small):
    config = small(batch_size=60)
    model = make_toy().train()
    scores = [evaluate(model, {"": [toy_batches(config.replace(micro_batch_size=size))]}, ALONE) for size in (60, 7, 7)]
    assert scores[1] == scores[2]
    assert scores[0].confusion == scores[1].confusion
    assert scores[0].mlm_accuracy == scores[1].mlm_accuracy
    assert scores[0].mlm_loss == pytest.approx(scores[1].mlm_loss, rel=1e-6)
    assert model.training


def test_other_objectives(make_toy, toy_batches, small):
    toys = toy_batches(small(batch_size=6))
    pairs = toys.micro_batches(0)
    toys.one_by_one = lambda *_: pairs
    mlm = evaluate(make_toy(small(objective="none")), {"": [toys]}, ALONE)
    assert (mlm.relation_accuracy, mlm.relations, mlm.confusion, mlm.pairs) == (None, {}, {}, 6)
    for batch in pairs:
        batch.relations.clamp_(max=1)
    nsp = evaluate(make_toy(small(objective="nsp", shares=(0.5, 0.5, 0.0))), {"": [toys]}, ALONE)
    assert list(nsp.confusion) == list(nsp.relations) == ["contiguous", "random"]
    assert nsp.relation_accuracy.count == 6


def test_a_share_for_reading():
    assert percent(wilson(8, 10)) == "80.0 % (49.0 to 94.3; 8 of 10)"


def test_a_gain_by_hand_is_a_paired_t_interval():
    """Five documents of one token each: differences 1, 2, 3, 4, 5; mean 3, standard error sqrt(2.5 / 5)."""
    gain = clustered_gain([2.0, 4, 6, 8, 10, 9], [1.0, 2, 3, 4, 5, 9], [1] * 5 + [0], 5)
    assert (gain.value, gain.pairs) == (3.0, 5)
    assert gain.high - gain.value == pytest.approx(2.77645 * 0.5**0.5, rel=1e-5)
    assert gain.value - gain.low == pytest.approx(gain.high - gain.value)
    assert nats(gain) == "+3.000 (+1.037 to +4.963; 5 pairs)"


def test_one_document_has_no_interval():
    assert clustered_gain([2.0, 0.0], [1.0, 0.0], [4, 0], 4) is None


def test_a_gain_over_documents_holds_the_truth_as_often_as_it_says():
    draw, held = random.Random(0), 0
    for _ in range(1_000):
        tokens = [draw.randrange(5, 40) for _ in range(20)]
        gains = [0.5 + draw.gauss(0, 0.3) for _ in tokens]  # of each document; 0.5 on average
        worse = [sum(draw.gauss(gain, 1) for _ in range(size)) for gain, size in zip(gains, tokens, strict=True)]
        gain = clustered_gain(worse, [0.0] * 20, tokens, 20)
        held += gain.low <= 0.5 <= gain.high
    assert 930 <= held <= 975


@pytest.fixture
def asked(store, small):
    """What a store is scored on: pairs, then the same A with B contiguous, random and linked."""
    config = small(sequence_length=32, held_out=0.3, eval_pairs=60, batch_size=8, seed=3)
    (opened,) = open_parts([Part("", store)], config)
    return held_out_batches(opened)


class Half:
    """What process `rank` of two is asked."""

    def __init__(self, batches, rank):
        self.batches, self.rank = batches, rank

    def one_by_one(self, *_):
        return self.batches.one_by_one(0, self.rank, 2)


class Reader(Oracle):
    """Loses 3 nats a token where B is random, 2 where it is linked, and 1 where it goes on."""

    def predict(self, *inputs):
        found = super().predict(*inputs)
        return found._replace(mlm_losses=torch.where(inputs[-1] == IGNORED, 0.0, self.losses.pop(0)))


def test_gains_by_hand(asked):
    model = Reader()
    counts = [len(list(each.one_by_one(0))) for each in asked]
    batches = [batch for each in asked for batch in each.one_by_one(0)]
    model.answers = [batch.relations.clamp_min(0) for batch in batches]
    model.losses = [loss for count, loss in zip(counts, (9.0, 1.0, 3.0, 2.0), strict=True) for _ in range(count)]
    scores = evaluate(model, {"": asked}, ALONE)
    assert scores.mlm_loss == 9.0
    assert (scores.link_gain.value, scores.link_gain.low, scores.link_gain.high) == (1.0, 1.0, 1.0)
    assert (scores.context_gain.value, scores.context_gain.low) == (2.0, 2.0)
    assert scores.shared_gain.value == 1.0
    assert scores.link_gain.pairs == len(asked[3].sampler.draw(np.arange(20))[0]) == 20
    assert from_json(asdict(scores)) == scores
    assert (
        "link gain, nats a masked token of A: +1.000 (+1.000 to +1.000; 20 pairs); too few pairs to say anything"
        in describe(scores)
    )


class Copier(Oracle):
    """Loses 1 nat on a token that stands in B, 3 on any other."""

    def predict(self, inputs, labels):
        found = super().predict(inputs, labels)
        ids, pairs, types = (
            each.flatten().tolist() for each in (inputs.input_ids, inputs.pairs, inputs.token_type_ids)
        )
        in_b = {(pair, token) for pair, token, kind in zip(pairs, ids, types, strict=True) if kind}
        asked = zip([pairs[place] for place in inputs.masked_positions.tolist()], labels.tolist(), strict=True)
        return found._replace(mlm_losses=torch.tensor([1.0 if each in in_b else 3.0 for each in asked]))


def test_the_gain_on_tokens_that_the_linked_text_holds(asked):
    model = Copier()
    model.answers = [batch.relations.clamp_min(0) for each in asked for batch in each.one_by_one(0)]
    scores = evaluate(model, {"": asked}, ALONE)
    random_, linked = (each.sampler.fill(np.arange(20)) for each in asked[2:])
    losses = []  # beside a random B and beside the linked one
    for label, position in zip(linked.masked_labels, linked.masked_positions, strict=True):
        row = position // 32
        b = [set(each.input_ids[row][each.token_type_ids[row] > 0]) for each in (random_, linked)]
        losses.append([1.0 if label in tokens else 3.0 for tokens in b])
    shared = [pair for pair in losses if pair[1] == 1.0]
    assert 0 < len(shared) < len(losses)
    assert scores.shared_gain.value == pytest.approx(np.mean([a - b for a, b in shared]))
    assert scores.link_gain.value == pytest.approx(np.mean([a - b for a, b in losses]))
    assert f"  of those that the linked text holds: {nats(scores.shared_gain)}" in "\n".join(describe(scores))


def test_gains_ask_the_same_of_a_beside_three_bs(asked):
    made = [each.sampler.fill(np.arange(20)) for each in asked[1:]]
    assert [set(each.relations.tolist()) for each in made] == [{0}, {1}, {2}]
    for each in made:
        assert (each.pairs[:, :3] == made[0].pairs[:, :3]).all()
        assert (each.masked_labels == made[0].masked_labels).all()
        row, place = np.divmod(each.masked_positions, 32)
        assert (each.masked_positions == made[0].masked_positions).all()
        assert (place <= (each.pairs[:, 2] - each.pairs[:, 1])[row]).all()
        for i, size in enumerate((each.pairs[:, 2] - each.pairs[:, 1]).tolist()):
            assert (each.input_ids[i, : size + 2] == made[0].input_ids[i, : size + 2]).all()
            assert (row == i).sum() == max(1, round(0.15 * size))


def test_a_link_that_is_no_better_than_chance_gains_nothing(asked, make_toy, small):
    model = make_toy(small(objective="none", sequence_length=32), vocabulary=len(asked[0].sampler.store.vocabulary))
    pairs, contiguous, random_, linked = asked
    scores = evaluate(model, {"": [pairs, contiguous, random_, random_]}, ALONE)
    assert (scores.link_gain.value, scores.link_gain.low, scores.link_gain.high) == (0.0, 0.0, 0.0)
    there = evaluate(model, {"": asked}, ALONE).link_gain
    back = evaluate(model, {"": [pairs, contiguous, linked, random_]}, ALONE).link_gain
    assert there.value == -back.value != 0


def test_several_stores_and_processes_are_scored_as_one(asked, make_toy, small):
    model = make_toy(small(sequence_length=32), vocabulary=len(asked[0].sampler.store.vocabulary))
    whole = evaluate(model, {"": asked}, ALONE)
    both = evaluate(model, {name: [Half(each, rank) for each in asked] for rank, name in enumerate("ab")}, ALONE)
    assert both.link_gain.value == pytest.approx(whole.link_gain.value, rel=1e-5)
    assert (both.link_gain.pairs, both.confusion) == (20, whole.confusion)
    assert sum(store.link_gain.pairs for store in both.stores.values()) == 20


def test_a_checkpoint_is_scored_on_any_store_of_its_vocabulary(store, make_toy, small, tmp_path, caplog):
    config = small(sequence_length=32, held_out=0.3, eval_pairs=60, objective="nsp", shares=(0.5, 0.5, 0.0))
    (tmp_path / "model").mkdir()
    vocabulary = store / "vocabulary"
    model = make_toy(config, vocabulary=len((vocabulary / "vocab.txt").read_text().split()))
    write_model(model, tmp_path / "model", vocabulary=vocabulary)
    scores = score_model(tmp_path / "model", [Part("", store)], config)
    assert (scores.pairs, scores.link_gain.pairs, list(scores.mlm_losses)) == (60, 19, ["contiguous", "random"])
    with pytest.raises(ValueError, match="has 32 positions, fewer than sequence_length=64; set sequence_length=32"):
        score_model(tmp_path / "model", [Part("", store)], config.replace(sequence_length=64))
    caplog.clear()
    score_model(tmp_path / "model", [Part("", store)], config.replace(held_out=0.05, eval_pairs=9))
    few = r"only (1 document|[2-9] documents) of .* held out: scores say little; train with held_out=0\.[1-5]\d?"
    assert re.fullmatch(few, caplog.messages[0])
    with pytest.raises(ValueError, match=r"held_out=0\.0 leaves no document to score on; train with more"):
        score_model(tmp_path / "model", [Part("", store)], config.replace(held_out=0.0))
