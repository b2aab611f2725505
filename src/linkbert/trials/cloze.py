"""Questions of the two-hop cloze: a name in A that a linked document names, too, and A nowhere else.

In: a store and settings. Out: questions with what may stand next to A; all of it follows from the store and the
settings. Names are capitalised words in the text, since a vocabulary may have no capitals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linkbert.config import Config, Count, Length, setting
from linkbert.corpora.store import Store
from linkbert.instances.mixture import open_parts
from linkbert.instances.parts import Part
from linkbert.instances.sampler import NoUsableAnchorError, hash_links, held_out
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import CLS, MASK, SEP, UNK
from linkbert.model.fill import Line

NAME = re.compile(r"(?<=[\w,;] )[A-Z]\w[\w'’-]*(?:[ -][A-Z]\w[\w'’-]*)*")  # after a word or a comma: within a sentence
LONGEST = 4  # tokens of a name that is masked
SEARCHED = 10  # documents that are searched for a question
TRIES = 64  # documents drawn before a text without the name is given up
SEEN, UNSEEN, NEW = KINDS = ("seen", "unseen", "new")
NEXT_TO = ("absent", "random", "named", "linked")


class ProbeConfig(Config):
    """The settings of a probe: those of a run that decide what is drawn, and how much is asked."""

    sequence_length: Length = setting(128, "tokens of an instance")
    examples: Count = setting(1_000, "pairs, anchors, or questions of each kind, that are asked at most")
    candidates: Count = setting(20_000, "documents that are searched, drawn by the seed where there are more")


class Name(NamedTuple):
    """A name in a document: its tokens there, [first, stop), and its characters, [start, end)."""

    first: int
    stop: int
    start: int
    end: int


def find_names(text: str, tokens: TokenStore, document: int) -> list[Name]:
    """Find capitalised words in a document's text, those side by side as one name, that stand within a sentence.

    "He saw New York. Paris was far." -> "New York". None where the text's tokens are not the store's (odd characters).
    """
    encoded = tokens.vocabulary.tokenizer.encode(text, add_special_tokens=False)
    if not np.array_equal(encoded.ids, tokens.ids(document)):
        return []
    starts, ends = np.array(encoded.offsets, np.int64).reshape(-1, 2).T
    found = [match.span() for match in NAME.finditer(text)]
    places = np.searchsorted(ends, [a for a, _ in found], side="right"), np.searchsorted(starts, [b for _, b in found])
    return [Name(int(a), int(b), *span) for a, b, span in zip(*places, found, strict=True) if a < b]


class Question(NamedTuple):
    """A name to be guessed in a run A of a document, and what may stand next to it."""

    document: int
    kind: str  # of KINDS
    a: np.ndarray  # tokens
    name: slice  # in A
    b: tuple[Any, ...]  # tokens, by NEXT_TO; None where no such text was found

    def line(self, number: int, special: Mapping[str, int]) -> Line:
        """Write [CLS] A [SEP] B [SEP], or [CLS] A [SEP], with the name masked."""
        ids = [special[CLS], *self.a.tolist(), special[SEP], *self.b[number]]
        ids += [special[SEP]] * (len(self.b[number]) > 0)
        places = range(1 + self.name.start, 1 + self.name.stop)
        labels = [ids[place] for place in places]
        ids[places.start : places.stop] = [special[MASK]] * len(labels)
        return Line(ids, 2 + len(self.a), places, labels)


def find(needle: np.ndarray, tokens: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """Return where whole words stand in tokens: int64, ascending."""
    at = np.flatnonzero(tokens[: max(0, len(tokens) - len(needle) + 1)] == needle[0])
    for i, token in enumerate(needle):
        at = at[tokens[at + i] == token]
    return at[~continues[np.append(tokens, needle[:1])[at + len(needle)]]]


def cut_around(tokens: TokenStore, document: int, first: int, stop: int, room: int) -> slice:
    """Cut whole sentences of a document from that of its tokens [first, stop) on; of a longer one, what holds them."""
    own = slice(*tokens.document_sentences[document : document + 2])
    bounds = np.append(tokens.sentences[own], tokens.documents[document + 1]) - tokens.documents[document]
    start = max(int(bounds[bounds <= first][-1]), stop - room)
    ends = bounds[(bounds >= stop) & (bounds <= start + room)]
    return slice(start, int(ends[-1]) if len(ends) else start + room)


@lru_cache(maxsize=2)  # several models are asked one after the other
def cloze_questions(store: Path, config: ProbeConfig) -> list[Question]:
    """Make the questions of a store, `examples` of each kind where it has so many."""
    (opened,) = open_parts([Part("", store)], config)
    tokens, graph, texts, half = opened.tokens, opened.graph, Store.open(store), (config.sequence_length - 3) // 2
    if graph is None or not len(graph.targets):
        raise NoUsableAnchorError(f"{store} has no links in a graph {config.graph!r}: there is nothing to follow")
    rng, continues = np.random.default_rng(config.seed), tokens.vocabulary.continues
    out, sizes = held_out(tokens.hashes, config.held_out), np.diff(tokens.documents)
    pool = rng.permutation(np.flatnonzero(sizes))[: config.candidates]
    pooled, ends = np.concatenate([tokens.ids(each) for each in pool.tolist()]), np.cumsum(sizes[pool])
    found: dict[str, list[Question]] = {kind: [] for kind in KINDS}

    def elsewhere(needle: np.ndarray, others: np.ndarray, room: int) -> tuple[Any, Any]:
        """Find a text without the name, and one with it, of documents that are none of those."""
        without, named, at = None, None, find(needle, pooled, continues)
        owner = np.searchsorted(ends, at, side="right")
        taken = np.union1d(others, pool[owner])
        if (random := next((each for each in rng.choice(pool, TRIES).tolist() if each not in taken), None)) is not None:
            first = int(rng.integers(sizes[random]))
            without = tokens.ids(random)[cut_around(tokens, random, first, first + 1, room)]
        if len(here := np.flatnonzero((at + len(needle) <= ends[owner]) & ~np.isin(pool[owner], others))):
            owners, places = np.unique(owner[here], return_index=True)  # as the linked: a document, its first place
            chosen = owners[drawn := rng.integers(len(owners))]
            document, first = int(pool[chosen]), int(at[here[places[drawn]]] - ends[chosen] + sizes[pool[chosen]])
            named = tokens.ids(document)[cut_around(tokens, document, first, first + len(needle), room)]
        return without, named

    for document in rng.permutation(np.flatnonzero(np.diff(graph.offsets)))[: SEARCHED * config.examples].tolist():
        wanted = [kind for kind in ([NEW] if out[document] else [SEEN, UNSEEN]) if len(found[kind]) < config.examples]
        edges = slice(*graph.offsets[document : document + 2])
        targets, links = graph.targets[edges], graph.links[edges]
        hidden = held_out(hash_links(tokens.hashes, np.full(len(targets), document), targets), config.held_out_links)
        kinds = np.array(KINDS)[np.where(out[document], 2, hidden)]
        usable = (sizes[targets] > 0) & (out[document] | ~out[targets]) & np.isin(kinds, wanted)
        if not usable.any():
            continue
        text, ids, places = texts.document(document), tokens.ids(document), np.full(len(links), -1)
        places[links >= 0] = tokens.links[links[links >= 0]]
        spans = np.array([*((each.start, each.end) for each in text.links), (-1, -1)])
        anchors = spans[np.where(links < 0, -1, links - tokens.document_links[document])]
        names = find_names(text.text, tokens, document)
        for name in map(names.__getitem__, rng.permutation(len(names)).tolist()):
            needle, cut = ids[name.first : name.stop], cut_around(tokens, document, name.first, name.stop, half)
            known = tokens.vocabulary.special_ids[UNK] not in needle and len(needle) <= LONGEST
            if not known or len(find(needle, ids[cut], continues)) != 1:
                continue
            own = targets[(anchors[:, 0] < name.end) & (anchors[:, 1] > name.start)]  # an anchor of theirs is masked
            free = usable & ~np.isin(targets, own)
            if opened.config.scope == "segment":
                free &= (places >= cut.start) & (places < cut.stop)
            for edge in rng.permutation(np.flatnonzero(free)).tolist():
                target = tokens.ids(targets[edge])
                if not len(at := find(needle, target, continues)):
                    continue
                room = config.sequence_length - 3 - (cut.stop - cut.start)
                linked = target[cut_around(tokens, targets[edge], at[0], at[0] + len(needle), room)]
                others = elsewhere(needle, np.append(targets, document), room)
                place = slice(name.first - cut.start, name.stop - cut.start)
                found[kinds[edge]].append(Question(document, str(kinds[edge]), ids[cut], place, ((), *others, linked)))
                usable &= kinds != kinds[edge]  # one of a document and kind
                break
    return [question for kind in KINDS for question in found[kind]]
