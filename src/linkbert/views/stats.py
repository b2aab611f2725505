"""The counts of a store: what was found, what became of it, and the shares of relations that training gets.

In: a STORE, and a Config where its shares are wanted. Out: one dictionary that is stable for programs
(`linkbert stats --json`), and its lines for people. What a store lacks, such as a graph, is a line too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import Config
from linkbert.corpora.store import Store
from linkbert.files import read_json
from linkbert.graph.links import LinkGraph
from linkbert.instances.sampler import Sampler, count_anchors
from linkbert.instances.tokens import TokenStore
from linkbert.views.page import Table, lay_out
from linkbert.views.shape import describe_graph

OUTCOMES = {  # keys of graph.json, and of `links` in the JSON -> what people read
    "found": "links found",
    "resolved": "links to documents here",
    "dead": "links to missing documents and other sites",
    "self": "links of a document to itself",
    "disambiguation": "links to disambiguation pages",
}


def store_statistics(path: Path, config: Config | None = None) -> dict[str, Any]:
    """Collect a store's counts.

    `links` are those of the graph `hyperlink`, or else of another that was made from hyperlinks; `shares` (where
    `config` is given) are asked and realised shares of the relations under its settings, and `shapes` the degrees and
    the like of every graph (graph/shape.py), documents weighted by their anchors.
    """
    store = Store.open(path)
    manifest = store.manifest
    result: dict[str, Any] = {
        "path": str(path),
        "reader": manifest["reader"],
        "documents": manifest["documents"],
        "redirects": manifest["redirects"],
        "skipped": manifest["skipped"],
        "links": {"found": manifest["links_found"]},
        "graphs": {},
    }
    if (path / "tokens" / "tokens.json").is_file():
        tokens = read_json(path / "tokens" / "tokens.json")
        result |= {key: tokens[key] for key in ("tokens", "sentences", "empty_documents", "cut_sentences")}
    for file in sorted((path / "graphs").glob("*/graph.json")):
        graph = read_json(file)
        result["graphs"][file.parent.name] = graph
        if graph["method"] == "hyperlink" and (file.parent.name == "hyperlink" or len(result["links"]) == 1):
            result["links"] = {key: graph[key] for key in OUTCOMES}
    if config is not None and result["graphs"] and "tokens" in result:
        if config.graph in result["graphs"]:
            result["shares"] = Sampler.open(path, config, anchors=config.anchors).policy()
        anchors = count_anchors(np.diff(TokenStore.open(path).documents), config)
        result["shapes"] = {name: describe_graph(LinkGraph.open(path, name), anchors) for name in result["graphs"]}
    return result


def statistics_lines(statistics: dict[str, Any]) -> list[str]:
    """Lay the counts out for reading, a line each; what is absent is a line as well."""
    rows: list[tuple[str, Any]] = [("  documents", statistics["documents"])]
    rows.append(("  names and aliases", statistics["redirects"]))
    rows += [(f"  {key}", statistics[key]) for key in ("tokens", "sentences") if key in statistics]
    rows += [(f"  {OUTCOMES[outcome]}", count) for outcome, count in statistics["links"].items()]
    rows += [(f"  skipped: {cause}", count) for cause, count in statistics["skipped"].items()]
    for name, graph in statistics["graphs"].items():
        rows += [(f"graph {name}", ""), ("  edges", graph["edges"]), *_degrees(graph)]
        rows += _shape_rows(statistics["shapes"][name]) if name in statistics.get("shapes", ()) else []
    if "shares" in statistics:
        rows.append(("relations in training (contiguous, random, linked)", ""))
        rows += [(f"  {key.replace('_', ' ')}", _share_text(value)) for key, value in statistics["shares"].items()]
    lines = lay_out(Table((), [[name, f"{value:,}" if isinstance(value, int) else value] for name, value in rows]))
    if "tokens" not in statistics:
        lines.append("no tokens: run the same `linkbert build` again to finish the store")
    if not statistics["graphs"]:
        lines.append("no graph: without one a run has no linked pairs; make one with `linkbert graph`")
    elif "shapes" in statistics and "shares" not in statistics:
        lines.append(f"no shares of relations: name a graph, such as --set graph={next(iter(statistics['graphs']))}")
    return [f"{statistics['path']} ({statistics['reader']})", *lines]


def _share_text(value: Any) -> str:
    return ", ".join(f"{100 * share:.1f} %" for share in value) if isinstance(value, list) else f"{value:,}"


def _degrees(graph: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for quantile, degree in graph["in_degree"].items():
        label = "largest in-degree" if quantile == "1" else f"in-degree, {float(quantile):.0%} of documents at most"
        yield f"  {label}", degree


def _shape_rows(shape: dict[str, Any]) -> Iterator[tuple[str, str]]:
    documents = shape["documents"]
    sample = "" if shape["reciprocity_of"] == shape["distinct_edges"] else f" (of {shape['reciprocity_of']:,} drawn)"
    for label, share in (
        ("documents that nothing links to", shape["without_in"] / documents),
        ("documents that link to nothing", shape["without_out"] / documents),
        (f"mutual links{sample}", shape["reciprocity"]),
        ("documents in the largest component", shape["largest_component"]),
        *((f"spread of linked targets, alpha {a}", each["half"]) for a, each in shape["coverage"].items()),
    ):
        yield f"  {label}", f"{100 * share:.1f} %"


def write_plots(statistics: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the degrees of all graphs, and for each graph what alpha does, into FOLDER; return the PNG files."""
    from linkbert.views.plots import plot_coverage, plot_degrees

    shapes = statistics.get("shapes")
    if not shapes:
        raise ValueError(f"{statistics['path']} has no graph to plot: make one with `linkbert graph`")
    plot_degrees(shapes, folder / "degrees.png")
    for name, shape in shapes.items():
        plot_coverage(name, shape, folder / f"coverage-{name}.png")
    return [folder / "degrees.png", *(folder / f"coverage-{name}.png" for name in shapes)]
