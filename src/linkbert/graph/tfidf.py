"""The TF-IDF graph: a store's tokens come in; edges from each document to the k most like it go out.

Alike is the cosine of DrQA's vectors, which the paper compares with: words and pairs of words that stand side by side,
none of them a stop word, hashed to 2^24 terms; weight log(1 + count) times the larger of 0 and
log((N - df + 0.5) / (df + 0.5)). The words are the store's WordPieces, joined: no second tokeniser, and a vocabulary
that folds capitals makes a graph that does.

A document's *candidates* are the 50 others with the largest sums over its chosen terms, found in inverted indexes; of
these the cosine is computed over all terms, in double precision, and the best k stay, equal ones by their numbers. In
mode "exact" all terms are chosen. In mode "pruned" those of more than FREQUENT documents are not, and of the others
the heaviest, until their postings are BUDGET: the time is then linear in the number of documents. What that misses is
measured on a sample, and stands in graph.json as its recall.

Three rounds of shards, each a folder or file in STORE/graphs/NAME.parts/ that a later run does not make again:

    terms-00007            rows of terms of one part of the documents (16,384, or 4 M tokens)
    index-00000-00012      inverted index of as many parts as the memory allows
    nearest-00007.bin      int32 (documents of the part, k), -1 where there is none; nearest-sample.bin is exact

How many parts an index has follows from the memory, and changes nothing in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.corpora.store import Store
from linkbert.files import map_array, read_json, remove, replacing
from linkbert.graph import kernels
from linkbert.graph.links import Edges
from linkbert.workers import run_shards

BITS = 24  # of a term
FREQUENT = 3_000  # documents; a term of more is not looked up
BUDGET = 20_000  # postings read for a document
CANDIDATES = 50  # a document; twice k where that is more
MOST = 100  # neighbours of a document
SAMPLE = 500  # documents whose neighbours are found exactly, to know the recall
PART_DOCUMENTS, PART_TOKENS = 1 << 14, 1 << 22  # a part has no more, unless it is one document
PROCESS = 300 << 20  # bytes that a process has before it does anything
POSTING = 8  # bytes

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

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Rules:
    """What decides a graph beside the tokens; parts made by others are not used."""

    k: int
    mode: str  # "pruned" or "exact"
    bits: int
    frequent: int
    budget: int
    candidates: int
    vocabulary_sha256: str
    tokens: int


@dataclass(frozen=True)
class Job:
    """What a worker must know of all the shards; it pickles."""

    store: Path
    parts: Path
    starts: tuple[int, ...]  # first document of each part, and the number of documents
    rules: Rules


def build(
    store: Store,
    *,
    k: int = 5,
    exact: bool = False,
    memory: int = 4_000_000_000,
    executor: Executor,
    counts: dict[str, Any],
    folder: Path,
    bits: int = BITS,
    frequent: int = FREQUENT,
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> Iterator[Edges]:
    """Yield an edge from each document to each of the `k` others most like it, the likest first.

    Documents without a term in common with another have no edges. `memory` is in bytes, for this process and its
    `workers` together (with `dask`, for each of the workers). Neither changes a byte of the graph. Returns
    the counts that its graph.json holds.
    """
    if not 1 <= k <= MOST:
        raise ValueError(f"--k {k} does not make sense: a document has 1 to {MOST} neighbours")
    made, _, documents = open_tokens(store.path)
    if len(documents) != len(store) + 1:
        raise ValueError(f"{store.path}/tokens has {len(documents) - 1} documents, not {len(store)}: build it again")
    rules = Rules(
        k=k,
        mode="exact" if exact else "pruned",
        bits=bits,
        frequent=len(store) if exact else frequent,
        budget=2**62 if exact else budget,
        candidates=max(CANDIDATES, 2 * k),
        vocabulary_sha256=made["vocabulary_sha256"],
        tokens=made["tokens"],
    )
    job = Job(store.path, folder, cut_parts(documents), rules)
    _make_parts(job, postings_room(memory, 1, len(store), bits), executor, progress)
    counts |= asdict(rules)
    if not exact:
        counts |= measure_recall(job)
    yield from _read_edges(job)


def open_tokens(store: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Map a store's tokens: (tokens.json, uint16 or uint32 (T,), first token of each document int64 (N + 1,)).

    A store that has none, or whose arrays cannot be right, is a ValueError. The files are those of docs/formats.md.
    """
    folder = store / "tokens"
    if not (folder / "tokens.json").is_file():
        raise ValueError(f"{store} has no tokens, whose words a TF-IDF graph counts: finish it with `linkbert build`")
    made = read_json(folder / "tokens.json")
    tokens = map_array(folder / "tokens.bin", np.dtype(made["dtype"]).newbyteorder("<"))
    documents = map_array(folder / "documents.bin", np.dtype("<i8"))
    rising = len(documents) and documents[0] == 0 and documents[-1] == len(tokens) and np.all(np.diff(documents) >= 0)
    if not rising or len(tokens) != made["tokens"]:
        raise ValueError(f"{folder} is damaged: documents.bin and tokens.bin do not fit; build the store again")
    return made, tokens, documents


