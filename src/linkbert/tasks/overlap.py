"""Contamination: which contexts of a task's test set stand in a pretraining corpus, by the n-grams they share.

In: texts, and a store that is read once from end to end. Memory holds the n-grams of the texts, a row group, no more.
Thirteen words in a row, after GPT-3's rule, are seldom shared by chance; that a context is found says that a model may
have seen its words, not that it has seen question and answer together.

A word is a run of letters and digits (str.isalnum), lower-cased letter by letter; what stands between words does not
matter, nor does the end of a line. Words are compared by Python's hashes, n-grams by a polynomial of these, of 64 bits:
two different ones of a corpus share a hash with a chance of about 1e-19 a pair.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.compute import index_in

from linkbert.corpora.store import Store

WORDS = 13  # of an n-gram
WORD = re.compile(r"[^\W_]+")
BASE = np.uint64(0xD1342543DE82EF95)  # of the polynomial: odd, and of high order


@cache
def lower_case() -> dict[int, str]:
    """Return the lower-cased letter of every code point that has another one, as str.translate takes it."""
    return {i: c.lower()[0] for i in range(0x110000) if (c := chr(i)).isalnum() and c.lower()[0] != c}


def hash_grams(texts: Sequence[str], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash the n-grams of texts, of their words' hashes: uint64 (G,), and where each text begins, int64 (T + 1,).

    >>> hash_grams(["A cat, a Cat!", "cat"], 2)[1].tolist()  # "a cat", "cat a", "a cat"; none
    [0, 3, 3]
    """
    found = [np.fromiter(map(hash, WORD.findall(text.translate(lower_case()))), np.int64) for text in texts]
    words, starts = np.concatenate([np.zeros(0, np.int64), *found]).view(np.uint64), np.cumsum([0, *map(len, found)])
    sizes = np.maximum(np.diff(starts) - n + 1, 0)
    begins = np.append(0, np.cumsum(sizes))
    places = np.arange(begins[-1]) + np.repeat(starts[:-1] - begins[:-1], sizes)
    grams = np.zeros(len(places), np.uint64)
    for word in range(n):
        grams = grams * BASE + words[places + word]
    return grams, begins


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
    hashes, begins = hash_grams(texts, n)
    wanted, of = np.unique(hashes, return_inverse=True)
    first, read = np.full(len(wanted), -1, np.int32), 0  # the document in which an n-gram is found first
    for table in store.tables(["text"]):
        grams, starts = hash_grams(table["text"].to_pylist(), n)
        at = index_in(pa.array(grams), value_set=pa.array(wanted))
        found, places = at.drop_null().to_numpy(), np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
        new = first[found] < 0
        where = read + np.searchsorted(starts, places[new], side="right") - 1
        first[found[new][::-1]] = where[::-1]  # of one found twice the first stays
        read += len(table)
        progress(read, len(store))
    lengths = np.diff(begins)
    hits = np.diff(np.append(0, np.cumsum(first[of] >= 0))[begins])
    shares = hits / np.maximum(lengths, 1)

    def describe(i: int) -> dict[str, Any]:
        own = first[of[begins[i] : begins[i + 1]]]
        most = Counter(own[own >= 0].tolist()).most_common(3)
        documents = [{"id": store.document(number).id, "runs": count} for number, count in most]
        return {"id": ids[i], "share": float(shares[i]), "runs": int(lengths[i]), "documents": documents,
                "text": texts[i]}  # fmt: skip

    found_worst = [describe(i) for i in np.argsort(-shares, kind="stable")[:worst].tolist() if hits[i]]
    return {"words": n, "contexts": len(texts), "short": int((lengths == 0).sum()),
            "with_overlap": int((hits > 0).sum()), "runs": len(first), "runs_found": int((first >= 0).sum()),
            "worst": found_worst}  # fmt: skip


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
