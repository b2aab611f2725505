"""Batches for training: a step's number comes in, its instances go out as torch tensors, in micro-batches.

The global batch of step s is instances s * batch_size and on; a process draws its contiguous share of them, packed as a
whole (packing.py), in as many micro-batches as every other: empty ones are added. So each says how many it has and what
they hold (`gather`). Micro-batches are written in a thread a few ahead of their use, also the first ones of the next
step: the compiled sampler holds no lock.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from linkbert.instances.mixture import Mixture
from linkbert.instances.packing import Packing, Shape, choose_shape, pack, round_up, spread
from linkbert.instances.sampler import Sampler, lengths_of, mask_counts
from linkbert.records import IGNORED, RELATIONS

MULTIPLE = 8  # a row that is not of a fixed shape is as wide as a multiple of this, which kernels like
AHEAD = 4  # micro-batches that are made before they are asked for
SAMPLED, MOST_SHARES = 8_192, 256  # pairs, and shares of a step, by whose lengths a shape is chosen

Gather = Callable[[Sequence[int]], Sequence[Sequence[int]]]  # what each process gives, whole numbers, by rank


@dataclass(frozen=True)
class Batch:
    """Pairs as the model takes them: R rows of T places, P pairs with M masks in all; every tensor is int64.

    A row holds whole pairs, then padding; a place attends to its own pair. IGNORED is -100; relations are 0, 1 and 2.
    """

    input_ids: torch.Tensor  # (R, T)
    token_type_ids: torch.Tensor  # (R, T)
    positions: torch.Tensor  # (R, T), place within its pair; 0 in padding
    pairs: torch.Tensor  # (R, T), number of the pair, from 0, in the order of places; -1 in padding
    first: torch.Tensor  # (P,), place of each pair's [CLS] in the flat (R * T); 0 in padding
    masked_positions: torch.Tensor  # (M,), into the flat (R * T), ascending; 0 in padding
    masked_labels: torch.Tensor  # (M,), IGNORED in padding
    relations: torch.Tensor  # (P,), IGNORED in padding
    documents: torch.Tensor  # (P,), that of A; -1 in padding
    numbers: torch.Tensor  # (P,), of the instance; -1 in padding


@dataclass(frozen=True)
class Drawn:
    """A process's share of a step, drawn and packed, no token written yet; arrays are in the order of places."""

    numbers: np.ndarray  # int64 (B,)
    pairs: np.ndarray  # int64 (B, 6), as in Instances
    relations: np.ndarray  # int64 (B,)
    packing: Packing
    shape: Shape

    def part(self, number: int) -> slice:
        """Return where the pairs of a micro-batch are; one that is added has none."""
        return slice(*self.packing.bounds[np.minimum([number, number + 1], len(self.packing))].tolist())

    def size(self, number: int) -> tuple[int, int]:
        """Return the rows of a micro-batch and their width: those of a fixed shape, else what it needs."""
        if self.shape.fixed:
            return self.shape.rows, self.shape.width
        mine = self.part(number)
        used = int((self.packing.offsets[mine] + lengths_of(self.pairs[mine])).max(initial=1))
        return int(self.packing.rows[mine].max(initial=0)) + 1, round_up(used, MULTIPLE)


@dataclass(frozen=True)
class Counts:
    """What the micro-batches of a step hold, of all processes."""

    masked: int
    pairs: int
    tokens: int
    places: int  # tokens / places is the utilisation
    relations: tuple[int, ...]  # pairs of each


class Share:
    """The micro-batches that a process computes in a step: its length, its Counts, and the micro-batches in turn."""

    def __init__(self, passes: int, counts: Counts, submit: Callable[[int], Future[Batch]]) -> None:
        self.passes, self.counts, self._submit = passes, counts, submit
        self._ready = deque(submit(number) for number in range(min(AHEAD, passes)))

    def __len__(self) -> int:
        return self.passes

    def __iter__(self) -> Iterator[Batch]:
        ready, self._ready = self._ready, deque()
        for number in range(len(ready), len(self) + len(ready)):
            if number < len(self):
                ready.append(self._submit(number))
            yield ready.popleft().result()


