"""Every promise of a store, verified on what is on disk: a store comes in, (promise, kept or not, detail) goes out.

In the order of the road: documents, tokens, graphs, and the instances drawn from them. It reads everything once (some
MB/s), block by block, so that only what a document has one of is in memory whole, and repeats what can be repeated:
counts, in-degrees, and on samples the tokens and the resolution of links. It trusts no code that made the store: what a
sampler draws is judged here by plain reading, not by the sampler's tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.config import Config
from linkbert.corpora.store import Store, shard_path
from linkbert.files import read_json
from linkbert.graph.links import PARTS, LinkGraph
from linkbert.instances import draw as kernels
from linkbert.instances.sampler import Instances, Sampler, fit_config, held_out, mask_counts
from linkbert.instances.tokens import LONGEST_SENTENCE, TokenStore, hash_id, make_pieces, never_falls
from linkbert.instances.vocabulary import CLS, MASK, PAD, SEP, UNK
from linkbert.records import CONTIGUOUS, LINKED, RANDOM, Document

SAMPLE = 500  # documents that are tokenised again, and whose links are followed again
INSTANCES = 2_000  # instances drawn of each graph, scope and split
BLOCK = 1 << 22

Finding = tuple[str, bool, str]


def check(path: str | Path) -> Iterator[Finding]:
    """Yield every promise, whether the store keeps it, and a number or the first thing that breaks it.

    A store that cannot be read at all is one broken promise. Instances are only drawn from arrays that are sound.
    """
    path = Path(path)
    opened: list[Any] = []
    yield from _guarded("the store opens", lambda: opened.append(Store.open(path)))
    if not opened:
        return
    store = opened[0]
    yield from _guarded("the tokens open", lambda: opened.append(TokenStore.open(path)))
    if len(opened) < 2:
        return
    tokens = opened[1]
    sound = True
    notes = _Notes(max(len(store), len(tokens)))
    for finding in _surely("the arrays", _check_arrays(store, tokens)):
        sound &= finding[1]
        yield finding
    for finding in _surely("the documents", _check_documents(store, tokens, notes)):
        sound &= finding[1]
        yield finding
    for folder in sorted((path / "graphs").glob("*/")):
        name = folder.name
        if name.endswith(PARTS):
            continue
        graphs: list[Any] = []
        yield from _guarded(f"graph {name}: opens", partial(_open_graph, graphs, path, name))
        if not graphs:
            continue
        good = sound
        for finding in _surely("the arrays", _check_graph(store, tokens, graphs[0], notes)):
            good &= finding[1]
            yield f"graph {name}: {finding[0]}", finding[1], finding[2]
        if good:
            config = Config(graph=name, sequence_length=128)
            for scope in dict.fromkeys((fit_config(config, tokens, graphs[0]).scope, "document")):
                yield from _check_instances(tokens, graphs[0], config.replace(scope=scope))
    if sound:
        yield from _check_instances(tokens, None, Config(shares=(0.5, 0.5, 0.0), masking="word"))


def _open_graph(graphs: list[Any], path: Path, name: str) -> None:
    graphs.append(LinkGraph.open(path, name))


def _guarded(promise: str, action: Callable[[], Any]) -> Iterator[Finding]:
    try:
        action()
    except (ValueError, OSError, KeyError, TypeError, pa.ArrowException) as error:
        yield promise, False, " ".join(str(error).split()) or type(error).__name__
    else:
        yield promise, True, ""


def _surely(what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Pass findings on; where damage is such that the looking itself fails, that is a finding."""
    try:
        yield from findings
    except (ValueError, OSError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
        yield f"{what} can be looked at", False, f"{type(error).__name__}: {' '.join(str(error).split())}"


def _finding(promise: str, wrong: Any, detail: str = "") -> Finding:
    """Make a finding of the things that are wrong: an array of their numbers, a list, or a truth value."""
    if isinstance(wrong, np.ndarray | list):
        return promise, len(wrong) == 0, detail if len(wrong) == 0 else f"{len(wrong)} times not, first at {wrong[0]}"
    return promise, not wrong, detail


class _Wrong(dict[str, np.ndarray]):
    """The numbers that break each promise, int64, gathered block by block."""

    def __missing__(self, promise: str) -> np.ndarray:
        return np.zeros(0, np.int64)

    def add(self, promise: str, numbers: np.ndarray) -> None:
        self[promise] = np.append(self[promise], numbers)


class _Notes:
    """What the pass over the documents leaves for the graphs."""

    def __init__(self, documents: int) -> None:
        self.disambiguation = np.zeros(documents, bool)
        self.sample: dict[int, Document] = {}


def _check_arrays(store: Store, tokens: TokenStore) -> Iterator[Finding]:
    """Check the token arrays against each other."""
    meta, docs = tokens.meta, tokens.documents
    counts = {
        "documents": len(docs) - 1,
        "tokens": len(tokens.tokens),
        "sentences": len(tokens.sentences),
        "continued": len(tokens.continued),
        "links": len(tokens.links),
    }
    wrong = [f"{key} ({meta[key]}, found {found})" for key, found in counts.items() if meta[key] != found]
    wrong += [f"documents of the store ({len(store)})"] if len(store) != counts["documents"] else []
    wrong += ["hashes"] if len(tokens.hashes) != counts["documents"] else []
    yield _finding("tokens.json counts what the arrays hold", wrong, f"{len(tokens.tokens):,} tokens")
    for name, counted in (("documents", "tokens"), ("document_sentences", "sentences"), ("document_links", "links")):
        array = getattr(tokens, name)
        good = len(array) == len(docs) > 0 and array[0] == 0 and array[-1] == counts[counted]
        yield f"{name}.bin runs from 0 to the number of {counted}", bool(good and never_falls(array)), ""
    starts = tokens.sentences
    if len(tokens.document_sentences) != len(docs) or not never_falls(tokens.document_sentences) or wrong:
        yield "sentences lie in their documents", False, "not looked at: the arrays above do not fit"
        return
    found = _Wrong()
    for at in range(0, len(starts), BLOCK):
        lengths = np.diff(starts[at : at + BLOCK + 1], append=[len(tokens.tokens)] if at + BLOCK >= len(starts) else [])
        found.add("empty", at + np.flatnonzero(lengths <= 0))
        found.add("long", at + np.flatnonzero(lengths > LONGEST_SENTENCE))
    yield _finding("every sentence has a token", found["empty"])
    yield _finding(f"no sentence has more than {LONGEST_SENTENCE} tokens", found["long"])
    continued = tokens.continued
    late = (continued < 1) | (continued >= len(starts)) | (np.diff(continued, prepend=0) <= 0)
    if not late.any():
        late = starts[continued] - starts[continued - 1] != LONGEST_SENTENCE
    yield _finding("a sentence that goes on with another follows one of full length", np.flatnonzero(late))
    for at in range(0, len(docs) - 1, BLOCK):
        begins, first = docs[at : at + BLOCK + 1], tokens.document_sentences[at : at + BLOCK + 1]
        with_text, there = np.diff(begins) > 0, np.diff(first) > 0
        found.add("first", at + np.flatnonzero(there != with_text))
        both = np.flatnonzero(there & with_text)
        found.add("first", at + both[starts[first[both]] != begins[both]])
    yield _finding(
        "a document's first sentence starts with its first token", found["first"], f"{len(starts):,} sentences"
    )
    size, unknown = len(tokens.vocabulary), tokens.vocabulary.special_ids[UNK]
    special = np.zeros(max(size, 1 << 16), bool)
    special[size:] = True
    special[tokens.vocabulary.reserved] = True
    special[unknown] = False
    bad = unknowns = 0
    for at in range(0, len(tokens.tokens), BLOCK):
        block = np.minimum(tokens.tokens[at : at + BLOCK], len(special) - 1)
        bad += int(special[block].sum())
        unknowns += int((block == unknown).sum())
    share = f"{unknowns / max(1, len(tokens.tokens)):.3%} {UNK}"
    yield (
        "every token is in the vocabulary, and none but [UNK] is special",
        bad == 0,
        f"{bad} are not" if bad else share,
    )
    for start, stop, rows in _spans(tokens.document_links):
        sizes = np.repeat(np.diff(docs[start : stop + 1]), np.diff(tokens.document_links[start : stop + 1]))
        found.add("links", rows.start + np.flatnonzero((tokens.links[rows] < -1) | (tokens.links[rows] >= sizes)))
    yield _finding("links stand at tokens of their documents", found["links"], f"{len(tokens.links):,} links")


def _spans(offsets: np.ndarray) -> Iterator[tuple[int, int, slice]]:
    """Cut documents into runs of about BLOCK rows or documents: first, after the last, and their rows."""
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), start + BLOCK)
        yield start, stop, slice(int(offsets[start]), int(offsets[stop]))
        start = stop


