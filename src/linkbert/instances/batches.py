"""Batches for training: a step's number comes in, its instances go out as torch tensors, in micro-batches.

The global batch of step s is instances s * batch_size and on; a process takes its contiguous share of them. Which
instances a step has therefore depends neither on the number of processes nor on the micro-batch. Those of the next step
are made in a thread while a step computes: the compiled sampler holds no lock. A loop takes a whole step's at once (it
has to know how many masked tokens there are).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from linkbert.instances.sampler import Filler, Instances, fill


@dataclass(frozen=True)
class Batch:
    """Pairs as the model takes them: R rows of T places, P pairs with M masks in all; every tensor is int64.

    A row holds whole pairs, one after another, then padding. A place attends to the places of its own pair. Slots that
    only fill up `first`, `masked_positions`, `masked_labels`, `relations` and `documents` stand at their end.
    """

    input_ids: torch.Tensor  # (R, T)
    token_type_ids: torch.Tensor  # (R, T)
    positions: torch.Tensor  # (R, T), place within its pair; 0 in padding
    pairs: torch.Tensor  # (R, T), number of the pair, from 0, in the order of places; -1 in padding
    first: torch.Tensor  # (P,), place of each pair's [CLS] in the flat (R * T); 0 in a slot that fills up
    masked_positions: torch.Tensor  # (M,), into the flat (R * T), ascending; 0 in a slot that fills up
    masked_labels: torch.Tensor  # (M,), IGNORED in a slot that fills up
    relations: torch.Tensor  # (P,), IGNORED in a slot that fills up
    documents: torch.Tensor  # (P,), that of A; -1 in a slot that fills up

    @property
    def tokens(self) -> int:
        """How many places hold a real token."""
        return int((self.pairs >= 0).sum())

    def to(self, device: torch.device | str) -> Batch:
        """Copy to a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def to_batch(instances: Instances) -> Batch:
    """Make a batch of instances, a row of each."""
    count, width = instances.input_ids.shape
    column = np.arange(width)
    real = column < instances.lengths[:, None]
    arrays = (
        instances.input_ids,
        instances.token_type_ids,
        np.where(real, column, 0),
        np.where(real, np.arange(count)[:, None], -1),
        np.arange(count) * width,
        instances.masked_positions,
        instances.masked_labels,
        instances.relations,
        instances.documents,
    )
    return Batch(*map(torch.from_numpy, arrays))


class Batches:
    """The batches of a run; see the module. `trim` cuts a micro-batch to its longest instance."""

    def __init__(self, sampler: Filler, *, trim: bool = False) -> None:
        self.sampler, self.config, self.trim = sampler, sampler.config, trim
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[tuple[int, int, int], Future[list[Batch]]] = {}

    def make(self, start: int, stop: int) -> Batch:
        """Make the batch of the instances numbered [start, stop)."""
        return to_batch(fill(self.sampler, np.arange(start, stop), trim=self.trim))

    def micro_batches(self, step: int, rank: int = 0, processes: int = 1) -> list[Batch]:
        """Give the micro-batches that process `rank` of `processes` computes in a step; those of the next are begun."""
        asked = (step, rank, processes)
        made = self._coming.pop(asked, None) or self._thread.submit(self._make_all, *asked)
        self._coming = {(step + 1, rank, processes): self._thread.submit(self._make_all, step + 1, rank, processes)}
        return made.result()

    def name(self, step: int) -> list[dict[str, Any]]:
        """Name a step's instances, all processes' together, for a reader; see `Sampler.name`."""
        return self.sampler.name(step * self.config.batch_size, (step + 1) * self.config.batch_size)

    def one_by_one(self, step: int, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        """Yield the micro-batches of a step as they are made, and none of the next: for evaluation."""
        return (self.make(*span) for span in self._spans(step, rank, processes))

    def _make_all(self, step: int, rank: int, processes: int) -> list[Batch]:
        return list(self.one_by_one(step, rank, processes))

    def _spans(self, step: int, rank: int, processes: int) -> list[tuple[int, int]]:
        size, first = self.config.batch_size, step * self.config.batch_size
        start, stop = first + size * rank // processes, first + size * (rank + 1) // processes
        return [(i, min(i + self.config.micro_batch, stop)) for i in range(start, stop, self.config.micro_batch)]
