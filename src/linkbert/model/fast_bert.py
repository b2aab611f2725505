"""The forward pass of a BERT over Hugging Face's weights, written for training; or theirs, with our attention and loss.

In: a configuration, and rows of pairs. Out: losses and predictions, equal to those of `BertForPreTraining` on each pair
alone. Written out because it was measured to be faster on two cores: look-ups, dropout and attention that compile well,
states between the layers in the run's arithmetic, and a last layer that computes what is read.
"""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, BertConfig, BertModel
from transformers.models.bert import modeling_bert

from linkbert.model.attention import drop, find_sequences, make_attention_mask, packed_attention
from linkbert.model.heads import EXACT, ForwardOptions, Inputs, PretrainingModel
from linkbert.model.loss import masked_token_loss

# Layers, and the hidden size, up to which a model is compiled as a whole. On a CPU that saves a fifth of a step of tiny
# and nothing of MiniLM's; on a GPU small models wait for the host, which then starts one graph (not measured by us).
AS_A_WHOLE = {"cpu": (4, math.inf), "cuda": (12, 384)}


class Embeddings(modeling_bert.BertEmbeddings):
    """BertEmbeddings in the arithmetic of a step."""

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


class Layer(modeling_bert.BertLayer):
    """A BertLayer in the arithmetic of a step; called as a module, so that hooks (FSDP's) see it."""

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        seen: Tensor,
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
        mixed = packed_attention(query, key, value, seen, **options).transpose(1, 2).flatten(2)
        if only is not None:
            mixed, asking = (each.flatten(0, 1).index_select(0, only) for each in (mixed, asking))
        mixed = drop(linear(output.dense, mixed), rate, keys[0])
        hidden = norm(output.LayerNorm, mixed + asking)
        wide = parts.intermediate.intermediate_act_fn(linear(parts.intermediate.dense, hidden))  # (R, T, feed-forward)
        narrow = drop(linear(parts.output.dense, wide), rate, keys[1])
        return norm(parts.output.LayerNorm, narrow + hidden)


class Transform(modeling_bert.BertPredictionHeadTransform):
    """A BertPredictionHeadTransform in the arithmetic of its input."""

    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        """Transform states: (M, H) -> (M, H)."""
        return norm(self.LayerNorm, self.transform_act_fn(linear(self.dense, states)))


class TheirEmbeddings(modeling_bert.BertEmbeddings):
    """BertEmbeddings as they are, under torch's autocast, as the two classes that follow."""

    def forward(self, input_ids: Any, token_type_ids: Any, positions: Any, mode: ForwardOptions) -> Tensor:  # type: ignore[override]
        """Look tokens, segments and positions up: (R, T) thrice -> (R, T, H)."""
        return super().forward(input_ids, token_type_ids, positions).to(mode.dtype)  # type: ignore[no-any-return]


class TheirLayer(modeling_bert.BertLayer):
    """A BertLayer as it is; all places are computed, and those that are read are taken after it."""

    def forward(  # type: ignore[override]
        self, hidden: Tensor, seen: Tensor, mode: ForwardOptions, *, asked: None = None, only: Tensor | None = None
    ) -> Tensor:
        """Compute the layer: (R, T, H) -> (R, T, H), with `only` -> (K, H)."""
        assert asked is None
        with autocast(hidden, mode.dtype):
            options: Any = {"written_out": mode.written_out}
            hidden = super().forward(hidden, seen, **options).to(mode.dtype)
        return hidden if only is None else hidden.flatten(0, 1).index_select(0, only)


class TheirTransform(modeling_bert.BertPredictionHeadTransform):
    """A BertPredictionHeadTransform as it is."""

    def forward(self, states: Tensor) -> Tensor:
        """Transform states: (M, H) -> (M, H)."""
        with autocast(states, states.dtype):
            return super().forward(states).to(states.dtype)  # type: ignore[no-any-return]


def autocast(states: Tensor, dtype: torch.dtype) -> Any:
    """Return torch's automatic arithmetic for the device of some states; none for fp32."""
    return torch.autocast(states.device.type, dtype, enabled=dtype != torch.float32)


def their_attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, *, written_out: bool = False, **others: Any
) -> tuple[Tensor, None]:
    """Compute `packed_attention` where transformers' layers call theirs; dropout of its weights is torch's, on none."""
    assert not others.get("dropout")
    return packed_attention(query, key, value, seen, written_out=written_out).transpose(1, 2), None


AttentionInterface.register("linkbert", their_attention)
MODULES = {"linkbert": (Embeddings, Layer, Transform), "transformers": (TheirEmbeddings, TheirLayer, TheirTransform)}