class Batches:
    """The batches of a run; see the module.

    `fixed`: all micro-batches have one shape, for a compiled step. `row_cost`: see `choose_shape`. `gather` is how
    processes tell each other numbers, if there are several. `settings` are changes to the sampler's: batch_size, ...
    """

    def __init__(
        self,
        sampler: Sampler | Mixture,
        *,
        fixed: bool = False,
        row_cost: float | None = None,
        gather: Gather = lambda own: [own],
        **settings: int,
    ) -> None:
        self.sampler, self.fixed, self.row_cost, self.gather = sampler, fixed, row_cost, gather
        self.config = sampler.config.replace(**settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[tuple[int, int, int], Future[Share]] = {}
        self.shape = cache(self._choose_shape)

    def micro_batches(self, step: int, rank: int = 0, processes: int = 1) -> Share:
        """Return the micro-batches that process `rank` of `processes` computes in a step, and start on the next."""
        asked = (step, rank, processes)
        coming = self._coming.pop(asked, None) or self._thread.submit(self._start, *asked)
        share = coming.result()
        self._coming = {(step + 1, rank, processes): self._thread.submit(self._start, step + 1, rank, processes)}
        return share

    def one_by_one(self, step: int, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        """Yield the micro-batches of a step as they are made, and none of the next: for evaluation."""
        drawn = self.draw(step, rank, processes)
        passes = max(row[0] for row in self.gather([len(drawn.packing)]))
        return (self.write(drawn, number) for number in range(passes))

    def name(self, step: int) -> list[dict[str, Any]]:
        """Name a step's instances as `linkbert show` finds them: by number, and by epoch and index, in each store.

        -> [{"store": "wiki", "first": 7000, "last": 7031, "from": [3, 214], "to": [3, 245]}]
        """
        size, named = self.config.batch_size, list[dict[str, Any]]()
        for owner, _, own in self.sampler.owners(step * size + np.arange(size)):
            if len(own):
                first, last = int(own[0]), int(own[-1])
                ends = {"from": [*divmod(first, len(owner))], "to": [*divmod(last, len(owner))]}
                named.append({"store": str(owner.store.path), "first": first, "last": last} | ends)
        return named

    def _choose_shape(self, processes: int = 1) -> Shape:
        """Choose the shape of micro-batches by the lengths of the run's first instances."""
        size = -(-self.config.batch_size // processes)
        few = min(-(-SAMPLED // size), MOST_SHARES) if self.fixed or self.row_cost is not None else 0
        shares = [self._draw(size * number + np.arange(size))[1:] for number in range(few)]
        return choose_shape(shares, self.config, row_cost=self.row_cost, fixed=self.fixed)

    def draw(self, step: int, rank: int = 0, processes: int = 1) -> Drawn:
        """Draw and pack the share of a process."""
        size, shape = self.config.batch_size, self.shape(processes)
        numbers = np.arange(*(step * size + size * each // processes for each in (rank, rank + 1)))
        (pairs, relations, _), lengths, masks = self._draw(numbers)
        packing = pack(lengths, masks, shape)
        return Drawn(numbers[packing.order], pairs[packing.order], relations[packing.order], packing, shape)

    def agree(self, drawn: Drawn) -> tuple[int, Counts]:
        """Tell the other processes of one's share: return the most micro-batches, and what all shares will hold."""
        owners, mine = self.sampler.owners(drawn.numbers), range(len(drawn.packing))
        masked = sum(sampler.count_masks(own, drawn.pairs[which]) for sampler, which, own in owners)
        held = [masked, len(drawn.numbers), int(lengths_of(drawn.pairs).sum())]
        places = sum(math.prod(drawn.size(number)) for number in mine)
        relations = np.bincount(drawn.relations, minlength=len(RELATIONS)).tolist()
        rows = np.array(self.gather([len(mine), places, *held, *relations]))
        passes, added = int(rows[:, 0].max()), math.prod(drawn.size(len(mine)))  # of an empty one
        own, places, masked, pairs, tokens, *relations = rows.sum(0).tolist()
        return passes, Counts(masked, pairs, tokens, places + added * (passes * len(rows) - own), tuple(relations))

    def write(self, drawn: Drawn, number: int) -> Batch:
        """Write one micro-batch of a share."""
        mine, (rows, width) = drawn.part(number), drawn.size(number)
        numbers, pairs, packing = drawn.numbers[mine], drawn.pairs[mine], drawn.packing
        starts = packing.rows[mine] * width + packing.offsets[mine]
        ids, types = np.full(rows * width, self.sampler.pad, np.int64), np.zeros(rows * width, np.int64)
        positions, labels = self.sampler.write(numbers, pairs, starts, ids, types)
        taken, within, owner = spread(starts, lengths_of(pairs))
        places, owners = np.zeros_like(ids), np.full_like(ids, -1)
        places[taken], owners[taken] = within, owner
        shape = drawn.shape if drawn.shape.fixed else Shape(rows, width, len(numbers), len(positions))
        slots = ((starts, 0, shape.pairs), (positions, 0, shape.masks), (labels, IGNORED, shape.masks),
                 (drawn.relations[mine], IGNORED, shape.pairs), (pairs[:, 0], -1, shape.pairs),
                 (numbers, -1, shape.pairs))  # fmt: skip
        arrays: list[np.ndarray] = [each.reshape(rows, width) for each in (ids, types, places, owners)]
        for values, empty, most in slots:
            arrays.append(np.full(max(most, 1), empty))
            arrays[-1][: len(values)] = values
        return Batch(*map(torch.from_numpy, arrays))

    def _start(self, step: int, rank: int, processes: int) -> Share:
        drawn = self.draw(step, rank, processes)
        return Share(*self.agree(drawn), lambda number: self._thread.submit(self.write, drawn, number))

    def _draw(self, numbers: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        drawn = self.sampler.draw(numbers)
        lengths = lengths_of(drawn[0])
        return drawn, lengths, mask_counts(lengths - 3, self.config.highest_mlm_probability)
