"""What `import linkbert` hands on, besides what the stages give themselves: stores to look into, export, models."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, wraps
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert import build
from linkbert.corpora import store as stores
from linkbert.corpora.store import open_parquet, shard_path
from linkbert.files import locked, replacing
from linkbert.graph.hyperlinks import resolving
from linkbert.graph.links import LinkGraph, graph_names
from linkbert.instances.tokens import TokenStore
from linkbert.records import Document, Redirect

if TYPE_CHECKING:
    from torch import nn

OUTCOMES = ("resolved", "missing", "self", "disambiguation", "unknown")
TARGETS = """
SELECT source, place, CASE WHEN target = source THEN -2 WHEN disambiguation THEN -3 ELSE target END AS target
FROM resolved WHERE target IS NOT NULL"""
OUTCOME = (("outcome", pa.string()), ("document", pa.string()))  # what a link has besides, exported
REDIRECTS = pa.schema([(name, pa.string()) for name in ("redirect", "target", "fragment")])
EDGES = pa.schema([("source", pa.string()), ("target", pa.string()), ("link", pa.int64()), ("section", pa.int32())])
MEMORY = 4_000_000_000  # bytes of the join that resolves links
BLOCK, GROUP = 1 << 16, 1_000  # edges, and rows of Parquet, that are written together


class Store(stores.Store):
    """A finished store, open for reading: documents by number or id, their links with outcomes, and graphs.

    >>> opened = Store.open(store)
    >>> len(opened), opened.document(0).title
    (52, 'Arland')
    >>> number = opened.find("town 0")
    >>> [(link.target, outcome, target) for link, outcome, target in opened.links(number)]
    [('arland', 'resolved', 0), ('nowhere', 'missing', -1)]
    >>> graph = opened.graph()
    >>> graph.edges_out(number).tolist(), graph.edges_in(0)[:3].tolist()
    ([0], [4, 8, 12])
    >>> graph.to_scipy().shape, graph.to_arrow().num_rows
    ((52, 52), 48)
    >>> sum(table.num_rows for table in opened.tables())
    52
    """

    def graph(self, name: str = "hyperlink") -> LinkGraph:
        """Open a graph: its edges_out(n) and edges_in(n), to_arrow() and to_scipy()."""
        return LinkGraph.open(self.path, name)

    def redirects(self) -> Iterator[Redirect]:
        """Yield the other names of documents, in the order of the sources."""
        for shard in range(self.shards):
            with open_parquet(shard_path(self.path, "redirects", shard)) as file:
                yield from (Redirect(**row) for row in file.read().to_pylist())

    def links(self, number: int, document: Document | None = None) -> list[tuple[Any, str, int]]:
        """Return each link of a document, its outcome, and the number of the document it leads to, -1 for none.

        An outcome is resolved, or why the link is in no graph: missing (no document here has that name), self (its own
        document) or disambiguation (a page that lists meanings). Where there is no hyperlink graph, it is "unknown".
        The first call resolves the links of the whole store.
        """
        document, first = document or self.document(number), int(self.first_links[number])
        found = self.link_targets[first : first + len(document.links)].tolist()
        rows = zip(document.links, found, strict=True)
        return [(link, OUTCOMES[max(-target, 0)], max(target, -1)) for link, target in rows]

    @cached_property
    def first_links(self) -> np.ndarray:
        """The number of the first link of each document, and of all links: int64 (N + 1,)."""
        return TokenStore.open(self.path).document_links

    @cached_property
    def link_targets(self) -> np.ndarray:
        """What each link leads to: a document's number, or minus the place of its outcome in OUTCOMES: int32 (L,)."""
        if not (self.path / "graphs" / "hyperlink" / "graph.json").is_file():
            return np.full(self.first_links[-1], -OUTCOMES.index("unknown"), np.int32)
        with resolving(self, MEMORY, Path(tempfile.mkdtemp())) as (database, first):
            rows = database.execute(TARGETS).fetchnumpy()
        targets = np.full(first[-1], -OUTCOMES.index("missing"), np.int32)
        targets[first[rows["source"]] + rows["place"]] = rows["target"]
        return targets


@wraps(build.build_store)
def build_store(*arguments: Any, **options: Any) -> Store:  # noqa: D103
    return Store.open(build.build_store(*arguments, **options).path)


