"""Whether the files of a store are consistent: a store comes in, (promise, kept or not, detail) goes out.

In the order of the road: documents, tokens, graphs, and that pairs can be drawn. Everything is read block by block, so
that only arrays of one number a document are in memory whole. Counts and in-degrees are counted again; a sample of
documents is tokenised and its links are followed again. The tests of instances/ hold pairs to what they should be.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.config import Config
from linkbert.corpora.store import Store, read_counters, shard_path
from linkbert.files import one_line, runs_to
from linkbert.graph.links import PARTS, LinkGraph
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import LONGEST_SENTENCE, OFFSETS, StoreTokenizer, TokenStore, hash_id
from linkbert.instances.vocabulary import UNK
from linkbert.records import RELATIONS, Document
from linkbert.views.shape import distinct_edges

SAMPLE = 500  # documents that are tokenised, and whose links are followed, again
BLOCK = 1 << 22  # numbers of an array looked at together
LEFT = ("*.part", "*.parts", "*/*.part", "*/*.parts", "plan.json", "links.sqlite", "survey-*", "joins")
DAMAGE = (ValueError, OSError, KeyError, IndexError, TypeError, pa.ArrowException)

Finding = tuple[str, bool, str]
Documents = dict[int, Document]


def check(path: str | Path) -> Iterator[Finding]:
    """Yield every promise, whether the store keeps it, and a number or the first thing that breaks it.

    A store that cannot be read at all is one broken promise. Pairs are only drawn from arrays that are sound.
    """
    path = Path(path)
    if left := sorted(str(each.relative_to(path)) for form in LEFT for each in path.glob(form)):
        yield "unfinished work is no part of it", True, f"{', '.join(left)}: run its command again, or remove it"
    if (store := (yield from _opened("the store opens", Store.open, path))) is None:
        return
    if (tokens := (yield from _opened("the tokens open", partial(TokenStore.open, whole=False), path))) is None:
        return
    lists, sample = np.zeros(max(len(store), len(tokens)), bool), Documents()
    sound = yield from _looked_at("the arrays", _check_arrays(store, tokens))
    sound &= yield from _looked_at("documents", _check_documents(store, tokens, lists, sample))
    names = [folder.name for folder in sorted((path / "graphs").glob("*/")) if not folder.name.endswith(PARTS)]
    for name in names:
        prefix = f"graph {name}: "
        graph = yield from _opened(f"{prefix}opens", partial(LinkGraph.open, whole=False), path, name)
        if graph is not None:
            good = yield from _looked_at("the arrays", _check_graph(tokens, graph, lists, sample), prefix)
            if good and sound:
                yield from _looked_at("pairs", _check_drawing(tokens, graph, name), prefix)
    if not names:
        yield "there is no graph", True, "no linked pairs; `linkbert graph` makes one"
    if sound:
        yield from _looked_at("pairs", _check_drawing(tokens, None, "hyperlink"))


def _opened(promise: str, action: Callable[..., Any], *arguments: Any) -> Generator[Finding, None, Any]:
    """Yield whether something opens, and return it, or None."""
    try:
        opened = action(*arguments)
    except DAMAGE as error:
        yield promise, False, one_line(error)
        return None
    yield promise, True, ""
    return opened


def _looked_at(what: str, findings: Iterator[Finding], prefix: str = "") -> Generator[Finding, None, bool]:
    """Yield findings, and return whether all promises are kept; damage that ends the search is a finding too."""
    sound = True
    try:
        for promise, kept, detail in findings:
            sound &= kept
            yield prefix + promise, kept, detail
    except DAMAGE as error:
        yield f"{prefix}{what} can be looked at", False, f"{type(error).__name__}: {one_line(error)}"
        return False
    return sound


def _finding(promise: str, wrong: np.ndarray | list[str], detail: str = "") -> Finding:
    """Make a finding of the things that are wrong, such as an array of their numbers."""
    return promise, not len(wrong), f"{len(wrong)} times not, first at {wrong[0]}" if len(wrong) else detail


def _where(count: int, wrong: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Find the numbers below `count` that are wrong, of which `wrong` is asked a block at a time."""
    blocks = (np.arange(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK))
    return np.concatenate([np.zeros(0, np.int64), *(block[wrong(block)] for block in blocks)])


