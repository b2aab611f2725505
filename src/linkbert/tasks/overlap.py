"""Contamination: which contexts of a task's test set stand in a pretraining corpus, by the runs of 13 words they share.

In: texts, and a store that is read once from end to end. Memory holds the runs of the texts, a row group, no more.
Thirteen words in a row, after GPT-3's rule, are seldom shared by chance; that a context is found says that a model may
have seen its words, not that it has seen question and answer together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from linkbert.corpora.store import Store
from linkbert.tasks.examples import ChoiceExample, Example, QuestionExample, TaggedExample
from linkbert.tasks.grams import Runs, store_words

WORDS = 13  # of a run


def context_of(example: Example) -> str:
    """Give the text of an example that a corpus may hold: a question's context, both texts of a pair, the words."""
    match example:
        case QuestionExample():
            return example.context
        case ChoiceExample():
            return example.question
        case TaggedExample():
            return " ".join(example.words)
    return f"{example.a} {example.b}".strip()


def find_overlap(
    store: Store,
    contexts: Mapping[str, str],
    *,
    n: int = WORDS,
    worst: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Find runs of n words of contexts, {id: text}, in a store; a text that several ids have counts once.

    `with_overlap` counts the contexts of which a run is found, of those that are long enough to have one; `worst` are
    those with the largest share of their runs found, each with up to three documents and how many of its runs they are
    the first to have. `progress` is told (documents read, in all).
    """
    names: dict[str, str] = {}
    for name, text in contexts.items():
        names.setdefault(text, name)
    texts, ids = list(names), list(names.values())
    runs = Runs.of_texts(texts, n)
    first = np.full(len(runs.hashes), -1, np.int32)  # the document in which a run is found first
    size, cpu = 0, time.process_time()
    for words, starts, documents, read in store_words(store):
        where, found = runs.find(words, starts)
        new = (first[found] < 0) & (documents[where] >= 0)
        first[found[new][::-1]] = documents[where[new]][::-1]  # of a run found twice the first one stays
        size += read
        if progress:
            progress(int(documents.max()) + 1, len(store))
    cpu = time.process_time() - cpu
    lengths = np.diff(runs.begins)
    hits = np.concatenate([[0], np.cumsum(first[runs.of] >= 0)])
    hits = hits[runs.begins[1:]] - hits[runs.begins[:-1]]
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
                "documents": _documents(store, first[runs.of[runs.begins[i] : runs.begins[i + 1]]]),
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
