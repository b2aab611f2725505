"""Packing: the lengths of pairs come in; where each stands, and the shape of the micro-batches that hold them, go out.

Rows are filled by best fit, the longest pair first, and dealt evenly over as few micro-batches as can hold them, so
that a compiled step, whose shapes are fixed, wastes few slots on padding. A row may be wider than the longest pair:
articles at length 128 fill rows of their own by 87 %, rows of 1,024 places by 97 %; but where attention computes a
whole row, a place costs more in a wider one (`choose_shape`). Packing decides where pairs stand, never what they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linkbert.compiled import compiled
from linkbert.config import Config

UNBOUNDED = 1 << 62
WIDER = (1, 2, 3, 4, 6, 8)  # how many times the longest pair's length a row may be wide
ROUND_PAIRS, ROUND_MASKS = 8, 32  # slots of a fixed shape are a multiple of these, which compiled kernels like
PASS = 0.07  # what a micro-batch costs besides its places, as a share of one of 4,096 (docs/log/training.md)
SPARE = 1.02  # slots for so many times what the fullest micro-batch of a sample needs


class Shape(NamedTuple):
    """What a micro-batch holds at most; `fixed`: it always has exactly this shape, else it is cut to what it needs."""

    rows: int
    width: int  # places of a row
    pairs: int = UNBOUNDED
    masks: int = UNBOUNDED
    read: int = UNBOUNDED  # of one row: [CLS]s and masked places, whose states a head reads
    fixed: bool = False


@dataclass(frozen=True)
class Packing:
    """Where pairs stand: pair order[i] is in row rows[i] of its micro-batch, `offsets[i]` places from its start."""

    order: np.ndarray  # int64 (B,)
    rows: np.ndarray  # int64 (B,)
    offsets: np.ndarray  # int64 (B,)
    bounds: np.ndarray  # int64 (K + 1,), micro-batch k has those from bounds[k] to bounds[k + 1]

    def __len__(self) -> int:
        return len(self.bounds) - 1


@compiled
def best_fit(lengths: np.ndarray, masks: np.ndarray, shape: Shape) -> tuple[np.ndarray, int]:
    """Return each pair's row (lengths, masks and rows: int64 (B,)), and the number of rows.

    A row holds no more than the shape has, unless it is a single pair. Open rows lie in lists by the room they have.
    """
    width, count = shape.width, 0
    heads = np.full(width + 1, -1, np.int64)
    rows, following, pairs_in, masks_in = np.zeros((4, len(lengths)), np.int64)
    for i in np.argsort(-lengths, kind="mergesort"):
        room = lengths[i]
        while room <= width:
            row = heads[room]
            if row < 0:
                room += 1
                continue
            heads[room] = following[row]
            pairs_then, masks_then = pairs_in[row] + 1, masks_in[row] + masks[i]
            if pairs_then <= shape.pairs and masks_then <= shape.masks and pairs_then + masks_then <= shape.read:
                break  # else it stays closed
        if room > width:
            row, room = count, width
            count += 1
        rows[i] = row
        pairs_in[row] += 1
        masks_in[row] += masks[i]
        room -= lengths[i]
        following[row] = heads[room]
        heads[room] = row
    return rows, count


def pack(lengths: np.ndarray, masks: np.ndarray, shape: Shape) -> Packing:
    """Pack pairs into micro-batches of a shape: int64 (B,) each, the tokens of a pair and how many are masked at most.

    >>> packing = pack(np.array([3, 5, 3]), np.array([1, 1, 1]), Shape(rows=2, width=8))
    >>> packing.order.tolist(), packing.rows.tolist(), packing.offsets.tolist(), packing.bounds.tolist()
    ([0, 1, 2], [0, 0, 1], [0, 3, 0], [0, 3])
    """
    row_of, count = best_fit(lengths, masks, shape)
    of_row = [np.bincount(row_of, weights, count).astype(np.int64) for weights in (None, masks)]
    fullest = np.argsort(-of_row[0], kind="stable")  # dealt to and fro: 0 1 2, 2 1 0, 0 ...
    batches, wanted = np.empty((2, count), np.int64), max(1, -(-count // shape.rows))
    while True:
        turn, place = np.divmod(np.arange(count), wanted)
        batches[0, fullest], batches[1, fullest] = np.where(turn % 2, wanted - 1 - place, place), turn
        within = (
            np.bincount(batches[0], each, wanted).max(initial=0) <= most
            for each, most in zip(of_row, (shape.pairs, shape.masks), strict=True)
        )
        if all(within):
            break
        wanted += 1  # one row has room in a micro-batch, so this ends
    batch, row = batches[:, row_of]
    order = np.lexsort((row, batch))
    batch, row, lengths = batch[order], row[order], lengths[order]
    before = np.cumsum(lengths) - lengths
    starts = np.flatnonzero(np.diff(batch * shape.rows + row, prepend=-1))  # the first pair of each row
    offsets = before - np.repeat(before[starts], np.diff(starts, append=len(order)))
    return Packing(order, row, offsets, np.searchsorted(batch, np.arange(wanted + 1)))


def choose_shape(
    shares: Sequence[tuple[np.ndarray, np.ndarray]], config: Config, *, row_cost: float | None, fixed: bool
) -> Shape:
    """Choose the shape of micro-batches that computes fastest, from the (lengths, masks) of some shares of a step.

    `row_cost` is what a place of a row costs for each place of the same row, next to what it costs alone; None: rows
    are as wide as the longest pair. A fixed shape has as few rows and slots as hold what was seen.
    """
    found = []
    for times in (1,) if row_cost is None else [each for each in WIDER if each <= config.micro_batch_size]:
        width = times * config.sequence_length
        read = round(config.read_share * width) if fixed else UNBOUNDED
        shape = Shape(config.micro_batch_size // times, width, read=read)
        rows = [best_fit(*share, shape)[1] for share in shares]
        cost: float = sum(rows)
        if fixed:  # fewer rows waste less of the last micro-batch, and make more of them
            costs = {
                most: sum(-(-n // most) for n in rows) * (most + PASS * shape.rows)
                for most in range(shape.rows, shape.rows // 2, -1)
            }
            fewest, cost = min(costs.items(), key=lambda each: each[1])
            shape = shape._replace(rows=fewest)
        found.append((cost * width * (1 + (row_cost or 0.0) * width), width, shape))
    shape = min(found)[2]
    if not fixed:
        return shape
    most_rows, pairs, masks = 1, 1, 1  # of the fullest micro-batch of the shares
    for lengths, masked in shares:
        packing = pack(lengths, masked, shape)
        upto = np.concatenate([[0], np.cumsum(masked[packing.order])])[packing.bounds]
        most_rows = max(most_rows, 1 + int(packing.rows.max(initial=0)))
        pairs, masks = max(pairs, np.diff(packing.bounds).max()), max(masks, np.diff(upto).max())
    pairs, masks = round_up(pairs * SPARE, ROUND_PAIRS), round_up(masks * SPARE, ROUND_MASKS)
    return shape._replace(rows=most_rows, pairs=pairs, masks=masks, fixed=True)


def spread(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the flat place of each token of pairs that start at some, its place in its pair, and the pair's number.

    >>> [each.tolist() for each in spread(np.array([0, 8]), np.array([2, 3]))]
    [[0, 1, 8, 9, 10], [0, 1, 0, 1, 2], [0, 0, 1, 1, 1]]
    """
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within, within, np.repeat(np.arange(len(lengths)), lengths)


def round_up(number: float, to: int) -> int:
    """Return the next multiple: (17, 8) -> 24."""
    return -int(-number // to) * to
