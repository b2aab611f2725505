"""What all models share: a masked-token head, a relation head on [CLS], and an objective that says what is trained.

In: a batch of token ids with some of them masked. Out: summed losses, or predictions. The masked-token head runs at the
masked places only: they are 15 % of the tokens, and in a small model the head is most of the work. Subclasses encode
and score: LinkBertForPreTraining (fast_bert.py) for a BERT, HFEncoder (hf_encoder.py) for any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from linkbert import registry
from linkbert.model.loss import CHUNK
from linkbert.records import IGNORED, RELATIONS

UNITS = {"masked", "pairs", *RELATIONS}  # what the values of `Objective.over` may be
JOURNAL = {"step", "tokens", "learning_rate", "gradient_norm", "utilisation", "planned_steps", "skipped", "instances"}
JOURNAL |= {"evaluation", "elapsed", "tokens_per_second", "peak_share", "loader_share", "memory"}  # its own names


class Inputs(NamedTuple):
    """What an encoder reads, all int64: R rows of T places with P pairs, of which M places are masked; see Batch."""

    input_ids: Tensor  # (R, T), [PAD] in padding
    token_type_ids: Tensor  # (R, T), 0 in A and in padding, 1 in B
    positions: Tensor  # (R, T), counted within a pair; 0 in padding
    pairs: Tensor  # (R, T), number of each place's pair, -1 in padding; a place attends to those of the same number
    first: Tensor  # (P,), place of each [CLS] in R * T
    masked_positions: Tensor  # (M,), in R * T

    @classmethod
    def of(cls, batch: Any) -> Inputs:
        """Take them from a Batch."""
        return cls(*(getattr(batch, name) for name in cls._fields))

    @classmethod
    def padded(
        cls, input_ids: Tensor, token_type_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Inputs:
        """Make them of a tokenizer's output, one pair a row, all (B, T); no place is masked."""
        rows, places = (torch.arange(size, device=input_ids.device) for size in input_ids.shape)
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        pairs = torch.where(real.bool(), rows[:, None], -1)
        return cls(input_ids, types, places.expand_as(input_ids), pairs, rows * len(places), rows[:0])

    def packed(self, positions: Tensor, first: Tensor) -> Inputs:
        """Have several pairs in a row; padding has position 0, as [CLS] has."""
        starts = torch.zeros_like(self.input_ids).flatten().index_fill(0, first, 1)
        pairs = (starts.cumsum(0) - 1).masked_fill(starts + positions.flatten() == 0, -1).view_as(positions)
        return self._replace(positions=positions, pairs=pairs, first=first)


class Labelled(NamedTuple):
    """Inputs, masked_labels (M,) and relations (P,): 0 contiguous, 1 random, 2 linked; IGNORED, -100, in padding."""

    inputs: Inputs
    masked_labels: Tensor  # (M,)
    relations: Tensor  # (P,)


class ForwardOptions(NamedTuple):
    """How a forward pass computes."""

    dtype: torch.dtype = torch.float32
    keys: tuple[Tensor, ...] = ()  # of the dropout, one and three for each layer (see `dropout_keys`); none: no dropout
    written_out: bool = False  # the loss, and on a CPU attention, as they are fast when compiled
    sequences: bool = False  # attention over the pairs as sequences, see `has_varlen`; else with a mask
    slots: int = 0  # places of a row whose states are read, at most: the last layer computes no others; 0: all
    recompute: bool = False  # keep for the gradients only what enters a layer

    def of_layer(self, number: int) -> ForwardOptions:
        """Return the options of a layer: with its three keys alone, so that the calls of all layers look the same."""
        return self._replace(keys=self.keys[3 * number + 1 : 3 * number + 4])


EXACT = ForwardOptions()
Sums = dict[str, tuple[Tensor, Tensor]]  # of a batch by name: sum and count, () each, or (3,) by relation


class Encoded(NamedTuple):
    """The model, and states: masked (M, H), first (P, H) at each [CLS], every (R * T, H) or None (`every = False`).

    They are fp32 whatever the arithmetic of the run (`options.dtype`), as the weights of an objective are.
    """

    model: PretrainingModel
    masked: Tensor  # (M, H), at the masked places
    first: Tensor  # (P, H), at each pair's [CLS]
    every: Tensor | None  # (R * T, H), at all places, where the objective asks for them
    options: ForwardOptions


