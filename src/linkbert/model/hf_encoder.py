"""Encoders beyond BERT, as transformers has them, behind the interface of `LinkBertForPreTraining`.

In: a batch of packed rows, as for `LinkBertForPreTraining`. Out: the same summed losses and predictions. The modules
are those of transformers' masked-LM class, under its names, so a checkpoint opens there as it is; the relation head
lies next to them as `linkbert.*`. Attention within a pair is handed to the encoder through transformers'
AttentionInterface: every layer calls `attend_packed`, which knows the pair of each place. DeBERTa has an attention of
its own, and takes a mask.
Positions count from each pair's start; learnt ones, rotary ones and relative ones follow from that.

What an architecture lacks is done without: where there are no segment ids, A and B are told apart by [SEP] alone.
Dropout is torch's own, so it follows from the seed of a step as elsewhere, but not from the place.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    PretrainedConfig,
)

from linkbert.model.attention import make_attention_mask, packed_attention
from linkbert.model.heads import EXACT, ForwardOptions, Inputs, PretrainingModel

log = logging.getLogger(__name__)
PACKED = "linkbert_packed"  # the attention's name in transformers


@dataclass(frozen=True)
class ArchitectureSpec:
    """What differs between the architectures: where the masked-token head is, and who computes the attention."""

    head: Callable[[Any, Tensor], Tensor]  # (M, H) -> (M, V)
    dense: str  # the weight that is the identity in a head that starts anew
    bias: str  # the bias of each token of the vocabulary
    decoder: str  # the weight that is tied to the word embeddings
    own_attention: bool = False
    first_position: Callable[[PretrainedConfig], int] = lambda config: 0  # noqa: ARG005


_ROBERTA = ArchitectureSpec(
    lambda model, states: model.lm_head(states),
    "lm_head.dense.weight",
    "lm_head.bias",
    "lm_head.decoder.weight",
    first_position=lambda config: config.pad_token_id + 1,
)
_DEBERTA = ArchitectureSpec(
    lambda model, states: model.lm_predictions(states, model.deberta.embeddings.word_embeddings),
    "lm_predictions.lm_head.dense.weight",
    "lm_predictions.lm_head.bias",
    "lm_predictions.lm_head.decoder.weight",  # there is none: the head takes the word embeddings themselves
    own_attention=True,
)
_BERT = ArchitectureSpec(
    lambda model, states: model.cls(states),
    "cls.predictions.transform.dense.weight",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": ArchitectureSpec(
        lambda model, states: model.generator_lm_head(model.generator_predictions(states)),
        "generator_predictions.dense.weight",
        "generator_lm_head.bias",
        "generator_lm_head.weight",
    ),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "modernbert": ArchitectureSpec(
        lambda model, states: model.decoder(model.head(states)), "head.dense.weight", "decoder.bias", "decoder.weight"
    ),
}


def spec_of(config: PretrainedConfig) -> ArchitectureSpec:
    """Find the kind; a DeBERTa with BERT's masked-token head is one, too."""
    if getattr(config, "legacy", False):
        return replace(_BERT, own_attention=True)
    return ARCHITECTURES[config.model_type]


def longest(config: PretrainedConfig) -> int:
    """Say how many tokens a pair may have: RoBERTa's positions begin after the padding's."""
    return config.max_position_embeddings - ARCHITECTURES[config.model_type].first_position(config)


