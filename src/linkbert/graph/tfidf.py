"""The TF-IDF graph: a store's tokens come in; edges from each document to the k most like it go out.

Alike is the cosine of DrQA's vectors, which the paper compares with: words and pairs of words that stand side by side,
none of them a stop word, hashed to 2^24 terms; weight log(1 + count) times the larger of 0 and
log((N - df + 0.5) / (df + 0.5)). The words are the store's WordPieces, joined.

The 50 candidates of a document have the largest sums over the terms of at most FREQUENT documents (sparse-dot-topn); of
these the cosine over all terms decides, and equal ones come by their numbers. `exact` looks up all terms. The vectors
lie in mapped files, some of them in memory at a time; neither that nor the number of threads changes the graph.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sparse_dot_topn import sp_matmul_topn  # type: ignore[import-untyped]

from linkbert.compiled import mix
from linkbert.config import Natural
from linkbert.corpora.store import Store
from linkbert.files import made_of, map_array, read_ours
from linkbert.graph.links import Edges, Progress, cut_parts

TERMS = 1 << 24
FREQUENT = 3_000  # documents; a term of more is not looked up
CANDIDATES = 50  # a document; twice k where that is more
SAMPLE = 200  # documents whose neighbours are found exactly, to know the recall
PART_DOCUMENTS, PART_TOKENS = 1 << 14, 1 << 22  # for which neighbours are searched at a time
PAIRS = 1 << 12  # of documents compared at a time
MEMORY, TOKEN_BYTES = 1_000_000_000, 100  # of a thread with parts of this size; of a token that is searched in
WORD, REST, OTHER, STOP = range(4)  # a token starts a word, continues one, is no word, is a stop word if alone

# NLTK's list, which DrQA takes. In other languages frequent words weigh little, and nothing above N / 2 documents.
STOP_WORDS = frozenset(resources.files("linkbert.graph").joinpath("stop_words.txt").read_text(encoding="utf-8").split())
SPECIAL = frozenset(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


class Vectors(NamedTuple):
    """log(1 + count) of the terms of each document, in mapped arrays: starts[i] to starts[i + 1] are those of i."""

    starts: np.ndarray  # (N + 1,) int64
    terms: np.ndarray  # int32
    logs: np.ndarray  # float32
    df: np.ndarray  # (TERMS,) int32: the documents of each term

    def rows(self, documents: np.ndarray, frequent: int = 0) -> csr_matrix:
        """Make vectors of length 1, float64 (n, TERMS); `frequent` leaves of them the terms that are looked up."""
        sizes = self.starts[documents + 1] - self.starts[documents]
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1]) + np.repeat(self.starts[documents] - ends + sizes, sizes)
        terms, total = self.terms[places], len(self.starts) - 1
        times = self.df[terms]
        values = self.logs[places] * np.maximum(0, np.log((total - times + 0.5) / (times + 0.5)))
        lengths = np.sqrt(np.add.reduceat(np.append(values**2, 0), ends - sizes))
        values /= np.repeat(np.where(lengths > 0, lengths, 1), sizes)
        if frequent:
            values[(times == 1) | (times > frequent)] = 0
        rows = csr_matrix((values, terms, np.append(0, ends)), (len(documents), len(self.df)))
        rows.eliminate_zeros()
        return rows


def build(
    store: Store,
    *,
    k: int = 5,
    exact: bool = False,
    memory: int = 4_000_000_000,
    executor: Executor,
    progress: Progress,
    counts: dict[str, Any],
    folder: Path,
) -> Iterator[Edges]:
    """Yield an edge from each document to each of the `k` others most like it, the best first.

    Documents without a term in common with another have no edges. The executor's workers are threads here; `memory`, in
    bytes, bounds how many of them there are, and among how many documents they search at a time.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if memory < MEMORY:
        raise ValueError(f"memory must be at least {MEMORY / 1e9:g}GB for a TF-IDF graph, got {memory / 1e9:g}GB")
    _, tokens, documents = open_tokens(store.path, len(store))
    parts = cut_parts(documents, PART_TOKENS, PART_DOCUMENTS)
    blocks = cut_parts(documents, memory // TOKEN_BYTES, len(store))
    counts["frequent"] = frequent = len(store) if exact else FREQUENT
    threads = min(getattr(executor, "workers", os.cpu_count() or 1), memory // MEMORY)
    nearest = np.full((len(store), k), -1, np.int32)
    with ThreadPoolExecutor(threads) as pool:
        counted = pool.map(partial(count_terms, tokens, documents, token_kinds(store.path)), parts)
        vectors = write_vectors(counted, folder, lambda done: progress("terms", done, len(parts)))
        search = partial(find_candidates, vectors, blocks=blocks, threads=threads)
        found = search(parts, frequent=frequent, count=max(CANDIDATES, 2 * k), progress=progress)
        rescored = pool.map(lambda part, near: rescore(vectors, part, *near), parts, found)
        for done, (part, (numbers, cosines)) in enumerate(zip(parts, rescored, strict=True), 1):
            row, rank = np.nonzero(cosines[:, :k] > 0)
            nearest[part[row], rank] = numbers[row, rank]
            yield Edges(part[row], numbers[row, rank])
            progress("nearest", done, len(parts))
    if not exact:
        rng = np.random.Generator(np.random.Philox(0))
        sample = np.sort(rng.choice(len(store), min(SAMPLE, len(store)), replace=False))
        ((numbers, cosines),) = search([sample], frequent=len(store), count=k)
        asked = zip(numbers, cosines > 0, nearest[sample], strict=True)
        shares = [np.isin(wanted[real], had).mean() for wanted, real, had in asked if real.any()]
        counts |= {"recall": round(float(np.mean(shares or [1])), 4), "recall_documents": len(shares)}


Tokens = made_of("Tokens", dtype=Literal["uint16", "uint32"], tokens=Natural)  # of tokens.json


def open_tokens(store: Path, documents: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Map a store's tokens: (tokens.json, uint16 or uint32 (T,), first token of each document int64 (N + 1,))."""
    folder = store / "tokens"
    if not (folder / "tokens.json").is_file():
        raise ValueError(f"{store} has no tokens, whose words a TF-IDF graph counts: finish it with `linkbert build`")
    made = read_ours(folder / "tokens.json", Tokens)
    tokens = map_array(folder / "tokens.bin", np.dtype(made["dtype"]).newbyteorder("<"), made["tokens"])
    starts = map_array(folder / "documents.bin", "<i8", documents + 1)
    if starts[0] or starts[-1] != len(tokens) or np.any(np.diff(starts) < 0):
        raise ValueError(f"{folder} is damaged: documents.bin and tokens.bin do not fit; build the store again")
    return made, tokens, starts


def write_vectors(counted: Iterable[csr_matrix], folder: Path, report: Callable[[int], None]) -> Vectors:
    """Write what was counted of all documents, part by part, to files in a folder, and map them."""
    df, sizes = np.zeros(TERMS, np.int32), [np.zeros(1, np.int64)]
    with (folder / "terms.bin").open("wb") as terms, (folder / "logs.bin").open("wb") as logs:
        for done, matrix in enumerate(counted, 1):
            df += np.bincount(matrix.indices, minlength=TERMS).astype(np.int32)
            sizes.append(np.diff(matrix.indptr))
            terms.write(matrix.indices)  # tofile of numpy would not say that a disk is full
            logs.write(matrix.data)
            report(done)
    arrays = map_array(folder / "terms.bin", np.int32), map_array(folder / "logs.bin", np.float32)
    return Vectors(np.cumsum(np.concatenate(sizes)), *arrays, df)


def count_terms(tokens: np.ndarray, documents: np.ndarray, kinds: np.ndarray, part: np.ndarray) -> csr_matrix:
    """Return log(1 + count) of every term of some documents: (documents, TERMS) float32."""
    starts = documents[part[0] : part[-1] + 2]
    tokens = np.asarray(tokens[starts[0] : starts[-1]])
    if len(tokens) and tokens.max() >= len(kinds):
        wrong = f"tokens/ holds a token {tokens.max()}, not in the vocabulary"
        raise ValueError(f"{wrong}: remove it, build the store again")
    document, kind = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), kinds[tokens]
    first = np.flatnonzero((kind != REST) | (np.diff(document, prepend=-1) > 0))  # token of each word
    sizes = np.diff(first, append=len(tokens))
    place = np.arange(len(tokens)) - np.repeat(first, sizes)
    hashes = np.add.reduceat(mix(tokens + (place.astype(np.uint64) << np.uint64(32))), first) if len(first) else first
    hashes, document = mix(hashes.astype(np.uint64)), document[first]
    word = (sizes > 1) | ~np.isin(kind[first], (OTHER, STOP))
    pair = word[:-1] & word[1:] & (document[:-1] == document[1:])
    pairs = mix(hashes[:-1][pair] * np.uint64(3) + hashes[1:][pair])
    terms = (np.concatenate([hashes[word], pairs]) % np.uint64(TERMS)).astype(np.int32)
    rows = np.concatenate([document[word], document[:-1][pair]])
    return csr_matrix((np.ones(len(rows), np.float32), (rows, terms)), (len(starts) - 1, TERMS)).log1p()


def token_kinds(store: Path) -> np.ndarray:
    """Return what each token of a store's vocabulary is (WORD and so on): uint8 (V,)."""
    found = [path for name in ("pieces.txt", "vocab.txt") if (path := store / "vocabulary" / name).is_file()]
    if not found:
        raise ValueError(f"{store}/vocabulary has no vocab.txt: the store is damaged, build it again")
    tokens = found[0].read_bytes().decode().removesuffix("\n").split("\n")
    kinds = np.full(len(tokens), WORD, np.uint8)
    for number, token in enumerate(tokens):
        if token.startswith("##") and len(token) > 2:
            kinds[number] = REST
        elif token in SPECIAL or not any(map(str.isalnum, token)):
            kinds[number] = OTHER
        elif token.lower() in STOP_WORDS:
            kinds[number] = STOP
    return kinds


def find_candidates(
    vectors: Vectors, parts: list[np.ndarray], *, blocks: list[np.ndarray], frequent: int, count: int, threads: int,
    progress: Progress = lambda *_: None,
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Return for each part of documents the `count` others of the largest sums, equal ones by number, and the sums.

    Both are (n, count), a sum is 0 where there is no candidate. The sums are made smaller by a part in 2^44 for each
    number, so that equal ones are cut off at the larger numbers, and the same ones in blocks of any size.
    """
    found = [(np.zeros((len(part), 0), np.int32), np.zeros((len(part), 0))) for part in parts]
    for done, block in enumerate(blocks):
        index = vectors.rows(block, frequent)
        index.data *= np.repeat(1 - block * 2.0**-44, np.diff(index.indptr))
        index = index.T.tocsr()
        for i, part in enumerate(parts):
            rows = vectors.rows(part, frequent)
            made = sp_matmul_topn(rows, index, top_n=count + 1, threshold=0.0, sort=True, n_threads=threads)
            filled = np.arange(count + 1) < np.diff(made.indptr)[:, None]
            numbers, sums = np.zeros(filled.shape, np.int32), np.zeros(filled.shape)
            numbers[filled], sums[filled] = made.indices + block[0], made.data
            sums[numbers == part[:, None]] = 0  # of a document with itself
            found[i] = best(np.hstack([found[i][0], numbers]), np.hstack([found[i][1], sums]), count)
            progress("candidates", done * len(parts) + i + 1, len(blocks) * len(parts))
    return found


def rescore(vectors: Vectors, part: np.ndarray, found: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the candidates of some documents, those of a sum above 0, by the cosine over all terms: (n, count) each."""
    own, cosines = vectors.rows(part), np.zeros(found.shape)
    row, rank = np.nonzero(sums > 0)
    for at in range(0, len(row), PAIRS):
        a, c = row[at : at + PAIRS], rank[at : at + PAIRS]
        products = own[a].multiply(vectors.rows(found[a, c]))
        cosines[a, c] = np.asarray(products.sum(axis=1))[:, 0]
    return best(found, cosines, found.shape[1])


def best(numbers: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` largest scores of each row, equal ones by number."""
    order = np.lexsort((numbers, -scores), axis=1)[:, :count]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(scores, order, axis=1)
