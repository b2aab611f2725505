"""Pieces of the forward pass, each over one module of Hugging Face's or over plain tensors.

In: a module's weights where they are, and states. Out: states. Dropout is a few operations that a compiler fuses, a
pure function of a key and the place, the same on every device and compiled or not, at a tenth of the cost of a random
stream. Gradients of a look-up are the same bit for bit in every run: a compiled one adds them in the order in which
threads come.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a layer of fp32 weights in the arithmetic of its input."""
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise in fp32 and return to the arithmetic of the input."""
    return functional.layer_norm(x.float(), layer.normalized_shape, layer.weight, layer.bias, layer.eps).to(x.dtype)


def dropout_keys(seed: Tensor, count: int) -> tuple[Tensor, ...]:
    """Turn a seed, () int32, into keys, () int32 each, for the places of a network where `drop` is called.

    Tensors, not numbers: a compiler writes a number into a kernel, and would compile one for every layer.
    """
    numbers = torch.arange(count, dtype=torch.int64, device=seed.device) * 0x2545F491 & 0x7FFFFFFF
    return ((seed ^ numbers.to(torch.int32)) * 0x2C1B3C6D).unbind()


def drop(x: Tensor, rate: float, key: Tensor | None) -> Tensor:
    """Set a share of x to zero and scale the rest up; which places, `key` (of `dropout_keys`) and the place decide.

    A place's number is scrambled by two rounds of multiplying and folding the high bits down, as hash tables finish
    their keys. Arithmetic in int32 wraps around, which is meant; `>>` keeps the sign, so the fold masks it off.
    """
    if key is None or rate == 0:
        return x
    bits = torch.arange(x.numel(), dtype=torch.int32, device=x.device).view(x.shape) * -1640531527 + key
    bits = (bits ^ (bits >> 16 & 0xFFFF)) * 0x21F0AAAD ^ (key >> 11)
    bits = (bits ^ (bits >> 15 & 0x1FFFF)) * 0x735A2D97
    keep = bits >= round(rate * 2**32) - 2**31
    return torch.where(keep, x * (1 / (1 - rate)), 0.0).to(x.dtype)


@torch.library.custom_op("linkbert::look_up", mutates_args=())
def look_up(table: Tensor, numbers: Tensor) -> Tensor:
    """Take rows of a table, (V, H), (B, T) -> (B, T, H); opaque to the compiler, for the sake of its gradient."""
    return functional.embedding(numbers, table)


@torch.library.custom_op("linkbert::look_up_gradient", mutates_args=())
def look_up_gradient(gradient: Tensor, numbers: Tensor, rows: int) -> Tensor:
    """Add gradients up by row, in the order of their places."""
    return torch.ops.aten.embedding_dense_backward(gradient, numbers, rows, -1, False)


@look_up.register_fake
def _(table: Tensor, numbers: Tensor) -> Tensor:
    return table.new_empty((*numbers.shape, table.shape[1]))


@look_up_gradient.register_fake
def _(gradient: Tensor, numbers: Tensor, rows: int) -> Tensor:  # noqa: ARG001
    return gradient.new_empty((rows, gradient.shape[-1]))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(inputs[1])
    ctx.rows = len(inputs[0])


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return look_up_gradient(gradient, ctx.saved_tensors[0], ctx.rows), None


look_up.register_autograd(_gradient, setup_context=_keep)
