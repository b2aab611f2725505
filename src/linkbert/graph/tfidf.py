"""The TF-IDF graph: a store's tokens come in; edges from each document to the k most like it go out.

Alike is the cosine of DrQA's vectors, which the paper compares with: words and pairs of words that stand side by side,
none of them a stop word, hashed to 2^24 terms; weight log(1 + count) times the larger of 0 and
log((N - df + 0.5) / (df + 0.5)). The words are the store's WordPieces, joined.

The 50 candidates of a document have the largest sums over the terms of at most FREQUENT documents (sparse-dot-topn); of
these the cosine over all terms decides, and equal ones come by their numbers. `exact` looks up all terms. Each part of
the documents is a shard of three rounds. The graph depends neither on the parts nor on the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, load_npz, save_npz, vstack
from sparse_dot_topn import sp_matmul_topn  # type: ignore[import-untyped]

from linkbert.compiled import mix
from linkbert.corpora.store import Store
from linkbert.files import map_array, read_json, replacing
from linkbert.graph.links import Edges, Progress
from linkbert.workers import run_shards

TERMS = 1 << 24
FREQUENT = 3_000  # documents; a term of more is not looked up
CANDIDATES = 50  # a document; twice k where that is more
SAMPLE = 200  # documents whose neighbours are found exactly, to know the recall
PART_DOCUMENTS, PART_TOKENS = 1 << 14, 1 << 22  # a part has no more, unless it is one document
PAIRS = 1 << 12  # of documents compared at a time
WORKER = 1_000_000_000  # bytes that a worker takes with parts of this size
WORD, REST, OTHER, STOP = range(4)  # a token starts a word, continues one, is no word, is a stop word if alone

# NLTK's list, which DrQA takes. In other languages frequent words weigh little, and nothing above N / 2 documents.
STOP_WORDS = frozenset(
    """
    a about above after again against ain all am an and any are aren as at be because been before being below between
    both but by can couldn d did didn do does doesn doing don down during each few for from further had hadn has hasn
    have haven having he her here hers herself him himself his how i if in into is isn it its itself just ll m ma me
    mightn more most mustn my myself needn no nor not now o of off on once only or other our ours ourselves out over own
    re s same shan she should shouldn so some such t than that the their theirs them themselves then there these they
    this those through to too under until up ve very was wasn we were weren what when where which while who whom why
    will with won wouldn y you your yours yourself yourselves
    """.split()  # noqa: SIM905
)
SPECIAL = frozenset(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


@dataclass(frozen=True)
class _Job:
    """What a worker must know of all the shards."""

    store: Path
    folder: Path
    starts: tuple[int, ...]  # first document of each part, and the number of documents
    k: int
    frequent: int
    terms: int

    def path(self, kind: str, part: int) -> Path:
        return self.folder / f"{kind}-{part:05d}.npz"

    def load(self, kind: str, part: int) -> csr_matrix:
        return load_npz(self.path(kind, part))


def build(
    store: Store,
    *,
    k: int = 5,
    exact: bool = False,
    memory: int = 4_000_000_000,
    executor: Executor,
    progress: Progress | None = None,
    counts: dict[str, Any],
    folder: Path,
) -> Iterator[Edges]:
    """Yield an edge from each document to each of the `k` others most like it, the best first.

    Documents without a term in common with another have no edges. As many workers run at once as fit into `memory`,
    in bytes (on a Dask cluster, all of them).
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if memory < WORKER:
        raise ValueError(f"memory must be at least {WORKER / 1e9:g}GB for a TF-IDF graph, got {memory / 1e9:g}GB")
    made, _, documents = open_tokens(store.path, len(store))
    starts = cut_parts(documents)
    folder /= f"{made['vocabulary_sha256'][:8]}-{made['tokens']}"  # parts made of other tokens lie in another
    job = _Job(store.path, folder, starts, k, len(store) if exact else FREQUENT, TERMS)
    parts = range(len(starts) - 1)

    def run(kind: str, function: Callable[[_Job, int], None]) -> None:
        done = lambda part: job.path(kind, part).exists()  # noqa: E731
        finished = iter(range(1, len(parts) + 1))
        report = (lambda _: progress(kind, next(finished), len(parts))) if progress else None
        run_shards(partial(function, job), parts, executor, done=done, progress=report, at_once=memory // WORKER)

    run("terms", write_terms)
    df = np.zeros(TERMS, np.int32)
    for part in parts:
        df += np.bincount(job.load("terms", part).indices, minlength=TERMS).astype(np.int32)
    _save(folder / "df.npz", csr_matrix(df))
    run("index", write_index)
    run("nearest", write_nearest)
    counts["frequent"] = job.frequent
    if not exact:
        counts |= measure_recall(job)
    for part in parts:
        nearest = job.load("nearest", part)  # numbers, from 1 on; the rank is the column
        yield Edges(np.repeat(np.arange(starts[part], starts[part + 1]), np.diff(nearest.indptr)), nearest.data - 1)


def open_tokens(store: Path, documents: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Map a store's tokens: (tokens.json, uint16 or uint32 (T,), first token of each document int64 (N + 1,))."""
    folder = store / "tokens"
    if not (folder / "tokens.json").is_file():
        raise ValueError(f"{store} has no tokens, whose words a TF-IDF graph counts: finish it with `linkbert build`")
    made = read_json(folder / "tokens.json")
    tokens = map_array(folder / "tokens.bin", np.dtype(made["dtype"]).newbyteorder("<"), made["tokens"])
    starts = map_array(folder / "documents.bin", "<i8", documents + 1)
    if starts[0] or starts[-1] != len(tokens) or np.any(np.diff(starts) < 0):
        raise ValueError(f"{folder} is damaged: documents.bin and tokens.bin do not fit; build the store again")
    return made, tokens, starts


def cut_parts(documents: np.ndarray) -> tuple[int, ...]:
    """Cut documents, given by their first tokens, into parts: the first document of each, and their number."""
    starts = [0]
    while starts[-1] < len(documents) - 1:
        full = int(np.searchsorted(documents, documents[starts[-1]] + PART_TOKENS, side="right")) - 1
        starts.append(min(max(full, starts[-1] + 1), starts[-1] + PART_DOCUMENTS, len(documents) - 1))
    return tuple(starts)


def _save(path: Path, matrix: csr_matrix) -> None:
    with replacing(path) as part, part.open("wb") as file:
        save_npz(file, csr_matrix(matrix), compressed=False)


def write_terms(job: _Job, part: int) -> None:
    """Write log(1 + count) of every term of a part's documents, (documents, TERMS) float32."""
    _, tokens, documents = open_tokens(job.store, job.starts[-1])
    starts = documents[job.starts[part] : job.starts[part + 1] + 1]
    tokens, kinds = np.asarray(tokens[starts[0] : starts[-1]]), token_kinds(job.store)
    if len(tokens) and tokens.max() >= len(kinds):
        raise ValueError(
            f"{job.store}/tokens holds a token {tokens.max()}, not in the vocabulary: remove tokens/ and build it again"
        )
    document, kind = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), kinds[tokens]
    first = np.flatnonzero((kind != REST) | (np.diff(document, prepend=-1) > 0))  # token of each word
    sizes = np.diff(first, append=len(tokens))
    place = np.arange(len(tokens)) - np.repeat(first, sizes)
    hashes = np.add.reduceat(mix(tokens + (place.astype(np.uint64) << np.uint64(32))), first) if len(first) else first
    hashes, document = mix(hashes.astype(np.uint64)), document[first]
    word = (sizes > 1) | ~np.isin(kind[first], (OTHER, STOP))
    pair = word[:-1] & word[1:] & (document[:-1] == document[1:])
    pairs = mix(hashes[:-1][pair] * np.uint64(3) + hashes[1:][pair])
    terms = (np.concatenate([hashes[word], pairs]) % np.uint64(job.terms)).astype(np.int32)
    rows = np.concatenate([document[word], document[:-1][pair]])
    counted = csr_matrix((np.ones(len(rows), np.float32), (rows, terms)), (len(starts) - 1, job.terms))
    counted.data = np.log1p(counted.data)
    _save(job.path("terms", part), counted)


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


def write_index(job: _Job, part: int) -> None:
    """Write a part's vectors, of length 1, float64: of all terms by document, of those looked up by term."""
    documents, df = job.starts[-1], load_npz(job.folder / "df.npz").toarray()[0]
    vectors = job.load("terms", part).astype(np.float64)
    times = df[vectors.indices]
    vectors.data *= np.maximum(0, np.log((documents - times + 0.5) / (times + 0.5)))
    lengths = np.sqrt(np.add.reduceat(np.append(vectors.data**2, 0), vectors.indptr[:-1]))
    vectors.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(vectors.indptr))
    vectors.eliminate_zeros()
    _save(job.path("vectors", part), vectors)
    chosen = (df > 1) & (df <= job.frequent)
    rows = np.cumsum(chosen, dtype=np.int32)  # of the index, by term, from 1 on
    vectors.data[~chosen[vectors.indices]] = 0
    places = (vectors.data, np.maximum(rows[vectors.indices] - 1, 0), vectors.indptr)
    index = csr_matrix(places, (vectors.shape[0], int(rows[-1])))
    index.eliminate_zeros()
    _save(job.path("index", part), index.T)


