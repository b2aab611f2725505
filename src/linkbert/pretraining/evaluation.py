"""Scores of a model on documents that it has not seen.

In: a model and batches whose anchors are held out. Out: Scores, every share of them with its count and its 95 %
interval (Wilson), because a demo scores a few hundred pairs and a bare percentage would claim more than they can say.
Masked tokens stand beside the strongest guess that reads nothing, the commonest of the very tokens asked for. The
arithmetic is fp32 whatever the run's precision, so scores do not depend on the micro-batch; and held-out batches are
those of step 0, so two evaluations of one run ask the same questions. (The tokens of a segment are not independent
draws, so an interval over tokens is a little too narrow.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from linkbert.instances.batches import Batch
from linkbert.model.linkbert import IGNORED, LinkBert
from linkbert.pretraining.distributed import Processes, sum_over
from linkbert.records import RELATIONS

ENOUGH = 30  # pairs of a class, below which its accuracy says next to nothing
NORMAL_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Share:
    """`correct` of `count`, with the interval that holds the true share 95 times in 100."""

    correct: int
    count: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What an evaluation found; `too_few` names the relations with fewer than ENOUGH pairs."""

    pairs: int
    mlm_loss: float  # mean over masked tokens, nats
    mlm_accuracy: Share
    baseline_accuracy: Share  # always guessing the commonest token
    baseline_token: int
    relation_accuracy: Share | None  # None where the model learnt no relations
    relations: dict[str, Share]  # per true relation
    confusion: dict[str, dict[str, int]]  # true relation -> predicted relation -> pairs
    too_few: list[str]


def wilson(correct: int, count: int) -> Share:
    """Give a share with its Wilson interval at 95 %: 8 of 10 -> 0.8, from 0.490 to 0.943; nothing of nothing -> 0 to 1.

    Unlike the textbook interval it stays within 0 and 1 and is honest for small counts and shares near either end.
    """
    if count == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    share, z2 = correct / count, NORMAL_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return Share(correct, count, share, max(0.0, centre - half), min(1.0, centre + half))


def evaluate(model: LinkBert, micro_batches: Iterable[Batch], *, processes: Processes | None = None) -> Scores:
    """Score a model on this process's slice of held-out batches, and sum over all processes."""
    processes = processes or Processes()
    device, vocabulary = processes.device, model.config.vocab_size
    classes = {"drp": 3, "nsp": 2, "mlm": 0}[model.objective]
    loss = torch.zeros(1, dtype=torch.float64, device=device)
    labels_seen = torch.zeros(vocabulary + 1, dtype=torch.int64, device=device)  # and, last, the right predictions
    confusion = torch.zeros(3, 3, dtype=torch.int64, device=device)  # true x predicted
    was_training = model.training
    model.eval()
    for batch in (each.to(device) for each in micro_batches):
        labels = batch.masked_labels
        predictions = model.predict(
            batch.input_ids, batch.token_type_ids, batch.lengths, batch.masked_positions, labels
        )
        asked = labels != IGNORED
        loss += predictions.mlm_losses.double().sum()
        labels_seen[:-1] += torch.bincount(labels[asked], minlength=vocabulary)
        labels_seen[-1] += ((predictions.tokens == labels) & asked).sum()
        if classes:
            cells = batch.relations * 3 + predictions.relations.argmax(-1)
            confusion += torch.bincount(cells, minlength=9).view(3, 3)
        else:
            confusion[:, 0] += torch.bincount(batch.relations, minlength=3)
    model.train(was_training)
    for tensor in (loss, labels_seen, confusion):
        sum_over(processes, tensor)
    masked = int(labels_seen[:-1].sum())
    commonest = int(labels_seen[:-1].argmax())
    table, names = confusion.tolist(), RELATIONS[:classes]
    relations = {name: wilson(table[i][i], sum(table[i])) for i, name in enumerate(names)}
    return Scores(
        pairs=sum(map(sum, table)),
        mlm_loss=float(loss) / max(masked, 1),
        mlm_accuracy=wilson(int(labels_seen[-1]), masked),
        baseline_accuracy=wilson(int(labels_seen[commonest]), masked),
        baseline_token=commonest,
        relation_accuracy=wilson(sum(table[i][i] for i in range(classes)), sum(map(sum, table))) if classes else None,
        relations=relations,
        confusion={name: dict(zip(names, table[i], strict=False)) for i, name in enumerate(names)},
        too_few=[name for name, share in relations.items() if share.count < ENOUGH],
    )


def to_json(scores: Scores) -> dict[str, Any]:
    """Turn Scores into what JSON holds; `from_json` is its inverse."""
    return asdict(scores)


def from_json(content: dict[str, Any]) -> Scores:
    """Rebuild Scores from a journal line or a checkpoint's state."""
    values = dict(content)
    for key in ("mlm_accuracy", "baseline_accuracy", "relation_accuracy"):
        values[key] = Share(**values[key]) if values[key] else None
    values["relations"] = {name: Share(**share) for name, share in values["relations"].items()}
    return Scores(**values)


def describe(scores: Scores) -> list[str]:
    """Write Scores as lines of text, for a terminal, a log or a model card."""
    lines = [
        f"masked tokens right: {percent(scores.mlm_accuracy)}",
        f"always the commonest token: {percent(scores.baseline_accuracy)}",
        f"masked-token loss: {scores.mlm_loss:.3f}",
    ]
    if scores.relation_accuracy is not None:
        lines.append(f"relations right: {percent(scores.relation_accuracy)}")
    for name, share in scores.relations.items():
        note = "; too few pairs to say anything" if name in scores.too_few else ""
        lines.append(f"  {name}: {percent(share)}{note}")
    return lines


def percent(share: Share) -> str:
    """Write a share for reading: '80.0 % (49.0 to 94.3; 8 of 10)'."""
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f} % ({low:.1f} to {high:.1f}; {share.correct:,} of {share.count:,})"
