"""Encoders beyond BERT: transformers' masked-LM classes behind the interface of `LinkBertForPreTraining`.

In: a batch of packed rows. Out: the same summed losses and predictions. The modules keep transformers' names, so a
checkpoint opens there as it is; the relation head is stored next to them as `linkbert.*`. Dropout is torch's own: it
follows from the seed of a step, but not from the place.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, PretrainedConfig
from transformers.models.bert.modeling_bert import BertPooler

from linkbert.model.attention import make_attention_mask
from linkbert.model.heads import EXACT, ForwardOptions, Inputs, PretrainingModel


@dataclass(frozen=True)
class ArchitectureSpec:
    """What differs between the architectures, as the names of modules in transformers' masked-LM class."""

    heads: tuple[str, ...]  # score the vocabulary, one after the other
    dense: str  # the layer that starts as identity where a folder has no masked-token head
    bias: str  # has the bias of each token of the vocabulary
    decoder: str = ""  # has the weight that is tied to the word embeddings, where that is not in `bias`
    pooler: bool = False  # the encoder has one of its own
    own_attention: bool = False
    positions_after_padding: bool = False  # they start after the padding's id


_BERT = ArchitectureSpec(
    ("cls",), "cls.predictions.transform.dense", "cls.predictions", "cls.predictions.decoder", pooler=True
)
_ROBERTA = ArchitectureSpec(
    ("lm_head",), "lm_head.dense", "lm_head", "lm_head.decoder", pooler=True, positions_after_padding=True
)
_DEBERTA = ArchitectureSpec(  # no decoder: the head takes the word embeddings themselves
    ("lm_predictions",), "lm_predictions.lm_head.dense", "lm_predictions.lm_head", own_attention=True
)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": ArchitectureSpec(
        ("generator_predictions", "generator_lm_head"), "generator_predictions.dense", "generator_lm_head"
    ),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "modernbert": ArchitectureSpec(("head", "decoder"), "head.dense", "decoder"),
}
_RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
_RELATIVE |= {"legacy": False, "type_vocab_size": 0, "max_relative_positions": -1}
AS_RELEASED = {  # where the defaults of a configuration are not those of the released models
    "roberta": {"type_vocab_size": 1},
    "deberta": _RELATIVE,
    "deberta-v2": _RELATIVE | {"position_buckets": 256, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
}


def spec_of(config: PretrainedConfig) -> ArchitectureSpec:
    """Return what is special about a configuration's architecture; a DeBERTa may have BERT's masked-token head."""
    if getattr(config, "legacy", False):
        return replace(_BERT, own_attention=True, pooler=False)
    return ARCHITECTURES[config.model_type]


def first_position(config: PretrainedConfig) -> int:
    """Return the position of a pair's first token."""
    return config.pad_token_id + 1 if ARCHITECTURES[config.model_type].positions_after_padding else 0


def longest(config: PretrainedConfig) -> int:
    """Return how many tokens a pair may have."""
    return config.max_position_embeddings - first_position(config)


def new_config(kind: str, sizes: Mapping[str, int], tokens: Mapping[str, int], *, longest: int) -> PretrainedConfig:
    """Describe a random start: as released, but for `sizes` (by their names in a configuration) and special tokens.

    `tokens`: the ids of [PAD], [CLS] and [SEP]. `longest`: tokens of a pair.
    """
    own: dict[str, Any] = {"pad_token_id": tokens["[PAD]"], "max_position_embeddings": longest}
    if kind in ("roberta", "modernbert"):
        own |= {"bos_token_id": tokens["[CLS]"], "eos_token_id": tokens["[SEP]"]}
    if kind == "modernbert":
        own |= {"cls_token_id": tokens["[CLS]"], "sep_token_id": tokens["[SEP]"]}
    if kind == "electra":
        own["embedding_size"] = sizes["hidden_size"]
    config = CONFIG_MAPPING[kind](**own, **sizes, **AS_RELEASED.get(kind, {}))  # type: ignore[arg-type]
    config.max_position_embeddings += first_position(config)
    return config


class HFEncoder(PretrainingModel):
    """A masked-LM model of transformers with a relation head, and a pooler of BERT's form where it has none."""

    def __init__(self, config: PretrainedConfig, *, objective: str = "drp") -> None:
        super().__init__()
        config = copy.deepcopy(config)
        self.spec, self.recomputes = spec_of(config), False
        if getattr(config, "conv_kernel_size", 0):
            raise ValueError("this DeBERTa has a convolution over neighbouring places, which would mix packed pairs")
        config._attn_implementation = "eager" if self.spec.own_attention else "sdpa"
        masked_lm: Any = MODEL_FOR_MASKED_LM_MAPPING[type(config)](config)  # type: ignore[operator]
        config.architectures = [type(masked_lm).__name__]
        self.config, self.prefix = config, masked_lm.base_model_prefix
        self.segments: int = getattr(config, "type_vocab_size", 0)  # how many segment ids it distinguishes
        self.set_objective(objective)
        for name, module in masked_lm.named_children():
            self.add_module(name, module)
        if self.spec.decoder:
            self.get_submodule(self.spec.decoder).bias = self.get_submodule(self.spec.bias).bias  # tied or not
        width = config.hidden_size
        self.linkbert = nn.ModuleDict({"relation": nn.Linear(width, 3)})
        if self.spec.pooler:
            self.encoder.pooler = BertPooler(config)
        else:
            self.linkbert["pooler"] = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        added = [*self.linkbert.modules(), *(self.encoder.pooler.modules() if self.spec.pooler else ())]
        for layer in added:
            layer.requires_grad_(bool(self.objective.relations))
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=config.initializer_range)
                nn.init.zeros_(layer.bias)

    @property
    def encoder(self) -> Any:
        """The encoder without its heads, as AutoModel opens it."""
        return self.get_submodule(self.prefix)

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers of the encoder."""
        return self.encoder.layers if self.config.model_type == "modernbert" else self.encoder.encoder.layer

    def encode(self, inputs: Inputs, *, mode: ForwardOptions = EXACT, every: bool = False) -> tuple[Tensor, ...]:
        """Encode tokens; see `PretrainingModel.encode`."""
        input_ids, types, positions, pairs, first, masked_positions = inputs
        given = {"input_ids": input_ids, "position_ids": positions + first_position(self.config)}
        if self.segments:
            given["token_type_ids"] = types if self.segments > 1 else torch.zeros_like(types)
        if mode.recompute and not self.recomputes:
            self.recomputes = True
            for layer in self.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
        encoder, mask = self.encoder, make_attention_mask(pairs, pairs)  # (R, 1, T, T)
        with torch.autocast(input_ids.device.type, mode.dtype, enabled=mode.dtype != torch.float32):
            if self.spec.own_attention:
                output = encoder.encoder(encoder.embeddings(**given, mask=pairs >= 0), mask[:, 0])
            elif self.config.model_type == "modernbert":
                places = torch.arange(pairs.shape[1], device=pairs.device)  # a pair's are adjacent
                near = (places[:, None] - places).abs() <= self.config.sliding_window
                masks = {"full_attention": mask, "sliding_attention": mask & near}
                output = encoder(**given, attention_mask=masks)
            else:
                output = encoder(**given, attention_mask=mask)
        flat = output.last_hidden_state.flatten(0, 1)  # (R * T, H)
        states = flat.index_select(0, masked_positions), flat.index_select(0, first)
        return (*states, flat) if every else states

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        with torch.autocast(states.device.type, states.dtype, enabled=states.dtype != torch.float32):
            words = (self.encoder.get_input_embeddings(),) if "lm_predictions" in self.spec.heads else ()
            for name in self.spec.heads:
                states = self.get_submodule(name)(states, *words)
        return states

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS], in fp32: (P, H) -> (P, 2), or (P, 3) with drp."""
        pooler = self.encoder.pooler if self.spec.pooler else lambda states: self.linkbert["pooler"](states[:, 0])
        scores = self.linkbert["relation"](pooler(first[:, None].float()))
        return scores if self.objective.relations == 3 else scores[:, :2]