def write_nearest(job: _Job, part: int) -> None:
    """Find the nearest documents to those of a part: a row a document, its columns the ranks, numbers from 1 on."""
    size, count = job.starts[part + 1] - job.starts[part], max(CANDIDATES, 2 * job.k)
    vectors, own = job.load("vectors", part), csr_matrix(job.load("index", part).T)
    found, scores = np.full((size, count), -1), np.zeros((size, count))
    for other, start in enumerate(job.starts[:-1]):
        numbers, sums = find_candidates(own, job.load("index", other), count, job.starts[part] - start)
        numbers[numbers >= 0] += start
        found, scores = best(np.hstack([found, numbers]), np.hstack([scores, sums]), count)
    scores[:] = 0
    for other, start in enumerate(job.starts[:-1]):
        others = job.load("vectors", other)
        row, rank = np.nonzero((found >= start) & (found < job.starts[other + 1]))
        for at in range(0, len(row), PAIRS):
            a, c = row[at : at + PAIRS], rank[at : at + PAIRS]
            products = vectors[a].multiply(others[found[a, c] - start])
            scores[a, c] = np.asarray(products.sum(axis=1))[:, 0]
    found, scores = best(found, scores, job.k)
    row, rank = np.nonzero(scores > 0)
    _save(job.path("nearest", part), csr_matrix((found[row, rank] + 1, (row, rank)), (size, job.k)))


