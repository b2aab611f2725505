"""A store gives back the Documents that were written, by shard, by number and by id."""

import hashlib
import json
import pickle
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora import store as module
from linkbert.corpora.reader import Deletion, Skipped
from linkbert.corpora.store import DROPPED, Store, querying, read_counters, shard_path, write_shard
from linkbert.instances.tokens import hash_id
from linkbert.records import Document, Link, Redirect
from linkbert.views.stats import store_statistics

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
links = st.builds(Link, st.integers(-1, 99), st.integers(-1, 99), words, words)
documents = st.builds(Document, words, words, words, st.lists(links, max_size=4).map(tuple), st.booleans())


def make_store(path: Path, shards: list[list[Document | Redirect]], dropped: list[tuple[int, int]] = ()) -> Store:
    for number, records in enumerate(shards):
        write_shard(path, number, records, Skipped())
    rows = [{"shard": shard, "row": row, "cause": "duplicate id"} for shard, row in dropped]
    pq.write_table(pa.Table.from_pylist(rows, schema=DROPPED), path / "dropped.parquet")
    count = sum(isinstance(record, Document) for records in shards for record in records) - len(rows)
    (path / "store.json").write_text(json.dumps({"format": 1, "documents": count, "shards": len(shards)}))
    return Store.open(path)


@pytest.mark.slow
@given(st.lists(st.lists(documents, max_size=5), min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_documents_come_back_by_shard_and_by_number(tmp_path_factory, shards, random):
    places = [(shard, row) for shard, records in enumerate(shards) for row in range(len(records))]
    dropped = random.sample(places, len(places) // 3)
    original, module.GROUP_DOCUMENTS = module.GROUP_DOCUMENTS, 2
    try:
        store = make_store(tmp_path_factory.mktemp("store"), shards, dropped)
    finally:
        module.GROUP_DOCUMENTS = original
    kept = [shards[shard][row] for shard, row in places if (shard, row) not in dropped]
    assert list(store.documents()) == kept
    assert [store.document(number) for number in range(len(store))] == kept
    assert [document for shard in range(store.shards) for document in store.documents(shard)] == kept
    assert store.starts.tolist()[-1] == len(store) == len(kept)


def test_a_store_by_a_relative_path_is_open_in_any_folder(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    make_store(tmp_path / "store", [[Document("a", "A", "Moss.")]])
    monkeypatch.chdir(tmp_path)
    store = Store.open("store")
    pickled = pickle.dumps(store)
    monkeypatch.chdir(tmp_path / "store")
    for each in (store, pickle.loads(pickled)):
        assert [each.document(0).text, *(document.text for document in each.documents())] == ["Moss.", "Moss."]


def test_find_returns_the_number_of_an_id(tmp_path):
    store = make_store(tmp_path, [[Document("a", "A", ""), Document("b", "B", "")], [Document("a", "A", ""),
                                  Document("c", "C", "")]], [(1, 0)])  # fmt: skip
    assert [store.find(id_) for id_ in ("a", "b", "c", "d")] == [0, 1, 2, None]
    assert store.document(2).id == "c"
    with pytest.raises(ValueError, match="has no document 3: numbers run from 0 to 2"):
        store.document(3)


def test_find_passes_over_rows_that_do_not_count(tmp_path):
    versions = [
        [Document("a", "A", "old"), Document("b", "B", "")],
        [Document("a", "A", "new"), Document("c", "C", "")],
    ]
    store = make_store(tmp_path, versions, [(0, 0), (1, 1)])
    assert [store.find(id_) for id_ in ("a", "b", "c")] == [1, 0, None]
    assert store.document(1).text == "new"


def test_a_shard_is_the_same_bytes_every_time_and_counts_what_it_holds(tmp_path):
    records = [Document("a", "A", "text", (Link(0, 4, "b"), Link(-1, -1, "c", "x"))), Redirect("d", "a"), Deletion("e")]
    skipped = Skipped()
    skipped.note("broken", "line 3")
    for name in ("one", "two"):
        write_shard(tmp_path / name, 0, iter(records), skipped)
    for part, suffix in (("documents", ".parquet"), ("documents", ".json"), ("redirects", ".parquet")):
        one, two = (shard_path(tmp_path / name, part, 0, suffix).read_bytes() for name in ("one", "two"))
        assert one == two
    counters = json.loads(shard_path(tmp_path / "one", "documents", 0, ".json").read_text())
    seen = {"deleted": ["e"], "skipped": {"broken": 1}, "examples": ["line 3: broken"], "empty": []}
    assert counters == {"documents": 1, "redirects": 1, "links": 2, **seen}


def test_ctrl_c_in_a_query_is_ctrl_c(tmp_path):
    store = make_store(tmp_path, [[Document("a", "A", "text")]])
    with pytest.raises(KeyboardInterrupt), querying(store.path):
        raise RuntimeError("Query interrupted")  # as DuckDB says it
    with pytest.raises(RuntimeError, match="else"), querying(store.path):
        raise RuntimeError("something else")


def test_a_join_without_room_for_its_threads_is_no_memory(tmp_path, monkeypatch):
    """DuckDB ends the process, by a segmentation fault, where it cannot map the stack of a thread."""
    built = make_store(tmp_path, [[Document("a", "A", "text")]])
    monkeypatch.setattr(module, "getrlimit", lambda _: (1 << 20, 1 << 30))
    with pytest.raises(MemoryError, match="1,024 kB may be mapped, too few for a join"), querying(built.path):
        pass


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a store"):
        Store.open(tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="is an unfinished build: run the same"):
        Store.open(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"store\.json is of format 99, this linkbert reads 1: make it again"):
        Store.open(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1, "documents": 3}')
    with pytest.raises(ValueError, match=r"store.json: shards is .* Field required; it is damaged: make it again"):
        Store.open(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1, "documents": -1, "shards": 1}')
    with pytest.raises(ValueError, match=r"store.json: documents is -1\. .* greater than or equal to 0; it is damaged"):
        Store.open(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 1, "documents": 3, "shards": 1}')
    with pytest.raises(ValueError, match=r"store.json is damaged: it has no links_found; build it again"):
        store_statistics(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        Store.open(tmp_path)


@pytest.mark.parametrize("key", ["documents", "skipped", "deleted", "examples"])
def test_what_was_counted_of_a_shard_is_whole(tmp_path, key):
    store = make_store(tmp_path, [[Document("a", "A", "text")]])
    path = store.path / "documents" / "00000.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(ValueError, match=rf"00000\.json: {key} is .* Field required; it is damaged: make it again"):
        read_counters(store.path, 0)


def test_the_documented_hash_of_an_id_is_the_one_that_is_computed():
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    id_, value = re.search(r'of "(\w+)": (\d+)\. A document is held out', text).groups()
    assert hash_id(id_) == int(value)
    assert int(value) != int.from_bytes(hashlib.blake2b(id_.encode()).digest()[:8], "little")


def test_a_shard_whose_pages_are_damaged_is_named(tmp_path):
    store = make_store(tmp_path, [[Document("a", "a", "Words of a page.")]])
    path = tmp_path / "documents" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:4] + b"\0" * 60 + path.read_bytes()[64:])
    with pytest.raises(ValueError, match=r"00000.parquet is damaged \(.*: remove the store and build it again"):
        [*store.documents()]
