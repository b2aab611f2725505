"""The counts of a store: what was found, what became of it, and the shares that the sampler will realise.

In: a STORE, and a Config where its shares are wanted. Out: one dictionary that is stable for programs
(`linkbert stats --json`), and its lines for people. All but the shares is read from the small JSON files that every
stage leaves beside its arrays.
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
from linkbert.views.shape import describe_graph

LINK_FATES = ("found", "resolved", "dead", "self", "disambiguation")


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
            result["links"] = {key: graph[key] for key in LINK_FATES}
    if config is not None:
        result["shares"] = Sampler.open(path, config, anchors=config.anchors).policy()
        anchors = count_anchors(np.diff(TokenStore.open(path).documents), config)
        result["shapes"] = {name: describe_graph(LinkGraph.open(path, name), anchors) for name in result["graphs"]}
    return result


def statistics_table(statistics: dict[str, Any]) -> Iterator[str]:
    """Lay the counts out for reading, a line each."""
    yield f"{statistics['path']} ({statistics['reader']})"
    rows: list[tuple[str, Any]] = [("documents", statistics["documents"]), ("redirects", statistics["redirects"])]
    rows += [(key, statistics[key]) for key in ("tokens", "sentences") if key in statistics]
    rows += [(f"links {fate}", count) for fate, count in statistics["links"].items()]
    rows += [(f"skipped: {cause}", count) for cause, count in statistics["skipped"].items()]
    for name, value in rows:
        yield f"  {name:<36}{value:>14,}"
    for name, graph in statistics["graphs"].items():
        yield f"graph {name}"
        yield f"  {'edges':<36}{graph['edges']:>14,}"
        for quantile, degree in graph["in_degree"].items():
            label = "largest in-degree" if quantile == "1" else f"in-degree, {float(quantile):.0%} of documents at most"
            yield f"  {label:<36}{degree:>14,}"
        if name in statistics.get("shapes", ()):
            yield from _shape_lines(statistics["shapes"][name])
    if "shares" in statistics:
        yield "relations (contiguous, random, linked)"
        for key, value in statistics["shares"].items():
            shown = ", ".join(f"{100 * share:.1f} %" for share in value) if isinstance(value, list) else f"{value:,}"
            yield f"  {key.replace('_', ' '):<36}{shown:>14}"


def _shape_lines(shape: dict[str, Any]) -> Iterator[str]:
    documents = shape["documents"]
    drawn = "" if shape["reciprocity_of"] == shape["distinct_edges"] else f" (of {shape['reciprocity_of']:,} drawn)"
    rows = [
        ("documents nothing links to", shape["without_in"] / documents),
        ("documents that link to nothing", shape["without_out"] / documents),
        (f"edges with an opposite{drawn}", shape["reciprocity"]),
        ("documents in the largest component", shape["largest_component"]),
    ]
    rows += [
        (f"documents that get half of the linked pairs, alpha {alpha}", coverage["half"])
        for alpha, coverage in shape["coverage"].items()
    ]
    for label, share in rows:
        yield f"  {label:<52}{100 * share:>8.1f} %"


def write_plots(statistics: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the degrees of all graphs, and for each graph what alpha does, into FOLDER; return the PNG files."""
    from linkbert.views.plots import plot_coverage, plot_degrees

    shapes = statistics["shapes"]
    if not shapes:
        raise ValueError(f"{statistics['path']} has no graph to plot: make one with `linkbert graph`")
    plot_degrees(shapes, folder / "degrees.png")
    for name, shape in shapes.items():
        plot_coverage(name, shape, folder / f"coverage-{name}.png")
    return [folder / "degrees.png", *(folder / f"coverage-{name}.png" for name in shapes)]
