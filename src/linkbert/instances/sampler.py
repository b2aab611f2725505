"""The sampler: instance numbers come in; segments, tokens, masks and relations go out.

Instance i of epoch e has the number e * anchors + i and is a pure function of (store, config, seed, number). A run
resumes from one number, and processes share a batch by taking other numbers of it. What an instance is, is in
kernels.py; here are the tables made at load, and the policy: which relation is asked of how many anchors.

An *anchor* is a place where A may be cut: a document of n tokens has ceil(n / half the room) of them. Documents that
are held out (by a hash of their id) have theirs in the split "held-out".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from linkbert.config import Config
from linkbert.instances import kernels
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import CLS, MASK, PAD, SEP, SPECIAL
from linkbert.records import CONTIGUOUS, LINKED, RANDOM, Pair, Segment

SURVEYED = 1 << 18  # anchors at which usable links are counted, where there are more
MULTIPLE = 8  # a trimmed batch is as wide as a multiple of this, which kernels on a GPU like


class Graph(Protocol):
    """What the sampler reads of a graph/links.LinkGraph."""

    offsets: np.ndarray
    targets: np.ndarray
    links: np.ndarray
    sections: np.ndarray
    in_degree: np.ndarray


@dataclass(frozen=True)
class Instances:
    """A batch of instances as numpy arrays: B instances of T places with M masks in all."""

    numbers: np.ndarray  # int64 (B,)
    pairs: np.ndarray  # int64 (B, 6): document, start and stop of A and of B, tokens of the whole store
    relations: np.ndarray  # int64 (B,)
    causes: np.ndarray  # uint8 (B,): why the relation is not the one drawn (kernels.NO_LINK and so on), as bits
    input_ids: np.ndarray  # int64 (B, T)
    token_type_ids: np.ndarray  # int64 (B, T): 0 in [CLS] A [SEP] and in padding, 1 in B [SEP]
    lengths: np.ndarray  # int64 (B,): real tokens, special ones included
    masked_positions: np.ndarray  # int64 (M,): places to predict in the flat (B * T) array, ascending
    masked_labels: np.ndarray  # int64 (M,): what stood there


class Sampler:
    """Draws the instances of one store under one configuration; it holds tables, and no state that changes.

    split: "train" (A and B from documents that are not held out) or "held-out" (A held out, B any document).
    anchors: "all", or "usable" for those alone where all three relations are possible: a link to follow and a text that
    goes on. Then the shares hold exactly, and the cuts are those of epoch 0 in every epoch.
    """

    def __init__(
        self, store: TokenStore, graph: Graph | None, config: Config, *, split: str = "train", anchors: str = "all"
    ) -> None:
        if split not in ("train", "held-out") or anchors not in ("all", "usable"):
            raise ValueError(
                f"split={split!r} anchors={anchors!r}: a split is train or held-out, anchors all or usable"
            )
        self.store, self.config, self.split = store, config, split
        room = config.sequence_length - 3
        self.held_out = held_out(store.hashes, config.held_out)
        sizes = np.diff(store.documents)
        usable = (sizes > 0) & ~self.held_out if split == "train" else sizes > 0
        anchored = usable if split == "train" else usable & self.held_out
        first = np.zeros(len(store) + 1, np.int64)
        np.cumsum(np.where(anchored, -(-sizes // (room // 2)), 0), out=first[1:])
        if first[-1] == 0:
            raise ValueError(
                f"{store.path} has no document with text in the split {split!r} (held_out={config.held_out}, "
                f"{len(store)} documents): {'raise' if split == 'held-out' else 'lower'} held_out, or take more documents"
            )
        follow = graph is not None and config.shares[LINKED] > 0
        if anchors == "usable" and graph is None:
            raise ValueError("anchors=usable needs a graph: an anchor is usable where it has a link to follow")
        edges = graph if graph is not None else _no_graph(len(store))
        if len(edges.offsets) != len(store) + 1:
            raise ValueError(
                f"the graph has {len(edges.offsets) - 1} documents, the tokens of {store.path} {len(store)}: build the graph again"
            )
        degrees = np.maximum(np.asarray(edges.in_degree, np.float64), 1)
        self.corpus = kernels.Corpus(
            tokens=store.tokens,
            documents=store.documents,
            sentences=store.sentences,
            document_sentences=store.document_sentences,
            link_tokens=store.links,
            edge_offsets=np.asarray(edges.offsets),
            edge_targets=np.asarray(edges.targets),
            edge_links=np.asarray(edges.links),
            edge_sections=np.asarray(edges.sections),
            first_anchor=first,
            usable=usable.view(np.uint8),
            partners=np.flatnonzero(usable).astype(np.int32),
            weights=degrees**-config.alpha,
            listed=np.zeros(0, np.int64),
        )
        self.plan = kernels.Plan(
            seed=config.seed,
            anchors=int(first[-1]),
            half=room // 2,
            room=room,
            linked=0.0,
            contiguous=0.0,
            scope_segment=config.scope == "segment",
            segment={"random": kernels.ANY, "lead": kernels.LEAD, "section": kernels.SECTION}[config.linked_segment],
            fixed_cuts=anchors == "usable",
        )
        ids = store.vocabulary.ids
        self.special = kernels.Special(
            pad=ids[PAD], cls=ids[CLS], sep=ids[SEP], mask=ids[MASK], size=len(store.vocabulary),
            reserved=np.sort(np.array([ids[token] for token in SPECIAL])), continues=store.vocabulary.continues,
        )  # fmt: skip
        if anchors == "usable":
            linkable, continuable = self._survey(np.arange(self.plan.anchors))
            listed = np.flatnonzero(linkable & continuable)
            if len(listed) == 0:
                raise ValueError(
                    f"no anchor of the split {split!r} of {store.path} has a usable link in scope={config.scope}"
                )
            self.corpus = self.corpus._replace(listed=listed)
            self.plan = self.plan._replace(anchors=len(listed))
            self.share_linkable = self.share_continuable = 1.0
            linked = config.shares[LINKED]
            contiguous = _split(config.shares)
        else:
            surveyed = np.arange(self.plan.anchors)
            if len(surveyed) > SURVEYED:  # every k-th, which falls on documents as the anchors do
                surveyed = surveyed[:: -(-len(surveyed) // SURVEYED)]
            linkable, continuable = self._survey(surveyed)
            self.share_linkable = float(linkable.mean()) if follow else 0.0
            self.share_continuable = float(continuable.mean())
            linked = min(0.5, config.shares[LINKED] / self.share_linkable) if self.share_linkable else 0.0
            # Of what is not linked, so much can be contiguous:
            rest = 1 - linked * self.share_linkable
            able = self.share_continuable - linked * float((linkable & continuable).mean() if follow else 0.0)
            asked = _split(config.shares)
            contiguous = min(max(asked, 0.5), asked * rest / able) if able > 0 else 0.0
        self.plan = self.plan._replace(linked=linked, contiguous=contiguous)

    def __len__(self) -> int:
        return self.plan.anchors

    def _survey(self, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        linkable, continuable = np.zeros((2, len(anchors)), np.bool_)
        kernels.survey(self.corpus, self.plan, anchors, linkable, continuable)
        return linkable, continuable

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the segments of instances, int64 (B,): (pairs (B, 6), relations (B,), causes (B,)); see Instances."""
        pairs = np.empty((len(numbers), 6), np.int64)
        relations = np.empty(len(numbers), np.int64)
        causes = np.empty(len(numbers), np.uint8)
        kernels.draw_pairs(self.corpus, self.plan, numbers, pairs, relations, causes)
        return pairs, relations, causes

    def fill(self, numbers: np.ndarray, *, trim: bool = False) -> Instances:
        """Make instances, masked, as arrays of `sequence_length` places, or (`trim`) as many as the longest needs.

        An instance's masks do not depend on the width of the array, nor on the other instances.
        """
        numbers = np.ascontiguousarray(numbers, np.int64)
        pairs, relations, causes = self.draw(numbers)
        tokens = pairs[:, 2] - pairs[:, 1] + pairs[:, 5] - pairs[:, 4]
        width = self.config.sequence_length
        if trim and len(numbers):
            width = min(width, -(-(int(tokens.max()) + 3) // MULTIPLE) * MULTIPLE)
        ids, types = np.empty((2, len(numbers), width), np.int64)
        lengths = np.empty(len(numbers), np.int64)
        most = int(mask_counts(tokens, self.config.mask_rate).sum())
        positions, labels = np.empty((2, most), np.int64)
        masks = kernels.write_instances(
            self.corpus, self.plan, self.special, numbers, pairs, self.config.mask_rate, self.config.whole_word,
            ids, types, lengths, positions, labels,
        )  # fmt: skip
        return Instances(numbers, pairs, relations, causes, ids, types, lengths, positions[:masks], labels[:masks])

    def pairs(self, numbers: np.ndarray) -> list[Pair]:
        """Draw instances as Pairs: segments with tokens counted from their document's first."""
        rows, relations, _ = self.draw(np.ascontiguousarray(numbers, np.int64))
        starts = self.store.documents
        found = []
        for (a, a_start, a_stop, b, b_start, b_stop), relation in zip(rows.tolist(), relations.tolist(), strict=True):
            first_a, first_b = int(starts[a]), int(starts[b]) if b >= 0 else b_start
            found.append(
                Pair(
                    Segment(a, a_start - first_a, a_stop - first_a),
                    Segment(b, b_start - first_b, b_stop - first_b),
                    relation,
                )
            )
        return found


def held_out(hashes: np.ndarray, share: float) -> np.ndarray:
    """Say which documents are held out: bool (N,); the same ones whatever else the store holds."""
    return hashes < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def mask_counts(tokens: np.ndarray, rate: float) -> np.ndarray:
    """Say how many tokens are masked in instances of so many (int64, special ones left out): int64.

    >>> mask_counts(np.array([2, 10, 509]), 0.15)
    array([ 1,  2, 76])
    """
    return np.maximum(1, np.rint(rate * tokens)).astype(np.int64)


def _split(shares: tuple[float, float, float]) -> float:
    rest = shares[CONTIGUOUS] + shares[RANDOM]
    return shares[CONTIGUOUS] / rest if rest else 0.5


@dataclass(frozen=True)
class _NoGraph:
    offsets: np.ndarray
    targets: np.ndarray
    links: np.ndarray
    sections: np.ndarray
    in_degree: np.ndarray


def _no_graph(documents: int) -> Graph:
    arrays = [np.zeros(documents + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int32)]
    for array in arrays:
        array.setflags(write=False)
    return _NoGraph(*arrays, np.zeros(documents, np.int32))
