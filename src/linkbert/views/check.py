"""Every promise of a store, verified on what is on disk: a store comes in, (promise, kept or not, detail) goes out.

In the order of the road: documents, tokens, graphs, and that pairs can be drawn. It reads everything once (some MB/s),
block by block, so that only what a document has one of is in memory whole, and repeats what can be repeated: counts,
in-degrees, and on samples the tokens. That pairs are what they should be is held by the tests of instances/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.config import Config
from linkbert.corpora.store import Store, shard_path
from linkbert.files import read_json
from linkbert.graph.links import PARTS, LinkGraph
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import LONGEST_SENTENCE, StoreTokenizer, TokenStore, hash_id, never_falls
from linkbert.instances.vocabulary import UNK
from linkbert.records import RELATIONS

SAMPLE = 500  # documents that are tokenised again
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
    disambiguation, sound = np.zeros(max(len(store), len(tokens)), bool), True
    stages = [
        ("the arrays", _check_arrays(store, tokens)),
        ("documents", _check_documents(store, tokens, disambiguation)),
    ]
    for finding in chain.from_iterable(_surely(*stage) for stage in stages):
        sound &= finding[1]
        yield finding
    names = [folder.name for folder in sorted((path / "graphs").glob("*/")) if not folder.name.endswith(PARTS)]
    for name in names:
        graphs: list[Any] = []
        yield from _guarded(f"graph {name}: opens", partial(_open_graph, graphs, path, name))
        good = sound and bool(graphs)
        for finding in _surely("the arrays", _check_graph(tokens, graphs[0], disambiguation)) if graphs else ():
            good &= finding[1]
            yield f"graph {name}: {finding[0]}", finding[1], finding[2]
        if good:
            drawing = _surely("pairs", _check_drawing(tokens, graphs[0], Config(graph=name, held_out=0.0)))
            yield from ((f"graph {name}: {promise}", ok, detail) for promise, ok, detail in drawing)
    if not names:
        yield "there is no graph", True, "no linked pairs; `linkbert graph` makes one"
    if sound:
        yield from _surely("pairs", _check_drawing(tokens, None, Config(held_out=0.0)))


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


def _check_documents(store: Store, tokens: TokenStore, disambiguation: np.ndarray) -> Iterator[Finding]:
    """Read every document once, and hold the arrays to it."""
    wrong: dict[str, list[str]] = {key: [] for key in ("read", "hash", "link", "count", "place", "tokens", "counters")}
    pieces = StoreTokenizer(tokens.vocabulary)
    every = max(1, len(store) // SAMPLE)
    number = links = sampled = 0
    counted: Counter[str] = Counter()
    for shard in range(store.shards):
        try:
            number = int(store.starts[shard])
            for document in store.documents(shard):
                if number >= len(tokens) or number >= len(store):
                    break
                links += len(document.links)
                disambiguation[number] = document.disambiguation
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
                    sampled += 1
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
    yield _finding("tokenising again gives the same tokens", wrong["tokens"], f"{sampled} documents")


def _check_graph(tokens: TokenStore, graph: LinkGraph, disambiguation: np.ndarray) -> Iterator[Finding]:
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
        found.add("lists", rows.start + np.flatnonzero(disambiguation[target]))
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
    yield "every link has one outcome", sums and meta["found"] == len(tokens.links), f"{meta['found']:,} links"


def _check_drawing(tokens: TokenStore, graph: LinkGraph | None, config: Config) -> Iterator[Finding]:
    """Draw pairs, and give the realised shares of relations."""
    policy = Sampler(tokens, graph, config).policy()
    shares = zip(RELATIONS, policy["realised"], strict=True)
    detail = ", ".join(f"{name} {share:.1%}" for name, share in shares)
    yield "pairs can be drawn", True, f"{policy['anchors']:,} places for segment A: {detail}"
