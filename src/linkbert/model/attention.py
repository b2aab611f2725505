"""Attention inside a pair (a place sees the places of its own, wherever the pair stands in its row), and dropout.

By torch's fused kernels: on a GPU by FlashAttention over the pairs as sequences, where torch has it, else with a mask;
or in a compiled step on a CPU written out, which is faster there: the exponentials are taken once, in base 2, kept in
the step's arithmetic and never divided; the much smaller result is divided instead. Dropout is a pure function of a key
and the place: the same on every device, and ten times as fast when compiled.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from linkbert.model.device import varlen_attn

LOG2_E = 1.4426950408889634


def make_attention_mask(asking: Tensor, pairs: Tensor) -> Tensor:
    """Return who sees whom, bool (R, 1, Q, T), from the pair numbers of queries (R, Q) and of all places (R, T).

    Padding, of pair -1, sees padding, so that no query sees nothing.
    """
    return asking[:, None, :, None] == pairs[:, None, None, :]


def find_sequences(pairs: Tensor, most: int) -> Tensor:
    """Return where sequences start in flat rows, and their end, int32 (most + 1,), from pair numbers (R, T).

    A sequence is a pair, or the padding of a row; what lacks to `most` is empty. Nothing waits for a GPU.

    >>> find_sequences(torch.tensor([[0, 0, 1, -1], [2, 2, 2, 2]]), 6)
    tensor([0, 2, 3, 4, 8, 8, 8], dtype=torch.int32)
    """
    flat = pairs.flatten()
    places = torch.arange(len(flat), dtype=torch.int32, device=flat.device)
    starts = (places % pairs.shape[1] == 0) | (flat != flat.roll(1))
    numbers = torch.where(starts, starts.cumsum(0) - 1, most + 1)  # where nothing starts: beyond what is returned
    return torch.full_like(places[:1], len(flat)).repeat(most + 2).scatter(0, numbers, places)[:-1]


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor,
    *,
    dropout: float = 0.0,
    drop_key: Tensor | None = None,
    written_out: bool = False,
) -> Tensor:
    """Mix values by the likeness of queries and keys: (R, heads, Q, D), (R, heads, T, D) twice -> (R, heads, Q, D).

    `seen` is the mask of `make_attention_mask`, or comes from `find_sequences`. A share `dropout` of the weights is
    dropped where there is a `drop_key`, see `drop`; that takes a mask. `written_out` is fast compiled, on a CPU.
    """
    if seen.ndim == 1:
        flat = [each.transpose(1, 2).flatten(0, 1) for each in (query, key, value)]  # (R * T, heads, D)
        length = query.shape[2]  # no sequence is longer than its row
        # A window that leaves nothing out keeps torch 2.14 from cuDNN's kernel, whose gradient is not repeatable.
        mixed = varlen_attn(*flat, seen, seen, length, length, window_size=(length, length))
        return mixed.view_as(query.transpose(1, 2)).transpose(1, 2)
    scale = query.shape[-1] ** -0.5
    if dropout and drop_key is not None:
        scores = (query @ key.transpose(-1, -2)).float() * scale
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return drop(weights, dropout, drop_key).to(value.dtype) @ value
    if written_out and not query.is_cuda:
        return Attention.apply(query, key, value, seen, scale)  # type: ignore[no-untyped-call]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)


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