class Objective:
    """What a model is trained for: BERT's masked tokens, by itself the objective `none`. Others are subclasses.

    `reports` names what `loss` gives, each with its width: 1, or 3 for one by relation (contiguous, random, linked).
    `over` names those that are minimised, and what each is averaged over in the global batch: masked (tokens), pairs,
    or the pairs of a relation; the others are shown only. `relations` is how many rows of the relation head are
    trained. `every` asks for the states of all places. A subclass that has weights of its own makes them in `modules`.
    """

    relations = 0
    every = False
    learns = ""  # what a model card says of it
    reports: Mapping[str, int] = {"mlm_loss": 1}
    over: Mapping[str, str] = {"mlm_loss": "masked"}

    def modules(self, config: PretrainedConfig) -> nn.Module | None:  # noqa: ARG002
        """Make the weights that the objective adds; a checkpoint has them as `objective_head.*`."""
        return None

    def loss(self, encoded: Encoded, batch: Labelled) -> Sums:
        """Sum losses and metrics of a batch by name: {"mlm_loss": (sum (), count ())}, fp32 and int64."""
        labels = batch.masked_labels
        summed = encoded.model.masked_loss(encoded.masked, labels, encoded.options)
        return {"mlm_loss": (summed, (labels != IGNORED).sum())}


class WithRelations(Objective):
    """Masked tokens and the relation of two segments: three (DRP; paper, section 4.2) or BERT's two (NSP)."""

    reports: Mapping[str, int] = {"mlm_loss": 1, "relation_loss": 3, "relation_accuracy": 3}
    over: Mapping[str, str] = {"mlm_loss": "masked", "relation_loss": "pairs"}

    def __init__(self, relations: int, learns: str) -> None:
        self.relations, self.learns = relations, learns

    def loss(self, encoded: Encoded, batch: Labelled) -> Sums:
        """Sum the losses, and the pairs whose relation was ranked first, by true relation."""
        logits, relations = encoded.model.relation_logits(encoded.first).float(), batch.relations  # (P, 2 or 3)
        losses = functional.cross_entropy(logits, relations, ignore_index=IGNORED, reduction="none")
        true = relations[:, None] == torch.arange(3, device=relations.device)  # (P, 3)
        right = logits.argmax(-1) == relations
        summed, correct, pairs = (losses[:, None] * true).sum(0), (right[:, None] & true).sum(0), true.sum(0)
        return super().loss(encoded, batch) | {"relation_loss": (summed, pairs), "relation_accuracy": (correct, pairs)}


DRP = WithRelations(3, "masked tokens and three relations (contiguous, random, linked)")
NSP = WithRelations(2, "masked tokens and two relations (contiguous, random), as BERT")
NONE = Objective()
NONE.learns = "masked tokens alone"


def find_objective(name: str) -> Objective:
    """Return an objective by its name or `package.module:name`; ValueError if it is none, or declares a wrong thing."""
    found = registry.find("objectives", name)
    if not isinstance(found, Objective):
        raise ValueError(f"objective={name} must name an object of a subclass of linkbert.model.heads.Objective")
    over, reports = found.over, found.reports
    for what, wrong, allowed in (
        ("`over` names", over.keys() - reports.keys() if over else {"nothing"}, f"one or more of {', '.join(reports)}"),
        ("`over` averages over", set(over.values()) - UNITS, ", ".join(sorted(UNITS))),
        ("`reports` has a width of", set(reports.values()) - {1, 3}, "1, or 3 for one by relation"),
        ("`reports` names", reports.keys() & JOURNAL, "names that the journal does not write itself"),
    ):
        if wrong:
            raise ValueError(f"objective {name}: {what} {', '.join(map(str, wrong))}; allowed: {allowed}")
    return found


