import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.config import Config
from linkbert.instances.batches import AHEAD, Batches, Counts
from linkbert.instances.mixture import Mixture
from linkbert.instances.sampler import Sampler
from linkbert.records import IGNORED

CONFIG = Config(sequence_length=64, batch_size=22, micro_batch_size=4, held_out=0.1)


@pytest.fixture(scope="module")
def opened(small_store):
    return Batches(Sampler.open(small_store.path, CONFIG))


def together(processes, sampler, ask, **options):
    """What each of several processes is given, by rank; `ask` gets a process's Batches and its rank."""
    barrier, told = threading.Barrier(processes), {}

    def process(rank):
        def gather(own):
            told[rank] = own
            barrier.wait(60)
            rows = [told[each] for each in range(processes)]
            barrier.wait(60)
            return rows

        return ask(Batches(sampler, gather=gather, **options), rank)

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(process, range(processes)))


def unpack(batches):
    """Every pair of some micro-batches as plain values, wherever it stands, in an order of their own."""
    found = []
    for batch in batches:
        flat = batch.pairs.flatten()
        real = batch.masked_labels != IGNORED
        for pair in range(int(flat.max()) + 1):
            places = flat == pair
            mine = real & (flat[batch.masked_positions] == pair)
            assert places.nonzero().min() == batch.first[pair]
            assert batch.positions.flatten()[places].tolist() == list(range(int(places.sum())))
            found.append(
                (
                    batch.input_ids.flatten()[places].tolist(),
                    batch.token_type_ids.flatten()[places].tolist(),
                    (batch.masked_positions[mine] - batch.first[pair]).tolist(),
                    batch.masked_labels[mine].tolist(),
                    int(batch.relations[pair]),
                    int(batch.documents[pair]),
                )
            )
    return sorted(found)


def plain(sampler, numbers):
    """The same of instances as `fill` makes them, each in its own row."""
    made = Sampler.fill(sampler, numbers)
    rows, places = np.divmod(made.masked_positions, made.input_ids.shape[1])
    return sorted(
        (
            made.input_ids[i, :length].tolist(),
            made.token_type_ids[i, :length].tolist(),
            places[rows == i].tolist(),
            made.masked_labels[rows == i].tolist(),
            int(made.relations[i]),
            int(made.pairs[i, 0]),
        )
        for i, length in enumerate(made.lengths)
    )


def count(batches):
    relations = torch.cat([batch.relations for batch in batches])
    return Counts(
        masked=sum(int((batch.masked_labels != IGNORED).sum()) for batch in batches),
        pairs=int((relations != IGNORED).sum()),
        tokens=sum(int((batch.pairs >= 0).sum()) for batch in batches),
        places=sum(batch.input_ids.numel() for batch in batches),
        relations=tuple(relations[relations != IGNORED].bincount(minlength=3).tolist()),
    )


