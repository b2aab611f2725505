"""The forward pass of a BERT encoder over Hugging Face's weights, written for training.

In: a `BertModel`, whose weights it uses where they are, and tokens. Out: hidden states, equal to those of the
`BertModel` itself (a test holds it). Written out for three reasons, each measured on two cores: gradients of the
embeddings are the same bit for bit in every run (a compiled lookup adds them in the order in which threads come);
dropout is a few operations that a compiler fuses, a pure function of a seed and the place, the same on every device and
compiled or not, at a tenth of the cost of a random stream; and the states between the layers are kept in the run's
arithmetic, which autocast would widen to fp32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel
from transformers.models.bert.modeling_bert import BertLayer


class Mode(NamedTuple):
    """How a forward pass computes.

    `seed`, () int32, decides the dropout; None is no dropout. `fused` attention never writes down the weights of all
    pairs of places; on a CPU, compiled, writing them down is faster (1.3x for a whole update of tiny at length 512).
    """

    dtype: torch.dtype = torch.float32
    seed: Tensor | None = None
    fused: bool = True


EXACT = Mode()


def encode(
    bert: BertModel,
    input_ids: Tensor,
    token_type_ids: Tensor,
    positions: Tensor,
    pairs: Tensor,
    *,
    only: Tensor | None = None,
    mode: Mode = EXACT,
) -> Tensor:
    """Encode tokens, (R, T) -> (R, T, H) in the mode's arithmetic; a place sees the places of its own pair.

    `positions` and `pairs` (R, T) are as in a Batch: places counted within a pair, and the number of the pair, -1 in
    padding. `only`, (K,) counted in R*T, are the places that somebody reads: -> (K, H), and what follows the last
    layer's attention is computed for them alone.
    """
    config, rate = bert.config, bert.config.hidden_dropout_prob
    mask = (pairs[:, :, None] == pairs[:, None, :])[:, None]  # (R, 1, T, T): broadcasts over heads
    parts = bert.embeddings
    rows = parts.token_type_embeddings.weight
    kinds = torch.where(token_type_ids[..., None] == 0, rows[0], rows[min(1, len(rows) - 1)])
    places = look_up(parts.position_embeddings.weight, positions)
    hidden = look_up(parts.word_embeddings.weight, input_ids) + kinds + places
    hidden = drop(norm(parts.LayerNorm, hidden), rate, mode.seed, 0).to(mode.dtype)
    last = config.num_hidden_layers - 1
    for number, layer in enumerate(bert.encoder.layer):
        hidden = layer(hidden, mask, only if number == last else None, mode, number)
    return hidden


class Layer(BertLayer):
    """A BertLayer that computes as `encode` wants it: called as a module, so that hooks (FSDP's) see it.

    It has no weights or state of its own: `adopt` makes one of a BertLayer where it stands.
    """

    def forward(self, hidden: Tensor, mask: Tensor, only: Tensor | None, mode: Mode, number: int) -> Tensor:  # type: ignore[override]
        """Compute layer `number`: (R, T, H) -> (R, T, H), or with `only` (K,), places flat in R*T, -> (K, H)."""
        parts: Any = self  # torch types a module's parts as tensors
        attention, output = parts.attention.self, parts.attention.output
        heads, rate = attention.num_attention_heads, output.dropout.p
        query, key, value = (
            linear(part, hidden).unflatten(-1, (heads, -1)).transpose(1, 2)  # (R, heads, T, H / heads)
            for part in (attention.query, attention.key, attention.value)
        )
        seen = attend(query, key, value, mask, attention.dropout.p, mode, number)
        seen = seen.transpose(1, 2).flatten(2)
        if only is not None:
            seen, hidden = (each.flatten(0, 1).index_select(0, only) for each in (seen, hidden))
        seen = drop(linear(output.dense, seen), rate, mode.seed, 3 * number + 1)
        hidden = norm(output.LayerNorm, seen + hidden)
        wide = parts.intermediate.intermediate_act_fn(linear(parts.intermediate.dense, hidden))  # (R, T, feed-forward)
        narrow = drop(linear(parts.output.dense, wide), rate, mode.seed, 3 * number + 2)
        return norm(parts.output.LayerNorm, narrow + hidden)


def adopt(bert: BertModel) -> BertModel:
    """Make `Layer`s of a BertModel's layers, in place; what they hold stays. Only `encode` calls it then."""
    for layer in bert.encoder.layer:
        layer.__class__ = Layer
    return bert


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, rate: float, mode: Mode, number: int) -> Tensor:
    """Mix values by the likeness of queries and keys: all (R, heads, T, H / heads); `rate` is the weights' dropout."""
    rate = 0.0 if mode.seed is None else rate
    if mode.fused and (rate == 0 or query.is_cuda):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5  # (R, heads, T, T)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return drop(weights, rate, mode.seed, 3 * number + 3).to(value.dtype) @ value


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a layer of fp32 weights in the arithmetic of its input."""
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise in fp32 and return to the arithmetic of the input."""
    return functional.layer_norm(x.float(), layer.normalized_shape, layer.weight, layer.bias, layer.eps).to(x.dtype)


def drop(x: Tensor, rate: float, seed: Tensor | None, number: int) -> Tensor:
    """Set a share of x to zero and scale the rest up; which places, `seed`, the layer's `number` and the place decide.

    A place's number is scrambled by two rounds of multiplying and folding the high bits down, as hash tables finish
    their keys. Arithmetic in int32 wraps around, which is meant; `>>` keeps the sign, so the fold masks it off.
    """
    if seed is None or rate == 0:
        return x
    key = (seed ^ (number * 0x2545F491 & 0x7FFFFFFF)) * 0x2C1B3C6D
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
