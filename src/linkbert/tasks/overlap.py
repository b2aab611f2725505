"""Contamination: which contexts of a task's test set stand in a pretraining corpus, by the n-grams they share.

In: texts, and a store that is read once from end to end. Memory holds the n-grams of the texts, a row group, no more.
Thirteen words in a row, after GPT-3's rule, are seldom shared by chance; that a context is found says that a model may
have seen its words, not that it has seen question and answer together.

A word is a run of letters and digits (str.isalnum), lower-cased letter by letter; what stands between words does not
matter, nor does the end of a line. Words and n-grams are compared by polynomial hashes of 64 bits: two different ones
of a corpus share a hash with a chance of about 1e-19 a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from linkbert.compiled import mix
from linkbert.corpora.store import Store

WORDS = 13  # of an n-gram
_U = np.uint64
_WORD = np.uint64(0x9E3779B97F4A7C15)  # bases of the polynomials: odd, and of high order
_GRAM = np.uint64(0xD1342543DE82EF95)


@cache
def letters() -> np.ndarray:
    """Return the lower-cased letter of every code point, 0 where it belongs to no word: uint32 (0x110000,)."""
    return np.array([ord(c.lower()[0]) if (c := chr(i)).isalnum() else 0 for i in range(0x110000)], np.uint32)


def only_words(text: str) -> str:
    """Write a text as its words, each character at its place: "Town-Two." -> "town two "."""
    return "".join(chr(code or 32) for code in letters()[list(map(ord, text))].tolist())


def hash_texts(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash the words of texts, one after the other: uint64 (W,), and where each text begins, int64 (T + 1,).

    A word of letters a, b, c has the hash a * base^3 + b * base^2 + c * base, mixed.
    """
    letter = letters()[np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), np.uint32)]
    edges = np.flatnonzero(np.diff(letter > 0, prepend=False))  # a text ends with "\n", so each word has two
    first, stop = edges[::2], edges[1::2]
    sizes, places = stop - first, np.flatnonzero(letter)
    powers = np.cumprod(np.full(sizes.max(initial=0), _WORD))
    terms = letter[places] * powers[np.repeat(stop, sizes) - places - 1]
    words = np.add.reduceat(terms, np.cumsum(sizes) - sizes) if len(terms) else terms
    return mix(words), np.searchsorted(first, np.cumsum([0, *(len(text) + 1 for text in texts)]))


def hash_grams(words: np.ndarray, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash the n-grams of texts, of their words' hashes: uint64 (G,), and where each text begins, int64 (T + 1,)."""
    sizes = np.maximum(np.diff(starts) - n + 1, 0)
    begins = np.append(0, np.cumsum(sizes))
    places = np.arange(begins[-1]) + np.repeat(starts[:-1] - begins[:-1], sizes)
    grams = np.zeros(len(places), np.uint64)
    for word in range(n):
        grams = grams * _GRAM + words[places + word]
    return grams, begins


@dataclass(frozen=True)
class Grams:
    """The distinct n-grams of some texts, to be found in others."""

    n: int
    hashes: np.ndarray  # uint64 (G,), ascending
    of: np.ndarray  # int64, the number of each n-gram of the texts in order, repeated ones too
    begins: np.ndarray  # int64 (texts + 1,), where each text begins in `of`
    marks: np.ndarray  # bool (2^k,), by the first k bits of a hash: whether one of them begins so

    @classmethod
    def of_texts(cls, texts: Sequence[str], n: int) -> Grams:
        """Collect the n-grams of texts.

        >>> Grams.of_texts(["A cat, a Cat!", "cat"], 2).begins.tolist()  # "a cat", "cat a", "a cat"; none
        [0, 3, 3]
        """
        grams, begins = hash_grams(*hash_texts(texts), n)
        hashes, of = np.unique(grams, return_inverse=True)
        marks = np.zeros(1 << max(16, (8 * len(hashes)).bit_length()), bool)
        marks[hashes >> _U(65 - len(marks).bit_length())] = True
        return cls(n, hashes, of, begins, marks)

    def find(self, words: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the n-grams in hashed texts: numbers of texts and of n-grams, for every time one stands there."""
        grams, begins = hash_grams(words, starts, self.n)
        places = np.flatnonzero(self.marks[grams >> _U(65 - len(self.marks).bit_length())])  # few are left to look up
        numbers = np.searchsorted(self.hashes, grams[places])
        known = self.hashes.take(numbers, mode="clip") == grams[places]
        return np.searchsorted(begins, places[known], side="right") - 1, numbers[known]


def store_words(store: Store) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Hash a store's texts, a row group at a time: words, starts, the number of the first document."""
    first = 0
    for table in store.tables(["text"]):
        yield *hash_texts(table["text"].to_pylist()), first
        first += len(table)


def find_overlap(
    store: Store,
    contexts: Mapping[str, str],
    *,
    n: int = WORDS,
    worst: int = 10,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Find n-grams of contexts, {id: text}, in a store; a text that several ids have counts once.

    `with_overlap` counts the contexts of which an n-gram is found, of those that are long enough to have one; `worst`
    are those with the largest share of their n-grams found, each with up to three documents and how many of its n-grams
    they are the first to have. `progress` gets (documents read, in all).
    """
    names: dict[str, str] = {}
    for name, text in contexts.items():
        names.setdefault(text, name)
    texts, ids = list(names), list(names.values())
    grams = Grams.of_texts(texts, n)
    first = np.full(len(grams.hashes), -1, np.int32)  # the document in which an n-gram is found first
    for words, starts, begin in store_words(store):
        where, found = grams.find(words, starts)
        new = first[found] < 0
        first[found[new][::-1]] = begin + where[new][::-1]  # of one found twice the first stays
        progress(begin + len(starts) - 1, len(store))
    lengths = np.diff(grams.begins)
    hits = np.diff(np.append(0, np.cumsum(first[grams.of] >= 0))[grams.begins])
    shares = hits / np.maximum(lengths, 1)

    def describe(i: int) -> dict[str, Any]:
        own = first[grams.of[grams.begins[i] : grams.begins[i + 1]]]
        most = Counter(own[own >= 0].tolist()).most_common(3)
        documents = [{"id": store.document(number).id, "runs": count} for number, count in most]
        return {"id": ids[i], "share": float(shares[i]), "runs": int(lengths[i]), "documents": documents,
                "text": texts[i]}  # fmt: skip

    return {
        "words": n,
        "contexts": len(texts),
        "short": int((lengths == 0).sum()),
        "with_overlap": int((hits > 0).sum()),
        "runs": len(first),
        "runs_found": int((first >= 0).sum()),
        "worst": [describe(i) for i in np.argsort(-shares, kind="stable")[:worst].tolist() if hits[i]],
    }


def overlap_lines(name: str, split: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Lay out what find_overlap returns for reading."""

    def share(part: int, whole: int) -> str:
        return f"{part:,} of {whole:,}" + (f" ({100 * part / whole:.1f} %)" if whole else "")

    n, long = found["words"], found["contexts"] - found["short"]
    yield f"{name}, {split}: {found['contexts']:,} contexts, {found['short']:,} of them with fewer than {n} words"
    yield f"  contexts with {n} words in a row that the corpus has: {share(found['with_overlap'], long)}"
    yield f"  runs of {n} words that the corpus has: {share(found['runs_found'], found['runs'])}"
    for each in found["worst"]:
        documents = ", ".join(f"{document['id']} ({document['runs']:,})" for document in each["documents"])
        yield f"  {100 * each['share']:5.1f} % of {each['runs']:,} runs: {each['id']} in {documents}"
        yield f"          {' '.join(each['text'].split())[:100]}"
