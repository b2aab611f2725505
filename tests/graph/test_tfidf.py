"""The TF-IDF graph against scikit-learn by brute force, and against itself however it is cut."""

import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from linkbert.corpora.reader import Skipped
from linkbert.corpora.store import DROPPED, Store, write_shard
from linkbert.graph import tfidf
from linkbert.graph.links import LinkGraph, add_graph, cut_parts
from linkbert.graph.tfidf import token_kinds
from linkbert.instances.tokens import tokenise
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.records import Document
from linkbert.workers import make_executor

WORDS = [f"w{i}" for i in range(40)]  # "w25" is the pieces "w2" and "##5"
VOCABULARY = Vocabulary((*SPECIAL, "the", "of", ".", *WORDS[:10], *(f"##{i}" for i in range(10))))


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    """Few words are used here: small tables, and no two of them fall together."""
    monkeypatch.setattr(tfidf, "TERMS", 1 << 20)


def make_store(path: Path, texts: list[str], vocabulary: Vocabulary = VOCABULARY) -> Store:
    write_shard(path, 0, (Document(f"{i}", "", text) for i, text in enumerate(texts)), Skipped())
    pq.write_table(pa.Table.from_pylist([], schema=DROPPED), path / "dropped.parquet")
    (path / "store.json").write_text(json.dumps({"format": 1, "documents": len(texts), "shards": 1}))
    with make_executor() as executor:
        tokenise(Store.open(path), vocabulary, executor=executor)
    return Store.open(path)


def make_texts(count: int, seed: int) -> list[str]:
    """Texts of up to 40 words, few of them frequent, some of them stop words; every tenth text has no word."""
    rng = np.random.default_rng(seed)
    words = np.array([*WORDS, "the", ".", "of"])
    weights = 1 / np.arange(1, len(words) + 1)
    lengths = rng.integers(1, 40, count)
    return [
        " ".join(rng.choice(words, n, p=weights / weights.sum())) if i % 10 else "of the ."
        for i, n in enumerate(lengths)
    ]


def grams(text: str) -> list[str]:
    """List the words of a text, and the pairs of them with nothing in between."""
    words = [None if word in ("the", "of", ".") else word for word in re.findall(r"\w+|\.", text)]
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words) if a and b]
    return [word for word in words if word] + pairs


def cosines(texts: list[str]) -> np.ndarray:
    """Give the cosine of every two documents, by scikit-learn: float64 (N, N), -1 for a document and itself."""
    from sklearn.feature_extraction.text import CountVectorizer  # takes seconds
    from sklearn.preprocessing import normalize

    counts = CountVectorizer(analyzer=grams).fit_transform([*texts, "w0"])[:-1]  # it wants a word, if only one
    df = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.maximum(0, np.log((len(texts) - df + 0.5) / (df + 0.5)))
    vectors = counts.astype(np.float64)
    vectors.data = np.log1p(vectors.data) * idf[vectors.indices]
    vectors = normalize(vectors)
    result = (vectors @ vectors.T).toarray()
    np.fill_diagonal(result, -1)
    return result


def build_tfidf(store, *, name="tfidf", workers=1, progress=None, **options):
    with make_executor(workers) as executor:
        return add_graph(store, name, "tfidf", options, executor=executor, progress=progress)


def neighbours(graph: LinkGraph) -> list[list[int]]:
    return [graph.targets[a:b].tolist() for a, b in itertools.pairwise(graph.offsets)]


def assert_best(graph: LinkGraph, expected: np.ndarray, k: int) -> None:
    """Every document has its k best others, the best first, and none it shares nothing with."""
    for row, found in zip(expected, neighbours(graph), strict=True):
        best = np.sort(row[row > 1e-9])[::-1][:k]
        np.testing.assert_allclose(row[found], best, atol=1e-6)
        assert len(set(found)) == len(found)


def content(store: Store, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store.path / "graphs" / name).iterdir())}


