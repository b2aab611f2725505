"""Pairs of a store in every scope, masking and split, judged; and that the judge can say no."""

import numpy as np
import pytest

from judge import judge
from linkbert.config import Config
from linkbert.graph.links import LinkGraph
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import TokenStore
from linkbert.records import LINKED, RANDOM


@pytest.mark.parametrize("split", ["train", "held-out"])
@pytest.mark.parametrize("masking", ["token", "word", "span"])
@pytest.mark.parametrize("scope", ["segment", "document", "without a graph"])
def test_instances_keep_every_promise(small_store, scope, masking, split):
    graph = LinkGraph.open(small_store.path) if scope != "without a graph" else None
    config = Config(scope=scope if graph else "auto", masking=masking, sequence_length=64, held_out=0.1)
    sampler = Sampler(TokenStore.open(small_store.path), graph, config, split=split)
    found = judge(sampler, sampler.fill(np.arange(1_000)), graph)
    assert [name for name, wrong in found.items() if wrong.any()] == []
    policy = sampler.policy()
    expected, count = np.array(policy["expected"]), policy["instances_counted"]
    far = np.abs(np.array(policy["realised"]) - expected) > 6 * np.sqrt(expected * (1 - expected) / count) + 2 / count
    assert policy["random_gave_up"] or not far.any()


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (lambda made: made.pairs.__setitem__((0, 5), made.pairs[0, 5] - 1), "whole sentences"),
        (lambda made: made.relations.__setitem__(slice(None), LINKED), "linked is linked"),
        (lambda made: made.relations.__setitem__(slice(None), RANDOM), "random is no linked"),
        (lambda made: made.input_ids.__setitem__((0, 0), 9), r"[CLS] A [SEP] B"),
        (lambda made: made.lengths.__setitem__(0, 5), r"[CLS] A [SEP] B"),
        (lambda made: made.masked_labels.__setitem__(0, 3), "masks spare"),
        (lambda made: made.input_ids.__setitem__((1, 4), made.input_ids[1, 4] ^ 1), r"depends on its number"),
    ],
)
def test_the_judge_of_instances_can_say_no(small_store, change, promise):
    graph = LinkGraph.open(small_store.path)
    sampler = Sampler(TokenStore.open(small_store.path), graph, Config(sequence_length=64, held_out=0.1))
    made = sampler.fill(np.arange(100))
    assert not any(wrong.any() for wrong in judge(sampler, made, graph).values())
    change(made)
    assert any(wrong.any() for name, wrong in judge(sampler, made, graph).items() if promise in name)


def test_a_held_out_document_in_training_is_found(small_store):
    graph, store = LinkGraph.open(small_store.path), TokenStore.open(small_store.path)
    made = Sampler(store, graph, Config(sequence_length=64, held_out=0.0)).fill(np.arange(300))
    strict = Sampler(store, graph, Config(sequence_length=64, held_out=0.3))
    wrong = judge(strict, made, graph)["held-out documents are neither A nor B in training, A in evaluation"]
    assert wrong.any()