def _check_documents(store: Store, tokens: TokenStore, notes: _Notes) -> Iterator[Finding]:
    """Read every document once, and hold the arrays to it."""
    wrong: dict[str, list[str]] = {key: [] for key in ("read", "hash", "link", "count", "place", "tokens", "counters")}
    pieces = make_pieces(tokens.vocabulary)
    every = max(1, len(store) // SAMPLE)
    number = links = 0
    counted: Counter[str] = Counter()
    for shard in range(store.shards):
        try:
            number = int(store.starts[shard])
            for document in store.documents(shard):
                if number >= len(tokens) or number >= len(store):
                    break
                links += len(document.links)
                notes.disambiguation[number] = document.disambiguation
                name = f"document {number} ({document.id!r})"
                if hash_id(document.id) != tokens.hashes[number]:
                    wrong["hash"].append(name)
                size = len(document.text)
                for link in document.links:
                    if not (0 <= link.start < link.end <= size or link.start == link.end == -1):
                        wrong["link"].append(f"{name}, {link}")
                first, last = int(tokens.document_links[number]), int(tokens.document_links[number + 1])
                placed = np.array([link.start >= 0 for link in document.links], bool)
                if last - first != len(document.links):
                    wrong["count"].append(name)
                elif np.any((tokens.links[first:last] >= 0) & ~placed):
                    wrong["place"].append(name)
                if number % every == 0:
                    notes.sample[number] = document
                    made = pieces.tokenise(document.text, document.links)
                    begin, end = tokens.document_sentences[number : number + 2]
                    same = (
                        np.array_equal(made.ids, tokens.ids(number))
                        and np.array_equal(made.links, tokens.links[first:last])
                        and np.array_equal(
                            made.continued,
                            tokens.continued[
                                np.searchsorted(tokens.continued, begin) : np.searchsorted(tokens.continued, end)
                            ]
                            - begin,
                        )
                        and np.array_equal(made.sentences, tokens.sentences[begin:end] - tokens.documents[number])
                    )
                    if not same:
                        wrong["tokens"].append(name)
                number += 1
            counters = read_json(shard_path(store.path, "documents", shard, ".json"))
            counted.update({key: counters[key] for key in ("documents", "redirects", "links")})
            rows = pq.read_metadata(shard_path(store.path, "documents", shard)).num_rows
            redirects = pq.read_metadata(shard_path(store.path, "redirects", shard)).num_rows
            if (counters["documents"], counters["redirects"]) != (rows, redirects):
                wrong["counters"].append(f"shard {shard}")
        except (ValueError, OSError, KeyError, IndexError, pa.ArrowException) as error:
            wrong["read"].append(f"shard {shard}: {' '.join(str(error).split())}")
    dropped = sum(map(len, store.dropped.values()))
    if counted["documents"] - dropped != len(store) or counted["redirects"] != store.manifest["redirects"]:
        wrong["counters"].append("store.json")
    yield _finding("every document can be read", wrong["read"], f"{number:,} documents")
    yield _finding("the counters of shards and store.json are right", wrong["counters"])
    yield _finding("hashes.bin holds the hashes of the ids", wrong["hash"])
    ordered = np.sort(tokens.hashes)
    yield _finding("no id stands twice", ordered[1:][ordered[1:] == ordered[:-1]])
    yield _finding("links have an anchor within the text, or no place", wrong["link"], f"{links:,} links")
    yield _finding("links.bin has every link of every document", wrong["count"])
    yield _finding("a link without a place in the text has none in the tokens", wrong["place"])
    yield _finding("tokenising again gives the same tokens", wrong["tokens"], f"{len(notes.sample)} documents")


def _check_graph(store: Store, tokens: TokenStore, graph: LinkGraph, notes: _Notes) -> Iterator[Finding]:
    """Check a graph's arrays, and follow the links of some documents again."""
    offsets, targets, meta = np.asarray(graph.offsets), np.asarray(graph.targets), graph.meta
    size = len(tokens)
    rising = len(offsets) == size + 1 and offsets[0] == 0 and offsets[-1] == len(targets) and never_falls(offsets)
    yield "offsets.bin runs from 0 to the number of edges", bool(rising), f"{len(targets):,} edges"
    if not rising:
        return
    found = _Wrong()
    for at in range(0, len(targets), BLOCK):
        block = targets[at : at + BLOCK]
        found.add("outside", at + np.flatnonzero((block < 0) | (block >= size)))
    yield _finding("every target is a document", found["outside"])
    if len(found["outside"]):
        return
    degrees = np.zeros(size, np.int32)
    for first, last, rows in _spans(offsets):
        source = np.repeat(np.arange(first, last), np.diff(offsets[first : last + 1]))
        target, links = targets[rows], np.asarray(graph.links[rows])
        found.add("self", rows.start + np.flatnonzero(target == source))
        lowest, highest = tokens.document_links[source], tokens.document_links[source + 1]
        found.add("links", rows.start + np.flatnonzero((links >= 0) & ((links < lowest) | (links >= highest))))
        falling = (np.diff(source) == 0) & (np.diff(links) <= 0) & (links[1:] >= 0)
        found.add("order", rows.start + np.flatnonzero(falling))
        sections = tokens.find_sentences(target, np.asarray(graph.sections[rows]))
        sentences = tokens.document_sentences[target + 1] - tokens.document_sentences[target]
        found.add("sections", rows.start + np.flatnonzero((sections < -1) | (sections >= np.maximum(sentences, 1))))
        found.add("lists", rows.start + np.flatnonzero(notes.disambiguation[target]))
        keys = np.sort(source * size + target)
        np.add.at(degrees, keys[np.diff(keys, prepend=-1) > 0] % size, 1)
    yield _finding("no document links to itself", found["self"])
    yield _finding("every edge's link is one of its document", found["links"])
    yield _finding("a document's edges are in the order of its links", found["order"])
    yield _finding("sections start at a sentence of the target", found["sections"])
    yield _finding("in_degree.bin counts distinct source documents", np.flatnonzero(degrees != graph.in_degree))
    if meta["method"] != "hyperlink":
        return
    yield _finding("no edge leads to a disambiguation page", found["lists"])
    sums = meta["found"] == meta["resolved"] + meta["dead"] and meta["resolved"] == sum(
        meta[key] for key in ("edges", "self", "disambiguation")
    )
    yield "every link has one fate", sums and meta["found"] == len(tokens.links), f"{meta['found']:,} links"
    yield _finding("links lead where they name, and nowhere else", *_follow_again(store, tokens, graph, notes))


def _follow_again(store: Store, tokens: TokenStore, graph: LinkGraph, notes: _Notes) -> tuple[list[str], str]:
    """Resolve the links of the sampled documents by their names, redirect by redirect.

    A link with an edge must come to its target; one without must come to no document, its own, or a disambiguation.
    """
    order = np.argsort(tokens.hashes)
    ordered = tokens.hashes[order]

    def find(name: str) -> int:
        at = int(np.searchsorted(ordered, np.uint64(hash_id(name))))
        return int(order[at]) if at < len(ordered) and ordered[at] == hash_id(name) else -1

    waiting: dict[str, list[tuple[int, int, str]]] = {}  # by name: (target or -1, document, what to say)
    for number, document in notes.sample.items():
        edges = slice(int(graph.offsets[number]), int(graph.offsets[number + 1]))
        places = (graph.links[edges] - tokens.document_links[number]).tolist()
        targets = dict(zip(places, graph.targets[edges].tolist(), strict=True))
        for place, link in enumerate(document.links):
            what = targets.get(place, -1), number, f"{document.id!r}: {link}"
            waiting.setdefault(link.target, []).append(what)
    followed = sum(map(len, waiting.values()))
    wrong: list[str] = []
    for _ in range(1 << 10):
        left: dict[str, list[tuple[int, int, str]]] = {}
        for name, links in waiting.items():
            found = find(name)
            if found < 0:
                left[name] = links
                continue
            nowhere = notes.disambiguation[found]
            wrong += [what for target, own, what in links if target != (-1 if nowhere or found == own else found)]
        aliases: dict[str, str] = {}
        for shard in range(store.shards if left else 0):
            table = pq.read_table(shard_path(store.path, "redirects", shard), columns=["source", "target"])
            for row in table.filter(pa.compute.is_in(table["source"], pa.array(list(left), pa.string()))).to_pylist():
                aliases.setdefault(row["source"], row["target"])
        waiting = {}
        for name, links in left.items():
            if name in aliases:
                waiting.setdefault(aliases[name], []).extend(links)
            else:
                wrong += [what for target, _, what in links if target >= 0]
        if not waiting:
            break
    wrong += [what for links in waiting.values() for target, _, what in links if target >= 0]  # round in a circle
    return wrong, f"{followed:,} links of {len(notes.sample)} documents"


def _check_instances(tokens: TokenStore, graph: LinkGraph | None, config: Config) -> Iterator[Finding]:
    """Draw instances of both splits and judge each by reading the arrays."""
    name = f"instances ({config.graph}, {config.scope})" if graph is not None else "instances (no graph, whole words)"
    share, with_text = config.held_out, np.diff(tokens.documents) > 0
    while share < 0.5 and not (held_out(tokens.hashes, share) & with_text).any():
        share *= 2  # a small store
    if not (~held_out(tokens.hashes, share) & with_text).any():
        share = 0.0  # one so small that nothing would be left to train on
    config = config.replace(held_out=share)
    for split in ("train", "held-out"):
        try:
            sampler = Sampler(tokens, graph, config, split=split)
        except ValueError as error:
            if "no document with text" not in str(error):
                raise
            yield f"{name}, {split}: there are documents for it", split == "held-out", str(error)
            continue
        made = sampler.fill(np.arange(INSTANCES))
        for promise, wrong in judge(sampler, made, graph).items():
            yield _finding(f"{name}, {split}: {promise}", np.flatnonzero(wrong) if wrong.ndim else bool(wrong))
        policy = sampler.policy()
        sigma = np.sqrt(np.array(policy["expected"]) * (1 - np.array(policy["expected"])) / policy["instances_counted"])
        far = np.abs(np.array(policy["realised"]) - policy["expected"]) > 6 * sigma + 2 / policy["instances_counted"]
        realised = ", ".join(f"{value:.1%}" for value in policy["realised"])
        yield (
            f"{name}, {split}: relations have the expected shares",
            policy["random_gave_up"] > 0 or not far.any(),
            realised,
        )
    index = np.arange(1_000)
    key = np.uint64(config.seed)
    moved = np.array([kernels.permute(i, len(index), key) for i in index])
    yield f"{name}: the order is a permutation", np.array_equal(np.sort(moved), index), ""


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
