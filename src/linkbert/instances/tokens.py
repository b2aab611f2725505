"""The token store: every document's tokens in one memory-mapped array, with the places of sentences and links.

    tokens/tokens.bin              uint16 or uint32, the documents one after the other, no special tokens
    tokens/documents.bin           int64 (N + 1), first token of each document
    tokens/sentences.bin           int64, first token of each sentence
    tokens/document_sentences.bin  int64 (N + 1), first sentence of each document
    tokens/continued.bin           int64, the sentences that go on with the one before: it was too long, and was cut
    tokens/links.bin               int32, token within its document at which each link stands, -1 without a place
    tokens/document_links.bin      int64 (N + 1), first link of each document
    tokens/hashes.bin              uint64 (N), hash of each document's id
    tokens/tokens.json             counts; written last

Plain little-endian arrays, because a random document is then two additions away, any language can read them, and a
process that maps them shares their memory with every other one. A document's title is not part of its text. A shard of
documents becomes the same arrays, counted from its own first document, in tokens.parts/; these are joined in the end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linkbert.corpora.sentences import split_sentences
from linkbert.corpora.store import Store
from linkbert.files import map_array, read_json, remove, replacing, write_json
from linkbert.instances.vocabulary import LONGEST_WORD, Vocabulary, load_vocabulary
from linkbert.records import Link
from linkbert.workers import run_shards

log = logging.getLogger(__name__)
FORMAT = 1
LONGEST_SENTENCE = 128  # tokens; a longer sentence counts as several, so that whole ones fit a short instance
DTYPES = {
    "documents": "<i8",
    "sentences": "<i8",
    "document_sentences": "<i8",
    "continued": "<i8",
    "links": "<i4",
    "document_links": "<i8",
    "hashes": "<u8",
}
_BLOCK = 1 << 22  # numbers joined at a time


@dataclass(frozen=True, eq=False)
class TokenStore:
    """The arrays of a store's tokens/, memory-mapped, and its vocabulary; see the module for their meaning."""

    path: Path
    meta: dict[str, Any]
    vocabulary: Vocabulary
    tokens: np.ndarray
    documents: np.ndarray
    sentences: np.ndarray
    document_sentences: np.ndarray
    continued: np.ndarray
    links: np.ndarray
    document_links: np.ndarray
    hashes: np.ndarray

    @classmethod
    def open(cls, store: str | Path) -> TokenStore:
        """Map the arrays of STORE/tokens; a ValueError where they are absent, unfinished or of another format."""
        store = Store.open(store).path
        folder = store / "tokens"
        if not (folder / "tokens.json").is_file():
            raise ValueError(f"{store} has no tokens: finish it with `linkbert build`")
        meta = read_json(folder / "tokens.json")
        version = meta.get("format")
        if version != FORMAT:
            raise ValueError(f"{folder} is of format {version}, this linkbert reads {FORMAT}: build the store again")
        vocabulary = load_vocabulary(store / "vocabulary")
        if vocabulary.sha256 != meta["vocabulary_sha256"]:
            raise ValueError(f"{store}/vocabulary is not the one its tokens were made with: build the store again")
        sizes = {key: meta[key] for key in ("tokens", "sentences", "continued", "links")}
        sizes |= dict.fromkeys(("documents", "document_sentences", "document_links"), meta["documents"] + 1)
        sizes["hashes"] = meta["documents"]
        names = {"tokens": np.dtype(meta["dtype"]).str} | DTYPES
        arrays = {name: map_array(folder / f"{name}.bin", dtype, sizes[name]) for name, dtype in names.items()}
        return cls(store, meta, vocabulary, **arrays)

    def __len__(self) -> int:
        return len(self.documents) - 1

    def ids(self, doc: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Give a document's token ids [start, stop), counted from its first token."""
        begin, end = int(self.documents[doc]), int(self.documents[doc + 1])
        return self.tokens[begin + start : end if stop is None else begin + stop]

    def text(self, doc: int, start: int = 0, stop: int | None = None) -> str:
        """Decode a document's tokens [start, stop) to readable text."""
        return self.vocabulary.tokenizer.decode(self.ids(doc, start, stop).tolist(), skip_special_tokens=False)

    def count_tokens(self) -> np.ndarray:
        """Count how often each token occurs, in all or in 256 evenly spaced blocks of 65,536 tokens: (V,) int64."""
        starts = range(0, len(self.tokens), max(1 << 16, len(self.tokens) // 256))
        counts = np.zeros(len(self.vocabulary), np.int64)
        for start in starts:
            found = np.bincount(self.tokens[start : start + (1 << 16)], minlength=len(counts))
            if len(found) > len(counts):
                raise ValueError(
                    f"{self.path}/tokens/tokens.bin is damaged: it holds a token {len(found) - 1}, not in the "
                    "vocabulary; remove tokens/ and build the store again"
                )
            counts += found
        return counts

    def check_order(self) -> None:
        """Refuse arrays of starts that do not rise; looked at once."""
        if self._unordered:
            raise ValueError(
                f"{self.path}/tokens/{self._unordered}.bin is damaged: its numbers do not rise; build it again"
            )

    @cached_property
    def _unordered(self) -> str:
        names = ("documents", "document_sentences", "sentences")
        return next((name for name in names if not never_falls(getattr(self, name))), "")

    def find_sentences(self, docs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Turn the number of a sentence of a document's text (-1: none) into that among its sentences here, int64.

        They differ in documents where an earlier sentence was cut. (An earlier line of combining marks or
        U+FFFD alone is a sentence of the text that has no token: then the number is one too high.)
        """
        result = numbers.astype(np.int64)
        first, last = self.document_sentences[docs], self.document_sentences[docs + 1]
        before = np.searchsorted(self.continued, first)
        for i in np.flatnonzero((np.searchsorted(self.continued, last) > before) & (numbers >= 0)).tolist():
            for j in range(int(before[i]), len(self.continued)):
                if self.continued[j] > first[i] + result[i]:
                    break
                result[i] += 1
        return result


def never_falls(numbers: np.ndarray) -> bool:
    """Say whether each number is at least the one before it, looking at a block at a time."""
    blocks = (numbers[at : at + _BLOCK + 1] for at in range(0, len(numbers) - 1, _BLOCK))
    return all(bool((block[1:] >= block[:-1]).all()) for block in blocks)


def hash_id(id_: str) -> int:
    """Hash a document's id to 64 bits; its place in [0, 2^64) decides whether the document is held out."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")


class Tokenised(NamedTuple):
    """One document as token ids, the tokens at which its sentences start, and those at which its links stand.

    `continued` are the sentences (by their number here) that go on with the one before.
    """

    ids: list[int]
    sentences: list[int]
    links: list[int]
    continued: list[int]


class WordPieces:
    """Turns text into token ids, over three times as fast as the tokenizers library alone, with the same result.

    BERT's WordPieces depend on nothing beyond white space, and in ASCII on nothing beyond a run of letters and digits.
    So every such word is given to the library once and remembered (9.3 MB/s against 2.5; docs/log.md). It holds a
    memory of words, which changes how long an answer takes and never what it is.
    """

    WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
    # Control characters vanish without ending a word, though str.split and WORD see an end there.
    CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
    REMEMBERED = 1 << 19  # words, some 100 MB

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Give the token ids of a text."""
        if self.CONTROL.search(text):
            return self._look_up(text)
        if text.isascii():
            words = self.WORD.findall(text.lower() if self.vocabulary.lowercase else text)
        else:
            words = text.split()
        ids: list[int] = []
        known = self.known
        for word in words:
            try:
                ids += known[word]
            except KeyError:
                ids += (found := self._look_up(word))
                if len(known) >= self.REMEMBERED:
                    known.clear()
                if len(word) <= LONGEST_WORD:
                    known[word] = found
        return ids

    def _look_up(self, text: str) -> list[int]:
        return self.vocabulary.tokenizer.encode(text, add_special_tokens=False).ids

    def tokenise(self, text: str, links: Sequence[Link]) -> Tokenised:
        """Tokenise a document: sentences without a token are left out, long ones count as several.

        A link stands at the first token that shares a character with its anchor. With a vocabulary of whole words:

        >>> pieces.tokenise("One two. Three four.", [Link(15, 19, "Four"), Link(-1, -1, "Five")])
        Tokenised(ids=[10, 11, 7, 12, 13, 7], sentences=[0, 3], links=[4, -1], continued=[])
        """
        starts = split_sentences(text)
        cuts = set(starts)
        places: list[tuple[int, int]] = []  # of each link: the cut before it, and tokens from there
        word = 0, 0, [0]  # the last word a link stood in: where it starts and stops, and where its tokens end
        for link in links:
            if link.start < 0 or not text[link.start : link.end].strip():
                places.append((-1, 0))
                continue
            place = link.start, 0
            if link.start and not (_ends_word(text[link.start]) or _ends_word(text[link.start - 1])):
                if not word[0] < link.start < word[1]:  # many links may stand in one long word
                    word = self._word_around(text, link.start, starts[bisect_right(starts, link.start) - 1])
                place = word[0], bisect_right(word[2], link.start)
            cuts.add(place[0])
            places.append(place)
        ids: list[int] = []
        token_at: dict[int, int] = {}
        ordered = sorted(cuts)
        for cut, following in zip(ordered, [*ordered[1:], len(text)], strict=False):
            token_at[cut] = len(ids)
            ids += self.encode(text[cut:following])
        sentences, continued = _cut_sentences([token_at[start] for start in starts], len(ids))
        stands = [token_at[cut] + inside if cut >= 0 else -1 for cut, inside in places]
        return Tokenised(ids, sentences, [at if at < len(ids) else -1 for at in stands], continued)

    def _word_around(self, text: str, place: int, sentence: int) -> tuple[int, int, list[int]]:
        """Give where the word around a place starts and stops, and where each of its tokens ends."""
        start = stop = place
        while start > sentence and not _ends_word(text[start - 1]):
            start -= 1
        while stop < len(text) and not _ends_word(text[stop]):
            stop += 1
        spans = self.vocabulary.tokenizer.encode(text[start:stop], add_special_tokens=False).offsets
        return start, stop, [start + end for _, end in spans]


class Pieces:
    """Turns text into token ids with any other tokenizer: a document at a time, since spaces are part of tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def tokenise(self, text: str, links: Sequence[Link]) -> Tokenised:
        """Tokenise a document as `WordPieces.tokenise` does; a place in the text is that of the token that covers it.

        "One. Two" in byte-level BPE is "One", ".", "ĠTwo": the second sentence starts at token 2, with its space.
        """
        encoded = self.vocabulary.tokenizer.encode(text, add_special_tokens=False)
        ends = np.maximum.accumulate(np.array([end for _, end in encoded.offsets], np.int64))
        starts = split_sentences(text)
        sentences, continued = _cut_sentences(np.searchsorted(ends, starts, side="right").tolist(), len(ends))
        seen = [link.start if link.start >= 0 and text[link.start : link.end].strip() else len(text) for link in links]
        stands = np.searchsorted(ends, seen, side="right")
        return Tokenised(encoded.ids, sentences, np.where(stands < len(ends), stands, -1).tolist(), continued)


def make_pieces(vocabulary: Vocabulary) -> WordPieces | Pieces:
    """Make what turns text into a vocabulary's token ids."""
    return Pieces(vocabulary) if vocabulary.definition else WordPieces(vocabulary)


def _ends_word(character: str) -> bool:
    """Say whether a character is never part of a word of several: white space, punctuation, a Chinese character."""
    if character.isascii():
        return not character.isalnum()
    return character.isspace() or unicodedata.category(character)[0] == "P" or "\u4e00" <= character <= "\u9fff"


def _cut_sentences(starts: list[int], tokens: int) -> tuple[list[int], list[int]]:
    """Leave out sentences without a token and cut long ones; give the starts, and which of them a cut made.

    >>> _cut_sentences([0, 5, 5, 300], 300)
    ([0, 5, 133, 261], [2, 3])
    """
    result: list[int] = []
    continued: list[int] = []
    for start, stop in zip(starts, [*starts[1:], tokens], strict=False):
        if stop > start:
            result.append(start)
            for cut in range(start + LONGEST_SENTENCE, stop, LONGEST_SENTENCE):
                continued.append(len(result))
                result.append(cut)
    return result, continued


def tokenise(
    store: Store,
    vocabulary: Vocabulary,
    *,
    executor: Executor,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> TokenStore:
    """Write a store's vocabulary/ and tokens/, shard by shard; finished shards are not made again.

    The result does not depend on the executor. Tokens of another vocabulary are a ValueError. `progress` is told
    ("tokens", shards done, shards in all).
    """
    folder, parts = store.path / "tokens", store.path / "tokens.parts"
    if (folder / "tokens.json").is_file():
        made = read_json(folder / "tokens.json")
        if made.get("format") != FORMAT:
            raise ValueError(
                f"{folder} is of format {made.get('format')}, this linkbert writes {FORMAT}: remove it first"
            )
        if not _rules(vocabulary).items() <= made.items():
            raise ValueError(
                f"{store.path} is tokenised with another vocabulary, and runs may rest on it: "
                f"build into another folder, or remove {folder} first"
            )
        try:
            return TokenStore.open(store.path)
        except ValueError as error:
            log.warning("%s; making the tokens again", error)
            remove(folder)
    place = store.path / "vocabulary"
    if not place.is_dir() or load_vocabulary(place) != vocabulary:
        vocabulary.save(place)
    finished = 0

    def report(_: Any) -> None:
        nonlocal finished
        finished += 1
        if progress:
            progress("tokens", finished, store.shards)

    items = [(store, vocabulary, shard, parts / f"{shard:05d}") for shard in range(store.shards)]
    run_shards(tokenise_shard, items, executor, done=lambda item: _made_with(item[3], vocabulary), progress=report)
    _join([part for *_, part in items], folder, vocabulary)
    remove(parts)
    return TokenStore.open(store.path)


def _made_with(folder: Path, vocabulary: Vocabulary) -> bool:
    file = folder / "tokens.json"
    return file.is_file() and _rules(vocabulary).items() <= read_json(file).items()


def _rules(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dtype": "uint16" if len(vocabulary) <= 1 << 16 else "uint32",
        "vocabulary_size": len(vocabulary),
        "vocabulary_sha256": vocabulary.sha256,
        "lowercase": vocabulary.lowercase,
        "strip_accents": vocabulary.strip_accents,
        "chinese_characters": vocabulary.chinese_characters,
    }


_pieces = lru_cache(maxsize=1)(make_pieces)  # kept from shard to shard


def tokenise_shard(item: tuple[Store, Vocabulary, int, Path]) -> None:
    """Tokenise one shard of documents into a folder of arrays, counted from the shard's first document."""
    store, vocabulary, shard, folder = item
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one thread a worker, and no warning at a later fork
    pieces = _pieces(vocabulary)
    rules = _rules(vocabulary)
    found: dict[str, list[Any]] = {name: [] for name in ("tokens", "sentences", "continued", "links", "hashes")}
    sizes: dict[str, list[int]] = {"documents": [0], "document_sentences": [0], "document_links": [0]}
    empty = cut = 0
    for document in store.documents(shard):
        made = pieces.tokenise(document.text, document.links)
        first = sizes["documents"][-1]
        found["tokens"].append(np.array(made.ids, rules["dtype"]))
        found["sentences"].append(np.array(made.sentences, np.int64) + first)
        found["continued"].append(np.array(made.continued, np.int64) + sizes["document_sentences"][-1])
        found["links"].append(np.array(made.links, np.int32))
        found["hashes"].append(hash_id(document.id))
        for name, count in zip(sizes, map(len, made[:3]), strict=True):
            sizes[name].append(sizes[name][-1] + count)
        empty += not made.ids
        cut += len(set(made.continued) - {i + 1 for i in made.continued})
    arrays = {name: np.concatenate([np.zeros(0, int), *each]) for name, each in found.items() if name != "hashes"}
    arrays |= {"hashes": np.array(found["hashes"], np.uint64)} | {n: np.array(size) for n, size in sizes.items()}
    with replacing(folder) as part:
        part.mkdir()
        for name, array in arrays.items():
            # Not tofile, which forgets why it failed: a full disk.
            (part / f"{name}.bin").write_bytes(array.astype(DTYPES.get(name, np.dtype(rules["dtype"]).str)).tobytes())
        counts = {key: len(arrays[key]) for key in ("tokens", "sentences", "continued", "links")}
        counts |= {"documents": len(arrays["hashes"]), "empty_documents": empty, "cut_sentences": cut}
        write_json(part / "tokens.json", rules | counts)


def _join(parts: Sequence[Path], folder: Path, vocabulary: Vocabulary) -> None:
    """Join the shards' arrays, a block at a time."""
    counts = Counter(
        dict.fromkeys(("documents", "tokens", "sentences", "continued", "links", "empty_documents", "cut_sentences"), 0)
    )
    rules = _rules(vocabulary)
    # What each array counts, and so what is added to a shard's numbers.
    counted = {
        "documents": "tokens",
        "sentences": "tokens",
        "continued": "sentences",
        "document_sentences": "sentences",
        "document_links": "links",
    }
    with replacing(folder) as whole:
        whole.mkdir()
        with ExitStack() as stack:
            names = {"tokens": np.dtype(rules["dtype"]).str} | DTYPES
            files = {name: stack.enter_context((whole / f"{name}.bin").open("wb")) for name in names}
            for part in parts:
                for name, dtype in names.items():
                    array = map_array(part / f"{name}.bin", dtype)
                    if name.startswith("document") and part != parts[0]:
                        array = array[1:]  # its 0 is the last number of the shard before
                    before = np.array(counts[counted[name]] if name in counted else 0, dtype)
                    for at in range(0, len(array), _BLOCK):
                        files[name].write((array[at : at + _BLOCK] + before).tobytes())
                made = read_json(part / "tokens.json")
                counts.update({key: made[key] for key in counts})
        if not counts["tokens"]:
            raise ValueError(f"no document of {folder.parent} has any text: there is nothing to learn from")
        write_json(whole / "tokens.json", rules | counts)
