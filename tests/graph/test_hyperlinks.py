"""The graph against a dictionary: on random documents and redirects, round in circles too, both resolve alike."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import Skipped
from linkbert.corpora.store import DROPPED, Store, write_shard
from linkbert.graph import hyperlinks
from linkbert.graph.hyperlinks import find_sections
from linkbert.graph.links import LinkGraph, add_graph
from linkbert.records import Document, Link, Redirect

names = st.sampled_from([f"n{i}" for i in range(9)])
fragments = st.sampled_from(["", "", "part_One", "Nowhere"])
links = st.builds(lambda target, fragment: Link(-1, -1, target, fragment), names, fragments)
texts = st.sampled_from(["", "Lead. More.\nPart one\nText.", "Part ONE"])
places = st.lists(st.tuples(st.sampled_from(["part_One", "Else"]), st.integers(0, 12)), max_size=2).map(tuple)
documents = st.builds(
    Document, names, st.just(""), texts, st.lists(links, max_size=6).map(tuple), st.booleans(), places
)
redirects = st.builds(Redirect, names, names, fragments)
shards = st.lists(st.lists(documents | redirects, max_size=6), min_size=1, max_size=3)


def make_store(path: Path, records: list[list[Document | Redirect]]) -> Store:
    seen: set[str] = set()
    dropped = []
    for shard, group in enumerate(records):
        write_shard(path, shard, group, Skipped())
        for row, document in enumerate(record for record in group if isinstance(record, Document)):
            if document.id in seen:
                dropped.append({"shard": shard, "row": row, "cause": "duplicate id"})
            seen.add(document.id)
    pq.write_table(pa.Table.from_pylist(dropped, schema=DROPPED), path / "dropped.parquet")
    (path / "store.json").write_text(json.dumps({"format": 1, "documents": len(seen), "shards": len(records)}))
    return Store.open(path)


def reference(store: Store, records: list[list[Document | Redirect]]) -> tuple[list[list[tuple]], dict[str, int]]:
    """Resolve every link by hand: for each document its edges (target, link number, section), and the counts."""
    kept = list(store.documents())
    number = {document.id: i for i, document in enumerate(kept)}
    alias: dict[str, Redirect] = {}
    for record in (record for group in records for record in group if isinstance(record, Redirect)):
        if record.source not in number:
            alias.setdefault(record.source, record)
    counts = dict.fromkeys(("found", "resolved", "dead", "self", "disambiguation", "redirected", "cycles"), 0)
    edges: list[list[tuple]] = []
    for source, document in enumerate(kept):
        edges.append([])
        for link in document.links:
            counts["found"] += 1
            target, fragment, passed = link.target, "", set()
            while target in alias and target not in passed:
                passed.add(target)
                fragment = alias[target].fragment or fragment
                target = alias[target].target
            if target not in number:
                counts["dead"] += 1
                counts["cycles"] += target in passed
                continue
            counts["resolved"] += 1
            counts["redirected"] += bool(passed)
            if number[target] == source:
                counts["self"] += 1
            elif kept[number[target]].disambiguation:
                counts["disambiguation"] += 1
            else:
                there, wanted = kept[number[target]], link.fragment or fragment
                first_of_a_name = dict(reversed(there.sections))
                ((_, section),) = find_sections(there.text, [wanted], first_of_a_name)
                edges[-1].append((number[target], counts["found"] - 1, section))
    return edges, counts


def build_hyperlinks(store: Store, *, name: str = "hyperlink", **options) -> dict:
    meta = add_graph(store, name, "hyperlink", options)
    return {key: meta[key] for key in meta if key not in ("format", "documents", "edges", "in_degree", "partitions")}


def build_random(store: Store, *, name: str = "random", **options) -> dict:
    return add_graph(store, name, "random", options)


def content(store: Store, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.path / "graphs" / name).glob("*.bin")}


@pytest.fixture
def hasty(monkeypatch):
    """Do not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


TWICE = Document("n0", "", "Lead. More.\nPart one\nText.", (), False, (("part_One", 0), ("part_One", 6)))
LEADING = Document("n1", "", "", (Link(-1, -1, "n0", "part_One"),))


