"""Evaluation of a model on documents that it has not seen, in fp32, so that scores do not depend on the micro-batch.

In: a model and the batches of step 0 of held-out anchors, the same at every evaluation. Out: Scores (scores.py). Link
gain is what an encoder takes across a link: the same A under the same masks next to a linked B, and next to a random
one. It needs no relation head, so a BERT that never saw a link can be asked as well.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linkbert.config import Config
from linkbert.instances.batches import Batches, Gather
from linkbert.instances.mixture import OpenPart, open_parts
from linkbert.instances.parts import Part
from linkbert.instances.sampler import NoUsableAnchorError, Sampler, held_out, shared_tokens
from linkbert.instances.vocabulary import check_same_vocabulary, load_vocabulary
from linkbert.model.checkpoint import check_room, load_model
from linkbert.model.device import send_batch
from linkbert.model.heads import Inputs, PretrainingModel
from linkbert.model.step import rows_at_once
from linkbert.pretraining.distributed import DistributedContext, all_reduce, check_stop, gather, join_processes
from linkbert.pretraining.scores import ENOUGH, Scores, clustered, clustered_gain
from linkbert.records import CONTIGUOUS, IGNORED, LINKED, RANDOM, RELATIONS

FEW = 10  # documents: scores of fewer say little
ALONE = DistributedContext()
GROUPS = 64  # documents of A are the units of an interval; their numbers modulo this, so that counts stay small

log = logging.getLogger(__name__)


def held_out_batches(opened: OpenPart, rows: int = 0, *, processes: DistributedContext = ALONE) -> list[Batches]:
    """Give what a store is scored on, all of it in the micro-batches of step 0: nothing where no document is held out.

    First its share of `eval_pairs`, pairs as in training, but with A held out. Then, where there are links to follow,
    as many again for the gains: a third as many A, each with B contiguous, random and linked, in this order. `rows` is
    the size of a micro-batch (0: as the settings say).
    """
    tokens, graph, config = opened.tokens, opened.graph, opened.config
    real = np.diff(tokens.documents) > 0
    count = int((held_out(tokens.hashes, config.held_out) & real).sum())
    if not count:
        log.warning("held_out=%g leaves no document of %s to score on: no scores", config.held_out, tokens.path)
        return []
    if count < FEW:
        few = f"only {count} document{'s' * (count > 1)} of {tokens.path} held out"
        share = max(0.1, min(0.5, 1.5 * FEW / int(real.sum())))
        log.warning("%s: scores say little; train with held_out=%.2g", few, share)
    size = max(1, round(config.eval_pairs * opened.weight))
    config = config.replace(batch_size=size, micro_batch_size=rows or config.micro_batch_size)
    wanted, usable = config.anchors == "usable", None
    try:
        usable = Sampler(tokens, graph, config, split="held-out", anchors="usable") if graph is not None else None
    except NoUsableAnchorError as error:
        log.warning("%s; so there is no link gain%s", error, ", and scores are of all anchors" * wanted)
    sampler = usable if usable and wanted else Sampler(tokens, graph, config, split="held-out")
    told = partial(gather, processes)
    return [Batches(sampler, gather=told), *(gain_batches(usable, told) if usable else [])]


def gain_batches(usable: Sampler, gather: Gather) -> list[Batches]:
    """Give a third of a batch of A, the same ones with B contiguous, random and linked; nothing where one cannot be."""
    forced = [usable.forced(relation) for relation in range(3)]
    count = min(len(usable), max(1, usable.config.batch_size // 3))
    if any((each.draw(np.arange(count))[1] != relation).any() for relation, each in enumerate(forced)):
        log.warning("%s links almost everything with everything: there is no link gain", usable.store.path)
        return []
    return [Batches(each, batch_size=count, gather=gather) for each in forced]


@contextmanager
def scoring(
    folder: Path, stores: Sequence[Part], config: Config, *, head: str = "masked-token"
) -> Iterator[tuple[PretrainingModel, list[OpenPart], DistributedContext]]:
    """Open stores and the model of a Hugging Face folder, to score it; without a trained `head` it is refused."""
    with join_processes(config) as processes:
        opened = open_parts(stores, config)
        check_same_vocabulary(load_vocabulary(folder), opened[0].tokens.vocabulary, folder)
        model = load_model(folder, sequence_length=config.sequence_length, head=head)
        check_room(model, len(opened[0].tokens.vocabulary), folder)
        yield model.to(processes.device).eval(), opened, processes


def score_model(folder: Path, stores: Sequence[Part], config: Config) -> Scores:
    """Score the model of a Hugging Face folder on what `config` holds out of stores; nothing is a ValueError."""
    with scoring(folder, stores, config) as (model, opened, processes):
        rows = rows_at_once(model, config)
        asked = {each.part.name: held_out_batches(each, rows, processes=processes) for each in opened}
        if not (questions := {name: batches for name, batches in asked.items() if batches}):
            raise NoUsableAnchorError(f"held_out={config.held_out} leaves no document to score on; train with more")
        return evaluate(model, questions, processes)


def evaluate(model: PretrainingModel, stores: Mapping[str, Sequence[Batches]], processes: DistributedContext) -> Scores:
    """Score a model on what `held_out_batches` gives of all stores, and (`Scores.stores`) of each that has a name.

    Where the run is asked to stop, it ends before the next batch with an InterruptedError.
    """
    was_training = model.training
    model.eval()
    answers = {name: ask(model, questions, processes) for name, questions in stores.items()}
    model.train(was_training)
    names = next(iter(answers.values()))
    whole = {name: torch.stack([own[name] for own in answers.values()]).sum(0) for name in names}
    by_store = {name: to_scores(model, own) for name, own in answers.items() if name}
    return replace(to_scores(model, whole), stores=by_store)


def ask(model: PretrainingModel, questions: Sequence[Batches], processes: DistributedContext) -> dict[str, Tensor]:
    """Let a model guess; sum what came over its pairs, each process's slice, most of it by group of documents."""
    vocabulary, classes = model.config.vocab_size, model.objective.relations
    zeros = partial(torch.zeros, dtype=torch.int64, device=processes.device)
    answers = {
        "losses": zeros(3, dtype=torch.float64),  # over masked tokens, by relation of their pair
        "masked": zeros(3),  # how many those are
        "asked": zeros(GROUPS, vocabulary),  # how often each token was masked
        "right": zeros(GROUPS),  # masked tokens guessed right
        "table": zeros(GROUPS, 3, 3),  # true by predicted relation
        "gains": zeros(2, 3, GROUPS, dtype=torch.float64),  # loss on tokens of A by the relation of B; of shared ones
        "gain_masked": zeros(2, GROUPS, dtype=torch.float64),  # tokens masked there, for each relation
        "gain_pairs": zeros(()),  # how many A
    }
    for made in questions[0].one_by_one(0, processes.rank, processes.world_size):
        check_stop(processes)
        batch = send_batch(made, processes.device)
        predictions = model.predict(Inputs.of(batch), batch.masked_labels)
        real = batch.masked_labels != IGNORED  # slots that hold a masked token
        pair = batch.pairs.flatten()[batch.masked_positions[real]]  # of each of those
        labels, relations, group = batch.masked_labels[real], batch.relations, batch.documents % GROUPS
        losses, asked_of = predictions.mlm_losses[real].double(), relations != IGNORED
        answers["losses"].index_add_(0, relations[pair], losses)
        add_counts(answers["masked"], relations[pair])
        add_counts(answers["asked"], group[pair] * vocabulary + labels)
        add_counts(answers["right"], group[pair][predictions.tokens[real] == labels])
        guessed = predictions.relations.argmax(-1) if classes else 0
        add_counts(answers["table"], (group * 9 + relations * 3 + guessed)[asked_of])
    tables = [masked_losses(model, batches, processes) for batches in questions[1:]]
    if tables:
        numbers, _, documents, shared, _ = tables[LINKED]
        groups, counts = documents.long() % GROUPS, torch.stack([torch.ones_like(shared), shared])
        answers["gain_pairs"] += len(numbers.unique())
        answers["gain_masked"].index_add_(1, groups, counts)
        for relation, table in enumerate(tables):
            answers["gains"][:, relation].index_add_(1, groups, table[4] * counts)
    for tensor in answers.values():
        all_reduce(processes, tensor)
    return answers


