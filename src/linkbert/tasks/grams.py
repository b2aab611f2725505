"""Words and runs of words in texts, found by hashes: texts as Arrow holds them come in, places of known runs go out.

A word is a run of letters and digits (str.isalnum), lower-cased letter by letter; what stands between words does not
matter, nor does the end of a line. A run of n words has the hash of 64 bits of a polynomial over its words' hashes, so
that the next run costs one multiplication. Two different runs of a corpus share a hash with a chance of about 1e-19 a
pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from linkbert.compiled import compiled, mix
from linkbert.corpora.store import Store, open_parquet, shard_path

_U = np.uint64
_WORD = np.uint64(0x9E3779B97F4A7C15)  # bases of the polynomials: odd, and of high order
_RUN = np.uint64(0xD1342543DE82EF95)


@cache
def letters() -> np.ndarray:
    """Give the lower-cased letter of every code point, 0 where it belongs to no word: uint32 (0x110000,)."""
    return np.array([ord(c.lower()[0]) if (c := chr(i)).isalnum() else 0 for i in range(0x110000)], np.uint32)


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


@compiled
def hash_runs(words: np.ndarray, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash every run of n words within a text: uint64 (R,), and where each text begins, int64 (T + 1,)."""
    runs = np.empty(len(words), np.uint64)
    begins = np.zeros(len(starts), np.int64)
    leaving = _U(1)
    for _ in range(n):
        leaving *= _RUN
    count = 0
    for text in range(len(starts) - 1):
        run = _U(0)
        for i in range(starts[text], starts[text + 1]):
            run = run * _RUN + words[i]
            if i - starts[text] >= n:
                run -= leaving * words[i - n]
            if i - starts[text] >= n - 1:
                runs[count] = mix(run)
                count += 1
        begins[text + 1] = count
    return runs[:count], begins


@compiled
def fill_slots(runs: np.ndarray, tags: np.ndarray, numbers: np.ndarray) -> None:
    """Put the numbers of distinct runs into a table of 2^k slots, more than there are runs; 0 tags an empty slot.

    A tag is eight bits of the hash, so that a run that is not there seldom costs more than a read of a small table.
    """
    mask = _U(len(tags) - 1)
    for number in range(len(runs)):
        slot = runs[number] & mask
        while tags[slot]:
            slot = (slot + _U(1)) & mask
        tags[slot], numbers[slot] = (runs[number] >> _U(56)) | _U(1), number


@compiled
def look_up(
    wanted: np.ndarray, tags: np.ndarray, numbers: np.ndarray, runs: np.ndarray, begins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find which runs of texts are wanted: their texts and their numbers among the wanted, int32 (found,) each."""
    texts, found = np.empty(len(runs), np.int32), np.empty(len(runs), np.int32)
    mask = _U(len(tags) - 1)
    count = 0
    for text in range(len(begins) - 1):
        for i in range(begins[text], begins[text + 1]):
            slot, tag = runs[i] & mask, (runs[i] >> _U(56)) | _U(1)
            while tags[slot] and (tags[slot] != tag or wanted[numbers[slot]] != runs[i]):
                slot = (slot + _U(1)) & mask
            if tags[slot]:
                texts[count], found[count] = text, numbers[slot]
                count += 1
    return texts[:count], found[:count]


@dataclass(frozen=True)
class Runs:
    """The distinct runs of n words of some texts, to be found in others."""

    n: int
    hashes: np.ndarray  # uint64 (R,), ascending
    of: np.ndarray  # int32, the number of each run of the texts in order, repeated ones too
    begins: np.ndarray  # int64 (texts + 1,), where each text begins in `of`
    tags: np.ndarray  # the table of fill_slots
    numbers: np.ndarray

    @classmethod
    def of_texts(cls, texts: Sequence[str], n: int) -> Runs:
        """Collect the runs of texts.

        >>> Runs.of_texts(["A cat, a Cat!", "cat"], 2).begins.tolist()  # "a cat", "cat a", "a cat"; none
        [0, 3, 3]
        """
        runs, begins = hash_runs(*hash_texts(pa.array(texts, pa.large_string())), n)
        hashes, of = np.unique(runs, return_inverse=True)
        size = 1 << (2 * len(hashes)).bit_length()
        tags, numbers = np.zeros(size, np.uint8), np.zeros(size, np.int32)
        fill_slots(hashes, tags, numbers)
        return cls(n, hashes, of.astype(np.int32), begins, tags, numbers)

    def find(self, words: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the runs in hashed texts: numbers of texts and of runs, int32, for every time one stands there."""
        return look_up(self.hashes, self.tags, self.numbers, *hash_runs(words, starts, self.n))


def hash_texts(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Hash the words of texts that Arrow holds: uint64 (W,), and where each text begins, int64 (T + 1,)."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return hash_words(np.frombuffer(data or b"", np.uint8), places, letters())


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