@pytest.mark.slow
@given(shards, st.sampled_from([1, 3]))
@example([[LEADING, TWICE]], 1)  # a name of two places is the first
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_graph_is_what_a_dictionary_resolves_in_any_chunks(tmp_path_factory, hasty, records, chunk):
    store = make_store(tmp_path_factory.mktemp("graph"), records)
    edges, counts = reference(store, records)
    meta = build_hyperlinks(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hyperlinks, "CHUNK", chunk)
        assert build_hyperlinks(store, name="again") == meta
    assert content(store, "again") == content(store, "hyperlink")
    graph = LinkGraph.open(store.path)
    assert {key: meta[key] for key in counts} == counts
    assert meta["found"] == meta["resolved"] + meta["dead"]
    assert graph.meta["edges"] == meta["resolved"] - meta["self"] - meta["disambiguation"] == len(graph.targets)
    assert graph.offsets.tolist() == [0, *np.cumsum([len(row) for row in edges]).tolist()]
    found = list(zip(graph.targets.tolist(), graph.links.tolist(), graph.sections.tolist(), strict=True))
    assert found == [edge for row in edges for edge in row]
    pairs = {(source, target) for source, row in enumerate(edges) for target, _, _ in row}
    assert graph.in_degree.tolist() == [sum(t == target for _, t in pairs) for target in range(len(store))]
    if len(store):
        build_random(store, seed=1)
        shuffled = LinkGraph.open(store.path, "random")
        assert shuffled.offsets.tolist() == graph.offsets.tolist()
        assert shuffled.links.tolist() == graph.links.tolist()
        sources = np.repeat(np.arange(len(store)), np.diff(graph.offsets))
        assert not np.any(shuffled.targets == sources)
        assert np.all((shuffled.targets >= 0) & (shuffled.targets < len(store)))
        pairs = set(zip(sources.tolist(), shuffled.targets.tolist(), strict=True))
        assert shuffled.in_degree.tolist() == [sum(t == target for _, t in pairs) for target in range(len(store))]


def test_a_worked_example(tmp_path):
    link = lambda *targets: tuple(Link(-1, -1, *target.split("#")) for target in targets)  # noqa: E731
    store = make_store(tmp_path, [
        [Document("a", "A", "Self.\nLife\nWork", link("b", "b", "a", "R1", "many", "gone", "x")), Redirect("R1", "R2")],
        [Redirect("R2", "c", "early_life"), Redirect("x", "y"), Redirect("y", "x"), Document("b", "", "", link("c#n"))],
        [Document("c", "", "One. Two.\nEarly lif\nEARLY LIFE \n", link("a#work")), Document("many", "", "", (), True)],
    ])  # fmt: skip
    meta = build_hyperlinks(store, name="mine")
    graph = LinkGraph.open(store.path, "mine")
    assert graph.offsets.tolist() == [0, 3, 4, 5, 5]
    assert graph.targets.tolist() == [1, 1, 2, 2, 0]
    assert graph.links.tolist() == [0, 1, 3, 7, 8]
    assert graph.sections.tolist() == [-1, -1, 3, -1, 2]
    assert graph.in_degree.tolist() == [1, 1, 2, 0]
    assert meta == {
        "method": "hyperlink", "found": 9, "resolved": 7, "dead": 2, "self": 1, "disambiguation": 1, "redirected": 1,
        "cycles": 1, "fragments": 3, "fragments_found": 2,
    }  # fmt: skip
    assert graph.meta["in_degree"] == {"0.5": 1, "0.9": 2, "0.99": 2, "1": 2}
    assert sorted(path.name for path in (store.path / "graphs").iterdir()) == ["mine"]


def test_of_places_with_one_name_the_first_is_meant(tmp_path):
    place = Document("c", "", "One. Two. Six.", sections=(("x", 5), ("x", 10)))
    store = make_store(tmp_path, [[Document("a", "", "A.", (Link(-1, -1, "c", "x"),)), place]])
    build_hyperlinks(store)
    assert LinkGraph.open(store.path).sections.tolist() == [1]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 1000])