def test_exact_mode_equals_scikit_learn(tmp_path):
    texts = make_texts(400, seed=1)
    store = make_store(tmp_path / "store", texts)
    build_tfidf(store, exact=True)
    graph = LinkGraph.open(store.path, "tfidf")
    expected = cosines(texts)
    assert_best(graph, expected, 5)
    assert (
        np.count_nonzero(np.diff(graph.offsets) == 0) == (expected.max(axis=1) <= 0).sum() >= 40
    )  # the texts without a word among them
    assert np.all(graph.links == -1)
    assert np.all(graph.sections == -1)
    assert "recall" not in graph.meta
    assert not (store.path / "graphs" / "tfidf.parts").exists()


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.sampled_from([*WORDS[:3], *WORDS[10:13], "the", "."]), max_size=12).map(" ".join),
        min_size=1,
        max_size=12,
    ).filter(lambda texts: any(texts)),
    st.integers(1, 4),
)
@example(["w1"], 3)  # one document
@example(["w1 w2", "w1 w2"], 3)  # k above N; and words in all documents weigh nothing
@example(["w1 w2 w3", "", "w1 w2 w3", "w4", "w5", "", "w1 w2 w3"], 1)  # equal ones and empty ones
@settings(max_examples=12, deadline=None)
def test_the_best_scores_are_those_of_brute_force(texts, k):
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", texts)
        build_tfidf(store, k=k)
        assert_best(LinkGraph.open(store.path, "tfidf"), cosines(texts), k)


def test_worked_by_hand(tmp_path):
    # "w1" is in 2 of 5 documents: log(3.5 / 2.5). Document 0 shares it with 1, which has it alone; 0 has w2 and the
    # pair beside it, in one document each, log(4.5 / 1.5). So the cosine is 0.336 / sqrt(0.336^2 + 2 * 1.099^2).
    store = make_store(tmp_path / "store", ["w1 w2", "w1. the", "w3", "w4", ""])
    texts = ["w1 w2", "w1. the", "w3", "w4", ""]
    assert cosines(texts)[0, 1] == pytest.approx(0.2116, abs=1e-4)
    build_tfidf(store)
    assert neighbours(LinkGraph.open(store.path, "tfidf")) == [[1], [0], [], [], []]


def test_equal_documents_come_by_their_numbers(tmp_path):
    texts = ["w1 w2 w3"] * 80 + [f"w{i} w9" for i in range(10, 40)] * 3
    store = make_store(tmp_path / "store", texts)
    build_tfidf(store)
    found = neighbours(LinkGraph.open(store.path, "tfidf"))
    assert found[0] == [1, 2, 3, 4, 5]
    assert found[3] == [0, 1, 2, 4, 5]
    assert found[79] == [0, 1, 2, 3, 4]
    assert found[80][:2] == [110, 140]


