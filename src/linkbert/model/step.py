"""The forward pass of a training step, in the run's precision, compiled where that pays back.

In: a LinkBert and the run's Config. Out: a function from a batch to its summed losses. The loop needs to know nothing
of autocast, of compilers or of the shapes they like.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from linkbert.config import Config
from linkbert.model.linkbert import LinkBert, Output

log = logging.getLogger(__name__)


class Batch(Protocol):
    """What a step reads of a batch; shapes as in `LinkBert.forward`."""

    input_ids: Tensor
    token_type_ids: Tensor
    lengths: Tensor
    masked_positions: Tensor
    masked_labels: Tensor
    relations: Tensor


def step_function(model: LinkBert, config: Config) -> Callable[[Batch], Output]:
    """Give the function that maps a batch to its losses, ready for `backward()`.

    The weights stay fp32; with precision=bf16 the arithmetic inside is bf16 by autocast.
    """
    device = next(model.parameters()).device.type

    def step(batch: Batch) -> Output:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            return model(
                batch.input_ids,
                batch.token_type_ids,
                batch.lengths,
                batch.masked_positions,
                batch.masked_labels,
                batch.relations,
            )

    return step
