"""The counts of a store: what was found, what became of it, and the shares of relations that training gets.

In: a STORE, and a Config for its shares. Out: a dictionary (`linkbert stats --json`, stable for programs), and lines.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.config import Config
from linkbert.corpora.store import Store
from linkbert.files import read_manifest
from linkbert.graph.links import LinkGraph, graph_folder, graph_names, read_graph
from linkbert.instances.sampler import Sampler, count_anchors, describe_scope
from linkbert.instances.tokens import TokenStore, read_counts
from linkbert.views.page import Section, lay_out, text_lines
from linkbert.views.plots import graph_plots
from linkbert.views.shape import describe_graph

OUTCOMES = {  # keys of graph.json, and of `links` in the JSON -> what people read
    "found": "links found",
    "resolved": "links to documents here",
    "dead": "links to missing documents and other sites",
    "self": "links of a document to itself",
    "disambiguation": "links to disambiguation pages",
}
LOST = {  # causes in the manifest, likewise
    "elsewhere": "other sites",
    "missing": "missing documents",
    "folder": "these, by their folders",
    "empty": "pages without text (left out)",
    "several": "what several pages are meant by (one taken)",
    "no place": "all links, lost or not, from no place in the text (tables, --links)",
}
ADVISED, USUAL = 0.3, 0.6  # shares of places with a link: anchors=usable pays from the first to the second
SHOWN = ("reader", "documents", "redirects", "skipped", "links_lost")  # of the manifest
SHARES = {  # keys of `shares`, likewise
    "anchors": "places for segment A",
    "anchors_with_usable_link": "of these, with a link to follow",
    "anchors_that_go_on": "of these, with text after them",
    "instances_counted": "pairs drawn to count relations",
    "no_usable_link": "of these, not linked: no link to follow",
    "one_sentence": "of these, not contiguous: no text after A",
    "random_gave_up": "of these, not random: no such document found",
    "no_partner": "of these, with no B at all",
}


def store_statistics(path: Path, config: Config | None = None, of: str = "a run") -> dict[str, Any]:
    """Collect a store's counts.

    `links` are those of the graph `hyperlink`, or else of another one of hyperlinks. With a `config`, `shares` are the
    relations under its settings, and `shapes` is `describe_graph` of every graph, documents weighted by their anchors.
    """
    manifest = read_manifest(Store.open(path).path, "redirects", "skipped", "links_found")
    result = {"path": str(path)} | {key: manifest.get(key) for key in SHOWN}
    graphs = {name: read_graph(graph_folder(path, name)) for name in graph_names(path)}
    made = [name for name, graph in graphs.items() if graph["method"] == "hyperlink"]
    links = graphs["hyperlink" if "hyperlink" in made else made[0]] if made else {"found": manifest["links_found"]}
    result |= {"links": {key: links[key] for key in OUTCOMES if key in links}, "graphs": graphs}
    if (path / "tokens" / "tokens.json").is_file():
        tokens = read_counts(path / "tokens")
        result |= {key: tokens[key] for key in ("tokens", "sentences", "empty_documents", "cut_sentences")}
        if config is not None and graphs:
            if config.graph in graphs:
                sampler = Sampler.open(path, config, anchors=config.anchors)
                length, followed = f"sequence_length={config.sequence_length}", describe_scope(sampler)
                result["shares"] = sampler.policy() | {"scope": sampler.config.scope}
                result["drawn"] = f"{of} with {length} anchors={config.anchors} {followed}"
            anchors = count_anchors(np.diff(TokenStore.open(path).documents), config)
            result["shapes"] = {name: describe_graph(LinkGraph.open(path, name), anchors) for name in graphs}
    return result


def statistics_lines(statistics: dict[str, Any], links: bool = False) -> list[str]:
    """Lay the counts out for reading, a line each; of `links` alone, if wished."""
    lost = lay_out(lost_rows(statistics["links_lost"] or []))
    lines = text_lines(statistics_section(statistics))[2:]
    return [line for line in lines if not links or "link" in line[:7] or line in lost]


def lost_rows(lost: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Make a table of what lost links lead to, as a manifest has it: how many, most of them where, and who has one."""
    rows = [["what links lead to", "links", "such as in"]]
    for cause, what in LOST.items():
        own = [row for row in lost if row.get("cause") == cause]
        rows += [[what, f"{own[0]['whole']:,}", ""]] if own else []
        rows += [[f"  {row['target']:.60}", f"{row['links']:,}", f"{row['source']:.40}"] for row in own]
    return rows if len(rows) > 1 else []


