import numpy as np
import pytest
import torch

from linkbert.config import Config
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import Mixture
from linkbert.instances.sampler import Sampler, open_sampler

CONFIG = Config(sequence_length=64, batch_size=22, micro_batch=4, held_out=0.1)


@pytest.fixture(scope="module")
def opened(small_store):
    return Batches(open_sampler(small_store.path, CONFIG))


def rows(batches):
    """Every instance of some micro-batches as plain values, whatever the micro-batch."""
    found = []
    for batch in batches:
        flat = batch.pairs.flatten()
        for pair in range(len(batch.relations)):
            places = flat == pair
            mine = flat[batch.masked_positions] == pair
            found.append(
                (
                    batch.input_ids.flatten()[places].tolist(),
                    batch.token_type_ids.flatten()[places].tolist(),
                    (batch.masked_positions[mine] - batch.first[pair]).tolist(),
                    batch.masked_labels[mine].tolist(),
                    int(batch.relations[pair]),
                )
            )
    return found


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("step", [0, 1, 31])  # an epoch ends within step 31 or before
@pytest.mark.parametrize("trim", [False, True])
def test_a_batch_is_the_same_for_one_two_and_three_processes(small_store, step, trim, mixed):
    sampler = open_sampler(small_store.path, CONFIG)
    plain = Sampler(sampler.store, None, CONFIG)
    batches = Batches(Mixture([sampler, plain], [2, 1], CONFIG) if mixed else sampler, trim=trim)
    whole = rows([batches.make(step * 22, step * 22 + 22)])
    assert len(whole) == 22
    for processes in (1, 2, 3):
        parts = [batches.micro_batches(step, rank, processes) for rank in range(processes)]
        assert [row for part in parts for row in rows(part)] == whole
        assert max(len(batch.relations) for part in parts for batch in part) == 4
        assert {sum(len(batch.relations) for batch in part) for part in parts} <= {22 // processes, 22 // processes + 1}


def test_the_order_in_which_steps_are_asked_does_not_matter(opened):
    forward = [rows(opened.micro_batches(step)) for step in range(4)]
    assert [rows(opened.micro_batches(step)) for step in (3, 1, 2, 0)] == [forward[step] for step in (3, 1, 2, 0)]
    started = opened.one_by_one(2)
    next(started)  # left in the middle
    assert rows(opened.micro_batches(2)) == forward[2]


def test_an_epoch_rolls_over_within_a_batch(opened):
    size = len(opened.sampler)
    across = rows([opened.make(size - 3, size + 3)])
    assert across == rows([opened.make(size - 3, size), opened.make(size, size + 3)])


def test_tensors_are_as_promised(opened):
    batch = opened.micro_batches(0)[0]
    assert batch.input_ids.shape == batch.token_type_ids.shape == (4, 64)
    assert {tensor.dtype for tensor in vars(batch).values()} == {torch.int64}
    assert batch.tokens == int((batch.pairs >= 0).sum())
    assert len(batch.relations) == 4
    assert batch.to("cpu").input_ids.equal(batch.input_ids)


def test_more_processes_than_pairs(small_store):
    from dataclasses import replace

    batches = Batches(open_sampler(small_store.path, replace(CONFIG, batch_size=2)))
    parts = [rows(batches.micro_batches(1, rank, 3)) for rank in range(3)]
    assert [row for part in parts for row in part] == rows([batches.make(2, 4)])
    assert [] in parts


def test_two_relations_for_bert(small_store):
    config = Config(sequence_length=64, objective="nsp", shares=(0.5, 0.5, 0.0), batch_size=200, micro_batch=200)
    batches = Batches(open_sampler(small_store.path, config))
    relations = np.concatenate([batch.relations for batch in batches.micro_batches(0)])
    assert set(relations) == {0, 1}


def test_a_failure_of_the_loader_is_raised_where_the_batch_is_asked(opened, monkeypatch, small_store):
    batches = Batches(Sampler(opened.sampler.store, None, CONFIG))
    monkeypatch.setattr(batches.sampler, "draw", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batches.micro_batches(0)


def test_policy_counts(opened):
    policy = opened.sampler.policy()
    assert policy["anchors"] == len(opened.sampler)
    assert sum(policy["realised"]) == pytest.approx(1)
    assert policy["no_usable_link"] > 0
