"""A check is worth what it finds: stores damaged in one place each, and the promise that must break."""

import shutil

import numpy as np
import pytest
from rich.console import Console

from linkbert.api import Store, export_store
from linkbert.config import Config
from linkbert.files import read_json, write_json
from linkbert.graph.links import Edges, LinkGraph, add_graph, write_graph
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import DTYPES, tokenise
from linkbert.instances.vocabulary import load_vocabulary
from linkbert.views import check as check_module
from linkbert.views.check import check
from linkbert.views.show import show_document
from linkbert.views.stats import store_statistics
from linkbert.workers import make_executor

GRAPH_DTYPES = {"offsets": "<i8", "targets": "<i4", "links": "<i8", "sections": "<i4", "in_degree": "<i4"}


def test_a_sound_store_keeps_every_promise(tmp_path, small_store):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    add_graph(small_store.open(path), "random", "random")
    findings = list(check(path))
    assert [(promise, detail) for promise, ok, detail in findings if not ok] == []
    assert any("graph random" in promise for promise, _, _ in findings)
    drawn = {promise: detail for promise, _, detail in findings if "pairs can be drawn" in promise}
    assert list(drawn) == [
        "graph hyperlink: pairs can be drawn",
        "graph random: pairs can be drawn",
        "pairs can be drawn without a graph",
    ]
    assert drawn["pairs can be drawn without a graph"].endswith("linked 0.0%")
    assert not drawn["graph hyperlink: pairs can be drawn"].endswith("linked 0.0%")


def test_a_store_without_a_graph_is_a_line_and_no_fault(tmp_path, small_store):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    shutil.rmtree(path / "graphs")
    assert broken(path) == []
    assert ("there is no graph", True, "no linked pairs; `linkbert graph` makes one") in list(check(path))


def broken(path):
    return [promise for promise, ok, _ in check(path) if not ok]


def test_blocks_of_any_size_find_the_same(tmp_path, small_store, monkeypatch):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    for file, kind in (("tokens/sentences.bin", "<i8"), ("graphs/hyperlink/sections.bin", "<i4")):
        numbers = np.fromfile(path / file, kind)
        numbers[[5, -1]] += 50
        numbers.tofile(path / file)
    whole = list(check(path))
    monkeypatch.setattr(check_module, "BLOCK", 7)
    assert list(check(path)) == whole
    assert [promise for promise, ok, _ in whole if not ok]


DAMAGE = [
    ("tokens/tokens.bin", 50, lambda x: x + 1, "tokenising again"),
    ("tokens/tokens.bin", 50, lambda x: 60_000, "in the vocabulary"),
    ("tokens/tokens.bin", 7, lambda x: 2, "in the vocabulary"),
    ("tokens/documents.bin", 3, lambda x: x + 1, "first sentence starts with its first token"),
    ("tokens/documents.bin", 3, lambda x: 10**12, "documents.bin runs"),
    ("tokens/sentences.bin", 9, lambda x: x + 1, "tokenising again"),
    ("tokens/sentences.bin", 9, lambda x: x + 50, "every sentence has a token"),
    ("tokens/document_sentences.bin", 2, lambda x: x + 1, "first sentence starts with its first token"),
    ("tokens/document_links.bin", 100, lambda x: x + 1, "every link of every document"),
    ("tokens/links.bin", 5, lambda x: 10**6, "links stand at tokens"),
    ("tokens/hashes.bin", 5, lambda x: x + np.uint64(1), "hashes of the ids"),
    ("graphs/hyperlink/offsets.bin", -1, lambda x: x + 1, "offsets.bin runs"),
    ("graphs/hyperlink/targets.bin", 5, lambda x: 10**6, "every target is a document"),
    ("graphs/hyperlink/targets.bin", 5, lambda x: (x + 1) % 200, "in_degree.bin"),
    ("graphs/hyperlink/targets.bin", 5, lambda x: 1, "disambiguation"),
    ("graphs/hyperlink/links.bin", 5, lambda x: 10**6, "link is one of its document"),
    ("graphs/hyperlink/sections.bin", 5, lambda x: 10**6, "sections start"),
    ("graphs/hyperlink/in_degree.bin", 5, lambda x: x + 1, "in_degree.bin"),
]