def statistics_section(statistics: dict[str, Any]) -> Section:
    """Lay the counts out for a report; what is absent is a line as well."""
    graphs, shapes, shares = (statistics.get(key, {}) for key in ("graphs", "shapes", "shares"))
    counts = {"documents": statistics["documents"], "names and aliases": statistics["redirects"]}
    counts |= {key: statistics[key] for key in ("tokens", "sentences") if key in statistics}
    counts |= {OUTCOMES[outcome]: count for outcome, count in statistics["links"].items()}
    counts |= {cause if cause[:5] == "links" else f"skipped: {cause}": n for cause, n in statistics["skipped"].items()}
    parts = {"": counts}
    parts |= {f"graph {name}": _graph_numbers(graph, shapes.get(name)) for name, graph in graphs.items()}
    relations = {SHARES.get(key, key): value for key, value in shares.items() if key != "scope"}
    parts |= {"relations in training (contiguous, random, linked)": relations} if shares else {}
    rows, lines = [["", ""]], [f"relations in training are of {statistics['drawn']}"] if shares else []
    for title, part in parts.items():
        rows += [[title, ""]] if title else []
        for key, value in part.items():
            text = ", ".join(f"{100 * share:.1f} %" for share in (value if isinstance(value, list) else [value]))
            rows.append([f"  {key}", f"{value:,}" if isinstance(value, int) else text])
    share = shares["anchors_with_usable_link"] / max(shares["anchors"], 1) if shares else 1.0
    if share < USUAL:
        what = "take scope=document, which follows every link of A's document"
        if share >= ADVISED:
            what = f"take anchors=usable, which leaves the others out (from {ADVISED:.0%} on)"
        elif shares["scope"] == "document":
            what = "anchors=usable would leave out most of the text; keep anchors=all, the default"
        lines.append(f"{share:.0%} of the places for segment A have a link to follow: {what}")
    if "tokens" not in statistics:
        lines.append("no tokens: run the same `linkbert build` again to finish the store")
    if not graphs:
        lines.append("no graph: without one a run has no linked pairs; make one with `linkbert graph`")
    elif shapes and not shares:
        lines.append(f"no shares of relations: name a graph, such as --set graph={next(iter(graphs))}")
    about = f"{statistics['path']} ({statistics['reader']})"
    lost = lost_rows(statistics["links_lost"] or [])
    return Section(Path(statistics["path"]).resolve().name, lines, rows, about, plots=graph_plots(shapes), more=lost)


def _graph_numbers(graph: dict[str, Any], shape: dict[str, Any] | None) -> dict[str, Any]:
    found = {"edges": graph["edges"]}
    found |= {f"in-degree, {float(q):.0%} of documents at most": n for q, n in graph["in_degree"].items() if q != "1"}
    found["largest in-degree"] = max(graph["in_degree"].values(), default=0)
    if shape is None:
        return found
    drawn = "" if shape["reciprocity_of"] == shape["distinct_edges"] else f" (of {shape['reciprocity_of']:,} drawn)"
    return found | {
        "documents that nothing links to": shape["without_in"] / shape["documents"],
        "documents that link to nothing": shape["without_out"] / shape["documents"],
        f"mutual links{drawn}": shape["reciprocity"],
        "documents in the largest component": shape["largest_component"],
        **{f"spread of linked targets, alpha {a}": coverage["half"] for a, coverage in shape["coverage"].items()},
    }
