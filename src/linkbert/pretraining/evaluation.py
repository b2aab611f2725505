"""Evaluation of a model on documents that it has not seen.

In: a model and batches whose anchors are held out. Out: Scores (scores.py). Masked tokens stand beside the strongest
guess that reads nothing, the commonest of the very tokens asked for. The arithmetic is fp32 whatever the run's
precision, so scores do not depend on the micro-batch; and held-out batches are those of step 0, so two evaluations of
one run ask the same questions.

Link gain asks what an encoder takes across a link: the same A under the same masks beside a linked B, and beside a
random one. It needs no relation head, so a BERT that never saw a link can be asked as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linkbert.config import Config
from linkbert.instances.batches import Batch, Batches
from linkbert.instances.mixture import OpenPart, Part, open_parts
from linkbert.instances.sampler import LinkGraph, NoUsableAnchorError, Sampler
from linkbert.instances.sampler import held_out as held_out_documents
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import check_same_vocabulary, load_vocabulary
from linkbert.model.checkpoint import load_model
from linkbert.model.heads import Inputs, Predictions, PretrainingModel
from linkbert.model.hf_encoder import longest
from linkbert.pretraining.distributed import DistributedContext, all_reduce, join_processes
from linkbert.pretraining.scores import ENOUGH, Scores, clustered, clustered_gain
from linkbert.records import CONTIGUOUS, IGNORED, LINKED, RANDOM, RELATIONS

GROUPS = 64  # documents of A are the units of an interval; their numbers modulo this, so that counts stay small

log = logging.getLogger(__name__)


class Answers(NamedTuple):
    """Sums over the pairs of an evaluation, by group of documents; those of two stores may be added."""

    losses: Tensor  # float64 (3,), over masked tokens, by relation of their pair
    masked: Tensor  # int64 (3,), how many those are
    asked: Tensor  # int64 (GROUPS, V), how often each token was masked
    right: Tensor  # int64 (GROUPS,), masked tokens guessed right
    table: Tensor  # int64 (GROUPS, 3, 3), true by predicted relation
    gains: Tensor  # float64 (3, GROUPS), loss on tokens of A beside a B of each relation, the same A for all three
    gain_masked: Tensor  # int64 (GROUPS,), tokens masked there, for each relation
    gain_pairs: Tensor  # int64 (1,), how many A


def held_out_pairs(opened: OpenPart) -> list[Batches]:
    """Give a store's held-out pairs, its share of `eval_pairs`; see `held_out_batches`."""
    pairs = max(1, round(opened.config.eval_pairs * opened.weight))
    config = opened.config.replace(eval_pairs=pairs)
    return held_out_batches(opened.tokens, opened.graph, config, anchors=config.anchors)


def held_out_batches(
    tokens: TokenStore, graph: LinkGraph | None, config: Config, *, anchors: str = "all"
) -> list[Batches]:
    """Give what a store is scored on, all of it in the micro-batches of step 0: nothing where no document is held out.

    First `config.eval_pairs` pairs as in training, but with A held out. Then, where there are links to follow, as
    many again for the gains: a third as many A, each with B contiguous, random and linked, in this order.
    """
    if not (held_out_documents(tokens.hashes, config.held_out) & (np.diff(tokens.documents) > 0)).any():
        log.warning(
            "held_out=%g leaves no document of %s to score on: it goes without scores", config.held_out, tokens.path
        )
        return []
    asked = config.replace(batch_size=config.eval_pairs)
    usable = None
    try:
        usable = Sampler(tokens, graph, asked, split="held-out", anchors="usable") if graph is not None else None
    except NoUsableAnchorError as error:
        log.warning("%s; so there is no link gain%s", error, ", and scores are of all anchors" * (anchors == "usable"))
    sampler = usable if usable and anchors == "usable" else Sampler(tokens, graph, asked, split="held-out")
    return [Batches(sampler), *(gain_batches(usable) if usable else [])]