def attend_packed(
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    seen: Tensor | BlockMask,
    pairs: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each pair: (R, heads, T, D) -> (R, T, heads, D), as AttentionInterface asks.

    `seen` is the mask of `pairs` (R, T). `sliding_window` is the distance at which two places no longer see each other
    (ModernBERT's local layers). A pair's places lie side by side, so their distance in the row is that in the pair.
    """
    if sliding_window is None and not dropout:
        return packed_attention(query, key, value, seen, scale=scaling).transpose(1, 2), None
    mask: Any = make_attention_mask(pairs, pairs, dense=True)
    if sliding_window is not None:
        places = torch.arange(pairs.shape[1], device=pairs.device)
        mask = mask & ((places[:, None] - places).abs() < sliding_window)
    # With torch's own dropout, as in the rest of these encoders.
    mixed = functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling)
    return mixed.transpose(1, 2), None


AttentionInterface.register(PACKED, attend_packed)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)  # no mask is made: `pairs` says all


class HFEncoder(PretrainingModel):
    """A masked-LM model of transformers with the two losses.

    The pooler is the encoder's own where its class has one, else a layer of the same form.
    """

    def __init__(self, config: PretrainedConfig, *, objective: str = "drp") -> None:
        super().__init__()
        config = copy.deepcopy(config)
        self.kind, self.recomputes = spec_of(config), False
        if getattr(config, "conv_kernel_size", 0):
            raise ValueError("this DeBERTa has a convolution over neighbouring places, which would mix packed pairs")
        config._attn_implementation = "eager" if self.kind.own_attention else PACKED
        whole: Any = MODEL_FOR_MASKED_LM_MAPPING[type(config)]
        bare: Any = MODEL_MAPPING[type(config)]
        masked_lm = whole(config)
        config.architectures = [type(masked_lm).__name__]
        self.config, self.prefix = config, masked_lm.base_model_prefix
        self.set_objective(objective)
        for name, module in masked_lm.named_children():
            self.add_module(name, module)
        with torch.device("meta"):
            pooler = getattr(bare(config), "pooler", None)
        heads = nn.ModuleDict({"relation": nn.Linear(config.hidden_size, 3)})
        if pooler is None:
            heads["pooler"] = nn.Sequential(nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh())
        else:
            self.encoder.pooler = type(pooler)(config)
        self.linkbert = heads
        for part in (heads, *([self.encoder.pooler] if pooler is not None else ())):
            part.apply(lambda layer: init_weights(layer, config.initializer_range)).requires_grad_(
                bool(self.objective.relations)
            )

    @property
    def encoder(self) -> Any:
        """The encoder without its heads, as AutoModel opens it."""
        return self.get_submodule(self.prefix)

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers of the encoder."""
        return self.encoder.layers if self.config.model_type == "modernbert" else self.encoder.encoder.layer

    @property
    def segments(self) -> int:
        """How many segment ids the encoder tells apart."""
        return getattr(self.config, "type_vocab_size", 0)

    def encode(self, inputs: Inputs, *, mode: ForwardOptions = EXACT, every: bool = False) -> tuple[Tensor, ...]:
        """Encode tokens; see `PretrainingModel.encode`."""
        input_ids, types, positions, pairs, first, masked_positions = inputs
        given = {"input_ids": input_ids, "position_ids": positions + self.kind.first_position(self.config)}
        if self.segments:
            given["token_type_ids"] = types if self.segments > 1 else torch.zeros_like(types)
        encoder, real = self.encoder, pairs >= 0
        if mode.recompute and not self.recomputes:
            self.recomputes = True
            for layer in self.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
        with torch.autocast(input_ids.device.type, mode.dtype, enabled=mode.dtype != torch.float32):
            if self.kind.own_attention:
                mask = make_attention_mask(pairs, pairs, dense=True)[:, 0]
                output = encoder.encoder(encoder.embeddings(**given, mask=real), mask)
            else:
                output = encoder(**given, attention_mask=real, pairs=pairs, seen=make_attention_mask(pairs, pairs))
        flat = output.last_hidden_state.flatten(0, 1)  # (R * T, H)
        states = flat.index_select(0, masked_positions), flat.index_select(0, first)
        return (*states, flat) if every else states

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        with torch.autocast(states.device.type, states.dtype, enabled=states.dtype != torch.float32):
            return self.kind.head(self, states)

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS], in fp32: (P, H) -> (P, 2), or (P, 3) with drp."""
        if "pooler" in self.linkbert:
            pooled = self.linkbert["pooler"](first.float())
        else:
            pooled = self.encoder.pooler(first[:, None].float())
        scores = self.linkbert["relation"](pooled)
        return scores if self.objective.relations == 3 else scores[:, :2]


def init_weights(layer: nn.Module, deviation: float) -> None:
    """Give a new layer random weights and no bias."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)


def new_config(kind: str, sizes: dict[str, int], tokens: dict[str, int], *, longest: int) -> PretrainedConfig:
    """Describe a random start of a kind, as it was released where `sizes` and `tokens` do not say otherwise.

    `sizes`: vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size. `tokens`: pad, cls and
    sep_token_id. `longest`: tokens of a pair.
    """
    own: dict[str, Any] = {"pad_token_id": tokens["pad_token_id"], "max_position_embeddings": longest}
    if kind == "modernbert":
        own |= tokens
    if kind in ("roberta", "modernbert"):
        own |= {"bos_token_id": tokens["cls_token_id"], "eos_token_id": tokens["sep_token_id"]}
    if kind == "roberta":
        own |= {"type_vocab_size": 1, "max_position_embeddings": longest + tokens["pad_token_id"] + 1}
    elif kind == "electra":
        own["embedding_size"] = sizes["hidden_size"]
    elif kind.startswith("deberta"):
        own |= {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
        own |= {"legacy": False, "type_vocab_size": 0, "max_relative_positions": -1}
        if kind == "deberta-v2":
            own |= {"position_buckets": 256, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
    made: Any = CONFIG_MAPPING[kind]
    return made(**sizes, **own)
