"""Linked pairs for other people's loops: a store's instances as a torch Dataset, and batches of them, padded or packed.

Item i of epoch e is the instance e * len + i of the Sampler, byte for byte. What goes to a worker process is a path,
the settings and the epoch; each process maps the store's arrays for itself.
"""

import logging
import operator
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from linkbert.config import Config, make_config
from linkbert.instances.packing import Shape, pack, round_up, spread
from linkbert.instances.sampler import Sampler
from linkbert.records import IGNORED

Item = dict[str, Tensor]
log = logging.getLogger(__name__)


class PairDataset(Dataset[Item]):
    """The masked pairs of a store, a map-style torch Dataset; `len` is the instances of an epoch.

    `config` is a Config, a preset's name or a dict of settings, and `settings` change it. An item has no padding; its
    tensors are int64: `input_ids`, `token_type_ids` and `labels` (T,), the last -100 where nothing is masked;
    `next_sentence_label` (), 0 contiguous, 1 random, 2 linked; `documents` (2,), the numbers of those of A and B.

    Call `set_epoch` before each epoch (Trainer, and a loader that Accelerate prepared, do): else masks are repeated.
    Of the split "held-out" `set_epoch` changes nothing, so that scores compare. It pickles as a path, settings and the
    epoch. An epoch is in an order of its own: `shuffle=True` is not needed.

    >>> from torch.utils.data import DataLoader
    >>> dataset = PairDataset(store, "tiny", sequence_length=64)
    >>> loader = DataLoader(dataset, batch_size=8, collate_fn=PairCollator(dataset))
    >>> for epoch in range(2):
    ...     dataset.set_epoch(epoch)
    ...     batch = next(iter(loader))
    >>> sorted(batch)
    ['attention_mask', 'input_ids', 'labels', 'next_sentence_label', 'token_type_ids']
    >>> batch["input_ids"].shape == batch["labels"].shape, batch["next_sentence_label"].shape
    (True, torch.Size([8]))
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        config: Config | str | Mapping[str, Any] | None = None,
        *,
        split: str = "train",
        epoch: int = 0,
        **settings: Any,
    ) -> None:
        if isinstance(config, Mapping):
            settings = {**config, **settings}
            config = None
        base = config if isinstance(config, Config) else make_config(config)
        self.store, self.config, self.split = Path(store).absolute(), base.replace(**settings), split
        self._epoch = torch.tensor(-1).share_memory_()  # one for all worker processes
        self.set_epoch(epoch)
        self._length = len(self.sampler)
        linked, asked = self.sampler.plan.linked * self.sampler.linkable, self.config.shares[2]
        if linked + 0.05 < asked:
            few = f"{linked:.0%} of the pairs will be linked, {asked:.0%} were asked"
            log.warning("%s: %s, as few places have a link to follow; see `linkbert stats`", store, few)

    def __repr__(self) -> str:
        return f"PairDataset({str(self.store)!r}, split={self.split!r}, epoch={self.epoch}): {len(self):,} pairs"

    @cached_property
    def sampler(self) -> Sampler:
        """The Sampler that draws the items, opened once in each process."""
        return Sampler.open(self.store, self.config, split=self.split)

    @property
    def epoch(self) -> int:
        """The epoch that items are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw items for another epoch, from 0: other cuts, partners and masks, in another order."""
        if epoch != int(epoch) or epoch < 0:
            raise ValueError(f"epoch must be a whole number >= 0, got {epoch}")
        if self.split != "held-out" or self.epoch < 0:
            self._epoch.fill_(int(epoch))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items, drawn together; a DataLoader asks for a batch this way."""
        if any(not -len(self) <= index < len(self) for index in indices):
            raise IndexError(f"an epoch has {len(self)} items, asked for {list(indices)}")
        made = self.sampler.fill(self.epoch * len(self) + np.array(indices, np.int64) % len(self))
        labels = np.full_like(made.input_ids, IGNORED)
        labels.flat[made.masked_positions] = made.masked_labels
        places = {"input_ids": made.input_ids, "token_type_ids": made.token_type_ids, "labels": labels}
        whole = {"next_sentence_label": made.relations, "documents": made.pairs[:, [0, 3]]}
        return [
            {name: torch.tensor(array[row, :length]) for name, array in places.items()}
            | {name: torch.tensor(array[row]) for name, array in whole.items()}
            for row, length in enumerate(made.lengths.tolist())
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "sampler"}