@pytest.mark.parametrize("exact", [True, False])
def test_parts_do_not_change_a_byte(tmp_path, monkeypatch, exact):
    texts = [*make_texts(200, seed=2), *["w1 w2 w3"] * 90]
    store = make_store(tmp_path / "store", texts)
    monkeypatch.setattr(tfidf, "FREQUENT", 60)
    build_tfidf(store, name="one", exact=exact)
    monkeypatch.setattr(tfidf, "PART_DOCUMENTS", 37)
    monkeypatch.setattr(tfidf, "PAIRS", 100)
    monkeypatch.setattr(tfidf, "TOKEN_BYTES", tfidf.MEMORY // 1_000)
    seen = []
    build_tfidf(
        store, name="parts", exact=exact, workers=3, memory=tfidf.MEMORY, progress=lambda *row: seen.append(row)
    )
    assert content(store, "parts") == content(store, "one")
    assert seen[:8] == [("terms", done, 8) for done in range(1, 9)]
    assert seen[8:-8] == [("candidates", done, 8 * 6) for done in range(1, 8 * 6 + 1)]  # six blocks
    assert seen[-8:] == [("nearest", done, 8) for done in range(1, 9)]


def test_the_recall_is_what_it_says(tmp_path, monkeypatch):
    texts = make_texts(300, seed=3)
    store = make_store(tmp_path / "store", texts)
    monkeypatch.setattr(tfidf, "CANDIDATES", 8)
    monkeypatch.setattr(tfidf, "SAMPLE", 1000)
    monkeypatch.setattr(tfidf, "FREQUENT", 40)
    monkeypatch.setattr(tfidf, "PART_DOCUMENTS", 100)
    build_tfidf(store, name="exact", exact=True)
    meta = build_tfidf(store, name="pruned")
    exact, pruned = (neighbours(LinkGraph.open(store.path, name)) for name in ("exact", "pruned"))
    shares = [len(set(a) & set(b)) / len(a) for a, b in zip(exact, pruned, strict=True) if a]
    assert meta["recall_documents"] == len(shares)  # all: the sample is larger
    assert meta["recall"] == pytest.approx(np.mean(shares), abs=1e-3)
    assert 0.5 < meta["recall"] < 0.99
    # What was found has its cosine over all terms, pruned or not.
    for row, found in zip(cosines(texts), pruned, strict=True):
        assert np.all(np.diff(row[found]) < 1e-6)


def test_an_interrupted_build_is_made_again(tmp_path):
    store = make_store(tmp_path / "store", make_texts(200, seed=4))
    with pytest.raises(RuntimeError):
        build_tfidf(store, k=3, progress=lambda stage, *_: stage == "nearest" and raise_())
    build_tfidf(store, k=2)
    assert max(map(len, neighbours(LinkGraph.open(store.path, "tfidf")))) == 2
    assert [path.name for path in (store.path / "graphs").iterdir()] == ["tfidf"]


def test_a_full_disk_says_so(tmp_path):
    (tmp_path / "terms.bin").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        tfidf.write_vectors([csr_matrix(np.ones((1, tfidf.TERMS), np.float32))], tmp_path, lambda _: None)


def raise_():
    raise RuntimeError


def test_what_words_are(tmp_path):
    vocabulary = Vocabulary((*SPECIAL, "The", "café", "é", "##the", "...", "##.", "##", "一", "3"))
    vocabulary.save(tmp_path / "vocabulary")
    kinds = [tfidf.OTHER] * 5 + [tfidf.STOP, tfidf.WORD, tfidf.WORD, tfidf.REST, tfidf.OTHER, tfidf.REST,
             tfidf.OTHER, tfidf.WORD, tfidf.WORD]  # fmt: skip
    assert token_kinds(tmp_path).tolist() == kinds


@given(st.lists(st.integers(0, 30), max_size=40))
def test_parts_follow_each_other_and_are_small(lengths):
    documents = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    parts = cut_parts(documents, 40, 7)
    assert [number for part in parts for number in part] == [*range(len(lengths))]
    for part in parts:
        assert 1 <= len(part) <= 7
        assert documents[part[-1] + 1] - documents[part[0]] <= 40 or len(part) == 1


def test_bad_input_is_one_line(tmp_path):
    store = make_store(tmp_path / "store", ["w1 w2", "w2 w3"])
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        build_tfidf(store, k=0)
    with pytest.raises(ValueError, match=r"memory must be at least 1GB for a TF-IDF graph, got 0\.9GB"):
        build_tfidf(store, memory=900_000_000)
    documents = store.path / "tokens" / "documents.bin"
    documents.write_bytes(np.array([0, 5, 4], "<i8").tobytes())
    with pytest.raises(ValueError, match="do not fit; build the store again"):
        build_tfidf(store)
    documents.write_bytes(np.array([0, 2, 4], "<i8").tobytes())
    (store.path / "tokens" / "tokens.bin").write_bytes(np.array([9, 9, 9, 999], "<u2").tobytes())
    with pytest.raises(ValueError, match="holds a token 999, not in the vocabulary"):
        build_tfidf(store)
    (store.path / "tokens" / "tokens.json").unlink()
    with pytest.raises(ValueError, match="has no tokens, whose words a TF-IDF graph counts: finish it with"):
        build_tfidf(store)