def masked_losses(model: PretrainingModel, batches: Batches, processes: DistributedContext) -> Tensor:
    """Let a model guess masked tokens of A, in their own order, whatever the micro-batch: float64 (5, K).

    The rows are each token's instance, its place there, A's document, whether it stands in B, too, and its loss.
    """
    found = []
    for made in batches.one_by_one(0, processes.rank, processes.world_size):
        check_stop(processes)
        batch = send_batch(made, processes.device)
        losses = model.predict(Inputs.of(batch), batch.masked_labels).mlm_losses.double()
        real = batch.masked_labels != IGNORED
        at = batch.masked_positions[real]
        pair, place = batch.pairs.flatten()[at], batch.positions.flatten()[at]
        shared = torch.from_numpy(shared_tokens(made, made.pairs.numpy())).to(processes.device)[real]
        found.append(torch.stack([batch.numbers[pair], place, batch.documents[pair], shared, losses[real]]))
    table = torch.cat(found, 1)
    return table[:, (table[0] * 2**20 + table[1]).argsort()]


def add_counts(counts: Tensor, numbers: Tensor) -> None:
    """Count numbers, in place: each is a place in the flat `counts`."""
    counts += torch.bincount(numbers, minlength=counts.numel()).view_as(counts)


def to_scores(model: PretrainingModel, answers: dict[str, Tensor]) -> Scores:
    """Turn sums into Scores."""
    losses, masked_of, labels, right, cells, gains, gain_masked, gain_pairs = answers.values()
    masked, commonest = labels.sum(1).tolist(), int(labels.sum(0).argmax())
    sums, counts, asked = gains.tolist(), gain_masked.tolist(), ((0, LINKED), (1, LINKED), (0, CONTIGUOUS))
    link_gain, shared_gain, context_gain = (
        clustered_gain(sums[which][RANDOM], sums[which][own], counts[which], int(gain_pairs)) for which, own in asked
    )
    confusion, names = cells.sum(0).tolist(), RELATIONS[: model.objective.relations]
    hits = cells.diagonal(dim1=1, dim2=2)  # (GROUPS, 3)
    known, found = cells[:, : len(names)], hits[:, : len(names)]  # two relations are not asked for the third
    relations = {name: clustered(hits[:, i].tolist(), cells[:, i].sum(1).tolist()) for i, name in enumerate(names)}
    by_relation = zip(RELATIONS, losses.tolist(), masked_of.tolist(), strict=True)
    return Scores(
        pairs=int(cells.sum()),
        mlm_loss=float(losses.sum()) / max(sum(masked), 1),
        mlm_accuracy=clustered(right.tolist(), masked),
        baseline_accuracy=clustered(labels[:, commonest].tolist(), masked),
        baseline_token=commonest,
        relation_accuracy=clustered(found.sum(1).tolist(), known.sum((1, 2)).tolist()) if names else None,
        relations=relations,
        confusion={name: dict(zip(names, confusion[i], strict=False)) for i, name in enumerate(names)},
        mlm_losses={name: loss / count for name, loss, count in by_relation if count},
        link_gain=link_gain,
        shared_gain=shared_gain,
        context_gain=context_gain,
        too_few=[name for name, share in relations.items() if share.count < ENOUGH],
    )