def flatten(found: Sums, objective: Objective, name: str) -> Tensor:
    """Join sums and counts in the order of `reports`: float64. ValueError if `loss` gave other than is declared."""
    if found.keys() != objective.reports.keys():
        raise ValueError(f"objective {name}: `loss` gave {', '.join(found)}, `reports` {', '.join(objective.reports)}")
    for key, width in objective.reports.items():
        parts: Any = found[key] if isinstance(found[key], tuple) else (found[key],)
        if [part.numel() if isinstance(part, Tensor) else 0 for part in parts] != [width, width]:
            got = ", ".join(f"Tensor {list(part.shape)}" if isinstance(part, Tensor) else repr(part) for part in parts)
            raise ValueError(f"objective {name}: {key} must be (sum, count), two tensors of size {width}; got {got}")
        if key in objective.over and not parts[0].requires_grad and parts[1].any():
            raise ValueError(f"objective {name}: {key} is minimised (`over`), but its sum has no gradient")
    return torch.cat([part.detach().double().view(-1) for key in objective.reports for part in found[key]])


class Predictions(NamedTuple):
    """What evaluation needs: one row per masked token, one per pair."""

    tokens: Tensor  # (M,) int64, the likeliest token
    mlm_losses: Tensor  # (M,) fp32, -log probability of the label; 0 where the label is IGNORED
    relations: Tensor  # (P, 2 or 3) fp32 probabilities of contiguous, random and, with drp, linked


def refuse_nan(answers: Tensor) -> Tensor:
    """Return answers of a model that are numbers; others, as damaged weights give them, are a ValueError."""
    if not answers.isfinite().all():
        raise ValueError("the model answers NaN: its weights are damaged, or too large; fetch or train it again")
    return answers


class PretrainingModel(nn.Module):
    """An encoder with a masked-token head and a relation head (trained where the objective has relations)."""

    config: PretrainedConfig
    prefix: str  # of the names of the encoder's weights
    objective: Objective
    layers: nn.ModuleList  # of the encoder

    def set_objective(self, name: str) -> None:
        """Set the objective and make the weights that it adds; config.json keeps its name."""
        self.objective = find_objective(name)
        self.config.linkbert_objective = name  # Hugging Face carries what it does not know
        self.objective_head = self.objective.modules(self.config)

    def parts_to_compile(self) -> list[nn.Module]:
        """Return the modules to compile, each by itself (equal layers share the code); none: it is not compiled."""
        return []

    def encode(self, inputs: Inputs, *, mode: ForwardOptions = EXACT, every: bool = False) -> tuple[Tensor, ...]:
        """Encode tokens; return states: of masked places (M, H), of each [CLS] (P, H), with `every` of all (R*T, H)."""
        raise NotImplementedError

    def token_logits(self, states: Tensor) -> Tensor:
        """Score the vocabulary: (M, H) -> (M, V)."""
        raise NotImplementedError

    def relation_logits(self, first: Tensor) -> Tensor:
        """Score the relations of each pair from its [CLS]: (P, H) -> (P, 2), or (P, 3) with drp."""
        raise NotImplementedError

    def masked_loss(self, states: Tensor, labels: Tensor, mode: ForwardOptions) -> Tensor:  # noqa: ARG002
        """Sum the losses of masked tokens: (M, H), (M,) -> ()."""
        logits = self.token_logits(states).float()
        return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")

    def forward(self, inputs: Inputs, masked_labels: Tensor, relations: Tensor, mode: ForwardOptions = EXACT) -> Sums:
        """Sum what the objective reports of a batch; masked_labels (M,) and relations (P,) are IGNORED in padding."""
        states = [each.float() for each in self.encode(inputs, mode=mode, every=self.objective.every)]
        encoded = Encoded(self, states[0], states[1], states[2] if self.objective.every else None, mode)
        return self.objective.loss(encoded, Labelled(inputs, masked_labels, relations))

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")  # its batches have many shapes
    def predict(self, inputs: Inputs, masked_labels: Tensor | None = None) -> Predictions:
        """Predict masked tokens and relations; in fp32, without dropout; masked_labels as in `forward`."""
        states, first_states, *_ = self.encode(inputs)
        labels = torch.full_like(inputs.masked_positions, IGNORED) if masked_labels is None else masked_labels
        tokens, losses = torch.empty_like(labels), labels.new_empty(labels.shape, dtype=torch.float32)
        for part in torch.arange(len(labels), device=labels.device).split(CHUNK):
            logits = self.token_logits(states[part]).float()
            tokens[part] = logits.argmax(-1)
            losses[part] = functional.cross_entropy(logits, labels[part], ignore_index=IGNORED, reduction="none")
        relations = self.relation_logits(first_states).float().softmax(-1)
        return Predictions(tokens, refuse_nan(losses), refuse_nan(relations))