def _check_arrays(store: Store, tokens: TokenStore) -> Iterator[Finding]:
    """Check the token arrays against each other; that they are as long as tokens.json says held when they opened."""
    docs, starts, continued = tokens.documents, tokens.sentences, tokens.continued
    wrong = [f"documents of the store ({len(store)})"] if len(store) != len(tokens) else []
    yield _finding("tokens.json counts what the arrays hold", wrong, f"{len(tokens.tokens):,} tokens")
    for name, counted in OFFSETS.items():
        rises = runs_to(getattr(tokens, name), len(getattr(tokens, counted)))
        wrong += [] if rises else [name]
        yield f"{name}.bin runs from 0 to the number of {counted}", rises, ""
    if wrong:
        yield "sentences lie in their documents", False, "not looked at: the arrays above do not fit"
        return

    def length(sentence: np.ndarray) -> np.ndarray:
        after = np.minimum(sentence + 1, len(starts) - 1)
        return np.where(after > sentence, starts[after], len(tokens.tokens)) - starts[sentence]

    def misplaced(doc: np.ndarray) -> np.ndarray:
        begin, first, text = docs[doc], tokens.document_sentences[doc], docs[doc + 1] > docs[doc]
        return (np.searchsorted(starts, begin) != first) | (np.searchsorted(starts, begin + text) != first + text)

    def astray(link: np.ndarray) -> np.ndarray:
        doc = np.searchsorted(tokens.document_links, link, side="right") - 1
        return (tokens.links[link] < -1) | (tokens.links[link] >= docs[doc + 1] - docs[doc])

    empty = _where(len(starts), lambda sentence: length(sentence) <= 0)
    yield _finding("every sentence has a token", empty)
    long = _where(len(starts), lambda sentence: length(sentence) > LONGEST_SENTENCE)
    yield _finding(f"no sentence has more than {LONGEST_SENTENCE} tokens", long)
    late = (continued < 1) | (continued >= len(starts)) | (np.diff(continued, prepend=0) <= 0)
    if not late.any():
        late = length(continued - 1) != LONGEST_SENTENCE
    yield _finding("a sentence that goes on with another follows one of full length", np.flatnonzero(late))
    first = _where(len(tokens), misplaced)
    yield _finding("a document's first sentence starts with its first token", first, f"{len(starts):,} sentences")
    size, unknown = len(tokens.vocabulary), tokens.vocabulary.special_ids[UNK]
    counts = np.zeros(size + 1, np.int64)  # the last place is for what is not in the vocabulary
    for at in range(0, len(tokens.tokens), BLOCK):
        counts += np.bincount(np.minimum(tokens.tokens[at : at + BLOCK].astype(np.int64), size), minlength=size + 1)
    bad = int(counts[np.setdiff1d([*tokens.vocabulary.reserved, size], [unknown])].sum())
    detail = f"{bad} are not" if bad else f"{counts[unknown] / max(1, len(tokens.tokens)):.3%} {UNK}"
    yield "every token is in the vocabulary, and none but [UNK] is special", not bad, detail
    links = _where(len(tokens.links), astray)
    yield _finding("links stand at tokens of their documents", links, f"{len(tokens.links):,} links")