def gain_batches(usable: Sampler) -> list[Batches]:
    """Give a third of a batch of A, the same ones with B contiguous, random and linked; nothing where one cannot be."""
    forced = [usable.forced(relation) for relation in range(3)]
    count = min(len(usable), max(1, usable.config.batch_size // 3))
    if any((each.draw(np.arange(count))[1] != relation).any() for relation, each in enumerate(forced)):
        log.warning("%s links almost everything with everything: there is no link gain", usable.store.path)
        return []
    for each in forced:
        each.config = each.config.replace(batch_size=count)
    return [Batches(each) for each in forced]


def score_model(folder: Path, stores: Sequence[Part], config: Config) -> Scores:
    """Score the model of a Hugging Face folder on what `config` holds out of stores; nothing is a ValueError."""
    with join_processes(config) as processes:
        opened = open_parts(stores, config)
        vocabulary = opened[0].tokens.vocabulary
        check_same_vocabulary(load_vocabulary(folder), vocabulary, folder)
        model = load_model(folder).to(processes.device)
        most = longest(model.config)
        if most < config.sequence_length:
            raise ValueError(
                f"{folder} has {most} positions, fewer than sequence_length={config.sequence_length}; "
                f"set sequence_length={most}"
            )
        questions = {each.part.name: batches for each in opened if (batches := held_out_pairs(each))}
        if not questions:
            raise ValueError(f"held_out={config.held_out} leaves no document to score on; raise it")
        return evaluate_stores(model, ask_of(questions, processes), processes=processes)


def ask_of(
    questions: Mapping[str, Sequence[Batches]], processes: DistributedContext
) -> dict[str, list[Iterable[Batch]]]:
    """Give this process's slice of what stores are scored on."""
    return {
        name: [each.one_by_one(0, processes.rank, processes.world_size) for each in batches]
        for name, batches in questions.items()
    }


def evaluate(
    model: PretrainingModel, *questions: Iterable[Batch], processes: DistributedContext | None = None
) -> Scores:
    """Score a model on this process's slice of what `held_out_batches` gives, and sum over all processes."""
    return evaluate_stores(model, {"": questions}, processes=processes)


def evaluate_stores(
    model: PretrainingModel,
    stores: Mapping[str, Sequence[Iterable[Batch]]],
    *,
    processes: DistributedContext | None = None,
) -> Scores:
    """Score a model on all stores' questions together, and (`Scores.stores`) on those of each store that has a name."""
    was_training = model.training
    model.eval()
    answers = {name: ask(model, questions, processes or DistributedContext()) for name, questions in stores.items()}
    model.train(was_training)
    whole = to_scores(model, Answers(*(torch.stack(sums).sum(0) for sums in zip(*answers.values(), strict=True))))
    return replace(whole, stores={name: to_scores(model, own) for name, own in answers.items() if name})


def ask(model: PretrainingModel, questions: Sequence[Iterable[Batch]], processes: DistributedContext) -> Answers:
    """Let a model guess, and sum what came over all processes."""
    device, vocabulary = processes.device, model.config.vocab_size
    classes = model.objective.relations

    def zeros(size: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(size, dtype=dtype, device=device)

    losses, gains = zeros(3, torch.float64), zeros(3 * GROUPS, torch.float64)
    masked, asked, right, table = zeros(3), zeros(GROUPS * vocabulary), zeros(GROUPS), zeros(GROUPS * 9)
    gain_masked, gain_pairs = zeros(GROUPS), zeros(1)
    pairs, *forced = questions
    for batch in (each.to(device) for each in pairs):
        predictions, real, pair = guess(model, batch)
        labels, relations = batch.masked_labels[real], batch.relations
        group, asked_of = batch.documents % GROUPS, relations != IGNORED
        losses.index_add_(0, relations[pair], predictions.mlm_losses[real].double())
        masked += torch.bincount(relations[pair], minlength=3)
        asked += torch.bincount(group[pair] * vocabulary + labels, minlength=len(asked))
        right += torch.bincount(group[pair][predictions.tokens[real] == labels], minlength=GROUPS)
        guessed = predictions.relations.argmax(-1) if classes else 0
        cells = (group * 9 + relations * 3 + guessed)[asked_of]
        table += torch.bincount(cells, minlength=len(table))
    for relation, batches in enumerate(forced):
        for batch in (each.to(device) for each in batches):
            predictions, real, pair = guess(model, batch)
            group = (batch.documents % GROUPS)[pair]
            gains.index_add_(0, relation * GROUPS + group, predictions.mlm_losses[real].double())
            if relation == LINKED:
                gain_masked += torch.bincount(group, minlength=GROUPS)
                gain_pairs += (batch.relations != IGNORED).sum()
    for tensor in (losses, masked, asked, right, table, gains, gain_masked, gain_pairs):
        all_reduce(processes, tensor)
    by_group = asked.view(GROUPS, vocabulary), right, table.view(GROUPS, 3, 3), gains.view(3, GROUPS)
    return Answers(losses, masked, *by_group, gain_masked, gain_pairs)


def guess(model: PretrainingModel, batch: Batch) -> tuple[Predictions, Tensor, Tensor]:
    """Let a model guess a batch; also which slots hold a masked token, bool (M,), and the pairs of those, int64."""
    predictions = model.predict(Inputs.of(batch), batch.masked_labels)
    real = batch.masked_labels != IGNORED
    return predictions, real, batch.pairs.flatten()[batch.masked_positions[real]]


def to_scores(model: PretrainingModel, answers: Answers) -> Scores:
    """Turn sums into Scores."""
    losses, masked_of, labels, right, cells, gains, gain_masked, gain_pairs = answers
    masked, worse = labels.sum(1).tolist(), gains[RANDOM].tolist()
    gain_of = {
        relation: clustered_gain(worse, gains[relation].tolist(), gain_masked.tolist(), int(gain_pairs))
        for relation in (CONTIGUOUS, LINKED)
    }
    commonest = int(labels.sum(0).argmax())
    confusion, names = cells.sum(0).tolist(), RELATIONS[: model.objective.relations]
    hits = cells.diagonal(dim1=1, dim2=2)  # (GROUPS, 3)
    known, found = cells[:, : len(names)], hits[:, : len(names)]  # two relations are not asked for the third
    relations = {name: clustered(hits[:, i].tolist(), cells[:, i].sum(1).tolist()) for i, name in enumerate(names)}
    return Scores(
        pairs=int(cells.sum()),
        mlm_loss=float(losses.sum()) / max(sum(masked), 1),
        mlm_accuracy=clustered(right.tolist(), masked),
        baseline_accuracy=clustered(labels[:, commonest].tolist(), masked),
        baseline_token=commonest,
        relation_accuracy=clustered(found.sum(1).tolist(), known.sum((1, 2)).tolist()) if names else None,
        relations=relations,
        confusion={name: dict(zip(names, confusion[i], strict=False)) for i, name in enumerate(names)},
        mlm_losses={
            name: float(loss) / int(count)
            for name, loss, count in zip(RELATIONS, losses, masked_of, strict=True)
            if count
        },
        link_gain=gain_of[LINKED],
        context_gain=gain_of[CONTIGUOUS],
        too_few=[name for name, share in relations.items() if share.count < ENOUGH],
    )
