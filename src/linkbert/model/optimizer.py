"""AdamW, its schedule and clipping, for pretraining and fine-tuning; what each is asked for stands in the settings."""

import logging
import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

log = logging.getLogger(__name__)


def make_optimizer(model: nn.Module, settings: Any) -> torch.optim.AdamW:
    """Build AdamW from a Config or FineTuneConfig; decay on matrices, none on biases and norms (one dimension)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas, epsilon = (settings.adam_beta1, settings.adam_beta2), settings.adam_epsilon
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=epsilon, fused=True)


@cache  # a cut is logged once
def warmup_steps(warmup: float, steps: int) -> int:
    """Count the steps of warm-up: 0.1 of 200 -> 20; 50 of 200 -> 50; 5000 of 200 -> 100.

    A count that leaves no step for the decay is cut to half of the steps, the paper's own share for tiny.
    """
    if warmup < 1:
        return round(warmup * steps)
    if warmup >= steps > 1:
        log.info("warmup_steps=%g is cut to %d: the run has %d steps", warmup, steps // 2, steps)
        return steps // 2
    return min(round(warmup), steps)


def learning_rate(settings: Any, step: float, steps: int) -> float:
    """Return the rate of update `step`, from 0: linear warm-up to the peak, then a schedule that ends at `steps`.

    `lr_scheduler_type` linear, the paper's, would reach 0 at `steps`; constant_with_warmup stays; warmup_stable_decay
    stays until the last `decay_ratio` of the steps, then decays as 1 - sqrt (Haegele et al. 2024, arXiv 2405.18392; a
    fifth is enough). With a budget `step` need not be whole. No update is wasted on a rate of 0: a peak of 1, 2 steps
    of warm-up and 6 in all give 0.5, 1, 1, 0.75, 0.5, 0.25 with linear.
    """
    warmup = warmup_steps(settings.warmup_steps, steps)
    rise = (step + 1) / warmup if warmup else 1.0
    fall = 1.0
    if settings.lr_scheduler_type == "linear" and steps > warmup:
        fall = (steps - step) / (steps - warmup)
    elif settings.lr_scheduler_type == "warmup_stable_decay":
        fall = 1 - math.sqrt(max(0.0, 1 - (steps - step) / (settings.decay_ratio * steps)))
    return settings.learning_rate * min(rise, fall, 1.0)


def clip_gradients(model: nn.Module, largest: float) -> Tensor:
    """Scale the gradients, in place, to a norm of at most `largest` (0: any); return that before, (), unread."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]  # a head that is left out has none
    norm = torch.nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if largest:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm)
    return norm


def update_unless(optimizer: torch.optim.Optimizer, wrong: Tensor) -> None:
    """Make the update of a fused optimizer, unless `wrong`, bool (), which the device decides: nothing waits for it.

    As torch.amp.GradScaler does it, which knows of no other reason than that a scaled gradient has overflowed.
    """
    optimizer.found_inf = wrong.float()  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