class PairCollator:
    """Makes a batch of the items of a PairDataset, for a DataLoader or `transformers.Trainer`.

    Padded, a pair has a row: `input_ids`, `attention_mask` (1 at tokens), `token_type_ids` and `labels`, int64 (B, T),
    T a multiple of 8 and no more than the longest item needs; `next_sentence_label`, int64 (B,).

    Packed, pairs share rows of `sequence_length` places, R of them: `input_ids`, `token_type_ids`, `labels` and
    `position_ids`, int64 (R, T); `attention_mask`, float32 (R, 1, T, T), is added to the attention scores: 0 within a
    pair, -inf elsewhere, so that each pair sees itself alone. `cls_positions`, int64 (B,), is where the pairs' [CLS]
    stand in the flat (R * T), in the order of the items; `next_sentence_label`, int64 (B,), has their relations.

    With `documents=True` a batch has `documents`, int64 (B, 2), too, which the models of transformers do not take.

    >>> dataset = PairDataset(store, sequence_length=64, shares="0,1,0")
    >>> batch = PairCollator(dataset, packed=True)([dataset[i] for i in range(8)])
    >>> batch["attention_mask"].shape[1:], batch["next_sentence_label"].tolist()
    (torch.Size([1, 64, 64]), [1, 1, 1, 1, 1, 1, 1, 1])
    """

    def __init__(self, dataset: PairDataset, *, packed: bool = False, documents: bool = False) -> None:
        if not isinstance(dataset, PairDataset):
            raise TypeError(f"PairCollator takes the PairDataset that items come from, got {type(dataset).__name__}")
        self.empty = {"input_ids": dataset.sampler.pad, "token_type_ids": 0, "labels": IGNORED}
        self.width, self.packed, self.documents = dataset.config.sequence_length, packed, documents

    def __repr__(self) -> str:
        return f"PairCollator(packed={self.packed}, documents={self.documents}): up to {self.width:,} tokens a row"

    def __call__(self, items: Sequence[Item]) -> Item:
        """Make one batch of items."""
        lengths = np.array([len(item["input_ids"]) for item in items], np.int64)
        if self.packed:
            packing = pack(lengths, np.zeros_like(lengths), Shape(rows=len(items), width=self.width))
            rows, width, firsts = int(packing.rows.max()) + 1, self.width, np.empty_like(lengths)
            firsts[packing.order] = packing.rows * width + packing.offsets
        else:
            rows, width = len(items), min(self.width, round_up(lengths.max(), 8))
            firsts = np.arange(rows) * width
        taken, within, owner = map(torch.from_numpy, spread(firsts, lengths))

        def laid_out(values: Tensor, empty: int) -> Tensor:
            line = torch.full((rows * width,), empty)
            line[taken] = values
            return line.view(rows, width)

        batch = {name: laid_out(torch.cat([item[name] for item in items]), empty) for name, empty in self.empty.items()}
        if self.packed:
            owners = laid_out(owner, -1)
            same = owners[:, None, :, None] == owners[:, None, None, :]
            batch["attention_mask"] = torch.zeros(same.shape).masked_fill_(~same, -torch.inf)
            batch |= {"position_ids": laid_out(within, 0), "cls_positions": torch.from_numpy(firsts)}
        else:
            batch["attention_mask"] = laid_out(torch.ones_like(within), 0)
        names = ["next_sentence_label", *(["documents"] if self.documents else [])]
        return batch | {name: torch.stack([item[name] for item in items]) for name in names}
