"""An objective: masked tokens, and (InfoNCE) to find the B of a linked pair among the Bs of the batch by its A."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import PretrainedConfig

from linkbert.model.heads import Encoded, Labelled, Objective, Sums

LINKED = 2


class Contrastive(Objective):
    """Segments are compared by the mean of their states, projected by a layer of the objective's own."""

    every = True
    reports: Mapping[str, int] = {"mlm_loss": 1, "contrastive_loss": 1, "contrastive_accuracy": 1}
    over: Mapping[str, str] = {"mlm_loss": "masked", "contrastive_loss": "linked"}

    def modules(self, config: PretrainedConfig) -> nn.Module:
        """Make the projection."""
        return nn.Linear(config.hidden_size, config.hidden_size)

    def loss(self, encoded: Encoded, batch: Labelled) -> Sums:
        """Sum the losses of linked pairs, and those whose B is nearest to their A."""
        pairs, kinds = batch.inputs.pairs.flatten(), batch.inputs.token_type_ids.flatten()
        linked = (batch.relations == LINKED).nonzero().flatten()
        a, b = (self._means(encoded, pairs, kinds == segment, linked) for segment in (0, 1))
        scores, wanted = a @ b.T / 0.05, torch.arange(len(linked), device=a.device)
        count = wanted.new_tensor(len(linked))
        loss = cross_entropy(scores, wanted, reduction="sum")
        correct = (scores.argmax(-1) == wanted).sum() if len(linked) else count
        return super().loss(encoded, batch) | {
            "contrastive_loss": (loss, count),
            "contrastive_accuracy": (correct, count),
        }

    def _means(self, encoded: Encoded, pairs: Tensor, segment: Tensor, linked: Tensor) -> Tensor:
        """Return the vectors of one segment of the linked pairs: (L, H)."""
        mine = ((pairs == linked[:, None]) & segment).to(encoded.every.dtype)  # (L, R * T)
        states = (mine @ encoded.every) / mine.sum(1, keepdim=True)
        return normalize(encoded.model.objective_head(states.float()), dim=-1)


CONTRASTIVE = Contrastive()
