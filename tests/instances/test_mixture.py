"""What a reader would doubt of a mixture: every store gets its share at any time, its own instances unchanged."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.config import Config
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import (
    BLOCK,
    Mixture,
    Part,
    count_tokens,
    interleave,
    make_sampler,
    open_parts,
    round_weights,
    without_links,
)
from linkbert.instances.sampler import Sampler

CONFIG = Config(sequence_length=64, held_out=0.1)
fill = Sampler.fill  # of a mixture, too


def locate(mixture, numbers):
    """The store of each instance, and its number there."""
    stores, owns = np.zeros((2, len(numbers)), np.int64)
    for store, (_, mine, own) in enumerate(mixture.owners(numbers)):
        stores[mine], owns[mine] = store, own
    return stores, owns


@pytest.fixture(scope="module")
def samplers(toy):
    """A store of 30 documents with links, one of 12 short documents without."""
    linked = toy([[5, 9, 7, 12]] * 30, [(i, 3, (i + 1) % 30) for i in range(30)], seed=1)
    plain, _ = toy([[4, 6]] * 12, seed=2)
    return Sampler(*linked, CONFIG), Sampler(plain, None, CONFIG)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7))
@settings(max_examples=200, deadline=None)
def test_every_store_has_its_share_of_any_beginning(shares):
    order = np.concatenate([interleave(shares)] * 2)
    for store, share in enumerate(shares):
        counts, ideal = np.cumsum(order == store), np.arange(1, len(order) + 1) * share
        assert (np.abs(counts * sum(shares) - ideal) < sum(shares)).all()


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=9))
def test_rounded_weights_are_off_by_less_than_one_part(weights):
    shares = np.array(round_weights(weights))
    assert shares.sum() == BLOCK
    assert (np.abs(shares - np.array(weights) / sum(weights) * BLOCK) < 1 + 1e-6).all()


def test_an_order_by_hand():
    """A half and two quarters: the half comes every other time, the quarters take turns. Then four fifths and one."""
    assert interleave([2, 1, 1]).tolist() == [0, 1, 0, 2]
    assert interleave(round_weights([0.8, 0.2]))[:10].tolist() == [0, 0, 0, 0, 1] * 2


@given(st.lists(st.integers(0, 10**12), max_size=40), st.lists(st.integers(1, 9), min_size=2, max_size=2))
@settings(max_examples=50, deadline=None)
def test_numbers_within_a_store_count_what_came_before(samplers, numbers, shares):
    mixture = Mixture(samplers, shares, CONFIG)
    stores, own = locate(mixture, np.array(numbers, np.int64))
    for number, store, mine in zip(numbers, stores, own, strict=True):
        block, place = divmod(number, sum(shares))
        assert mine == block * shares[store] + (mixture.order[:place] == store).sum()
        assert mixture.order[place] == store


def test_a_mixture_makes_the_instances_of_its_stores(samplers):
    mixture = Mixture(samplers, [3, 2], CONFIG)
    numbers = np.array([7, 0, 1, 2, 3, 4, 999, 5_000_000, 12])
    made = fill(mixture, numbers)
    width = made.input_ids.shape[1]
    assert made.numbers.tolist() == numbers.tolist()
    assert (np.diff(made.masked_positions) > 0).all()
    for row, (store, own) in enumerate(zip(*locate(mixture, numbers), strict=True)):
        alone = samplers[store].fill(np.array([own]))
        narrow = alone.input_ids.shape[1]
        for name in ("pairs", "relations", "causes", "lengths"):
            assert (getattr(made, name)[row] == getattr(alone, name)[0]).all()
        for name in ("input_ids", "token_type_ids"):
            assert (getattr(made, name)[row, :narrow] == getattr(alone, name)[0]).all()
            assert (getattr(made, name)[row, narrow:] == 0).all()
        mine = made.masked_positions // width == row
        assert (made.masked_positions[mine] % width == alone.masked_positions).all()
        assert (made.masked_labels[mine] == alone.masked_labels).all()
    assert len(fill(mixture, np.arange(0)).relations) == 0


def test_instances_are_named_in_their_own_store(samplers):
    """Numbers 60 to 69 of an order 0 1 0 0 1: six from 36 on of the first store, four from 24 on of the second."""
    first, second = Batches(Mixture(samplers, [3, 2], CONFIG), batch_size=10).name(6)
    assert (first["first"], first["last"], second["first"], second["last"]) == (36, 41, 24, 27)
    assert first["from"] == [36 // len(samplers[0]), 36 % len(samplers[0])]
    assert second["to"] == [27 // len(samplers[1]), 27 % len(samplers[1])]
    (alone,) = Batches(samplers[1], batch_size=1).name(5)
    assert (alone["first"], alone["last"], alone["from"], alone["to"]) == (5, 5, [0, 5], [0, 5])
    assert alone["store"] == str(samplers[1].store.path)


def test_a_store_of_high_weight_goes_through_more_epochs_and_leaves_nothing_out(samplers):
    mixture = Mixture(samplers, [3, 1], CONFIG)
    numbers = np.arange(4 * max(len(sampler) for sampler in samplers))
    stores, _ = locate(mixture, numbers)
    pairs = fill(mixture, numbers).pairs
    for store, sampler in enumerate(samplers):
        mine = pairs[stores == store]
        for start in range(0, len(mine) - len(sampler) + 1, len(sampler)):
            seen = np.bincount(mine[start : start + len(sampler), 0], minlength=len(sampler.store))
            assert (seen == np.diff(sampler.corpus.first_anchor)).all()


def test_a_mixture_of_one_is_its_sampler(samplers):
    mixture = Mixture(samplers[:1], [BLOCK], CONFIG)
    one, other = fill(mixture, np.arange(50)), samplers[0].fill(np.arange(50))
    assert all((getattr(one, f.name) == getattr(other, f.name)).all() for f in dataclasses.fields(one))


def test_parts_are_opened_with_their_own_settings_and_weighed_by_tokens(small_store, tmp_path, store_writer, records):
    plain = [dataclasses.replace(r, links=()) for r in records(40, seed=3)[1:]]
    store_writer(tmp_path / "plain", [plain])
    parts = [
        Part("books", tmp_path / "plain"),
        Part("told", tmp_path / "plain", settings={"shares": (0.5, 0.25, 0.25)}),
        Part("wiki", small_store.path, settings={"scope": "document"}),
    ]
    opened = open_parts(parts, CONFIG)
    assert [each.config.shares for each in opened] == [(0.5, 0.5, 0.0), (2 / 3, 1 / 3, 0.0), (1 / 3, 1 / 3, 1 / 3)]
    assert [each.config.scope for each in opened] == ["document", "document", "document"]
    tokens = [len(each.tokens.tokens) for each in opened]
    assert [each.weight for each in opened] == pytest.approx([each / sum(tokens) for each in tokens], abs=1e-4)
    counts = [each.tokens.count_tokens() for each in opened]
    assert count_tokens(opened) == pytest.approx(sum(counts), rel=1e-2), "by tokens, the stores are added"
    assert set(fill(make_sampler(opened, CONFIG), np.arange(200)).relations) == {0, 1, 2}


def test_what_open_parts_refuses(small_store, tmp_path, store_writer, records, toy):
    vocabulary = dataclasses.replace(toy([[1]])[0].vocabulary, lowercase=False)
    store_writer(tmp_path / "cased", [records(20, seed=3)], vocabulary)
    one, path = Part("one", small_store.path, 0.5), small_store.path
    for other, message in (
        (Part("two", tmp_path / "cased", 0.5), "cased do not lower-case alike; rebuild .*cased with its vocabulary"),
        (Part("two", path), "no weight for two: give a weight to every store, or to none"),
        (Part("two", path, 1e-9), r"a weight of 1e-09 next to 0.5 is below 1 in 10,000"),
        (Part("two", path, 1.0, {"shares": (1.0, 1.0, 0.0)}), r"^two.shares must be three shares that sum to 1"),
        (Part("two", path, 1.0, {"graph": "tfidf"}), "has no graph 'tfidf'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            open_parts([one, other], CONFIG)
        assert "\n" not in str(caught.value)


def test_shares_without_links():
    assert without_links((1 / 3, 1 / 3, 1 / 3)) == (0.5, 0.5, 0.0)
    assert without_links((0.0, 0.0, 1.0)) == (0.5, 0.5, 0.0)
    assert without_links((0.6, 0.2, 0.2)) == pytest.approx((0.75, 0.25, 0.0))
