"""Graphs from methods: ours by name, a reader's own by `module:name`; and what can be asked of a graph."""

from shutil import copytree

import numpy as np
import pytest

from linkbert.corpora.store import Store
from linkbert.graph.links import Edges, LinkGraph, add_graph, graph_names, graph_options
from linkbert.workers import make_executor

ME = "tests_of_graph_methods"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Give this module a name that `module:name` can import."""
    import sys

    monkeypatch.setitem(sys.modules, ME, sys.modules[__name__])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, {"documents": 5})


def ring(store, *, step: int = 1, twice: bool = False, executor, counts):
    """Lead every document to the one `step` after it, and count in a worker."""
    source = np.arange(len(store))
    counts["sum"] = executor.submit(sum, source.tolist()).result()
    for document in source:
        row = np.full(1 + twice, document)
        yield Edges(row, (row + step) % len(store))


def backwards(store):
    """Return one block, in any order."""
    return Edges(np.array([3, 0, 3]), np.array([1, 2, 0]), links=np.array([7, 1, -1]), sections=np.array([0, -1, 2]))


def without_default(store, *, depth):
    return Edges(np.zeros(0, int), np.zeros(0, int))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_method_of_ones_own_is_given_as_module_and_name(store, workers):
    with make_executor(workers) as executor:
        meta = add_graph(store, "mine", f"{ME}:ring", {"twice": True}, executor=executor)
    assert (meta["method"], meta["step"], meta["twice"], meta["sum"]) == (f"{ME}:ring", 1, True, 10)
    graph = LinkGraph.open(store.path, "mine")
    assert graph.targets.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 0, 0]
    assert graph.in_degree.tolist() == [1] * 5
    assert [path.name for path in (store.path / "graphs").iterdir()] == ["mine"]
    copytree(store.path / "graphs" / "mine", store.path / "graphs" / "mine.part")  # as it is while it is written
    assert graph_names(store.path) == ["mine"]


def test_options_are_read_from_the_signature():
    assert dict(graph_options(f"{ME}:ring")()) == {"step": 1, "twice": False}
    assert dict(graph_options("random")()) == {"source": "hyperlink", "seed": 0}
    assert graph_options("hyperlink")(memory="4GB").memory == 4_000_000_000
    assert graph_options("tfidf").model_fields.keys() == {"memory", "k", "exact"}
    with pytest.raises(ValueError, match="its option 'depth' has no default"):
        graph_options(f"{ME}:without_default")


def test_a_wrong_method_or_option_names_the_nearest(store):
    with pytest.raises(ValueError, match=r"unknown setting 'stepp'; did you mean 'step'\?"):
        add_graph(store, "mine", f"{ME}:ring", {"stepp": 2})
    with pytest.raises(ValueError, match=r"unknown graph 'hyperlinks'; did you mean 'hyperlink'\?"):
        add_graph(store, "mine", "hyperlinks")
    with pytest.raises(ValueError, match="cannot be imported"):
        add_graph(store, "mine", f"{ME}:rung")


def test_a_graph_that_is_there_stays_and_is_not_taken_for_another(store):
    meta = add_graph(store, "mine", f"{ME}:ring")
    date = (store.path / "graphs" / "mine" / "graph.json").stat().st_mtime_ns
    assert add_graph(store, "mine", f"{ME}:ring", {"step": 1}) == meta
    assert (store.path / "graphs" / "mine" / "graph.json").stat().st_mtime_ns == date
    with pytest.raises(ValueError, match=r"has a graph 'mine' already \(method .*:ring, step 1, twice False"):
        add_graph(store, "mine", f"{ME}:ring", {"step": 2})


def make_bad(kind):
    zero, one = np.zeros(2, int), np.ones(2, int)
    return {
        "text": "edges",
        "nothing": None,
        "float": Edges(zero, one * 1.0),
        "long": Edges(zero, np.ones(3, int)),
        "outside": Edges(zero, one * 5),
        "below": Edges(zero - 1, one),
        "link": Edges(zero, one, links=one * -2),
        "many": Edges(zero, one, links=one * 2),
        "section": Edges(zero, one, sections=one << 40),
        "loop": Edges(zero, np.arange(2)),
    }[kind]


def bad(store, *, kind: str = ""):
    return make_bad(kind) if kind == "nothing" else [make_bad(kind)]


def lists(store):
    return Edges([3, 0], np.array([1, 2], np.uint64), links=[7, -1])


def falling(store):
    yield Edges(np.array([3]), np.array([1]))
    yield Edges(np.array([3]), np.array([2]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "must return Edges, got str"),
        ("nothing", "must return Edges, got NoneType"),
        ("float", r"targets must be 2 integers, got \(2,\) float64"),
        ("long", r"targets must be 2 integers, got \(3,\) int64"),
        ("outside", "targets must be 0 to 4, got 5 to 5"),
        ("below", "source must be 0 to 4, got -1 to -1"),
        ("link", r"links must be -1 to \d+, got -2 to -2"),
        ("many", "links must be -1 to 1, got 2 to 2"),
        ("section", r"sections must be -1 to \d+, got \d+ to \d+"),
        ("loop", "a document has an edge to itself"),
    ],
)
def test_what_cannot_be_edges_is_one_line_and_leaves_no_graph(store, kind, message):
    (store.path / "tokens").mkdir(exist_ok=True)
    (store.path / "tokens" / "links.bin").write_bytes(bytes(8))  # the places of two links
    with pytest.raises(ValueError, match=message):
        add_graph(store, "mine", f"{ME}:bad", {"kind": kind})
    assert not list((store.path / "graphs").glob("mine*"))


def test_lists_and_unsigned_numbers_are_edges_too(store):
    assert add_graph(store, "mine", f"{ME}:lists")["edges"] == 2
    assert LinkGraph.open(store.path, "mine").to_arrow()["target"].to_pylist() == [2, 1]
    with pytest.raises(ValueError, match="unknown setting 'k'"):
        add_graph(store, "other", f"{ME}:lists", {"k": 3})


def test_a_document_has_its_edges_in_one_block(store):
    with pytest.raises(ValueError, match="blocks must be in order of their source, got 3 after 3"):
        add_graph(store, "mine", f"{ME}:falling")


def test_a_graph_is_read_as_edges_out_and_in_as_matrix_and_as_table(store):
    add_graph(store, "mine", f"{ME}:backwards")
    graph = LinkGraph.open(store.path, "mine")
    assert [graph.edges_out(document).tolist() for document in range(5)] == [[2], [], [], [1, 0], []]
    assert [graph.edges_in(document).tolist() for document in range(5)] == [[3], [3], [0], [], []]
    assert graph.to_arrow().to_pydict() == {
        "source": [0, 3, 3], "target": [2, 1, 0], "link": [1, 7, -1], "section": [-1, 0, 2]}  # fmt: skip
    add_graph(store, "double", f"{ME}:ring", {"twice": True})
    assert (LinkGraph.open(store.path, "double").to_scipy().toarray() == 2 * np.roll(np.eye(5), 1, axis=1)).all()