@pytest.mark.parametrize(("file", "place", "change", "promise"), DAMAGE)
def test_one_wrong_number_breaks_its_promise(tmp_path, small_store, file, place, change, promise):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    name = file.split("/")[-1].removesuffix(".bin")
    dtype = GRAPH_DTYPES[name] if file.startswith("graphs") else DTYPES.get(name, "<u2")
    array = np.fromfile(path / file, dtype)
    array[place] = change(array[place])
    array.tofile(path / file)
    assert any(promise in each for each in broken(path))


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted({file for file, *_ in DAMAGE if "hashes" not in file}))
@pytest.mark.parametrize("how", ["filled", "reversed"])
def test_arrays_that_lie_are_one_line_and_never_read_beyond(tmp_path, small_store, file, how):
    path, failed = tmp_path / "s", []
    shutil.copytree(small_store.path, path)
    size = 4 if file.endswith(("targets.bin", "sections.bin", "in_degree.bin", "tokens/links.bin")) else 8
    size = 2 if file.endswith("tokens.bin") else size
    numbers = np.fromfile(path / file, f"<u{size}")
    (np.full_like(numbers, int("7f" * size, 16)) if how == "filled" else numbers[::-1]).tofile(path / file)
    for command in (
        lambda: store_statistics(path, Config(sequence_length=64)),
        lambda: show_document(Console(quiet=True), Store.open(path), Store.open(path).document(7).id),
        lambda: Sampler.open(path, "tiny", sequence_length=64).fill(np.arange(300)),
        lambda: export_store(path, tmp_path / "exported"),
    ):
        try:
            command()
        except ValueError as error:
            failed.append(str(error))
    assert [each for each in failed if "damaged" not in each or "again" not in each] == []
    harmless = ("sections.bin", "in_degree.bin", "continued.bin", "tokens/links.bin")
    assert failed or file.endswith(harmless) or (how == "reversed" and file.endswith(("targets.bin", "tokens.bin")))


def test_a_link_that_was_wrongly_counted_as_lost_is_found(tmp_path, small_store):
    """The graph lacks an edge, and everything else agrees with that."""
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    graph = LinkGraph.open(path)
    kept = np.delete(np.arange(len(graph.targets)), graph.offsets[7])
    source = np.repeat(np.arange(200), np.diff(graph.offsets))[kept]
    edges = Edges(source, graph.targets[kept], graph.links[kept], graph.sections[kept])
    lost = {"resolved": graph.meta["resolved"] - 1, "dead": graph.meta["dead"] + 1}
    write_graph(path, "hyperlink", 200, [edges], graph.meta | lost)
    assert broken(path) == ["graph hyperlink: every link has one outcome"]


@pytest.mark.parametrize(
    ("file", "change", "promise"),
    [
        ("store.json", {"documents": 199}, "counts what the arrays hold"),
        ("store.json", {"format": 7}, "the store opens"),
        ("store.json", {"redirects": 9}, "counters"),
        ("tokens/tokens.json", {"tokens": 1}, "the tokens open"),
        ("graphs/hyperlink/graph.json", {"found": 1}, "every link has one outcome"),
        ("graphs/hyperlink/graph.json", {"edges": 1}, "graph hyperlink: opens"),
        ("documents/00001.json", {"documents": 5}, "counters"),
        ("documents/00001.json", {"links": 5}, "counters"),
    ],
)
def test_a_wrong_count_breaks_its_promise(tmp_path, small_store, file, change, promise):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    write_json(path / file, read_json(path / file) | change)
    assert any(promise in each for each in broken(path))


def test_flipped_bytes_in_a_document_shard_are_found(tmp_path, small_store):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    shard = path / "documents" / "00000.parquet"
    content = bytearray(shard.read_bytes())
    for place in range(len(content) // 4, len(content) // 4 + 64):
        content[place] ^= 0xFF
    shard.write_bytes(bytes(content))
    assert any("every document can be read" in each for each in broken(path))


def test_what_is_no_store_is_one_broken_promise(tmp_path):
    assert [(promise, ok) for promise, ok, _ in check(tmp_path)] == [("the store opens", False)]


@pytest.mark.data
def test_a_real_corpus_keeps_every_promise(data, tmp_path):
    from linkbert.corpora.build import build_documents
    from linkbert.graph.links import add_graph
    from linkbert.instances.tokens import tokenise
    from linkbert.instances.vocabulary import load_vocabulary
    from linkbert.workers import make_executor

    with make_executor(1) as executor:
        store = build_documents([data / "corpora" / "computing-dictionary.jsonl.xz"], tmp_path / "s", executor=executor)
        tokenise(store, load_vocabulary(data / "vocab" / "bert-base-uncased.txt"), executor=executor)
        add_graph(store, "hyperlink", "hyperlink")
    assert broken(tmp_path / "s") == []


def test_what_a_kill_leaves_is_named_and_removed_by_the_next_command(tmp_path, small_store):
    path = tmp_path / "s"
    shutil.copytree(small_store.path, path)
    store = small_store.open(path)
    add_graph(store, "random", "random")
    parts = path / "graphs" / "random.parts"
    parts.mkdir()
    (parts / "0.npy").write_text("half")
    (path / "tokens.parts").mkdir()
    named = [detail for promise, kept, detail in check(path) if kept and promise.startswith("unfinished work")]
    assert named == ["graphs/random.parts, tokens.parts: run its command again, or remove it"]
    add_graph(store, "random", "random")
    with make_executor(1) as executor:
        tokenise(store, load_vocabulary(path / "vocabulary"), executor=executor)
    assert not parts.exists()
    assert not (path / "tokens.parts").exists()
    assert not any(promise.startswith("unfinished work") for promise, _, _ in check(path))
