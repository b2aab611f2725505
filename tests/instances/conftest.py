"""Token stores and graphs out of thin air, and small stores on disk that went the whole road."""

import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from linkbert.corpora.reader import Skipped
from linkbert.corpora.store import DROPPED, Store, write_shard
from linkbert.files import write_json
from linkbert.graph.links import LinkGraph, add_graph
from linkbert.instances.tokens import TokenStore, tokenise
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.records import Document, Link, Redirect
from linkbert.workers import make_executor

WORDS = [f"word{i}" for i in range(60)]
TOY = Vocabulary((*SPECIAL, *WORDS, *(f"##{i}" for i in range(20))))


def frozen(values, dtype):
    """An array as a mapped file gives it, so that the kernels are compiled once for all tests."""
    array = np.array(values, dtype)
    array.setflags(write=False)
    return array


def offsets(counts):
    return np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64)


def make_toy(lengths, edges=(), *, seed=0, sections=None):
    """A token store and a graph in memory.

    lengths: of each document, the tokens of its sentences. edges: (document, token of the link or -1, target).
    """
    rng = np.random.default_rng(seed)
    of_document = defaultdict(list)
    for i, (doc, token, target) in enumerate(edges):
        of_document[doc].append((token, target, -1 if sections is None else sections[i]))
    ordered = [edge for doc in range(len(lengths)) for edge in of_document[doc]]
    counts = [len(of_document[doc]) for doc in range(len(lengths))]
    flat = [length for document in lengths for length in document]
    total = sum(flat)
    store = TokenStore(
        path=Path("toy"),
        meta={},
        vocabulary=TOY,
        tokens=frozen(rng.integers(len(SPECIAL), len(TOY), total), np.uint16),
        documents=frozen(offsets([sum(document) for document in lengths]), np.int64),
        sentences=frozen(offsets(flat)[:-1], np.int64),
        document_sentences=frozen(offsets([len(document) for document in lengths]), np.int64),
        continued=frozen([], np.int64),
        links=frozen([token for token, _, _ in ordered], np.int32),
        document_links=frozen(offsets(counts), np.int64),
        hashes=frozen(rng.integers(0, 2**64, len(lengths), np.uint64), np.uint64),
    )
    sources = np.repeat(np.arange(len(lengths)), counts)
    pairs = {(int(source), target) for source, (_, target, _) in zip(sources, ordered, strict=True)}
    graph = LinkGraph(
        offsets=frozen(offsets(counts), np.int64),
        targets=frozen([target for _, target, _ in ordered], np.int32),
        links=frozen(range(len(ordered)), np.int64),
        sections=frozen([section for _, _, section in ordered], np.int32),
        in_degree=frozen(np.bincount([target for _, target in pairs], minlength=len(lengths)), np.int32),
        meta={},
    )
    return store, graph


@pytest.fixture(scope="session")
def toy():
    return make_toy


@pytest.fixture(scope="session")
def reference():
    """benchmarks/reference.py as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["reference"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def write_store(path, shards, vocabulary=TOY, *, workers=1):
    """A store on disk: documents and redirects as given, tokens and graph as the project makes them."""
    documents = sum(isinstance(record, Document) for shard in shards for record in shard)
    for number, shard in enumerate(shards):
        write_shard(path, number, shard, Skipped())
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([[], [], []], schema=DROPPED), path / "dropped.parquet")
    redirects = sum(len(shard) for shard in shards) - documents
    links = sum(len(record.links) for shard in shards for record in shard if isinstance(record, Document))
    counts = {"documents": documents, "redirects": redirects, "links_found": links}
    manifest = {"format": 1, **counts, "shards": len(shards), "reader": "test"}
    write_json(path / "store.json", manifest)
    store = Store.open(path)
    with make_executor(workers) as executor:
        tokenise(store, vocabulary, executor=executor)
    add_graph(store, "hyperlink", "hyperlink")
    return store


def make_records(count, seed):
    """Documents of 1 to 8 sentences of toy words, linked to each other, one of them through a redirect."""
    rng = np.random.default_rng(seed)
    records = [Redirect("Old 0", "Doc 0")]
    for number in range(count):
        sentences, links, at = [], [], 0
        for _ in range(rng.integers(1, 9)):
            words = list(rng.choice(WORDS, rng.integers(3, 12)))
            if rng.random() < 0.5:
                place = int(rng.integers(len(words)))
                start = at + sum(len(word) + 1 for word in words[:place])
                target = "Old 0" if rng.random() < 0.05 else f"Doc {rng.integers(count)}"
                links.append(Link(start, start + len(words[place]), target))
            sentence = " ".join(words).capitalize() + "."
            sentences.append(sentence)
            at += len(sentence) + 1
        links += [Link(-1, -1, f"Doc {rng.integers(count)}")] * int(rng.random() < 0.3)
        records.append(Document(f"Doc {number}", f"Doc {number}", "\n".join(sentences), tuple(links), number == 1))
    return records


@pytest.fixture(scope="session")
def records():
    return make_records


@pytest.fixture(scope="session")
def store_writer():
    return write_store


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """A store of 200 documents in two shards; not to be changed."""
    made = make_records(200, seed=1)
    return write_store(tmp_path_factory.mktemp("stores") / "small", [made[:90], made[90:]])
