"""A BERT with LinkBERT's two losses: masked tokens and the relation of two segments.

In: a batch of token numbers with some places masked. Out: summed losses, or predictions. The encoder is Hugging Face's
`BertModel` and every weight has the name it has in `BertForPreTraining`, so that a checkpoint opens there as it is;
the one weight that BERT does not have, the *linked* row of the relation head, has a name of its own. The vocabulary
head runs at the masked positions only: they are 15 % of the tokens, and in a small model the head is most of the work.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, PretrainedConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead, BertPredictionHeadTransform

from linkbert.model.fast_bert import EXACT, Mode, adopt, encode
from linkbert.model.loss import CHUNK, masked_token_loss
from linkbert.model.parts import linear, norm
from linkbert.records import IGNORED

FEW_LAYERS = 4  # so few are compiled as a whole, which saves a fifth of a step of tiny, and nothing of MiniLM's


class Inputs(NamedTuple):
    """What an encoder reads, all int64: R rows of T places with P pairs, of which M places are masked; see Batch."""

    input_ids: Tensor  # (R, T)
    token_type_ids: Tensor  # (R, T)
    positions: Tensor  # (R, T), counted within a pair
    pairs: Tensor  # (R, T), number of each place's pair, -1 in padding; a place attends to those of the same number
    first: Tensor  # (P,), place of each [CLS] in R * T
    masked_positions: Tensor  # (M,), in R * T

    @classmethod
    def of(cls, batch: Any) -> Inputs:
        """Take them out of a Batch."""
        return cls(*(getattr(batch, name) for name in cls._fields))


class Output(NamedTuple):
    """What a training step needs: sums over the batch, fp32 scalars; whoever knows the global counts divides.

    Those of the relations are by true relation (contiguous, random, linked), and 0 where the objective has none.
    """

    mlm_loss: Tensor  # () summed over masked tokens
    relation_losses: Tensor  # (3,) summed over pairs
    relation_correct: Tensor  # (3,) int64, pairs whose relation was ranked first

    @property
    def relation_loss(self) -> Tensor:
        """Sum the relation losses of all pairs: ()."""
        return self.relation_losses.sum()


def sum_by_relation(scores: Tensor, relations: Tensor) -> tuple[Tensor, Tensor]:
    """Sum losses and right answers of pairs by true relation: (P, 2 or 3) fp32, (P,) -> (3,) fp32, (3,) int64."""
    losses = functional.cross_entropy(scores, relations, ignore_index=IGNORED, reduction="none")
    true = relations[:, None] == torch.arange(3, device=relations.device)  # (P, 3)
    right = scores.argmax(-1) == relations
    return (losses[:, None] * true).sum(0), (right[:, None] & true).sum(0)


class Predictions(NamedTuple):
    """What evaluation needs: one row per masked token, one per pair."""

    tokens: Tensor  # (M,) int64, the likeliest token
    mlm_losses: Tensor  # (M,) fp32, -log probability of the label; 0 where the label is IGNORED
    relations: Tensor  # (P, 2 or 3) fp32 probabilities of contiguous, random and, with drp, linked


class Heads(nn.Module):
    """The heads under BERT's names; rows 0 and 1 of the relation head are BERT's own, row 2 stands apart."""

    def __init__(self, config: BertConfig, *, linked: bool) -> None:
        super().__init__()
        self.predictions = BertLMPredictionHead(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)
        self.linked_relationship = nn.Linear(config.hidden_size, 1) if linked else None

    def relation_logits(self, pooled: Tensor) -> Tensor:
        """Score the relations of each pair: (P, H) -> (P, 2 or 3)."""
        rows = self.seq_relationship(pooled)
        return rows if self.linked_relationship is None else torch.cat([rows, self.linked_relationship(pooled)], dim=-1)


class TwoLosses(nn.Module):
    """An encoder with a masked-token head and a relation head (paper, section 4), whatever its architecture.

    `objective` is drp (three relations), nsp (BERT's two) or none (pooler and relation head stay as they start). A
    subclass encodes, and scores what was encoded.
    """

    config: PretrainedConfig
    objective: str
    layers: nn.ModuleList  # of the encoder

    def parts_to_compile(self) -> list[nn.Module]:
        """Give the modules that are compiled, each by itself; layers that are share what one is compiled to.

        None where we never compiled the architecture: transformers' own forward passes.
        """
        return []

    def encode(self, inputs: Inputs, *, mode: Mode = EXACT) -> tuple[Tensor, Tensor]:
        """Encode tokens; give the states at the masked places and at each pair's [CLS]: (M, H), (P, H)."""
        raise NotImplementedError

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        raise NotImplementedError

    def masked_loss(self, states: Tensor, labels: Tensor, mode: Mode) -> Tensor:  # noqa: ARG002
        """Sum the losses of masked tokens: (M, H), (M,) -> ()."""
        logits = self.token_logits(states).float()
        return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS]: (P, H) -> (P, 2), or (P, 3) with drp."""
        raise NotImplementedError

    def forward(self, inputs: Inputs, masked_labels: Tensor, relations: Tensor, mode: Mode = EXACT) -> Output:
        """Sum the losses of a batch; `mode` is the arithmetic and the dropout.

        masked_labels (M,) and relations (P,) are IGNORED where a slot only fills up.
        """
        states, first_states = self.encode(inputs, mode=mode)
        mlm_loss = self.masked_loss(states, masked_labels, mode)
        if self.objective == "none":
            return Output(mlm_loss, mlm_loss.new_zeros(3), relations.new_zeros(3))
        return Output(mlm_loss, *sum_by_relation(self.relation_logits(first_states).float(), relations))

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")  # its batches have many shapes
    def predict(self, inputs: Inputs, masked_labels: Tensor | None = None) -> Predictions:
        """Predict masked tokens and relations; in fp32, without dropout; masked_labels as in `forward`."""
        states, first_states = self.encode(inputs)
        labels = torch.full_like(inputs.masked_positions, IGNORED) if masked_labels is None else masked_labels
        tokens, losses = torch.empty_like(labels), labels.new_empty(labels.shape, dtype=torch.float32)
        for part in torch.arange(len(labels), device=labels.device).split(CHUNK):
            logits = self.token_logits(states[part]).float()
            tokens[part] = logits.argmax(-1)
            losses[part] = functional.cross_entropy(logits, labels[part], ignore_index=IGNORED, reduction="none")
        return Predictions(tokens, losses, self.relation_logits(first_states).float().softmax(-1))


class Transform(BertPredictionHeadTransform):
    """A BertPredictionHeadTransform in the arithmetic of its input."""

    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        """Transform states: (M, H) -> (M, H)."""
        return norm(self.LayerNorm, self.transform_act_fn(linear(self.dense, states)))


class LinkBert(TwoLosses):
    """A BERT with the two losses, its forward pass written out."""

    def __init__(self, bert_config: BertConfig, *, objective: str = "drp") -> None:
        super().__init__()
        self.config = copy.deepcopy(bert_config)
        self.config._attn_implementation = "sdpa"
        self.config.architectures = ["BertForPreTraining"]
        self.config.linkbert_objective = objective  # config.json keeps it; Hugging Face carries what it does not know
        self.objective = objective
        self.bert = adopt(BertModel(self.config))
        self.cls = Heads(self.config, linked=objective == "drp")
        self.cls.apply(self.bert._init_weights)
        head = self.cls.predictions
        head.transform.__class__ = Transform
        if self.config.tie_word_embeddings:
            head.decoder.weight = self.bert.embeddings.word_embeddings.weight
        head.decoder.bias = head.bias
        if objective == "none":
            self.bert.get_submodule("pooler").requires_grad_(False)
            self.cls.seq_relationship.requires_grad_(False)

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers of the encoder."""
        return self.bert.encoder.layer

    def encode(self, inputs: Inputs, *, mode: Mode = EXACT) -> tuple[Tensor, Tensor]:
        """Encode tokens; see `TwoLosses.encode`."""
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

    def masked_loss(self, states: Tensor, labels: Tensor, mode: Mode) -> Tensor:
        """Sum the losses of masked tokens without their logits: (M, H), (M,) -> ()."""
        head = self.cls.predictions
        tokens, decoder = head.transform(states), head.decoder
        return masked_token_loss(tokens, decoder.weight, decoder.bias, labels, compiled=mode.written_out)

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS]: (P, H) -> (P, 2), or (P, 3) with drp."""
        return self.cls.relation_logits(self.bert.get_submodule("pooler")(first[:, None].float()))