def find_candidates(own: csr_matrix, index: csr_matrix, count: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` columns of the largest sums, equal ones by number, and the sums: (n, count), -1 for none.

    Row i is the document of column i + shift, which is left out.
    """
    top = count + 2  # with the document itself, and one more to see whether equal ones were cut off
    made = sp_matmul_topn(own, index, top_n=top, threshold=0.0, sort=True)
    held = np.diff(made.indptr)
    filled = np.arange(top) < held[:, None]
    numbers, sums = np.full(filled.shape, -1), np.zeros(filled.shape)
    numbers[filled], sums[filled] = made.indices, made.data
    itself = numbers == np.arange(len(held))[:, None] + shift
    numbers[itself], sums[itself] = -1, 0
    numbers, sums = best(numbers, sums, top)
    cut = np.flatnonzero((held == top) & (sums[:, count - 1] <= np.maximum(sums[:, count], sums[:, count + 1])))
    for i in cut.tolist():
        all_of_it = own[i] @ index
        other = all_of_it.indices != i + shift
        columns, values = all_of_it.indices[other], all_of_it.data[other]
        (numbers[i, :count],), (sums[i, :count],) = best(columns[None], values[None], count)
    return numbers[:, :count], sums[:, :count]


def best(numbers: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` largest scores of each row, equal ones by number."""
    order = np.lexsort((numbers, -scores), axis=1)[:, :count]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(scores, order, axis=1)


def measure_recall(job: _Job) -> dict[str, Any]:
    """Return what share of the exact neighbours of a sample was found, the mean over documents that have any."""
    rng = np.random.Generator(np.random.Philox(0))
    sample = np.sort(rng.choice(job.starts[-1], min(SAMPLE, job.starts[-1]), replace=False))
    parts = list(enumerate(pairwise(job.starts)))
    inside = [
        sample[np.searchsorted(sample, start) : np.searchsorted(sample, stop)] - start for _, (start, stop) in parts
    ]
    wanted, nearest = (vstack([job.load(k, part)[inside[part]] for part, _ in parts]) for k in ("vectors", "nearest"))
    found = nearest.toarray() - 1
    exact, scores = np.full(found.shape, -1), np.zeros(found.shape)
    for part, (start, stop) in parts:
        sums = (job.load("vectors", part) @ wanted.T).toarray().T
        numbers = np.broadcast_to(np.arange(start, stop), sums.shape)
        sums[numbers == sample[:, None]] = 0
        exact, scores = best(np.hstack([exact, numbers]), np.hstack([scores, sums]), job.k)
    shares = [np.isin(a[s > 0], b).mean() for a, s, b in zip(exact, scores, found, strict=True) if s[0] > 0]
    return {"recall": round(float(np.mean(shares)), 4) if shares else 1.0, "recall_documents": len(shares)}