@pytest.mark.slow
@given(
    st.integers(0, 500),
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([None, 0.0, 0.01]),
    st.sampled_from(["token", "word", "span"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_packing_changes_where_pairs_stand_and_never_what_they_are(
    opened, step, size, micro_batch, processes, row_cost, masking, fixed, mixed
):
    config = CONFIG.replace(batch_size=size, micro_batch_size=micro_batch, masking=masking)
    sampler = Sampler(opened.sampler.store, None, config)
    if mixed:
        sampler = Mixture([sampler, sampler], [2, 1], config)

    def ask(batches, rank):
        made = list(batches.one_by_one(step, rank, processes))
        return made, batches.agree(batches.draw(step, rank, processes))

    parts, agreed = zip(*together(processes, sampler, ask, fixed=fixed, row_cost=row_cost), strict=True)
    assert unpack([batch for part in parts for batch in part]) == plain(
        sampler, np.arange(step * size, step * size + size)
    )
    assert len({len(part) for part in parts}) == 1
    for part, (passes, counts) in zip(parts, agreed, strict=True):
        assert passes == len(part)
        assert counts == count([batch for part in parts for batch in part])
        assert max(batch.input_ids.numel() for batch in part) <= micro_batch * 64
    if fixed:
        assert len({tuple(tensor.shape for tensor in vars(batch).values()) for part in parts for batch in part}) == 1


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("step", [0, 1, 31])  # an epoch ends within step 31 or before
def test_a_step_has_the_same_pairs_for_one_two_and_three_processes(small_store, step, mixed):
    sampler = Sampler.open(small_store.path, CONFIG)
    other = Sampler(sampler.store, None, CONFIG)
    sampler = Mixture([sampler, other], [2, 1], CONFIG) if mixed else sampler
    whole = plain(sampler, np.arange(step * 22, step * 22 + 22))
    assert len(whole) == 22
    for processes in (1, 2, 3):
        parts = together(
            processes,
            sampler,
            lambda batches, rank, processes=processes: batches.micro_batches(step, rank, processes),
        )
        assert {part.counts.pairs for part in parts} == {22}
        assert unpack([batch for part in parts for batch in part]) == whole


def test_a_process_draws_its_own_share_alone(small_store, monkeypatch):
    """Of 22 pairs, three processes draw 7, 7 and 8 a step, once each; those by which a shape is chosen come before."""
    sampler = Sampler.open(small_store.path, CONFIG)
    drawn = {}

    def ask(batches, rank):
        batches.shape(3)
        plain_draw = batches._draw
        batches._draw = lambda numbers: drawn.setdefault(rank, []).extend(numbers.tolist()) or plain_draw(numbers)
        for step in range(3):
            list(batches.micro_batches(step, rank, 3))
        return batches._thread.shutdown()

    together(3, sampler, ask, fixed=True)
    for rank, (first, last) in enumerate([(0, 7), (7, 14), (14, 22)]):
        assert drawn[rank] == [22 * step + number for step in range(4) for number in range(first, last)]


def test_the_order_in_which_steps_are_asked_does_not_matter(opened):
    forward = [unpack(opened.micro_batches(step)) for step in range(4)]
    assert [unpack(opened.micro_batches(step)) for step in (3, 1, 2, 0)] == [forward[step] for step in (3, 1, 2, 0)]
    started = opened.one_by_one(2)
    next(started)  # left in the middle
    share = opened.micro_batches(2)
    next(iter(share))
    assert unpack(share) == unpack(share) == forward[2]  # and begun anew


def test_only_some_micro_batches_are_held_at_a_time(opened, monkeypatch):
    """Those of a large step are made as they are used, and a few of the next step."""
    written = []
    batches = Batches(opened.sampler)
    batches.config = CONFIG.replace(batch_size=400)
    write = batches.write
    monkeypatch.setattr(batches, "write", lambda drawn, number: written.append(number) or write(drawn, number))
    share = batches.micro_batches(0)
    assert len(share) > 40
    for used, _ in enumerate(share, 1):
        assert len(written) <= used + 2 * AHEAD


def test_tensors_are_as_promised(opened):
    """And rows are even: 22 pairs in two micro-batches, not four rows and then one."""
    share = opened.micro_batches(0)
    made = list(share)
    for batch in made:
        assert {tensor.dtype for tensor in vars(batch).values()} == {torch.int64}
        assert batch.positions[batch.pairs < 0].eq(0).all()
        assert (batch.masked_positions.diff() > 0).all()
    assert len(made) == len(share) > 1
    assert max(len(batch.input_ids) for batch in made) - min(len(batch.input_ids) for batch in made) <= 1
    assert share.counts == count(made)


def test_more_processes_than_pairs(small_store):
    """A process without a pair has as many micro-batches as the others; they hold nothing."""
    for fixed in (False, True):
        sampler = Sampler.open(small_store.path, CONFIG.replace(batch_size=2))
        parts = together(3, sampler, lambda batches, rank: batches.micro_batches(1, rank, 3), fixed=fixed)
        assert {part.counts.pairs for part in parts} == {2}
        (empty,) = parts[0]
        assert (int((empty.pairs >= 0).sum()), set(empty.masked_labels.tolist()), set(empty.relations.tolist())) == (
            0,
            {IGNORED},
            {IGNORED},
        )
        assert unpack([batch for part in parts for batch in part]) == plain(sampler, np.arange(2, 4))


def test_two_relations_for_bert(small_store):
    config = Config(sequence_length=64, objective="nsp", shares=(0.5, 0.5, 0.0), batch_size=200, micro_batch_size=200)
    counts = Batches(Sampler.open(small_store.path, config)).micro_batches(0).counts
    assert sum(counts.relations) == 200
    assert counts.relations[2] == 0


@pytest.mark.parametrize("method", ["draw", "write"])
def test_a_failure_of_the_loader_is_raised_where_the_batch_is_asked(opened, monkeypatch, method):
    batches = Batches(Sampler(opened.sampler.store, None, CONFIG))
    monkeypatch.setattr(batches.sampler, method, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(batches.micro_batches(0))


def test_policy_counts(opened):
    policy = opened.sampler.policy()
    assert policy["anchors"] == len(opened.sampler)
    assert sum(policy["realised"]) == pytest.approx(1)
    assert policy["no_usable_link"] > 0
