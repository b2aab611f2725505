"""The forward pass of a BERT encoder over Hugging Face's weights, written for training.

In: a `BertModel`, whose weights it uses where they are, and rows of pairs. Out: hidden states, equal to those of the
`BertModel` itself on each pair alone (a test holds it). Written out for reasons that were measured on two cores: see
parts.py for look-ups and dropout, attention.py for attention; the states between the layers are kept in the run's
arithmetic, which autocast would widen to fp32; and the last layer computes only what somebody reads.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer, BertPredictionHeadTransform

from linkbert.model.attention import make_attention_mask, packed_attention
from linkbert.model.dropout import drop
from linkbert.model.heads import EXACT, ForwardOptions, Heads, Inputs, PretrainingModel
from linkbert.model.loss import masked_token_loss

FEW_LAYERS = 4  # so few are compiled as a whole, which saves a fifth of a step of tiny, and nothing of MiniLM's


def encode(
    bert: BertModel,
    input_ids: Tensor,
    token_type_ids: Tensor,
    positions: Tensor,
    pairs: Tensor,
    *,
    only: Tensor | None = None,
    mode: ForwardOptions = EXACT,
) -> Tensor:
    """Encode tokens, (R, T) -> (R, T, H) in the mode's arithmetic; a place sees the places of its own pair.

    `positions` and `pairs` (R, T) are as in a Batch: places counted within a pair, and the number of the pair, -1 in
    padding. `only`, (K,) counted in R*T, are the places that somebody reads: -> (K, H), and what follows the last
    layer's attention is computed for them alone.
    """
    dense = bool(mode.keys) and bert.config.attention_probs_dropout_prob > 0
    mask = make_attention_mask(pairs, pairs, dense=dense)
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
    mask = make_attention_mask(pairs.gather(1, asked), pairs, dense=dense)
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
        self, input_ids: Tensor, token_type_ids: Tensor, positions: Tensor, mode: ForwardOptions
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
        mode: ForwardOptions,
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
        seen = packed_attention(query, key, value, mask, **options)
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


class Transform(BertPredictionHeadTransform):
    """A BertPredictionHeadTransform in the arithmetic of its input."""

    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        """Transform states: (M, H) -> (M, H)."""
        return norm(self.LayerNorm, self.transform_act_fn(linear(self.dense, states)))


class LinkBertForPreTraining(PretrainingModel):
    """A BERT with the two losses, its forward pass written out."""

    def __init__(self, bert_config: BertConfig, *, objective: str = "drp") -> None:
        super().__init__()
        self.config = copy.deepcopy(bert_config)
        self.config._attn_implementation = "sdpa"
        self.config.architectures = ["BertForPreTraining"]
        self.set_objective(objective)
        self.bert = adopt(BertModel(self.config))
        self.cls = Heads(self.config, linked=self.objective.relations == 3)
        self.cls.apply(self.bert._init_weights)
        head = self.cls.predictions
        head.transform.__class__ = Transform
        if self.config.tie_word_embeddings:
            head.decoder.weight = self.bert.embeddings.word_embeddings.weight
        head.decoder.bias = head.bias
        if not self.objective.relations:
            self.bert.get_submodule("pooler").requires_grad_(False)
            self.cls.seq_relationship.requires_grad_(False)

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers of the encoder."""
        return self.bert.encoder.layer

    def encode(self, inputs: Inputs, *, mode: ForwardOptions = EXACT, every: bool = False) -> tuple[Tensor, ...]:
        """Encode tokens; see `PretrainingModel.encode`."""
        if every:
            flat = encode(self.bert, *inputs[:4], mode=mode).flatten(0, 1)  # (R * T, H)
            return flat.index_select(0, inputs.masked_positions), flat.index_select(0, inputs.first), flat
        only = torch.cat([inputs.first, inputs.masked_positions])
        states = encode(self.bert, *inputs[:4], only=only, mode=mode)
        return states[len(inputs.first) :], states[: len(inputs.first)]

    def parts_to_compile(self) -> list[nn.Module]:
        """Give the modules that are compiled: the whole, or of a deep model its parts: start-up grows with layers."""
        parts = [self.bert.embeddings, *self.layers, self.cls.predictions.transform]
        return parts if len(self.layers) > FEW_LAYERS else [self]

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        head = self.cls.predictions
        return linear(head.decoder, head.transform(states))

    def masked_loss(self, states: Tensor, labels: Tensor, mode: ForwardOptions) -> Tensor:
        """Sum the losses of masked tokens without their logits: (M, H), (M,) -> ()."""
        head = self.cls.predictions
        tokens, decoder = head.transform(states), head.decoder
        return masked_token_loss(tokens, decoder.weight, decoder.bias, labels, compiled=mode.written_out)

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS]: (P, H) -> (P, 2), or (P, 3) with drp."""
        return self.cls.relation_logits(self.bert.get_submodule("pooler")(first[:, None].float()))


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a layer of fp32 weights in the arithmetic of its input."""
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise in fp32 and return to the arithmetic of the input."""
    return functional.layer_norm(x.float(), layer.normalized_shape, layer.weight, layer.bias, layer.eps).to(x.dtype)


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
