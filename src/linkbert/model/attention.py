"""Attention inside a pair (a place sees the places of its own, wherever the pair stands in its row), and dropout.

By torch's fused kernel, or in a compiled step on a CPU written out, which is faster there: the exponentials are taken
once, in base 2, kept in the step's arithmetic and never divided; the much smaller result is divided instead. Dropout
is a pure function of a key and the place: the same on every device, and ten times as fast when compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LOG2_E = 1.4426950408889634


def make_attention_mask(asking: Tensor, pairs: Tensor) -> Tensor:
    """Return who sees whom, bool (R, 1, Q, T), from the pair numbers of queries (R, Q) and of all places (R, T).

    Padding, of pair -1, sees padding, so that no query sees nothing.
    """
    return asking[:, None, :, None] == pairs[:, None, None, :]


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    dropout: float = 0.0,
    drop_key: Tensor | None = None,
    written_out: bool = False,
) -> Tensor:
    """Mix values by the likeness of queries and keys: (R, heads, Q, D), (R, heads, T, D) twice -> (R, heads, Q, D).

    `mask` is that of `make_attention_mask`. A share `dropout` of the weights is dropped where there is a `drop_key`,
    see `drop`. `written_out` is fast where it is compiled for a CPU.
    """
    scale = query.shape[-1] ** -0.5
    if dropout and drop_key is not None:
        scores = (query @ key.transpose(-1, -2)).float() * scale
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        return drop(weights, dropout, drop_key).to(value.dtype) @ value
    if written_out:
        return Attention.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


class Attention(torch.autograd.Function):
    """Attention with a bool mask, written out; the gradient is FlashAttention's (Dao et al. 2022, appendix B)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Mix the values; keep for the gradient the powers (R, heads, Q, T) and the inverses of their sums."""
        scores = (query @ key.transpose(-1, -2)).float() * (scale * LOG2_E)
        scores = torch.where(mask, scores, -torch.inf)
        powers = (scores - scores.amax(-1, keepdim=True)).exp2()
        inverse = 1 / powers.sum(-1, keepdim=True)
        powers = powers.to(query.dtype)
        mixed = ((powers @ value).float() * inverse).to(query.dtype)
        ctx.scale = scale
        ctx.save_for_backward(query, key, value, mixed, powers, inverse)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of query, key and value."""
        query, key, value, mixed, powers, inverse = ctx.saved_tensors
        scaled = gradient.float() * inverse
        along = (scaled * mixed.float()).sum(-1, keepdim=True)
        scaled = scaled.to(value.dtype)
        inner = (powers.float() * ((scaled @ value.transpose(-1, -2)).float() - along) * ctx.scale).to(query.dtype)
        return inner @ key, inner.transpose(-1, -2) @ query, powers.transpose(-1, -2) @ scaled, None, None


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