def _check_documents(store: Store, tokens: TokenStore, lists: np.ndarray, sample: Documents) -> Iterator[Finding]:
    """Read every document once, and hold the arrays to it; find those of a `sample`, and which are but `lists`."""
    pieces, every = StoreTokenizer(tokens.vocabulary), max(1, len(store) // SAMPLE)
    unread, counters, counted = list[str](), list[str](), Counter[str]()
    wrong = np.zeros((len(lists), 5), bool)
    documents = links = 0
    for shard in range(store.shards):
        try:
            for number, document in enumerate(store.documents(shard), int(store.starts[shard])):
                if number >= min(len(tokens), len(store)):
                    break
                documents, links = number + 1, links + len(document.links)
                lists[number] = document.disambiguation
                if number % every == 0:
                    sample[number] = document
                wrong[number] = _faults(tokens, number, document, pieces if number in sample else None)
            kept = read_counters(store.path, shard)
            counted.update({key: kept[key] for key in ("documents", "redirects", "links")})
            for part in ("documents", "redirects"):
                if kept[part] != pq.read_metadata(shard_path(store.path, part, shard)).num_rows:
                    counters.append(f"shard {shard}")
        except DAMAGE as error:
            unread.append(f"shard {shard}: {one_line(error)}")
    counted["documents"] -= sum(map(len, store.dropped.values()))
    names = {"documents": "documents", "redirects": "redirects", "links": "links_found"}
    if any(counted[key] != store.manifest[name] for key, name in names.items()):
        counters.append("store.json")
    hashes, anchors, missing, placed, again = (np.flatnonzero(column) for column in wrong.T)
    ordered = np.sort(tokens.hashes)
    yield _finding("every document can be read", unread, f"{documents:,} documents")
    yield _finding("the counters of shards and store.json are right", counters)
    yield _finding("hashes.bin holds the hashes of the ids", hashes)
    yield _finding("no id stands twice", ordered[1:][ordered[1:] == ordered[:-1]])
    yield _finding("links have an anchor within the text, or no place", anchors, f"{links:,} links")
    yield _finding("links.bin has every link of every document", missing)
    yield _finding("a link without a place in the text has none in the tokens", placed)
    yield _finding("tokenising again gives the same tokens", again, f"{len(sample)} documents")


def _faults(tokens: TokenStore, number: int, document: Document, pieces: Any) -> tuple[bool, ...]:
    """Say which of the last promises of `_check_documents` a document breaks; with `pieces` it is tokenised again."""
    first, last = tokens.document_links[number : number + 2].tolist()
    size, links, places, again = len(document.text), document.links, tokens.links[first:last], False
    if pieces is not None:
        start, stop = tokens.document_sentences[number : number + 2]
        continued = tokens.continued[slice(*np.searchsorted(tokens.continued, (start, stop)))] - start
        stored = tokens.ids(number), tokens.sentences[start:stop] - tokens.documents[number], places, continued
        again = not all(map(np.array_equal, pieces.tokenise(document.text, links), stored))
    return (
        hash_id(document.id) != tokens.hashes[number],
        any(not 0 <= link.start < link.end <= size and not link.start == link.end == -1 for link in links),
        last - first != len(links),
        any(place >= 0 > link.start for place, link in zip(places.tolist(), links, strict=False)),
        again,
    )


def _check_graph(tokens: TokenStore, graph: LinkGraph, lists: np.ndarray, sample: Documents) -> Iterator[Finding]:
    """Check a graph's arrays against the tokens and, where it is of hyperlinks, its links against the documents."""
    offsets, targets, links, meta = graph.offsets, graph.targets, graph.links, graph.meta
    rises, count = len(offsets) == len(tokens) + 1 and runs_to(offsets, len(targets)), len(targets)
    yield "offsets.bin runs from 0 to the number of edges", rises, f"{count:,} edges"
    if rises:
        yield "every target is a document", graph.leads_to_documents, ""
    if not (rises and graph.leads_to_documents):
        return

    def source(edge: np.ndarray) -> np.ndarray:
        return np.searchsorted(offsets, edge, side="right") - 1

    def foreign(edge: np.ndarray) -> np.ndarray:
        doc = np.searchsorted(tokens.document_links, links[edge], side="right") - 1
        return (links[edge] >= 0) & (doc != source(edge))

    def unordered(edge: np.ndarray) -> np.ndarray:
        before = edge - (edge > offsets[source(edge)])  # the first of a document is its own
        return (before < edge) & (links[edge] >= 0) & (links[edge] <= links[before])

    def beyond(edge: np.ndarray) -> np.ndarray:
        sections = tokens.find_sentences(targets[edge], graph.sections[edge])
        sizes = tokens.document_sentences[targets[edge] + 1] - tokens.document_sentences[targets[edge]]
        return (sections < -1) | (sections >= np.maximum(sizes, 1))

    yield _finding("no document links to itself", _where(count, lambda edge: targets[edge] == source(edge)))
    yield _finding("every edge's link is one of its document", _where(count, foreign))
    yield _finding("a document's edges are in the order of its links", _where(count, unordered))
    yield _finding("sections start at a sentence of the target", _where(count, beyond))
    degrees = np.zeros(len(tokens), np.int32)
    for _, _, _, target in distinct_edges(graph):
        np.add.at(degrees, target, 1)
    yield _finding("in_degree.bin counts distinct source documents", np.flatnonzero(degrees != graph.in_degree))
    if meta["method"] != "hyperlink":
        return
    yield _finding("no edge leads to a disambiguation page", _where(count, lambda edge: lists[targets[edge]]))
    outcomes = meta["edges"] + meta["self"] + meta["disambiguation"]
    whole = len(tokens.links) == meta["found"] == meta["resolved"] + meta["dead"] and meta["resolved"] == outcomes
    lost = _lost_links(tokens, graph, lists, sample)
    detail = f"link {lost[0]} does not lead to the document that it names" if lost else f"{meta['found']:,} links"
    yield "every link has one outcome", whole and not lost, detail


def _lost_links(tokens: TokenStore, graph: LinkGraph, lists: np.ndarray, sample: Documents) -> list[int]:
    """List the links of sampled documents whose target is the id of a document here, and that do not lead there."""
    lost, order = [], np.argsort(tokens.hashes)
    for number, document in sample.items():
        edges = slice(*graph.offsets[number : number + 2])
        leads = dict(zip(graph.links[edges].tolist(), graph.targets[edges].tolist(), strict=True))
        names = np.array([hash_id(link.target) for link in document.links], np.uint64)
        named = order[np.searchsorted(tokens.hashes, names, sorter=order) % len(order)]
        meant = (tokens.hashes[named] == names) & (named != number) & ~lists[named]
        first = int(tokens.document_links[number])
        lost += [first + i for i in np.flatnonzero(meant).tolist() if leads.get(first + i) != named[i]]
    return lost


def _check_drawing(tokens: TokenStore, graph: LinkGraph | None, name: str) -> Iterator[Finding]:
    """Draw pairs, and give the realised shares of relations."""
    policy = Sampler(tokens, graph, config := Config(graph=name, held_out=0.0)).policy()
    shares = ", ".join(f"{relation} {s:.1%}" for relation, s in zip(RELATIONS, policy["realised"], strict=True))
    length = f"places for segment A at sequence_length={config.sequence_length}"
    yield "pairs can be drawn" + " without a graph" * (graph is None), True, f"{policy['anchors']:,} {length}: {shares}"
