"""Attention inside a pair: a place sees the places of its own pair, wherever the pair stands in its row.

In: queries, keys and values, and who sees whom. Out: the values each query sees, mixed. Three ways to compute the
same, each where it is fastest: FlexAttention on CUDA (written for it, never run by us), torch's fused kernel on a CPU,
and for a compiled step on a CPU the products written out with a backward pass of our own: the exponentials are taken
once, in base 2, kept in the step's arithmetic and never divided; the much smaller result is divided instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from linkbert.model.dropout import drop

LOG2_E = 1.4426950408889634


def make_attention_mask(asking: Tensor, pairs: Tensor, *, dense: bool = False) -> Tensor | BlockMask:
    """Tell which places are seen: the numbers of the pairs of Q queries (R, Q) and of all places (R, T) -> a mask.

    On a CPU, and where `dense` asks for it (for dropout on the weights), it is bool (R, 1, Q, T). Padding, of pair -1,
    sees padding alone, so that no query sees nothing.
    """
    if dense or not pairs.is_cuda:
        return asking[:, None, :, None] == pairs[:, None, None, :]

    def same(row: Tensor, _: Tensor, query: Tensor, place: Tensor) -> Tensor:
        return asking[row, query] == pairs[row, place]

    rows, queries = asking.shape
    return create_block_mask(same, rows, None, queries, pairs.shape[1], device=pairs.device)


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | BlockMask,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    drop_key: Tensor | None = None,
    written_out: bool = False,
) -> Tensor:
    """Mix values by the likeness of queries and keys: (R, heads, Q, D), (R, heads, T, D) twice -> (R, heads, Q, D).

    `mask` is that of `make_attention_mask`, `scale` by default D^-1/2. A share `dropout` of the weights is dropped
    where there is a `drop_key`, see `drop`. `written_out` is the way that is fast where it is compiled for a CPU.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if isinstance(mask, BlockMask):
        return flex_attention(query, key, value, block_mask=mask, scale=scale)  # type: ignore[return-value]
    rate = 0.0 if drop_key is None else dropout
    if rate and not query.is_cuda:
        scores = (query @ key.transpose(-1, -2)).float() * scale
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        return drop(weights, rate, drop_key).to(value.dtype) @ value
    if written_out:
        return Attention.apply(query, key, value, mask, scale)[0]  # type: ignore[no-untyped-call]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate, scale=scale)


class Attention(torch.autograd.Function):
    """Attention with a bool mask, written out; the gradient is FlashAttention's (Dao et al. 2022, appendix B)."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Give the mixed values, and for the gradient the powers (R, heads, Q, T) and their sums' inverses."""
        scores = (query @ key.transpose(-1, -2)).float() * (scale * LOG2_E)
        scores = torch.where(mask, scores, -torch.inf)
        powers = (scores - scores.amax(-1, keepdim=True)).exp2()
        inverse = 1 / powers.sum(-1, keepdim=True)
        powers = powers.to(query.dtype)
        return ((powers @ value).float() * inverse).to(query.dtype), powers, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the gradient needs."""
        query, key, value, _, ctx.scale = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(query, key, value, *output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Give the gradients of query, key and value."""
        query, key, value, mixed, powers, inverse = ctx.saved_tensors
        scaled = gradient.float() * inverse
        along = (scaled * mixed.float()).sum(-1, keepdim=True)
        scaled = scaled.to(value.dtype)
        inner = (powers.float() * ((scaled @ value.transpose(-1, -2)).float() - along) * ctx.scale).to(query.dtype)
        return inner @ key, inner.transpose(-1, -2) @ query, powers.transpose(-1, -2) @ scaled, None, None
