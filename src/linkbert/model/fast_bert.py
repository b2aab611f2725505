"""The forward pass of a BERT encoder over Hugging Face's weights, written for training.

In: a `BertModel`, whose weights it uses where they are, and rows of pairs. Out: hidden states, equal to those of the
`BertModel` itself on each pair alone (a test holds it). Written out for reasons that were measured on two cores: see
parts.py for look-ups and dropout, attention.py for attention; the states between the layers are kept in the run's
arithmetic, which autocast would widen to fp32; and the last layer computes only what somebody reads.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import BertModel
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer

from linkbert.model.attention import attend, who_sees
from linkbert.model.parts import drop, linear, look_up, norm


class Mode(NamedTuple):
    """How a forward pass computes.

    `keys`, one and three for each layer, decide the dropout (see `dropout_keys`); none is no dropout. `written_out` is
    how attention and loss are fast where they are compiled for a CPU (see attention.py and loss.py). `slots` is how
    many places of a row somebody reads, at most: the last layer computes no others; 0 is all. `recompute` keeps for the
    gradients only what enters a layer.
    """

    dtype: torch.dtype = torch.float32
    keys: tuple[Tensor, ...] = ()
    written_out: bool = False
    slots: int = 0
    recompute: bool = False

    def of_layer(self, number: int) -> Mode:
        """Give the mode of a layer: with its three keys alone, so that all layers' calls look the same."""
        return self._replace(keys=self.keys[3 * number + 1 : 3 * number + 4])


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
    dense = bool(mode.keys) and bert.config.attention_probs_dropout_prob > 0
    mask = who_sees(pairs, pairs, dense=dense)
    hidden = bert.embeddings(input_ids, token_type_ids, positions, mode)
    *layers, last = bert.encoder.layer
    for number, layer in enumerate(layers):
        call = partial(checkpoint, layer, use_reentrant=False) if mode.recompute else layer
        hidden = call(hidden, mask, mode.of_layer(number))
    mode = mode.of_layer(len(layers))
    if only is None:
        return last(hidden, mask, mode)
    if not mode.slots:
        return last(hidden, mask, mode, only=only)
    asked, found = give_slots(only, pairs.shape, mode.slots)
    mask = who_sees(pairs.gather(1, asked), pairs, dense=dense)
    return last(hidden, mask, mode, asked=asked, only=found)


def give_slots(only: Tensor, shape: torch.Size, slots: int) -> tuple[Tensor, Tensor]:
    """Give places their slots: (K,) flat in R*T -> places of each row (R, slots), and each place's slot (K,), flat.

    A slot that is free asks for its row's place 0. The same place twice has one slot. No row may ask for more than
    `slots` places.

    >>> give_slots(torch.tensor([5, 7, 1]), torch.Size([2, 4]), 3)
    (tensor([[1, 0, 0], [1, 3, 0]]), tensor([3, 4, 0]))
    """
    rows, length = shape
    wanted = torch.zeros(rows * length, dtype=torch.int64, device=only.device).index_fill(0, only, 1).view(shape)
    rank = wanted.cumsum(1) - 1
    slot = torch.where(wanted == 1, rank, slots)  # (R, T); what nobody wants goes to a slot beyond the last
    places = torch.arange(length, device=only.device).expand(shape)
    asked = torch.zeros(rows, slots + 1, dtype=torch.int64, device=only.device).scatter(1, slot, places)[:, :slots]
    return asked, (only // length * slots) + rank.flatten()[only]


class Embeddings(BertEmbeddings):
    """BertEmbeddings that compute as `encode` wants it; see `adopt`."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, token_type_ids: Tensor, positions: Tensor, mode: Mode
    ) -> Tensor:
        """Look tokens, segments and positions up: (R, T) thrice -> (R, T, H)."""
        parts: Any = self  # torch types a module's parts as tensors
        rows = parts.token_type_embeddings.weight
        kinds = torch.where(token_type_ids[..., None] == 0, rows[0], rows[min(1, len(rows) - 1)])
        places = look_up(parts.position_embeddings.weight, positions)
        hidden = look_up(parts.word_embeddings.weight, input_ids) + kinds + places
        key = mode.keys[0] if mode.keys else None
        return drop(norm(parts.LayerNorm, hidden), parts.dropout.p, key).to(mode.dtype)


class Layer(BertLayer):
    """A BertLayer that computes as `encode` wants it: called as a module, so that hooks (FSDP's) see it.

    It has no weights or state of its own: `adopt` makes one of a BertLayer where it stands.
    """

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        mask: Tensor | BlockMask,
        mode: Mode,
        *,
        asked: Tensor | None = None,
        only: Tensor | None = None,
    ) -> Tensor:
        """Compute the layer: (R, T, H) -> (R, T, H); `mode` is that of `of_layer`.

        With `asked` (R, Q), places of each row, attention is computed for them alone; with `only` (K,), flat places of
        what attention gave, what follows it for those alone: -> (K, H).
        """
        parts: Any = self  # torch types a module's parts as tensors
        attention, output = parts.attention.self, parts.attention.output
        heads, rate = attention.num_attention_heads, output.dropout.p
        asking = hidden
        if asked is not None:
            rows, length = hidden.shape[:2]
            flat = asked + length * torch.arange(rows, device=asked.device)[:, None]
            asking = hidden.flatten(0, 1).index_select(0, flat.flatten()).view(*asked.shape, -1)
        query, key, value = (
            linear(part, states).unflatten(-1, (heads, -1)).transpose(1, 2)  # (R, heads, T, H / heads)
            for part, states in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
        )
        keys = mode.keys or (None, None, None)
        options = {"dropout": attention.dropout.p, "drop_key": keys[2], "written_out": mode.written_out}
        seen = attend(query, key, value, mask, **options)
        seen = seen.transpose(1, 2).flatten(2)
        if only is not None:
            seen, asking = (each.flatten(0, 1).index_select(0, only) for each in (seen, asking))
        seen = drop(linear(output.dense, seen), rate, keys[0])
        hidden = norm(output.LayerNorm, seen + asking)
        wide = parts.intermediate.intermediate_act_fn(linear(parts.intermediate.dense, hidden))  # (R, T, feed-forward)
        narrow = drop(linear(parts.output.dense, wide), rate, keys[1])
        return norm(parts.output.LayerNorm, narrow + hidden)


def adopt(bert: BertModel) -> BertModel:
    """Make `Embeddings` and `Layer`s of a BertModel's, in place; what they hold stays. Only `encode` calls it then."""
    bert.embeddings.__class__ = Embeddings
    for layer in bert.encoder.layer:
        layer.__class__ = Layer
    return bert
