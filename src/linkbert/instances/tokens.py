"""The token store: every document's tokens in one memory-mapped array, with the places of sentences and links.

Plain little-endian arrays, tokens/NAME.bin (see ARRAYS), so a random document is two additions away and processes share
their memory; tokens/tokens.json, written last, has the counts. A document's title is not part of its text. A shard of
documents becomes the same arrays, counted from its own first document, in tokens.parts/; these are joined in the end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import count, pairwise
from pathlib import Path
from string import punctuation
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from unicodedata import category

import numpy as np

from linkbert.config import Natural
from linkbert.corpora.sentences import split_sentences
from linkbert.files import (
    as_path,
    made_of,
    map_array,
    never_falls,
    read_manifest,
    read_ours,
    remove,
    replacing,
    runs_to,
    write_json,
)
from linkbert.instances.vocabulary import LONGEST_WORD, Vocabulary, ask, load_vocabulary
from linkbert.records import Link
from linkbert.workers import run_shards

if TYPE_CHECKING:
    from linkbert.corpora.store import Store

log = logging.getLogger(__name__)
FORMAT = 1
LONGEST_SENTENCE = 128  # tokens; a longer sentence counts as several, so that whole ones fit a short instance
ARRAYS = {  # the type of each but the tokens, and what its numbers count: what is added to those of a shard
    "documents": ("<i8", "tokens"),  # (N + 1,), first token of each document
    "sentences": ("<i8", "tokens"),  # first token of each sentence
    "document_sentences": ("<i8", "sentences"),  # (N + 1,), first sentence of each document
    "continued": ("<i8", "sentences"),  # those that continue the one before: it was too long, and was cut
    "links": ("<i4", ""),  # token within its document at which each link stands, -1 without a place
    "document_links": ("<i8", "links"),  # (N + 1,), first link of each document
    "hashes": ("<u8", ""),  # (N,), of each document's id
}
OFFSETS = {name: counted for name, (_, counted) in ARRAYS.items() if name.startswith("document")}
DTYPES = {name: dtype for name, (dtype, _) in ARRAYS.items()}
COUNTS = ("documents", "tokens", "sentences", "continued", "links", "empty_documents", "cut_sentences")
Counts = made_of("Counts", dtype=Literal["uint16", "uint32"], vocabulary_sha256=str,
                      **dict.fromkeys(COUNTS, (Natural, ...)))  # fmt: skip


def read_counts(folder: Path) -> dict[str, Any]:
    """Read the tokens.json of a folder of tokens."""
    return read_ours(folder / "tokens.json", Counts, FORMAT)


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
    def open(cls, store: str | Path, *, whole: bool = True) -> TokenStore:
        """Map the arrays of STORE/tokens; a ValueError where they are absent, unfinished or of another format.

        So is a number that leads out of its array, unless not `whole`: for who looks for what is wrong.
        """
        read_manifest(store := as_path(store, "a store"))
        folder = store / "tokens"
        if not (folder / "tokens.json").is_file():
            raise ValueError(f"{store} has no tokens: finish it with `linkbert build`")
        meta = read_counts(folder)
        vocabulary = load_vocabulary(store / "vocabulary")
        if vocabulary.sha256 != meta["vocabulary_sha256"]:
            raise ValueError(f"{store}/vocabulary is not the one its tokens were made with: build the store again")
        sizes = meta | dict.fromkeys(OFFSETS, meta["documents"] + 1) | {"hashes": meta["documents"]}
        names = {"tokens": np.dtype(meta["dtype"]).str} | DTYPES
        arrays = {name: map_array(folder / f"{name}.bin", dtype, sizes[name]) for name, dtype in names.items()}
        for name, counted in OFFSETS.items():
            if whole and not runs_to(arrays[name], meta[counted]):
                wrong = f"{folder / name}.bin is damaged: it does not run from 0 to {meta[counted]}"
                raise ValueError(f"{wrong}; run `linkbert check {store}`, or build it again")
        return cls(store, meta, vocabulary, **arrays)

    def __len__(self) -> int:
        return len(self.documents) - 1

    def ids(self, doc: int) -> np.ndarray:
        """Return a document's token ids."""
        return self.tokens[self.documents[doc] : self.documents[doc + 1]]

    def count_tokens(self) -> np.ndarray:
        """Count how often each token occurs, in all or in 256 evenly spaced blocks of 65,536 tokens: (V,) int64."""
        counts = np.zeros(len(self.vocabulary), np.int64)
        for start in range(0, len(self.tokens), max(1 << 16, len(self.tokens) // 256)):
            found = np.bincount(self.tokens[start : start + (1 << 16)], minlength=len(counts))
            if len(found) > len(counts):
                where = f"{self.path}/tokens/tokens.bin is damaged: {len(found) - 1} is not in the vocabulary"
                raise ValueError(f"{where}; remove tokens/ and build the store again")
            counts += found
        return counts

    @cached_property
    def rises(self) -> bool:
        """Whether where sentences start rises, within their documents; looked at once."""
        text = np.diff(self.documents) > 0
        if not never_falls(self.sentences) or ((np.diff(self.document_sentences) > 0) != text).any():
            return False
        first, after = self.document_sentences[:-1][text], self.document_sentences[1:][text]
        begins, ends = self.documents[:-1][text], self.documents[1:][text]
        return bool((self.sentences[first] == begins).all() and (self.sentences[after - 1] < ends).all())

    def find_sentences(self, docs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Turn the number of a sentence of a document's text (-1: none) into that among its sentences here, int64."""
        first, cuts = self.document_sentences[docs], self.continued
        rank = first - np.searchsorted(cuts, first) + numbers  # among the sentences that start no later part of another
        moved = np.searchsorted(cuts - np.arange(len(cuts)), rank, side="right")
        return np.where(numbers < 0, -1, rank + moved - first)


def hash_id(id_: str) -> int:
    """Hash a document's id to 64 bits; its place in [0, 2^64) decides whether the document is held out."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")


@cache
def ends_of_words() -> str:
    """Return what BERT cuts words at, for a class of a regular expression: white space and punctuation."""
    marks = (chr(number) for number in range(0x110000) if category(chr(number))[0] == "P")
    return r"\s" + "".join(map(re.escape, {*marks, *punctuation}))


ENDS = frozenset(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")  # what is never part of a word of several characters


class Tokenised(NamedTuple):
    """One document in tokens."""

    ids: list[int]
    sentences: list[int]  # the tokens at which they start
    links: list[int]  # the tokens at which they stand
    continued: list[int]  # sentences, by their number here, that continue the one before


class StoreTokenizer:
    """Turns documents into token ids: WordPieces over three times as fast as the tokenizers library alone, and equal.

    BERT's WordPieces depend on nothing beyond white space, and in ASCII on nothing beyond a run of letters and digits.
    So every such word is given to the library once and remembered (9.3 MB/s against 2.5; docs/log/instances.md). Any
    other tokenizer is given a document at a time, since spaces are part of its tokens.
    """

    WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
    # Control characters vanish without ending a word, though str.split and WORD see an end there.
    CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
    VANISH = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)])
    PIECE, CHUNK = 1 << 20, 10_000  # characters whose words are listed at a time; of a long word, looked up at a time
    BREAK = re.compile(r"(?<=\w)(?= \w)")
    REMEMBERED = 1 << 19  # words, some 100 MB

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the WordPieces of a text."""
        if self.CONTROL.search(text):
            text = text.translate(self.VANISH)
        ids: list[int] = []
        known, stop = self.known, 0
        while 0 <= (start := stop) < len(text):
            stop = text.find(" ", start + self.PIECE)
            piece = text[start : stop if stop > 0 else None]
            if piece.isascii():
                words = self.WORD.findall(piece.lower() if self.vocabulary.lowercase else piece)
            else:
                words = piece.split()
            for word in words:
                try:
                    ids += known[word]
                except KeyError:
                    long = len(word) > LONGEST_WORD
                    found = [number for part in self._parts(word) for number in self._look_up(part).ids]
                    ids += found
                    if len(known) >= self.REMEMBERED:
                        known.clear()
                    if not long:
                        known[word] = found
        return ids

    def _parts(self, word: str) -> list[str]:
        """Cut a long word where its tokens are the same: the library takes 65 bytes a character, and many are [UNK]."""
        if len(word) > LONGEST_WORD and word.isascii() and word.isalnum():
            return [word[: LONGEST_WORD + 1]]
        if len(word) <= self.CHUNK:
            return [word]
        normal, most = self.vocabulary.tokenizer.normalizer, self.CHUNK  # which looks at a character at a time
        text = "".join(normal.normalize_str(word[at : at + most]) for at in range(0, len(word), most))
        end = f"[{ends_of_words()}]"
        text = re.sub(f"([^{end[1:]}{{{LONGEST_WORD + 1}}})[^{end[1:]}+", r"\1", text)
        return [found[0] for found in re.finditer(f"(?s).{{1,{most}}}{end}|.+", text)]

    def _look_up(self, text: str) -> Any:
        if self.vocabulary.definition:
            return ask("the tokenizer", self.vocabulary.tokenizer.encode_batch, [text], add_special_tokens=False)[0]
        return self.vocabulary.tokenizer.encode(text, add_special_tokens=False)

    def tokenise(self, text: str, links: Sequence[Link]) -> Tokenised:
        """Tokenise a document: sentences without a token are left out, long ones count as several.

        A link stands at the first token that shares a character with its anchor. With a vocabulary of whole words:

        >>> tokenizer.tokenise("One two. Three four.", [Link(15, 19, "Four"), Link(-1, -1, "Five")])
        Tokenised(ids=[10, 11, 7, 12, 13, 7], sentences=[0, 3], links=[4, -1], continued=[])

        "One. Two" in byte-level BPE is "One", ".", "ĠTwo": the second sentence starts at token 2, with its space.
        """
        starts = split_sentences(text)
        places = [link.start if link.start >= 0 and text[link.start : link.end].strip() else -1 for link in links]
        ids, begins, stands = (self._whole if self.vocabulary.definition else self._by_word)(text, starts, places)
        sentences, continued = _cut_sentences(begins, len(ids))
        return Tokenised(ids, sentences, [at if at < len(ids) else -1 for at in stands], continued)

    def _by_word(self, text: str, starts: list[int], places: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Encode what lies between sentence starts and links; return ids, and the tokens at starts and at places."""
        cuts: list[tuple[int, int]] = []  # of each link: a place before it where a word starts, and tokens from there
        chunk, ends = -1, [0]
        for place in places:
            before, inside = place, 0
            if place > 0 and text[place - 1] not in ENDS:
                at = bisect_right(starts, place)
                sentence, until = starts[at - 1], starts[at] if at < len(starts) else len(text)
                before = max(sentence, text.rfind(" ", sentence, place) + 1)
                if before < place and before != chunk:  # many links may stand in one long word
                    chunk, stop = before, text.find(" ", place, min(until, before + 2 * self.CHUNK))
                    last = stop if stop > 0 else min(until, before + 2 * self.CHUNK)
                    ends = [end for _, end in self._look_up(text[chunk:last]).offsets]
                inside = bisect_right(ends, place - before) if before < place else 0
            cuts.append((before, inside))
        token_at = {-1: -1}
        ids: list[int] = []
        for cut, following in pairwise(sorted({*starts, *(cut for cut, _ in cuts if cut >= 0), len(text)})):
            token_at[cut] = len(ids)
            ids += self.encode(text[cut:following])
        return ids, [token_at[start] for start in starts], [token_at[cut] + inside for cut, inside in cuts]

    def _whole(self, text: str, starts: list[int], places: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Encode a document at once, a large one cut before words; a place is that of the token that covers it."""
        ids, found, start = list[int](), [np.zeros(0, np.int64)], 0
        most = max(self.PIECE // self.vocabulary.growth, 1)
        while start < len(text):
            cut = self.BREAK.search(text, start + most, start + 2 * most)
            stop = cut.start() if cut else start + 2 * most
            encoded = self._look_up(text[start:stop])
            ids += encoded.ids
            found.append(start + np.array([end for _, end in encoded.offsets], np.int64))
            start = stop
        ends = np.maximum.accumulate(np.concatenate(found))
        stands = np.where(np.array(places) < 0, -1, np.searchsorted(ends, places, side="right"))
        return ids, np.searchsorted(ends, starts, side="right").tolist(), stands.tolist()


def _cut_sentences(starts: list[int], tokens: int) -> tuple[list[int], list[int]]:
    """Leave out sentences without a token and cut long ones; return the starts, and which of them a cut made.

    >>> _cut_sentences([0, 5, 5, 300], 300)
    ([0, 5, 133, 261], [2, 3])
    """
    result, continued = list[int](), list[int]()
    for start, stop in pairwise([*starts, tokens]):
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

    Tokens of another vocabulary are a ValueError. `progress` is called with ("tokens", shards done, shards in all).
    """
    folder, parts, rules = store.path / "tokens", store.path / "tokens.parts", _rules(vocabulary)
    if (folder / "tokens.json").is_file():
        if not rules.items() <= read_counts(folder).items():
            where = f"{store.path} is tokenised with another vocabulary or in another format, and runs may refer to it"
            raise ValueError(f"{where}: build into another folder, or remove {folder} first")
        try:
            remove(parts)  # of a build that was killed when they were joined
            return TokenStore.open(store.path)
        except ValueError as error:
            log.warning("%s; making the tokens again", error)
            remove(folder)
    place = store.path / "vocabulary"
    if not place.is_dir() or load_vocabulary(place) != vocabulary:
        vocabulary.save(place)
    finished, tell = count(1), progress or (lambda *_: None)

    def is_made(item: tuple[Store, Vocabulary, int, Path]) -> bool:
        return (item[3] / "tokens.json").is_file() and rules.items() <= read_counts(item[3]).items()

    items = [(store, vocabulary, shard, parts / f"{shard:05d}") for shard in range(store.shards)]
    run_shards(
        tokenise_shard, items, executor, done=is_made, progress=lambda _: tell("tokens", next(finished), store.shards)
    )
    _join([part for *_, part in items], folder, rules)
    remove(parts)
    return TokenStore.open(store.path)


def _rules(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dtype": "uint16" if len(vocabulary) <= 1 << 16 else "uint32",
        "vocabulary_size": len(vocabulary),
        "vocabulary_sha256": vocabulary.sha256,
        **{name: getattr(vocabulary, name) for name in ("lowercase", "strip_accents", "chinese_characters")},
    }


_tokenizer = lru_cache(maxsize=1)(StoreTokenizer)  # kept from shard to shard


def tokenise_shard(item: tuple[Store, Vocabulary, int, Path]) -> None:
    """Tokenise one shard of documents into a folder of arrays, counted from the shard's first document."""
    store, vocabulary, shard, folder = item
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one thread a worker, and no warning at a later fork
    tokenizer, rules = _tokenizer(vocabulary), _rules(vocabulary)
    types = {"tokens": np.dtype(rules["dtype"]).str} | DTYPES
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("tokens", "sentences", "links", "continued")}
    hashes = []
    for document in store.documents(shard):
        made = tokenizer.tokenise(document.text, document.links)
        for name, numbers in zip(found, made, strict=True):
            found[name].append(np.array(numbers, types[name]))
        hashes.append(hash_id(document.id))
    sizes = {name: np.array([len(each) for each in own], np.int64) for name, own in found.items()}
    arrays: dict[str, Any] = {name: np.concatenate([np.zeros(0, types[name]), *own]) for name, own in found.items()}
    arrays["hashes"] = np.array(hashes, np.uint64)
    for name, counted in (("documents", "tokens"), ("document_sentences", "sentences"), ("document_links", "links")):
        arrays[name] = np.concatenate([[0], np.cumsum(sizes[counted])])
    arrays["sentences"] += np.repeat(arrays["documents"][:-1], sizes["sentences"])
    arrays["continued"] += np.repeat(arrays["document_sentences"][:-1], sizes["continued"])
    counts = {name: len(array) for name, array in arrays.items()}
    counts |= {"documents": len(hashes), "empty_documents": int((sizes["tokens"] == 0).sum())}
    counts["cut_sentences"] = int((np.diff(arrays["continued"], prepend=-1) != 1).sum())
    with replacing(folder, folder=True) as part:
        for name, array in arrays.items():
            # Not tofile, which forgets why it failed: a full disk.
            (part / f"{name}.bin").write_bytes(array.astype(types[name]).tobytes())
        write_json(part / "tokens.json", rules | {key: counts[key] for key in COUNTS})


def _join(parts: Sequence[Path], folder: Path, rules: dict[str, Any]) -> None:
    """Join the shards' arrays, an array and a shard at a time."""
    made = [*map(read_counts, parts)]
    counts = {key: sum(each[key] for each in made) for key in COUNTS}
    if not counts["tokens"]:
        raise ValueError(f"no document of {folder.parent} has any text: there is nothing to learn from")
    with replacing(folder, folder=True) as whole:
        for name, (dtype, counted) in ({"tokens": (np.dtype(rules["dtype"]).str, "")} | ARRAYS).items():
            before = 0
            with (whole / f"{name}.bin").open("wb") as file:
                for number, part in enumerate(parts):
                    array = map_array(part / f"{name}.bin", dtype)
                    if number and name.startswith("document"):
                        array = array[1:]  # its 0 is the last number of the shard before
                    file.write((array + np.array(before, dtype)).tobytes())
                    before += made[number].get(counted, 0)
        write_json(whole / "tokens.json", rules | counts)