def test_chains_of_redirects_are_followed_to_their_end(tmp_path, hasty, length):
    chain = [Redirect(f"r{i}", f"r{i + 1}", f"f{i}" if i < 2 else "") for i in range(length)]
    nowhere = [Redirect(f"n{i}", f"n{i + 1}") for i in range(length)]
    circle = [Redirect(f"c{i}", f"c{(i + 1) % length}") for i in range(length)]
    links = tuple(Link(-1, -1, name) for name in ("r0", "n0", "c0", f"r{length - 1}"))
    end = Document(f"r{length}", "", "f0\nf1")
    store = make_store(tmp_path, [[Document("a", "A", "", links), *chain], [*nowhere, end, *circle]])
    meta = build_hyperlinks(store)
    assert (meta["redirected"], meta["dead"], meta["cycles"], meta["fragments"]) == (2, 2, 1, 1 + (length <= 2))
    assert LinkGraph.open(store.path).sections[0] == min(length, 2) - 1


def test_a_chain_over_1024_redirects_counts_as_a_circle(tmp_path, hasty):
    chain = [Redirect(f"r{i}", f"r{i + 1}") for i in range(1025)]
    links = (Link(-1, -1, "r0"), Link(-1, -1, "r1"))
    meta = build_hyperlinks(make_store(tmp_path, [[Document("a", "", "", links), *chain, Document("r1025", "", "")]]))
    assert (meta["redirected"], meta["cycles"]) == (1, 1)


@pytest.mark.slow
def test_what_does_not_fit_into_memory_goes_to_disk_and_changes_nothing(tmp_path):
    links = [tuple(Link(-1, -1, f"some document or other {i * j % 20_000}") for j in range(20)) for i in range(20_000)]
    store = make_store(tmp_path, [[Document(f"some document or other {i}", "", "", links[i]) for i in range(20_000)]])
    build_hyperlinks(store)
    build_hyperlinks(store, name="small", memory=100_000_000)
    assert content(store, "small") == content(store, "hyperlink")
    with pytest.raises(ValueError, match=r"^the join over .* failed .*: give it more memory or disk than 1000000B"):
        build_hyperlinks(store, name="less", memory=1_000_000)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["documents", "graphs", "redirects"]


def test_the_same_store_and_seed_give_the_same_bytes(tmp_path):
    records = [[Document(f"d{i}", "", "", tuple(Link(-1, -1, f"d{i * j % 60}") for j in range(9))) for i in range(50)]]
    store = make_store(tmp_path, records)
    for name in ("one", "two"):
        build_hyperlinks(store, name=name)
        build_random(store, source=name, name=f"random-{name}", seed=3)
    build_random(store, source="one", name="other-seed", seed=4)

    assert content(store, "one") == content(store, "two")
    targets = [content(store, name)["targets.bin"] for name in ("random-one", "random-two", "other-seed")]
    assert targets[0] == targets[1] != targets[2]


def test_random_targets_are_uniform(tmp_path):
    store = make_store(tmp_path, [[Document(f"{i}", "", "", tuple(Link(-1, -1, f"{(i + 1) % 5}") for _ in range(4000)))
                                   for i in range(5)]])  # fmt: skip
    build_hyperlinks(store)
    build_random(store, seed=0)
    targets = LinkGraph.open(store.path, "random").targets.reshape(5, 4000)
    counts = np.stack([np.bincount(row, minlength=5) for row in targets])
    assert np.all(np.diag(counts) == 0)
    assert np.all(np.abs(counts[~np.eye(5, dtype=bool)] - 1000) < 5 * np.sqrt(750))  # five standard deviations


def test_a_graph_that_is_not_there_or_is_damaged_is_one_line(tmp_path):
    store = make_store(tmp_path, [[Document("a", "A", "", (Link(-1, -1, "b"),)), Document("b", "B", "")]])
    with pytest.raises(ValueError, match=r"has no graph 'hyperlink' \(it has: none\): make it with `linkbert graph`"):
        LinkGraph.open(store.path)
    build_hyperlinks(store)
    with pytest.raises(ValueError, match=r"has no graph 'tfidf' \(it has: hyperlink\)"):
        LinkGraph.open(store.path, "tfidf")
    targets = store.path / "graphs" / "hyperlink" / "targets.bin"
    targets.write_bytes(targets.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"targets\.bin is damaged: it is no file of 1 numbers"):
        LinkGraph.open(store.path)


@pytest.mark.data
def test_the_dictionary_resolves_as_its_readme_says(data, tmp_path):
    store = build_documents([data / "corpora" / "computing-dictionary.jsonl.xz"], tmp_path / "store")
    meta = build_hyperlinks(store)
    assert (meta["found"], meta["resolved"], meta["self"]) == (57_941, 35_979, 86)
