import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.config import Config
from linkbert.instances.packing import Shape, best_fit, choose_shape, pack

CONFIG = Config(sequence_length=128, micro_batch_size=32)
PAIRS = st.lists(st.tuples(st.integers(4, 40), st.integers(1, 6)), max_size=60)


@given(
    PAIRS,
    st.integers(1, 5),
    st.sampled_from([40, 64, 160]),
    st.integers(1, 12),
    st.integers(6, 40),
    st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_every_pair_stands_once_in_a_row_of_its_own_places(pairs, rows, width, most_pairs, most_masks, read):
    """However tight the slots: none is dropped, none overlaps, and no micro-batch holds more than its shape."""
    lengths, masks = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    packing = pack(lengths, masks, Shape(rows, width, most_pairs, most_masks, read))
    assert sorted(packing.order) == list(range(len(pairs)))
    assert packing.bounds[0] == 0
    assert packing.bounds[-1] == len(pairs)
    for first, last in zip(packing.bounds, packing.bounds[1:], strict=False):
        mine = packing.order[first:last]
        assert len(mine) <= most_pairs
        assert masks[mine].sum() <= most_masks
        each_row = [mine[packing.rows[first:last] == row] for row in range(rows)]
        assert all(len(row) <= 1 or len(row) + masks[row].sum() <= read for row in each_row)
        taken = np.zeros(rows * width, int)
        starts = packing.rows[first:last] * width + packing.offsets[first:last]
        assert (np.diff(starts) > 0).all()
        for start, row, length in zip(starts, packing.rows[first:last], lengths[mine], strict=True):
            assert start + length <= (row + 1) * width
            taken[start : start + length] += 1
        assert taken.max(initial=0) <= 1


def test_best_fit_by_hand():
    """Rows of 10: 7 and 6 open two; 3 fits the first to the last place, 4 the second, and 2 needs a third."""
    rows, count = best_fit(np.array([3, 7, 2, 6, 4]), np.ones(5, np.int64), Shape(9, 10))
    assert (rows.tolist(), count) == ([0, 0, 2, 1, 1], 3)


def test_a_row_is_not_filled_beyond_its_slots():
    for masks, shape, count in ((1, Shape(9, 100, pairs=2), 3), (3, Shape(9, 100, masks=9), 2),
                                (3, Shape(9, 100, masks=9, read=8), 3)):  # fmt: skip
        assert best_fit(np.full(6, 2), np.full(6, masks), shape)[1] == count


@given(st.lists(st.integers(4, 128), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_best_fit_needs_few_rows(lengths):
    """No two rows would fit into one."""
    rows, count = best_fit(np.array(lengths), np.ones(len(lengths), np.int64), Shape(9, 128))
    filled = np.sort(np.bincount(rows, lengths, count))
    assert count == 1 or filled[0] + filled[1] > 128
    assert filled.max() <= 128


def draw_shares(mean, count=4, size=512):
    lengths = np.random.default_rng(0).normal(mean, 14, (count, size)).clip(13, 128).astype(np.int64)
    return [(each, np.maximum(1, each * 15 // 100)) for each in lengths]


def test_what_a_wide_row_costs_decides_its_width():
    """Of pairs of 105 of 128 tokens one fills a row by four fifths; in rows of several lengths they lie closer."""
    shares = draw_shares(105)
    narrow = choose_shape(shares, CONFIG, row_cost=1 / 256, fixed=True)
    wide = choose_shape(shares, CONFIG, row_cost=0.0, fixed=True)
    assert narrow.width == 128
    assert wide.width > 512
    for shape, least in ((narrow, 0.8), (wide, 0.95)):
        assert shape.rows * shape.width <= 32 * 128
        passes = sum(len(pack(*share, shape)) for share in shares)
        assert sum(lengths.sum() for lengths, _ in shares) / (passes * shape.rows * shape.width) > least
    assert choose_shape(shares, CONFIG, row_cost=None, fixed=False) == Shape(32, 128)


@pytest.mark.parametrize("size", [3, 16, 100])
def test_a_fixed_shape_has_the_rows_that_a_small_batch_needs(size):
    shares = draw_shares(60, 64, size)
    shape = choose_shape(shares, CONFIG, row_cost=None, fixed=True)
    packed = [pack(*share, shape) for share in shares]
    assert max(packing.rows.max() for packing in packed) == shape.rows - 1
    assert all(len(packing) <= -(-size // 32) for packing in packed)
