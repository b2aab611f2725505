"""Scores of a model on documents that it has not seen.

In: a model and batches whose anchors are held out. Out: Scores, every share of them with its count and its 95 %
interval, because a demo scores a few hundred pairs and a bare percentage would claim more than they can say.
Masked tokens stand beside the strongest guess that reads nothing, the commonest of the very tokens asked for. The
arithmetic is fp32 whatever the run's precision, so scores do not depend on the micro-batch; and held-out batches are
those of step 0, so two evaluations of one run ask the same questions.

Pairs of one document, and tokens of one segment, are not independent draws; where few documents are held out they come
again and again. So an interval is as wide as the shares of the documents of A, taken as the units, spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from linkbert.instances.batches import Batch
from linkbert.model.checkpoint import Model
from linkbert.pretraining.distributed import Processes, sum_over
from linkbert.records import IGNORED, RELATIONS

ENOUGH = 30  # pairs of a class, below which its accuracy says next to nothing
CLASSES = {"drp": 3, "nsp": 2, "none": 0}  # relations that a model of each objective tells apart
GROUPS = 64  # documents of A are the units of an interval; their numbers modulo this, so that counts stay small
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
    stores: dict[str, Scores] = field(default_factory=dict)  # of each store alone, where there are several


class Answers(NamedTuple):
    """Sums over the pairs of an evaluation, by group of documents; those of two stores may be added."""

    loss: Tensor  # float64 (1,), over masked tokens
    asked: Tensor  # int64 (GROUPS, V), how often each token was masked
    right: Tensor  # int64 (GROUPS,), masked tokens guessed right
    table: Tensor  # int64 (GROUPS, 3, 3), true by predicted relation


def wilson(correct: int, count: int, *, effective: float | None = None) -> Share:
    """Give a share with its Wilson interval at 95 %: 8 of 10 -> 0.8, from 0.490 to 0.943; nothing of nothing -> 0 to 1.

    Unlike the textbook interval it stays within 0 and 1 and is honest for small counts and shares near either end.
    `effective` is the number of independent draws that the count is worth, where that is less.
    """
    if count == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    share, z2, draws = correct / count, NORMAL_95**2, effective or count
    centre = (share + z2 / (2 * draws)) / (1 + z2 / draws)
    half = NORMAL_95 / (1 + z2 / draws) * math.sqrt(share * (1 - share) / draws + z2 / (4 * draws**2))
    return Share(correct, count, share, max(0.0, centre - half), min(1.0, centre + half))


def clustered(correct: Sequence[int], count: Sequence[int]) -> Share:
    """Give the share of all groups together, with an interval in which the groups are the independent draws.

    The variance between groups over that of as many single draws is what a count is overrated by (the design effect of
    survey sampling, never taken below 1); few groups widen the interval further, by Student's t (Korn and Graubard).
    Three groups of ten, of which 10, 10 and 0 are right, say less than 20 of 30 drawn one by one:

    >>> percent(clustered([10, 10, 0], [10, 10, 10])), percent(wilson(20, 30))
    ('66.7 % (4.6 to 98.8; 20 of 30)', '66.7 % (48.8 to 80.8; 20 of 30)')
    """
    groups = sum(size > 0 for size in count)
    total, right = sum(count), sum(correct)
    if total == 0:
        return wilson(0, 0)
    if groups == 1:
        return wilson(right, total, effective=1.0)
    share = right / total
    spread = sum((got - share * size) ** 2 for got, size in zip(correct, count, strict=True)) * groups / (groups - 1)
    effect = max(1.0, spread / (total * share * (1 - share))) if 0 < right < total else 1.0
    return wilson(right, total, effective=total / effect * (NORMAL_95 / student_95(groups - 1)) ** 2)


def student_95(freedom: int) -> float:
    """Give the 97.5 % quantile of Student's t, by its expansion at the normal's: 9 -> 2.26, 63 -> 2.00."""
    z = NORMAL_95
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def evaluate(model: Model, micro_batches: Iterable[Batch], *, processes: Processes | None = None) -> Scores:
    """Score a model on this process's slice of held-out batches, and sum over all processes."""
    return evaluate_stores(model, {"": micro_batches}, processes=processes)


def evaluate_stores(
    model: Model, stores: Mapping[str, Iterable[Batch]], *, processes: Processes | None = None
) -> Scores:
    """Score a model on all stores' batches together, and (`Scores.stores`) on those of each store that has a name."""
    answers = {name: ask(model, batches, processes or Processes()) for name, batches in stores.items()}
    whole = to_scores(model, Answers(*(torch.stack(sums).sum(0) for sums in zip(*answers.values(), strict=True))))
    return replace(whole, stores={name: to_scores(model, own) for name, own in answers.items() if name})


