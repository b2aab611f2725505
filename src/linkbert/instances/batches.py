"""Batches for training: a step's number comes in, its instances go out as torch tensors, in micro-batches.

The global batch of step s is instances s * batch_size and on; a process takes its contiguous share of them. Which
instances a step has therefore depends neither on the number of processes nor on the micro-batch. Those of the next step
are made in a thread while a step computes: the compiled sampler holds no lock. A loop takes a whole step's at once (it
has to know how many masked tokens there are); 2,048 pairs of 512 tokens are 17 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch

from linkbert.config import Config
from linkbert.instances.sampler import Instances


@dataclass(frozen=True)
class Batch:
    """Instances as the model takes them: B of T places, with M masks in all; every tensor is int64."""

    input_ids: torch.Tensor  # (B, T)
    token_type_ids: torch.Tensor  # (B, T)
    lengths: torch.Tensor  # (B,), real tokens of each
    masked_positions: torch.Tensor  # (M,), into the flat (B * T), ascending
    masked_labels: torch.Tensor  # (M,)
    relations: torch.Tensor  # (B,)
    documents: torch.Tensor  # (B,), that of A

    def __len__(self) -> int:
        return len(self.relations)

    @property
    def tokens(self) -> int:
        """How many places hold a real token."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> Batch:
        """Copy to a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def to_batch(instances: Instances) -> Batch:
    """View a sampler's arrays as tensors; nothing is copied."""
    return Batch(*(torch.from_numpy(getattr(instances, field.name)) for field in fields(Batch)))


class Filler(Protocol):
    """What makes instances from their numbers: the Sampler of one store, or a Mixture of several."""

    config: Config

    def fill(self, numbers: np.ndarray, *, trim: bool = False) -> Instances:
        """Make instances, masked; see `Sampler.fill`."""

    def name(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Name instances for a reader; see `Sampler.name`."""


class Batches:
    """The batches of a run; see the module. `trim` cuts a micro-batch to its longest instance."""

    def __init__(self, sampler: Filler, *, trim: bool = False) -> None:
        self.sampler, self.config, self.trim = sampler, sampler.config, trim
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[tuple[int, int, int], Future[list[Batch]]] = {}

    def make(self, start: int, stop: int) -> Batch:
        """Make the batch of the instances numbered [start, stop)."""
        return to_batch(self.sampler.fill(np.arange(start, stop), trim=self.trim))

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
