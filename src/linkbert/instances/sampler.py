"""The sampler: instance numbers come in; segments, tokens, masks and relations go out.

Instance i of epoch e has the number e * anchors + i and is a pure function of (store, config, seed, number), drawn by
draw.py; here are the tables made at load, and the policy: which relation is asked of how many anchors. An *anchor* is a
place where A may be cut: a document of n tokens has ceil(n / half the room) of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.compiled import mix
from linkbert.config import Config, make_config
from linkbert.graph.links import ARRAYS, LinkGraph
from linkbert.instances import draw as kernels
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import CLS, MASK, PAD, SEP
from linkbert.records import CONTIGUOUS, LINKED, RANDOM, RELATIONS

SURVEYED = 1 << 18  # anchors at which usable links are counted, where there are more
_BLOCK = 1 << 22  # edges looked at together


class NoUsableAnchorError(ValueError):
    """A split has no anchor, or none that has all three relations."""


@dataclass(frozen=True)
class Instances:
    """A batch of instances as numpy arrays: B instances of T places with M masks in all."""

    numbers: np.ndarray  # int64 (B,)
    pairs: np.ndarray  # int64 (B, 6): document, start and stop of A and of B, tokens of the whole store
    relations: np.ndarray  # int64 (B,)
    causes: np.ndarray  # uint8 (B,): why the relation is not the one drawn (draw.CAUSES), as bits
    input_ids: np.ndarray  # int64 (B, T)
    token_type_ids: np.ndarray  # int64 (B, T): 0 in [CLS] A [SEP] and in padding, 1 in B [SEP]
    lengths: np.ndarray  # int64 (B,): real tokens, special ones included
    masked_positions: np.ndarray  # int64 (M,): places to predict in the flat (B * T) array, ascending
    masked_labels: np.ndarray  # int64 (M,): what stood there


class Sampler:
    """Draws the instances of one store under one configuration; it holds tables, and no state that changes.

    split: "train" (A and B from documents that are not held out) or "held-out" (A held out, B any document).
    anchors: "all", or "usable" for those that can have all three relations, cut as in epoch 0 (as they are in another
    epoch whose cut has no link): then the shares hold exactly.
    share: the part of a run's instances that are this store's; a masking rate that changes does so over those.
    """

    def __init__(
        self,
        store: TokenStore,
        graph: LinkGraph | None,
        config: Config,
        *,
        split: str = "train",
        anchors: str = "all",
        share: float = 1.0,
    ) -> None:
        if split not in ("train", "held-out") or anchors not in ("all", "usable"):
            raise ValueError(f"split must be train or held-out, anchors all or usable; got {split!r} and {anchors!r}")
        config = fit_config(config, store, graph)
        self.store, self.graph, self.config, self.split = store, graph, config, split
        vocabulary, ids, room = store.vocabulary, store.vocabulary.special_ids, config.sequence_length - 3
        self.pad = ids[PAD]
        self.planned = config.max_steps * config.batch_size * share  # instances
        self.corpus = _read_corpus(store, graph, config, split)
        self.plan = kernels.Plan(
            seed=config.seed,
            anchors=int(self.corpus.first_anchor[-1]),
            half=room // 2,
            room=room,
            scope_segment=config.scope == "segment",
            segment=kernels.SEGMENTS.index(config.linked_segment),
            spans=config.masking == "span",
            usable_only=anchors == "usable",
        )
        continues = np.zeros(0, bool) if config.masking == "token" else vocabulary.continues
        tokens, reserved = (ids[CLS], ids[SEP], ids[MASK]), vocabulary.reserved
        self.special = kernels.Special(tokens, reserved, len(vocabulary) - len(reserved), continues)
        every = self.plan.anchors
        counted = every if anchors == "usable" else min(every, SURVEYED)  # some anchors stand for all
        linkable, continuable = kernels.survey(self.corpus, self.plan, counted)
        if not linkable.any() and counted < every:
            linkable, continuable = kernels.survey(self.corpus, self.plan, every)
        self.linkable, self.continuable = float(linkable.mean()), float(continuable.mean())
        self.both = float((linkable & continuable).mean())
        linked, contiguous = split_shares(config.shares, self.linkable, self.continuable, self.both)
        if anchors == "usable":
            listed = np.flatnonzero(linkable & continuable)
            if len(listed) == 0:
                where = f"no anchor of the split {split!r} of {store.path}"
                raise NoUsableAnchorError(f"{where} has a link to follow and text after it, scope={config.scope}")
            self.corpus = self.corpus._replace(listed=listed)
            self.plan = self.plan._replace(anchors=len(listed))
            self.linkable = self.continuable = self.both = 1.0
            linked, contiguous = config.shares[LINKED], without_links(config.shares)[CONTIGUOUS]
        self.plan = self.plan._replace(linked=linked, contiguous=contiguous)

    @classmethod
    def open(
        cls,
        store: str | Path,
        config: Config | str | None = None,
        *,
        split: str = "train",
        anchors: str | None = None,
        **settings: Any,
    ) -> Sampler:
        """Open the sampler of a store on disk, along the graph that the settings name.

        `config` is a Config or the name of a preset, `settings` are changes to it; `anchors=None` is the config's.

        >>> sampler = Sampler.open(store, "tiny", sequence_length=64, scope="document")
        >>> made = sampler.fill(np.arange(8))  # instances 0 to 7 of epoch 0; len(sampler) is where epoch 1 starts
        >>> made.input_ids.shape, made.input_ids.dtype, made.relations.shape
        ((8, 64), dtype('int64'), (8,))
        >>> pairs, relations, causes = sampler.draw(np.arange(1_000))  # the segments alone: (1000, 6), (1000,), (1000,)
        """
        config = (config if isinstance(config, Config) else make_config(config)).replace(**settings)
        tokens, graph = TokenStore.open(store), open_graph(Path(store), config)
        return cls(tokens, graph, config, split=split, anchors=anchors or config.anchors)

    def __len__(self) -> int:
        return self.plan.anchors

    def forced(self, relation: int) -> Sampler:
        """Return the sampler of the same anchors with B of one relation, where it can be, and masks in A alone."""
        other = copy.copy(self)
        linked, contiguous = float(relation == LINKED), float(relation == CONTIGUOUS)
        other.plan = self.plan._replace(linked=linked, contiguous=contiguous, only_a=True)
        return other

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the segments of instances, int64 (B,): (pairs (B, 6), relations (B,), causes (B,)); see Instances."""
        return kernels.draw_pairs(self.corpus, self.plan, numbers)

    def write(
        self, numbers: np.ndarray, pairs: np.ndarray, starts: np.ndarray, ids: np.ndarray, types: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write drawn instances, masked, into flat int64 arrays; return the masked places and what stood there, (M,).

        `starts`, int64 (B,), is where each [CLS] goes; what no instance covers stays as it is.
        """
        drawn = numbers, np.ascontiguousarray(pairs), self._wanted(numbers, pairs), starts
        try:
            return kernels.write_instances(self.corpus, self.plan, self.special, *drawn, ids, types)
        except ValueError as error:
            path = self.store.path
            raise ValueError(f"{path}/{error}; run `linkbert check {path}`, or build it again") from None

    def count_masks(self, numbers: np.ndarray, pairs: np.ndarray) -> int:
        """Count the masks of drawn instances without keeping any: they are all written over each other."""
        if self.config.masking == "token":
            return int(self._wanted(numbers, pairs).sum())
        ids, types = np.empty((2, self.config.sequence_length), np.int64)
        return len(self.write(numbers, pairs, np.zeros(len(numbers), np.int64), ids, types)[0])

    def _wanted(self, numbers: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        tokens = pairs[:, 2] - pairs[:, 1] if self.plan.only_a else lengths_of(pairs) - 3
        return mask_counts(tokens, self.mask_rates(numbers))

    def fill(self, numbers: np.ndarray) -> Instances:
        """Make instances, masked, each in a row of `sequence_length` places."""
        numbers = np.ascontiguousarray(numbers, np.int64)
        pairs, relations, causes = self.draw(numbers)
        shape = (len(numbers), self.config.sequence_length)
        ids, types = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        starts = np.arange(len(numbers)) * shape[1]
        positions, labels = self.write(numbers, pairs, starts, ids.reshape(-1), types.reshape(-1))
        return Instances(numbers, pairs, relations, causes, ids, types, lengths_of(pairs), positions, labels)

    def mask_rates(self, numbers: np.ndarray) -> np.ndarray:
        """Return the share of tokens that is masked in each instance: float64 (B,).

        It changes linearly to mlm_probability_end, which held-out instances have: all scores are of the same questions.
        """
        start, end = self.config.mlm_probability, self.config.mlm_probability_end or self.config.mlm_probability
        passed = np.minimum(numbers / self.planned, 1.0) if self.split == "train" else np.ones(len(numbers))
        return start + (end - start) * passed

    def owners(self, numbers: np.ndarray) -> Iterator[tuple[Sampler, Any, np.ndarray]]:
        """Yield who draws instances, which of them, and their numbers there; see `Mixture.owners`."""
        yield self, slice(None), numbers

    def check_linkable(self) -> None:
        """Refuse, with a ValueError, a scope=segment that is to link pairs where no segment A has a link."""
        if self.config.scope == "segment" and self.config.shares[LINKED] and not self.linkable:
            can = f"scope=segment can link nothing: no segment A of {self.store.path} has a link"
            raise ValueError(f"{can}; take scope=document or a larger sequence_length")

    def policy(self) -> dict[str, Any]:
        """Count what becomes of the asked shares (contiguous, random, linked) in the first SURVEYED instances.

        `expected` follows from the anchors that can be linked and continued; `realised` was drawn.
        """
        counted = min(len(self), SURVEYED)
        _, relations, causes = self.draw(np.arange(counted))
        realised = np.bincount(relations, minlength=3) / counted
        linked = self.plan.linked * self.linkable
        contiguous = self.plan.contiguous * (self.continuable - self.plan.linked * self.both)
        return {
            "anchors": len(self),
            "anchors_with_usable_link": round(self.linkable * len(self)),
            "anchors_that_go_on": round(self.continuable * len(self)),
            "asked": list(self.config.shares),
            "expected": [contiguous, 1 - linked - contiguous, linked],
            "realised": realised.tolist(),
            "missing": np.maximum(np.array(self.config.shares) - realised, 0).tolist(),
            "instances_counted": counted,
            **{cause: int((causes & bit > 0).sum()) for cause, bit in kernels.CAUSES.items()},
        }


def describe_relations(sampler: Sampler) -> list[str]:
    """Describe in lines what becomes of the asked shares of relations, and why: the first lines of a run."""
    if sampler.graph is None or not len(sampler.graph.targets):
        why, found = "no links", len(sampler.store.links)
        if found and sampler.graph is None:
            why = f"{found:,} links but no graph (`linkbert graph {sampler.store.path} --method hyperlink` makes one)"
        elif found:
            why = f"{found:,} links, none to another document of the store"
        return [f"{why}: no linked pairs; this is BERT"]
    policy, scope = sampler.policy(), sampler.config.scope
    lines = [f"relations {name}: {_shares_text(policy[name])}" for name in ("asked", "realised")]
    if max(policy["missing"]) >= 0.001:
        lines.append(
            f"relations missing: {_shares_text(policy['missing'])}; of {policy['anchors']:,} places for segment A, "
            f"{policy['anchors_with_usable_link']:,} have a link to follow (scope={scope}) and "
            f"{policy['anchors_that_go_on']:,} have text after them"
        )
    if sampler.plan.usable_only:
        every = int(sampler.corpus.first_anchor[-1])
        lines.append(f"anchors=usable: {len(sampler):,} of {every:,} places for segment A are used")
    return [*lines, describe_scope(sampler)]


def describe_scope(sampler: Sampler) -> str:
    """Say which links of the graph are followed."""
    if sampler.graph is None or not (edges := len(sampler.graph.targets)):
        return "no links"
    unplaced, scope = edges - sum(_placed_edges(sampler.graph, sampler.store)), sampler.config.scope
    rest = "; these are not followed (scope=document follows all)" if unplaced else ""
    rest = "; all are followed" if scope == "document" else rest
    return f"scope={scope}: of {edges:,} links, {unplaced / edges:.1%} are document-level{rest}"


def _shares_text(shares: list[float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(RELATIONS, shares, strict=True))


def shared_tokens(made: Any, owners: np.ndarray) -> np.ndarray:
    """Return which masked tokens of Instances, or a Batch, stand in the B of their pair, too: bool (M,).

    `owners` is the pair of each place, of the shape of `input_ids`.
    """
    names = ("input_ids", "token_type_ids", "masked_positions", "masked_labels")
    ids, types, positions, labels = (np.asarray(getattr(made, name)).reshape(-1) for name in names)
    keys = owners.reshape(-1).astype(np.int64) << 32  # token ids lie below
    return np.isin(keys[positions] + labels, (keys + ids)[types > 0])


def lengths_of(pairs: np.ndarray) -> np.ndarray:
    """Count the tokens of drawn pairs, (B, 6) as in Instances, special ones included: int64 (B,)."""
    return 3 + pairs[:, 2] - pairs[:, 1] + pairs[:, 5] - pairs[:, 4]


def open_graph(store: Path, config: Config) -> LinkGraph | None:
    """Open the graph that the settings name; a store built without any has none, and its pairs are BERT's."""
    if not (store / "graphs").is_dir() and config.graph == "hyperlink":
        return None
    return LinkGraph.open(store, config.graph)


def fit_config(config: Config, store: TokenStore, graph: LinkGraph | None) -> Config:
    """Return a run's settings as they hold for one store: scope=auto is decided, and without links no pair is linked.

    An asked scope=segment where no link of the graph has a place in the text is a ValueError: it can link nothing.
    """
    if graph is None or not len(graph.targets):
        config, graph = config.replace(shares=without_links(config.shares)), None
    usable = config.scope == "document" or (graph is not None and any(_placed_edges(graph, store)))
    if config.scope == "segment" and not usable and config.shares[LINKED]:
        where = f"no link of graph {config.graph!r} of {store.path} has a place in the text"
        raise ValueError(f"{where}, so scope=segment can link nothing: take scope=document, or scope=auto")
    return config.replace(scope="segment" if usable else "document") if config.scope == "auto" else config


def without_links(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    """Leave the linked share out: (1/3, 1/3, 1/3) -> (1/2, 1/2, 0)."""
    rest = shares[CONTIGUOUS] + shares[RANDOM]
    return (shares[CONTIGUOUS] / rest, shares[RANDOM] / rest, 0.0) if rest else (0.5, 0.5, 0.0)


def _placed_edges(graph: LinkGraph, store: TokenStore) -> Iterator[int]:
    """Count the edges whose link has a place in the text, block by block."""
    for at in range(0, len(graph.links), _BLOCK):
        links = graph.links[at : at + _BLOCK]
        yield int((store.links[links[(links >= 0) & (links < len(store.links))]] >= 0).sum())


def count_anchors(sizes: np.ndarray, config: Config) -> np.ndarray:
    """Count the anchors of documents of so many tokens: int64 (N,), one for each half of the room, rounded up."""
    return -(-sizes // ((config.sequence_length - 3) // 2))


def held_out(hashes: np.ndarray, share: float) -> np.ndarray:
    """Return which documents are held out: bool (N,); the same ones whatever else the store holds."""
    return hashes < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def hash_links(hashes: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Hash links by the ids of both their documents, uint64 (E,), the same in whatever graph and direction."""
    ends = hashes[sources], hashes[targets]
    return mix(np.minimum(*ends) + mix(np.maximum(*ends)))


def mask_counts(tokens: np.ndarray, rate: np.ndarray | float) -> np.ndarray:
    """Return how many tokens are masked, at most, in instances of so many (int64, special ones left out): int64.

    >>> mask_counts(np.array([2, 10, 509]), 0.15)
    array([ 1,  2, 76])
    """
    return np.maximum(1, np.rint(rate * tokens)).astype(np.int64)


def split_shares(
    asked: tuple[float, float, float], linkable: float, continuable: float, both: float
) -> tuple[float, float]:
    """Turn asked shares into chances: (linked where A has a usable link, contiguous among the others that can be).

    `linkable`, `continuable` and `both` are the shares of anchors with a usable link, with text after them, and with
    both. What some anchors cannot have is asked more often of the others; but never in more than one half of the
    choices (linked or not; contiguous or random), unless more was asked: else A alone would tell the relation.

    >>> split_shares((1 / 3, 1 / 3, 1 / 3), 0.5, 1.0, 0.5)  # half of the anchors have a link, half of those are linked
    (0.5, 0.5)
    """
    linked = min(max(asked[LINKED], 0.5), asked[LINKED] / linkable) if linkable else 0.0
    first = without_links(asked)[CONTIGUOUS]
    able = continuable - linked * both
    return linked, min(max(first, 0.5), first * (1 - linked * linkable) / able) if able > 0 else 0.0


def _read_corpus(store: TokenStore, graph: LinkGraph | None, config: Config, split: str) -> kernels.Corpus:
    """Collect what the kernels read; damaged arrays are a ValueError, since compiled code would read on anywhere."""
    if not store.rises:
        raise ValueError(f"{store.path}/tokens is damaged: where sentences start does not rise; build it again")
    none = {"offsets": len(store) + 1, "in_degree": len(store)}  # how long arrays are where there are no edges
    edges = {key: getattr(graph, key, np.zeros(none.get(key, 0), kind)).view() for key, kind in ARRAYS.items()}
    if len(edges["offsets"]) != len(store) + 1:
        found = f"{len(store)} documents, its graph {len(edges['offsets']) - 1}"
        raise ValueError(f"{store.path} has {found}: build the graph again")
    out, sizes = held_out(store.hashes, config.held_out), np.diff(store.documents)
    usable = (sizes > 0) & ~out if split == "train" else sizes > 0
    first = np.zeros(len(store) + 1, np.int64)
    np.cumsum(np.where(usable & (out == (split == "held-out")), count_anchors(sizes, config), 0), out=first[1:])
    if first[-1] == 0:
        remedy = "raise" if split == "held-out" else "lower"
        where = f"{store.path} has no document with text in the split {split!r}"
        raise NoUsableAnchorError(f"{where}: {remedy} held_out={config.held_out}, or take more documents")
    if config.held_out_links and split == "train":
        sources = np.repeat(np.arange(len(store)), np.diff(edges["offsets"]))
        out_links = held_out(hash_links(store.hashes, sources, edges["targets"]), config.held_out_links)
        edges["links"] = np.where(out_links, kernels.HELD_OUT, edges["links"])
    if config.linked_segment == "section":
        edges["sections"] = store.find_sentences(edges["targets"], edges["sections"]).astype(np.int32)
    for array in edges.values():
        array.setflags(write=False)  # as mapped ones, so that compiled code sees one type
    arrays = {name: getattr(store, name) for name in ("tokens", "documents", "sentences", "document_sentences")}
    arrays |= {f"edge_{name}": edges[name] for name in ("offsets", "targets", "links", "sections")}
    return kernels.Corpus(
        **arrays,
        link_tokens=store.links,
        first_anchor=first,
        usable=usable.view(np.uint8),
        partners=np.flatnonzero(usable).astype(np.int32),
        weights=np.maximum(edges["in_degree"], 1.0) ** -config.alpha,
        listed=np.zeros(0, np.int64),
    )
