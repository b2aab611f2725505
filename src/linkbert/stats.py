"""The counts of a store: what was found, what became of it, and the shares that the sampler will realise.

In: a STORE, and a Config where its shares are wanted. Out: one dictionary that is stable for programs
(`linkbert stats --json`), and its lines for people. All but the shares is read from the small JSON files that every
stage leaves beside its arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkbert.config import Config
from linkbert.corpora.store import Store
from linkbert.files import read_json

LINK_FATES = ("found", "resolved", "dead", "self", "disambiguation")


def store_statistics(path: Path, config: Config | None = None) -> dict[str, Any]:
    """Collect a store's counts.

    `links` are those of the graph `hyperlink`, or else of another that was made from hyperlinks; `shares` (where
    `config` is given) are asked and realised shares of the relations under its settings.
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
        result["shares"] = relation_shares(path, config)
    return result


def relation_shares(path: Path, config: Config) -> dict[str, Any]:
    """Count what becomes of the asked shares on this store under these settings."""
    from linkbert.instances.sampler import open_sampler

    return open_sampler(path, config, anchors=config.anchors).policy()


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
    if "shares" in statistics:
        yield "relations (contiguous, random, linked)"
        for key, value in statistics["shares"].items():
            shown = show_shares(value) if isinstance(value, list) else f"{value:,}"
            yield f"  {key.replace('_', ' '):<36}{shown:>14}"


def show_shares(shares: list[float]) -> str:
    """Write three shares as percentages: [0.5, 0.25, 0.25] -> '50.0 %, 25.0 %, 25.0 %'."""
    return ", ".join(f"{share:.1%}".replace("%", " %") for share in shares)