def ask(model: Model, micro_batches: Iterable[Batch], processes: Processes) -> Answers:
    """Let a model guess, and sum what came over all processes."""
    device, vocabulary = processes.device, model.config.vocab_size
    classes = CLASSES[model.objective]
    loss = torch.zeros(1, dtype=torch.float64, device=device)
    asked = torch.zeros(GROUPS * vocabulary, dtype=torch.int64, device=device)  # labels, by group of documents
    right = torch.zeros(GROUPS, dtype=torch.int64, device=device)
    table = torch.zeros(GROUPS * 9, dtype=torch.int64, device=device)  # by group, true x predicted
    was_training = model.training
    model.eval()
    for batch in (each.to(device) for each in micro_batches):
        labels = batch.masked_labels
        predictions = model.predict(
            batch.input_ids, batch.token_type_ids, batch.positions, batch.pairs, batch.first, batch.masked_positions,
            labels,
        )  # fmt: skip
        real, asked_of = labels != IGNORED, batch.relations != IGNORED
        group = batch.documents % GROUPS
        token_group = group[batch.pairs.flatten()[batch.masked_positions[real]]]
        loss += predictions.mlm_losses.double().sum()
        asked += torch.bincount(token_group * vocabulary + labels[real], minlength=len(asked))
        right += torch.bincount(token_group[(predictions.tokens == labels)[real]], minlength=GROUPS)
        guessed = predictions.relations.argmax(-1) if classes else 0
        cells = (group * 9 + batch.relations * 3 + guessed)[asked_of]
        table += torch.bincount(cells, minlength=len(table))
    model.train(was_training)
    for tensor in (loss, asked, right, table):
        sum_over(processes, tensor)
    return Answers(loss, asked.view(GROUPS, vocabulary), right, table.view(GROUPS, 3, 3))


def to_scores(model: Model, answers: Answers) -> Scores:
    """Turn sums into Scores."""
    loss, labels, right, cells = answers
    masked = labels.sum(1).tolist()
    commonest = int(labels.sum(0).argmax())
    confusion, names = cells.sum(0).tolist(), RELATIONS[: CLASSES[model.objective]]
    hits = cells.diagonal(dim1=1, dim2=2)  # (GROUPS, 3)
    relations = {name: clustered(hits[:, i].tolist(), cells[:, i].sum(1).tolist()) for i, name in enumerate(names)}
    return Scores(
        pairs=int(cells.sum()),
        mlm_loss=float(loss) / max(sum(masked), 1),
        mlm_accuracy=clustered(right.tolist(), masked),
        baseline_accuracy=clustered(labels[:, commonest].tolist(), masked),
        baseline_token=commonest,
        relation_accuracy=clustered(hits.sum(1).tolist(), cells.sum((1, 2)).tolist()) if names else None,
        relations=relations,
        confusion={name: dict(zip(names, confusion[i], strict=False)) for i, name in enumerate(names)},
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
    values["stores"] = {name: from_json(scores) for name, scores in values.get("stores", {}).items()}
    return Scores(**values)


def describe(scores: Scores, *, before: Scores | None = None, vocabulary: Sequence[str] = ()) -> list[str]:
    """Write Scores as lines of text, for a terminal, a log or a model card; what belongs under a line is indented.

    `before` are the Scores of the same pairs before training; `vocabulary` names the commonest token.
    """
    token = f" ({vocabulary[scores.baseline_token]!r})" if vocabulary else ""
    lines = [f"masked tokens right: {percent(scores.mlm_accuracy)}"]
    if before is not None:
        lines.append(f"  before training: {percent(before.mlm_accuracy)}")
    lines.append(f"  always the commonest token{token}: {percent(scores.baseline_accuracy)}")
    lines.append(f"  mean loss: {scores.mlm_loss:.3f}")
    if scores.relation_accuracy is not None:
        lines.append(f"relations right: {percent(scores.relation_accuracy)}")
    for name, share in scores.relations.items():
        wrong = [f"{other} {count:,}" for other, count in scores.confusion[name].items() if count and other != name]
        taken = f"; taken for {', '.join(wrong)}" if wrong else ""
        lines.append(
            f"  {name}: {percent(share)}{taken}" + "; too few pairs to say anything" * (name in scores.too_few)
        )
    for name, own in scores.stores.items():
        lines += [f"{name}, {own.pairs:,} pairs:", *("  " + line for line in describe(own, vocabulary=vocabulary))]
    return lines


def percent(share: Share) -> str:
    """Write a share for reading: '80.0 % (49.0 to 94.3; 8 of 10)'."""
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f} % ({low:.1f} to {high:.1f}; {share.correct:,} of {share.count:,})"
