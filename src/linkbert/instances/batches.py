"""Batches for training: a step's number comes in, its instances go out as torch tensors, in micro-batches.

The global batch of step s is instances s * batch_size and on; a process takes its contiguous share of them. Which
instances a step has therefore depends neither on the number of processes nor on the micro-batch. The next micro-batches
are made in a thread while the step computes: the compiled sampler holds no lock. A whole step's are, because a loop may
take them all at once (it has to know how many masked tokens there are); 2,048 pairs of 512 tokens are 17 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkbert.config import Config
from linkbert.graph.links import LinkGraph
from linkbert.instances.sampler import Instances, Sampler, open_graph
from linkbert.instances.tokens import TokenStore


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


class Batches:
    """The batches of a run on one store; see the module. `trim` cuts a micro-batch to its longest instance.

    split and anchors are the Sampler's.
    """

    def __init__(
        self,
        store: TokenStore,
        graph: LinkGraph | None,
        config: Config,
        *,
        split: str = "train",
        anchors: str = "all",
        trim: bool = False,
    ) -> None:
        self.config, self.trim = config, trim
        self.sampler = Sampler(store, graph, config, split=split, anchors=anchors)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._made: dict[tuple[int, int], Future[Batch]] = {}

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def anchors(self) -> int:
        """How many instances an epoch has."""
        return len(self.sampler)

    def make(self, start: int, stop: int) -> Batch:
        """Make the batch of the instances numbered [start, stop)."""
        return to_batch(self.sampler.fill(np.arange(start, stop), trim=self.trim))

    def micro_batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        """Yield the micro-batches that process `rank` of `processes` computes in a step."""
        spans = self._spans(step, rank, processes)
        following = self._spans(step + 1, rank, processes)
        for at, span in enumerate(spans):
            coming = [*spans[at:], *following[: at + 1]]
            self._made = {each: self._made.get(each) or self._thread.submit(self.make, *each) for each in coming}
            yield self._made.pop(span).result()

    def _spans(self, step: int, rank: int, processes: int) -> list[tuple[int, int]]:
        size, first = self.config.batch_size, step * self.config.batch_size
        start, stop = first + size * rank // processes, first + size * (rank + 1) // processes
        return [(i, min(i + self.config.micro_batch, stop)) for i in range(start, stop, self.config.micro_batch)]

    def policy(self) -> dict[str, Any]:
        """Count what becomes of the asked shares; see Sampler.policy."""
        return self.sampler.policy()


def open_batches(
    store: Path, config: Config, *, split: str = "train", anchors: str = "all", trim: bool = False
) -> Batches:
    """Open the batches of a store on disk, along the graph that the settings name."""
    graph = open_graph(store, config)
    return Batches(TokenStore.open(store), graph, config, split=split, anchors=anchors, trim=trim)