class LinkBertForPreTraining(PretrainingModel):
    """A BERT whose modules keep their weights and compute as the classes above: nothing here has a state of its own."""

    prefix = "bert"

    def __init__(self, bert_config: BertConfig, *, objective: str = "drp") -> None:
        super().__init__()
        self.config = copy.deepcopy(bert_config)
        self.config._attn_implementation = "sdpa"
        self.config.architectures = ["BertForPreTraining"]
        self.set_objective(objective)
        self.bert: Any = BertModel(self.config)
        self.cls: Any = modeling_bert.BertPreTrainingHeads(self.config)
        self.cls.add_module("linked_relationship", nn.Linear(self.config.hidden_size, 1))
        self.cls.apply(self.bert._init_weights)
        if self.objective.relations != 3:  # after it was drawn: other objectives start with the same weights
            self.cls.add_module("linked_relationship", None)
        head = self.cls.predictions
        if self.config.tie_word_embeddings:
            head.decoder.weight = self.bert.embeddings.word_embeddings.weight
        head.decoder.bias = head.bias
        self.use_modules("linkbert")
        if not self.objective.relations:
            self.bert.get_submodule("pooler").requires_grad_(False)
            self.cls.seq_relationship.requires_grad_(False)

    def use_modules(self, name: str) -> None:
        """Have the modules compute as ours (linkbert), or as they do by themselves (transformers)."""
        self.modules_of = name
        self.config._attn_implementation = "linkbert" if name == "transformers" else "sdpa"  # what theirs look at
        self.bert.embeddings.__class__, layer_class, self.cls.predictions.transform.__class__ = MODULES[name]
        for layer in self.layers:
            layer.__class__ = layer_class

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers of the encoder."""
        return self.bert.encoder.layer

    def parts_to_compile(self) -> list[nn.Module]:
        """Return the whole, or of a large model its parts: the time to compile grows with the layers."""
        if as_a_whole(self.config, next(self.parameters()).device.type):
            return [self]
        return [self.bert.embeddings, *self.layers, self.cls.predictions.transform]

    def encode(self, inputs: Inputs, *, mode: ForwardOptions = EXACT, every: bool = False) -> tuple[Tensor, ...]:
        """Encode tokens in the arithmetic of `mode`; see `PretrainingModel.encode`.

        What follows the last layer's attention is computed for the places that are read alone, unless `every` is asked.
        """
        input_ids, types, positions, pairs, first, masked = inputs
        most = len(first) + len(pairs)  # sequences: a row has padding at its end alone
        seen = find_sequences(pairs, most) if mode.sequences else make_attention_mask(pairs, pairs)
        hidden = self.bert.embeddings(input_ids, types, positions, mode)
        *layers, last = self.layers
        for number, layer in enumerate(layers):
            call = partial(checkpoint, layer, use_reentrant=False) if mode.recompute else layer
            hidden = call(hidden, seen, mode.of_layer(number))
        mode = mode.of_layer(len(layers))
        if every:
            flat = last(hidden, seen, mode).flatten(0, 1)  # (R * T, H)
            return flat.index_select(0, masked), flat.index_select(0, first), flat
        only, asked = torch.cat([first, masked]), None
        if mode.slots and self.modules_of == "linkbert":
            asked, only = give_slots(only, pairs.shape, mode.slots)
            seen = make_attention_mask(pairs.gather(1, asked), pairs)
        states = last(hidden, seen, mode, asked=asked, only=only)
        return states[len(first) :], states[: len(first)]

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        head = self.cls.predictions
        return linear(head.decoder, head.transform(states))

    def masked_loss(self, states: Tensor, labels: Tensor, mode: ForwardOptions) -> Tensor:
        """Sum the losses of masked tokens without their logits: (M, H), (M,) -> ()."""
        head = self.cls.predictions
        tokens, decoder = head.transform(states.to(mode.dtype)), head.decoder
        return masked_token_loss(tokens, decoder.weight, decoder.bias, labels, mode.written_out)[0]

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS]: (P, H) -> (P, 2), or (P, 3) with drp."""
        pooled, linked = self.bert.pooler(first[:, None].float()), self.cls.linked_relationship
        rows = self.cls.seq_relationship(pooled)
        return rows if linked is None else torch.cat([rows, linked(pooled)], dim=-1)


def as_a_whole(config: Any, device: str) -> bool:
    """Return whether a model is compiled as a whole on a kind of device."""
    layers, width = AS_A_WHOLE[device]
    return config.num_hidden_layers <= layers and config.hidden_size <= width


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
    slot += (slots + 1) * torch.arange(rows, device=only.device)[:, None]
    places = torch.arange(length, device=only.device).expand(shape).flatten()
    asked = torch.zeros(rows * (slots + 1), dtype=torch.int64, device=only.device)
    asked = asked.scatter(0, slot.flatten(), places)  # flat: in rows, torch copies their strides to a GPU, and waits
    return asked.view(rows, -1)[:, :slots], (only // length * slots) + rank.flatten()[only]


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
