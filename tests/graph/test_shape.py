"""The shape of a graph, against networkx and against draws counted by hand."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.graph.links import Edges, LinkGraph, write_graph
from linkbert.views import shape
from linkbert.views.shape import describe_graph

numbers = st.integers(1, 7)
lists = numbers.flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=6), min_size=n, max_size=n))


def make_graph(folder, targets):
    source = np.repeat(np.arange(len(targets)), [len(each) for each in targets])
    flat = np.array([target for each in targets for target in each], np.int32)
    edges = Edges(source, flat, np.arange(len(flat)))
    write_graph(folder, "hyperlink", len(targets), [edges], {"method": "hyperlink"})
    return LinkGraph.open(folder)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(lists, st.sampled_from([1, 3, 1 << 20]))
def test_counts_equal_those_of_networkx(tmp_path_factory, targets, block):
    targets = [[t for t in each if t != source] for source, each in enumerate(targets)]  # a graph has no loops
    graph = make_graph(tmp_path_factory.mktemp("graph"), targets)
    reference = networkx.DiGraph([(s, t) for s, each in enumerate(targets) for t in each])
    reference.add_nodes_from(range(len(targets)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "BLOCK", block)
        found = describe_graph(graph)
    assert found["distinct_edges"] == reference.number_of_edges()
    for key, degrees in (("in", dict(reference.in_degree)), ("out", dict(reference.out_degree))):
        assert found[f"without_{key}"] == sum(degree == 0 for degree in degrees.values())
        for start, count in found[f"{key}_degree"]:
            assert count == sum(start <= degree < 2 * start for degree in degrees.values())
    largest = max(map(len, networkx.weakly_connected_components(reference)))
    assert found["largest_component"] == largest / len(targets)
    if reference.number_of_edges():
        assert found["reciprocity"] == pytest.approx(networkx.overall_reciprocity(reference))


def test_coverage_by_hand(tmp_path):
    # Documents 1, 2 and 3 link to 0 (in-degree 3), document 1 also to 2 (in-degree 1).
    graph = make_graph(tmp_path, [[], [0, 2, 0], [0], [0]])
    found = describe_graph(graph, np.array([5, 2, 1, 1]))["coverage"]
    # alpha 0: document 1 draws 0 and 2 once each of its 2 anchors; so 0 is drawn 3 times of 4, alpha 1: 2.5 times of 4.
    assert found["0"]["curve"][25] == pytest.approx(3 / 4)
    assert found["1"]["curve"][25] == pytest.approx(2.5 / 4)
    assert found["1"]["curve"][50] == found["1"]["curve"][-1] == 1
    assert found["0"]["half"] == 1 / 4


def test_of_many_edges_some_are_drawn(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    targets = [sorted({int(t) for t in rng.integers(0, 400, 20)} - {s}) for s in range(400)]
    graph = make_graph(tmp_path, targets)
    exact = describe_graph(graph)
    monkeypatch.setattr(shape, "LOOKED_UP", 4_000)
    drawn = describe_graph(graph)
    assert drawn["reciprocity_of"] == 4_000 < exact["reciprocity_of"]
    assert drawn["reciprocity"] == pytest.approx(exact["reciprocity"], abs=0.02)
