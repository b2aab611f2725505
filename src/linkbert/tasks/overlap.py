"""Contamination: which contexts of a task's test set stand in a pretraining corpus, by the n-grams they share.

In: texts, and a store that is read once from end to end. Memory holds the n-grams of the texts, a row group, no more.
Thirteen words in a row, after GPT-3's rule, are seldom shared by chance; that a context is found says that a model may
have seen its words, not that it has seen question and answer together.

A word is a run of letters and digits (str.isalnum), lower-cased letter by letter; what stands between words does not
matter, nor does the end of a line. An n-gram has the hash of 64 bits of a polynomial over its words' hashes. Two
different ones of a corpus share a hash with a chance of about 1e-19 a pair.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from linkbert.compiled import compiled, mix
from linkbert.corpora.store import Store, open_parquet, shard_path

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


@compiled
def hash_words(data: np.ndarray, offsets: np.ndarray, letters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hash the words of texts: UTF-8 bytes and int64 (T + 1,) -> uint64 (W,), and where each text begins, (T + 1,)."""
    words = np.empty((offsets[-1] - offsets[0]) // 2 + len(offsets), np.uint64)
    starts = np.zeros(len(offsets), np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        at, stop, word = _U(offsets[text]), _U(offsets[text + 1]), _U(0)  # unsigned: no look for places below 0
        while at < stop:
            code = np.uint32(data[at])
            at += _U(1)
            if code >= 0x80:
                more = int(code >= 0xE0) + int(code >= 0xF0)  # bytes beyond two
                code = ((code & (np.uint32(0x1F) >> np.uint32(more))) << np.uint32(6)) | np.uint32(data[at] & 0x3F)
                at += _U(1)
                for _ in range(more):
                    code = (code << np.uint32(6)) | np.uint32(data[at] & 0x3F)
                    at += _U(1)
            letter = letters[code]
            if letter:
                word = (word + _U(letter)) * _WORD
            elif word:
                words[count] = mix(word)
                count += 1
                word = _U(0)
        if word:
            words[count] = mix(word)
            count += 1
        starts[text + 1] = count
    return words[:count], starts


def hash_texts(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Hash the words of texts that Arrow holds: uint64 (W,), and where each text begins, int64 (T + 1,)."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return hash_words(np.frombuffer(data or b"", np.uint8), places, letters())


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
        grams, begins = hash_grams(*hash_texts(pa.array(texts, pa.large_string())), n)
        hashes, of = np.unique(grams, return_inverse=True)
        marks = np.zeros(1 << max(16, (8 * len(hashes)).bit_length()), bool)
        marks[hashes >> _U(65 - len(marks).bit_length())] = True
        return cls(n, hashes, of, begins, marks)

    def find(self, words: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the n-grams in hashed texts: numbers of texts and of n-grams, for every time one stands there."""
        grams, begins = hash_grams(words, starts, self.n)
        places = np.flatnonzero(self.marks[grams >> _U(65 - len(self.marks).bit_length())])  # few are left to look up
        numbers = np.searchsorted(self.hashes, grams[places])
        known = numbers < len(self.hashes)
        known[known] = self.hashes[numbers[known]] == grams[places[known]]
        return np.searchsorted(begins, places[known], side="right") - 1, numbers[known]


def store_words(store: Store) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Hash a store's texts once, a megabyte or so at a time: words, starts, each text's document number, bytes.

    A row that does not count has the number -1.
    """
    for shard in range(store.shards):
        with open_parquet(shard_path(store.path, "documents", shard)) as file:
            rows = file.metadata.num_rows
            counts = ~np.isin(np.arange(rows), store.dropped.get(shard, []))
            documents = np.where(counts, store.starts[shard] + np.cumsum(counts) - 1, -1).astype(np.int32)
            row = 0
            for group in range(file.num_row_groups):
                texts = file.read_row_group(group, columns=["text"], use_threads=False).column(0).combine_chunks()
                numbers = documents[row : row + len(texts)]
                row += len(texts)
                yield *hash_texts(texts), numbers, texts.nbytes - 8 * (len(texts) + 1)


def find_overlap(
    store: Store,
    contexts: Mapping[str, str],
    *,
    n: int = WORDS,
    worst: int = 10,
    progress: Callable[[int, int], None] | None = None,
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
    size, cpu = 0, time.process_time()
    for words, starts, documents, read in store_words(store):
        where, found = grams.find(words, starts)
        new = (first[found] < 0) & (documents[where] >= 0)
        first[found[new][::-1]] = documents[where[new]][::-1]  # of one found twice the first stays
        size += read
        if progress:
            progress(int(documents.max()) + 1, len(store))
    cpu = time.process_time() - cpu
    lengths = np.diff(grams.begins)
    hits = np.concatenate([[0], np.cumsum(first[grams.of] >= 0)])
    hits = hits[grams.begins[1:]] - hits[grams.begins[:-1]]
    shares = hits / np.maximum(lengths, 1)
    order = [i for i in np.argsort(-shares, kind="stable")[:worst].tolist() if hits[i]]
    return {
        "words": n,
        "contexts": len(texts),
        "short": int((lengths == 0).sum()),
        "with_overlap": int((hits > 0).sum()),
        "runs": len(first),
        "runs_found": int((first >= 0).sum()),
        "corpus_bytes": size,
        "cpu_seconds": round(cpu, 3),
        "worst": [
            {
                "id": ids[i],
                "share": float(shares[i]),
                "runs": int(lengths[i]),
                "documents": _documents(store, first[grams.of[grams.begins[i] : grams.begins[i + 1]]]),
                "text": texts[i],
            }
            for i in order
        ],
    }


def _documents(store: Store, found: np.ndarray) -> list[dict[str, Any]]:
    most = Counter(found[found >= 0].tolist()).most_common(3)
    return [{"id": store.document(number).id, "runs": count} for number, count in most]


def overlap_lines(name: str, split: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Lay out what find_overlap gives for reading."""
    long = found["contexts"] - found["short"]

    def share(part: int, whole: int) -> str:
        return f"{part:,} of {whole:,}" + (f" ({100 * part / whole:.1f} %)" if whole else "")

    n = found["words"]
    yield f"{name}, {split}: {found['contexts']:,} contexts, {found['short']:,} of them with fewer than {n} words"
    yield f"  contexts with {n} words in a row that the corpus has: {share(found['with_overlap'], long)}"
    yield f"  runs of {n} words that the corpus has: {share(found['runs_found'], found['runs'])}"
    if found["cpu_seconds"]:
        speed = found["corpus_bytes"] / 1e6 / found["cpu_seconds"]
        yield f"  read {found['corpus_bytes'] / 1e6:,.1f} MB of text at {speed:,.0f} MB a second of processor time"
    for each in found["worst"]:
        documents = ", ".join(f"{document['id']} ({document['runs']:,})" for document in each["documents"])
        yield f"  {100 * each['share']:5.1f} % of {each['runs']:,} runs: {each['id']} in {documents}"
        yield f"          {' '.join(each['text'].split())[:100]}"
