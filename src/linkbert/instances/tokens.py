"""The token store: every document's WordPieces in one memory-mapped array, with the places of sentences and links.

    tokens/tokens.bin              uint16 or uint32, the documents one after the other, no special tokens
    tokens/documents.bin           int64 (N + 1), first token of each document
    tokens/sentences.bin           int64, first token of each sentence
    tokens/document_sentences.bin  int64 (N + 1), first sentence of each document
    tokens/links.bin               int32, token within its document at which each link stands, -1 without a place
    tokens/document_links.bin      int64 (N + 1), first link of each document
    tokens/hashes.bin              uint64 (N), hash of each document's id
    tokens/tokens.json             counts; written last

Plain little-endian arrays, because a random document is then two additions away, any language can read them, and a
process that maps them shares their memory with every other one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.files import read_json
from linkbert.instances.vocabulary import Vocabulary, load_folder

FORMAT = 1
DTYPES = {
    "documents": "<i8",
    "sentences": "<i8",
    "document_sentences": "<i8",
    "links": "<i4",
    "document_links": "<i8",
    "hashes": "<u8",
}


def hash_id(id_: str) -> int:
    """Hash a document's id to 64 bits; its place in [0, 2^64) decides whether the document is held out."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class TokenStore:
    """The arrays of a store's tokens/, memory-mapped, and its vocabulary; see the module for their meaning."""

    path: Path
    meta: dict[str, Any]
    vocabulary: Vocabulary
    tokens: np.ndarray
    documents: np.ndarray
    sentences: np.ndarray
    document_sentences: np.ndarray
    links: np.ndarray
    document_links: np.ndarray
    hashes: np.ndarray

    @classmethod
    def open(cls, store: str | Path) -> TokenStore:
        """Map the arrays of STORE/tokens; a ValueError where they are absent, unfinished or of another format."""
        store = Path(store)
        folder = store / "tokens"
        if not (folder / "tokens.json").is_file():
            raise ValueError(f"{store} has no tokens: finish it with `linkbert build`")
        meta = read_json(folder / "tokens.json")
        if meta.get("format") != FORMAT:
            raise ValueError(
                f"{folder} is of format {meta.get('format')}, this linkbert reads format {FORMAT}: build the store again"
            )
        vocabulary = load_folder(store / "vocabulary")
        if vocabulary.sha256 != meta["vocabulary_sha256"]:
            raise ValueError(f"{store}/vocabulary is not the one its tokens were made with: build the store again")
        arrays = {name: map_array(folder / f"{name}.bin", dtype) for name, dtype in DTYPES.items()}
        return cls(store, meta, vocabulary, map_array(folder / "tokens.bin", np.dtype(meta["dtype"]).str), **arrays)

    def __len__(self) -> int:
        return len(self.documents) - 1

    def ids(self, doc: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Give a document's token ids [start, stop), counted from its first token."""
        begin, end = int(self.documents[doc]), int(self.documents[doc + 1])
        return self.tokens[begin + start : end if stop is None else begin + stop]

    def text(self, doc: int, start: int = 0, stop: int | None = None) -> str:
        """Decode a document's tokens [start, stop) to readable text."""
        return self.vocabulary.tokenizer.decode(self.ids(doc, start, stop).tolist(), skip_special_tokens=False)


def map_array(path: Path, dtype: str) -> np.ndarray:
    """Map a file of plain numbers for reading: (n,) of `dtype`; a file that cannot hold them is a ValueError."""
    kind = np.dtype(dtype)
    if not path.is_file():
        raise ValueError(f"{path} is not there: the store is damaged, build it again")
    size = path.stat().st_size
    if size % kind.itemsize:
        raise ValueError(
            f"{path} has {size} bytes, not a multiple of {kind.itemsize}: it is damaged, build the store again"
        )
    if size == 0:
        array = np.zeros(0, kind)
        array.setflags(write=False)  # as a mapped one, so that compiled code sees one type
        return array
    return np.asarray(np.memmap(path, kind, mode="r"))