def cut_parts(documents: np.ndarray) -> tuple[int, ...]:
    """Cut documents, given by their first tokens, into parts: the first document of each, and their number."""
    starts = [0]
    while starts[-1] < len(documents) - 1:
        full = int(np.searchsorted(documents, documents[starts[-1]] + PART_TOKENS, side="right")) - 1
        starts.append(min(max(full, starts[-1] + 1), starts[-1] + PART_DOCUMENTS, len(documents) - 1))
    return tuple(starts)


def postings_room(memory: int, workers: int, documents: int, bits: int) -> int:
    """Say how many postings an index may have where so many workers share the memory; too little is a ValueError.

    A process holds its libraries, three tables of 4 bytes a term, one of 8 bytes a document, a part, and one index.
    """
    fixed = PROCESS + 3 * 4 * 2**bits + 8 * documents + 8 * 2 * PART_TOKENS
    needed = (PROCESS if workers > 1 else 0) + workers * (fixed + POSTING * 2 * PART_TOKENS)
    if memory < needed:
        fewer = " or fewer --workers" if workers > 1 else ""
        raise ValueError(
            f"--memory {memory / 1e9:.2g}GB is too little for {workers} "
            f"{'workers' if workers > 1 else 'worker'}: give {needed / 1e9 + 0.05:.1f}GB{fewer}"
        )
    share = (memory - PROCESS) // workers if workers > 1 else memory
    return min((share - fixed) // POSTING, 2**31 - 1)


def _make_parts(job: Job, room: int, executor: Executor, progress: Progress | None) -> None:
    """Run the three rounds of shards."""
    count = len(job.starts) - 1

    def run(stage: str, function: Callable[..., None], items: list[tuple[Any, Path]]) -> None:
        finished = 0

        def report(_: Any) -> None:
            nonlocal finished
            finished += 1
            if progress:
                progress(stage, finished, len(items))

        asked = [(job, item, path) for item, path in items]
        run_shards(function, asked, executor, done=lambda item: item[2].exists(), progress=report)

    run("terms", write_terms, [(part, _terms_path(job, part)) for part in range(count)])
    if not (job.parts / "df.bin").is_file():
        df = np.zeros(1 << job.rules.bits, "<i4")
        for part in range(count):
            df += np.bincount(map_array(_terms_path(job, part) / "terms.bin", "<i4"), minlength=len(df)).astype("<i4")
        _write(job.parts / "df.bin", df)
    blocks = []
    first = size = 0
    for part in range(count):
        more = (_terms_path(job, part) / "terms.bin").stat().st_size // 4
        if part > first and size + more > room:
            blocks.append((first, part))
            first, size = part, 0
        size += more
    blocks += [(first, count)] if count else []
    # Made with other memory, they would be read beside these.
    names = {_index_path(job, block).name for block in blocks}
    for old in job.parts.glob("index-*"):
        if old.name not in names:
            remove(old)
    run("index", write_index, [(block, _index_path(job, block)) for block in blocks])
    sought: list[int | None] = [*range(count)]
    if job.rules.mode == "pruned":
        sought.append(None)
    run("nearest", write_nearest, [((part, blocks), _nearest_path(job, part)) for part in sought])


def write_terms(item: tuple[Job, int, Path]) -> None:
    """Count the terms of one part's documents: rows.bin, terms.bin, tf.bin."""
    job, part, folder = item
    _, tokens, documents = open_tokens(job.store)
    starts = documents[job.starts[part] : job.starts[part + 1] + 1]
    tokens = tokens[starts[0] : starts[-1]]
    kinds = token_kinds(job.store)
    if len(tokens) and tokens.max() >= len(kinds):
        raise ValueError(
            f"{job.store}/tokens/tokens.bin is damaged: it holds a token {tokens.max()}, not in the vocabulary; remove "
            "tokens/ and build the store again"
        )
    rows = np.empty(len(starts), np.int64)
    terms, tf = np.empty(2 * len(tokens), np.int32), np.empty(2 * len(tokens), np.float32)
    filled = kernels.count_terms(tokens, starts - starts[0], kinds, job.rules.bits, rows, terms, tf)
    with replacing(folder) as made:
        made.mkdir()
        for name, array in (("rows", rows), ("terms", terms[:filled]), ("tf", tf[:filled])):
            _write(made / f"{name}.bin", array)


def token_kinds(store: Path) -> np.ndarray:
    """Say what each token of a store's vocabulary is (kernels.WORD and so on): uint8 (V,)."""
    folder = store / "vocabulary"
    path = folder / ("pieces.txt" if (folder / "pieces.txt").is_file() else "vocab.txt")
    if not path.is_file():
        raise ValueError(f"{path} is not there: the store is damaged, build it again")
    tokens = path.read_bytes().decode().removesuffix("\n").split("\n")
    kinds = np.full(len(tokens), kernels.WORD, np.uint8)
    for number, token in enumerate(tokens):
        if token.startswith("##") and len(token) > 2:
            kinds[number] = kernels.REST
        elif token in SPECIAL or not any(map(str.isalnum, token)):
            kinds[number] = kernels.OTHER
        elif token.lower() in STOP_WORDS:
            kinds[number] = kernels.STOP
    return kinds


def write_index(item: tuple[Job, tuple[int, int], Path]) -> None:
    """Invert the rows of some parts: offsets.bin, docs.bin, weights.bin; and lengths.bin, of their vectors."""
    job, (first, stop), folder = item
    df, idf = _tables(job)
    lengths = []
    offsets = np.zeros(len(df) + 1, np.int32)
    for part in range(first, stop):
        rows = _rows(job, part)
        lengths.append(kernels.measure(*rows, df, idf))
        kernels.count_postings(rows[1], df, idf, offsets)
    np.cumsum(offsets, dtype=np.int32, out=offsets)
    docs, weights = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    ends = offsets[:-1].copy()
    for part in range(first, stop):
        before = job.starts[part] - job.starts[first]
        kernels.write_postings(before, *_rows(job, part), lengths[part - first], df, idf, ends, docs, weights)
    with replacing(folder) as made:
        made.mkdir()
        arrays = {"offsets": offsets, "docs": docs, "weights": weights, "lengths": np.concatenate(lengths)}
        for name, array in arrays.items():
            _write(made / f"{name}.bin", array)


def write_nearest(item: tuple[Job, tuple[int | None, list[tuple[int, int]]], Path]) -> None:
    """Find the nearest documents to those of a part, or (None) to the sample, exactly: int32 (n, k)."""
    job, (own, blocks), path = item
    rules = job.rules
    df, idf = _tables(job)
    if own is None:
        numbers, rows = _sample(job)
        frequent, budget = job.starts[-1], 2**62
    else:
        numbers, rows = np.arange(job.starts[own], job.starts[own + 1]), _rows(job, own)
        frequent, budget = rules.frequent, rules.budget
    found = np.full((len(numbers), rules.candidates), -1, np.int32)
    scores = np.zeros(found.shape, np.float32)
    for first, stop in blocks:
        offsets, docs, weights = (
            map_array(_index_path(job, (first, stop)) / f"{name}.bin", kind)
            for name, kind in (("offsets", "<i4"), ("docs", "<i4"), ("weights", "<f4"))
        )
        sums = np.zeros(job.starts[stop] - job.starts[first], np.float32)
        kernels.search(
            numbers, *rows, df, idf, frequent, budget, job.starts[first], offsets, docs, weights, sums, found, scores
        )
    cosines = np.full(found.shape, -1.0)
    lengths = kernels.measure(*rows, df, idf)
    for first, stop in blocks:
        others = map_array(_index_path(job, (first, stop)) / "lengths.bin", "<f8")
        for part in range(first, stop):
            start = job.starts[part]
            inside = others[start - job.starts[first] : job.starts[part + 1] - job.starts[first]]
            kernels.rescore(*rows, lengths, df, idf, found, start, *_rows(job, part), inside, cosines)
    order = np.lexsort((found, -cosines), axis=1)[:, : rules.k]
    _write(path, np.take_along_axis(found, order, axis=1))


def _sample(job: Job) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Choose documents, the same ones for a store's size, and gather their rows."""
    rng = np.random.Generator(np.random.Philox(0))
    numbers = np.sort(rng.choice(job.starts[-1], min(SAMPLE, job.starts[-1]), replace=False))
    sizes, terms, tf = [0], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for part in np.unique(np.searchsorted(job.starts, numbers, side="right") - 1).tolist():
        rows, all_terms, all_tf = _rows(job, part)
        for row in numbers[(numbers >= job.starts[part]) & (numbers < job.starts[part + 1])] - job.starts[part]:
            places = slice(rows[row], rows[row + 1])
            sizes.append(rows[row + 1] - rows[row])
            terms.append(all_terms[places])
            tf.append(all_tf[places])
    arrays = np.cumsum(sizes), np.concatenate(terms), np.concatenate(tf)
    for array in arrays:
        array.setflags(write=False)  # as mapped ones, so that compiled code sees one type
    return numbers, arrays


def measure_recall(job: Job) -> dict[str, Any]:
    """Say what share of the exact neighbours of the sample was found, the mean over documents that have any."""
    numbers = _sample(job)[0]
    exact = map_array(_nearest_path(job, None), "<i4").reshape(len(numbers), job.rules.k)
    shares = []
    for part in np.unique(np.searchsorted(job.starts, numbers, side="right") - 1).tolist():
        inside = (numbers >= job.starts[part]) & (numbers < job.starts[part + 1])
        for found, true in zip(_nearest(job, part)[numbers[inside] - job.starts[part]], exact[inside], strict=True):
            if true[0] >= 0:
                shares.append(np.isin(true[true >= 0], found).mean())
    return {"recall": round(float(np.mean(shares)), 4) if shares else 1.0, "recall_documents": len(shares)}


def _read_edges(job: Job) -> Iterator[Edges]:
    for part in range(len(job.starts) - 1):
        nearest = _nearest(job, part)
        row, column = np.nonzero(nearest >= 0)
        yield Edges(row + job.starts[part], nearest[row, column])


def _tables(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Give the documents of each term, int32, and what a term of 0, 1, 2, ... N documents weighs, float64."""
    documents = job.starts[-1]
    df = np.arange(documents + 1)
    idf = np.maximum(0.0, np.log((documents - df + 0.5) / (df + 0.5)))
    return map_array(job.parts / "df.bin", "<i4"), idf


def _terms_path(job: Job, part: int) -> Path:
    return job.parts / f"terms-{part:05d}"


def _index_path(job: Job, block: tuple[int, int]) -> Path:
    return job.parts / f"index-{block[0]:05d}-{block[1]:05d}"


def _nearest_path(job: Job, part: int | None) -> Path:
    return job.parts / ("nearest-sample.bin" if part is None else f"nearest-{part:05d}.bin")


def _rows(job: Job, part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    folder = _terms_path(job, part)
    return (
        map_array(folder / "rows.bin", "<i8"),
        map_array(folder / "terms.bin", "<i4"),
        map_array(folder / "tf.bin", "<f4"),
    )


def _nearest(job: Job, part: int) -> np.ndarray:
    return map_array(_nearest_path(job, part), "<i4").reshape(job.starts[part + 1] - job.starts[part], job.rules.k)


def _write(path: Path, array: np.ndarray) -> None:
    """Write an array without a copy of it; whole or not at all."""
    with replacing(path) as part, part.open("wb") as file:
        file.write(np.ascontiguousarray(array).data)