def export_store(
    store: str | Path,
    to: str | Path,
    *,
    format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002 - the option's name
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> dict[str, int]:
    """Write a store's documents, links with their outcomes, and edges into the new folder `to`; return their counts.

    documents.FORMAT has a document a line, or row: id, title, text, disambiguation, sections and links, each with
    start, end, target, fragment, outcome (see Store.links) and document (an id, or null). edges-GRAPH.FORMAT has source
    and target (ids), link (its place among the links of the source, -1 for none) and section. Other names of documents
    are redirects: lines at the end of documents.jsonl, or redirects.parquet. documents.jsonl builds the same store
    again.

    >>> export_store(store, folder)
    {'documents': 52, 'links': 96, 'redirects': 0, 'edges': 48}
    >>> sorted(path.name for path in folder.iterdir())
    ['documents.jsonl', 'edges-hyperlink.jsonl']
    """
    opened, to = Store.open(store), Path(to)
    if to.exists():
        raise ValueError(f"{to} is there already: name a new folder")
    ids = np.concatenate([table["id"].to_numpy(zero_copy_only=False) for table in opened.tables(["id"])])
    graphs = {name: opened.graph(name) for name in graph_names(opened.path)}

    def documents() -> Iterator[dict[str, Any]]:
        targets = iter(opened.link_targets.tolist())
        for number, row in enumerate(chain.from_iterable(table.to_pylist() for table in opened.tables()), 1):
            for link, target in zip(row["links"], targets, strict=False):
                link |= {"outcome": OUTCOMES[max(-target, 0)], "document": None if target < 0 else ids[target]}
            yield row
            progress("documents written", number, len(opened))

    def edges(graph: LinkGraph) -> Iterator[dict[str, Any]]:
        for batch in graph.to_arrow().to_batches(BLOCK):
            source, target, links, sections = (column.to_numpy() for column in batch.columns)
            places = np.where(links < 0, -1, links - opened.first_links[source])
            columns = ids[source], ids[target], places.tolist(), sections.tolist()
            yield from (dict(zip(EDGES.names, row, strict=True)) for row in zip(*columns, strict=True))

    redirects = ({"redirect": row.source, "target": row.target, "fragment": row.fragment} for row in opened.redirects())
    lists = pa.list_(pa.struct([*stores.DOCUMENTS.field("links").type.value_type, *OUTCOME]))
    schema = stores.DOCUMENTS.set(stores.DOCUMENTS.get_field_index("links"), pa.field("links", lists))
    with locked(to), replacing(to) as part:
        part.mkdir()
        if format == "jsonl":
            _write(part / "documents.jsonl", chain(documents(), redirects))
        else:
            _write(part / "documents.parquet", documents(), schema)
            _write(part / "redirects.parquet", redirects, REDIRECTS)
        for name, graph in graphs.items():
            _write(part / f"edges-{name}.{format}", edges(graph), EDGES)
    return {"documents": len(opened), "links": len(opened.link_targets), "redirects": opened.manifest["redirects"],
            "edges": sum(len(graph.targets) for graph in graphs.values())}  # fmt: skip


def _write(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema | None = None) -> None:
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while some := list(islice(rows, GROUP)):
                writer.write_table(pa.Table.from_pylist(some, schema))


def load_model(path: str | Path) -> nn.Module:
    """Open a run, a checkpoint or a Hugging Face folder as a model with its heads for masked tokens and relations.

    Its `forward(input_ids, attention_mask, token_type_ids)`, int64 (B, T), gives `prediction_logits` (B, T, V) and
    `seq_relationship_logits` (B, 3): contiguous, random, linked. With `labels` (B, T), -100 where nothing is masked,
    and `next_sentence_label` (B,) it gives the `loss`, the sum of both means. So transformers.Trainer, Accelerate or a
    plain loop can train it on the batches of a PairCollator; `save_pretrained(folder)` writes a Hugging Face folder.

    >>> model = load_model("run")
    >>> from linkbert import PairCollator, PairDataset
    >>> pairs = PairDataset(store, sequence_length=32)
    >>> output = model(**PairCollator(pairs)([pairs[i] for i in range(4)]))
    >>> output.prediction_logits.shape[0], output.seq_relationship_logits.shape, output.loss.ndim
    (4, torch.Size([4, 3]), 0)
    """
    from linkbert.model.checkpoint import PairModel
    from linkbert.pretraining.checkpoint import find_model

    return PairModel(find_model(path))
