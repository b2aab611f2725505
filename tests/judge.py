"""Instances held to every promise by plain reading of the arrays, not by the sampler's tables."""

import numpy as np

from linkbert.graph.links import LinkGraph
from linkbert.instances.sampler import Instances, Sampler, hash_links, held_out, mask_counts
from linkbert.instances.vocabulary import CLS, MASK, PAD, SEP, UNK
from linkbert.records import CONTIGUOUS, LINKED, RANDOM


def _among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    # Not np.isin, whose hash table takes seconds for numbers as evenly spaced as these.
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def judge(sampler: Sampler, made: Instances, graph: LinkGraph | None) -> dict[str, np.ndarray]:
    """Hold instances to every promise: for each, a bool (B,) array of the instances that break it."""
    store, config, vocabulary = sampler.store, sampler.config, sampler.store.vocabulary
    count, width = made.input_ids.shape
    a, a_start, a_stop, b, b_start, b_stop = made.pairs.T
    with_b = b >= 0
    other = np.where(with_b, b, 0)
    promises = {
        name: np.zeros(count, bool)
        for name in (
            "A and B are runs of whole sentences that fit",
            "contiguous follows A, random is no linked document, linked is linked from A",
            "held-out documents are neither A nor B in training, A in evaluation",
            "tokens are [CLS] A [SEP] B [SEP], masks apart",
            "masks spare special tokens and have the asked number",
            "an instance depends on its number alone",
        )
    }
    whole, related, kept, laid_out, masked, pure = promises.values()
    starts, end = store.sentences, store.documents[-1]
    half, room = (config.sequence_length - 3) // 2, config.sequence_length - 3
    for start, stop, doc, longest in ((a_start, a_stop, a, half), (b_start, b_stop, other, room - (a_stop - a_start))):
        size = stop - start
        inside = (start >= store.documents[doc]) & (stop <= store.documents[doc + 1]) & (size > 0) & (size <= longest)
        begins, ends = _among(start, starts), _among(stop, starts) | (stop == end)
        uncut = begins & ends
        cut = (begins | ends) & (size == longest)  # one sentence that is too long
        whole |= ~(inside & (uncut | cut)) & (with_b | (doc is a))
    contiguous = made.relations == CONTIGUOUS
    related |= contiguous & ~((b == a) & (b_start == a_stop))
    related |= ~with_b & (made.relations != RANDOM)
    if config.shares[LINKED] == 0:
        related |= made.relations == LINKED
    for row in np.flatnonzero(~contiguous & with_b).tolist():
        edges = slice(0, 0) if graph is None else slice(int(graph.offsets[a[row]]), int(graph.offsets[a[row] + 1]))
        to_b = np.flatnonzero(graph.targets[edges] == b[row]) if graph is not None else np.zeros(0, int)
        if made.relations[row] == LINKED and graph is not None and config.scope == "segment":
            links = graph.links[edges][to_b]
            at = store.documents[a[row]] + store.links[links[links >= 0]]
            place = store.links[links[links >= 0]]
            to_b = np.flatnonzero((place >= 0) & (at >= a_start[row]) & (at < a_stop[row]))
        related[row] |= b[row] == a[row] or (len(to_b) > 0) != (made.relations[row] == LINKED)
    hidden = hash_links(store.hashes, a, other) < np.uint64(config.held_out_links * 2.0**64)
    related |= (made.relations == LINKED) & hidden & (sampler.split == "train")
    out = held_out(store.hashes, config.held_out)
    kept |= (out[a] | (out[other] & with_b)) if sampler.split == "train" else ~out[a]

    clean = made.input_ids.copy()
    clean.flat[made.masked_positions] = made.masked_labels
    ids = vocabulary.special_ids
    sizes = (a_stop - a_start) + (b_stop - b_start)
    for row in range(count):
        first, second = store.tokens[a_start[row] : a_stop[row]], store.tokens[b_start[row] : b_stop[row]]
        line = np.full(width, ids[PAD])
        line[: 3 + sizes[row]] = [ids[CLS], *first, ids[SEP], *second, ids[SEP]]
        kinds = np.zeros(width, int)
        kinds[2 + len(first) : 3 + sizes[row]] = 1
        same = np.array_equal(line, clean[row]) and np.array_equal(kinds, made.token_type_ids[row])
        laid_out[row] = not same or made.lengths[row] != 3 + sizes[row]
    rows = made.masked_positions // width
    masked[rows[np.isin(made.masked_labels, [ids[token] for token in (CLS, SEP, PAD, MASK)])]] = True
    number, asked = np.bincount(rows, minlength=count), mask_counts(sizes, sampler.mask_rates(made.numbers))
    masked |= (number > asked) | (number < 1) if config.masking != "token" else number != asked
    if np.any(np.diff(made.masked_positions) <= 0):
        masked[:] = True
    seen = made.input_ids.ravel()[made.masked_positions]
    changed = seen[seen != made.masked_labels]
    masked[rows[seen != made.masked_labels][np.isin(changed, [ids[token] for token in (CLS, SEP, PAD, UNK)])]] = True

    again = sampler.fill(made.numbers[::-1])
    pure |= np.any(again.input_ids[::-1] != made.input_ids, axis=1) | (again.relations[::-1] != made.relations)
    return promises
