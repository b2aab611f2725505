"""A graph on disk: edges of documents in compressed rows, memory-mapped for reading, written through a stream.

The files of STORE/graphs/NAME are those of docs/formats.md: edges of document d are offsets[d] to offsets[d + 1], in
the order of its links or, where they come from none, the best first. Every method is a callable `build(store,
**options)` that returns Edges or yields blocks of them; what its parameters named in GIVEN get, `add_graph` hands over.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ByteSize, create_model
from scipy.sparse import csr_matrix

from linkbert import __version__, registry
from linkbert.config import Natural, Settings
from linkbert.files import made_of, map_array, read_ours, remove, replacing, runs_to, write_json
from linkbert.workers import make_executor

if TYPE_CHECKING:
    from linkbert.corpora.store import Store

FORMAT = 1
PARTS = (".part", ".parts")  # how folders end that are not finished graphs
EDGE_ARRAYS = {"targets": "<i4", "links": "<i8", "sections": "<i4"}
ARRAYS = {"offsets": "<i8", **EDGE_ARRAYS, "in_degree": "<i4"}
QUANTILES = (0.5, 0.9, 0.99, 1.0)
OUTCOMES = ("found", "resolved", "redirected", "dead", "self", "disambiguation")  # of links, where they are counted

# What a method may ask for by a keyword of that name: where to run, whom to report to (stage, done, total), a dict to
# fill with counts for graph.json, and a folder for shards, kept after an interruption and removed at the end.
GIVEN = ("executor", "progress", "counts", "folder")

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Edges:
    """A block of edges: integer arrays of one length, in any order; all edges of a source document in one block."""

    source: np.ndarray  # document numbers
    targets: np.ndarray  # document numbers
    links: np.ndarray | None = None  # the store's numbers of links, -1 (all of them, for None) where there is none
    sections: np.ndarray | None = None  # sentences of the target, -1 likewise


Described = made_of(
    "Described", method=str, documents=Natural, edges=Natural, in_degree=dict[float, Natural],
    **dict.fromkeys(OUTCOMES, (Natural, 0)),
)  # fmt: skip


def read_graph(folder: Path) -> dict[str, Any]:
    """Read the graph.json of a graph's folder."""
    return read_ours(folder / "graph.json", Described, FORMAT)


@dataclass(frozen=True)
class LinkGraph:
    """A graph open for reading; the arrays are read-only views of its files."""

    offsets: np.ndarray = field(repr=False)  # (N + 1,) int64
    targets: np.ndarray = field(repr=False)  # (E,) int32
    links: np.ndarray = field(repr=False)  # (E,) int64
    sections: np.ndarray = field(repr=False)  # (E,) int32
    in_degree: np.ndarray = field(repr=False)  # (N,) int32
    meta: dict[str, Any]

    @classmethod
    def open(cls, store: str | Path, name: str = "hyperlink", *, whole: bool = True) -> LinkGraph:
        """Map a graph of a store into memory; a ValueError names the graphs there are when this one is not.

        A number that leads out of its array is one, too, unless not `whole`: for who looks for what is wrong.
        """
        folder = graph_folder(Path(store), name)
        if not (folder / "graph.json").is_file():
            there = ", ".join(graph_names(Path(store))) or "none"
            raise ValueError(f"{store} has no graph {name!r} (it has: {there}): make it with `linkbert graph`")
        meta = read_graph(folder)
        documents, edges = meta["documents"], meta["edges"]
        sizes = {"offsets": documents + 1, "in_degree": documents} | dict.fromkeys(EDGE_ARRAYS, edges)
        arrays = {key: map_array(folder / f"{key}.bin", dtype, sizes[key]) for key, dtype in ARRAYS.items()}
        graph, known = cls(**arrays, meta=meta), Path(store) / "tokens" / "links.bin"
        if whole:
            linked = not known.is_file() or graph.links.max(initial=-1) < known.stat().st_size // 4
            linked &= graph.links.min(initial=-1) >= -1
            if not (linked and graph.leads_to_documents and runs_to(graph.offsets, edges)):
                wrong = "it has targets that are no documents, or links or offsets that lead nowhere"
                raise ValueError(f"{folder} is damaged: {wrong}; run `linkbert check {store}`, or make it again")
        return graph

    @cached_property
    def leads_to_documents(self) -> bool:
        """Whether every target is the number of a document; looked at once."""
        return not len(self.targets) or bool(0 <= self.targets.min() <= self.targets.max() < len(self.in_degree))

    def edges_out(self, document: int) -> np.ndarray:
        """Return the documents that this one's edges lead to, in the order of its links: int32, some perhaps twice."""
        return self.targets[self._edges(self.offsets, document)]

    def edges_in(self, document: int) -> np.ndarray:
        """Return the documents with an edge to this one, ascending, each once: int32 (in_degree[document],)."""
        return self._incoming.indices[self._edges(self._incoming.indptr, document)]

    def _edges(self, offsets: np.ndarray, document: int) -> slice:
        if document in range(len(self.in_degree)):
            return slice(offsets[document], offsets[document + 1])
        raise ValueError(f"there is no document {document!r}: numbers run from 0 to {len(self.in_degree) - 1}")

    @cached_property
    def _incoming(self) -> Any:  # the whole graph turned around: 12 bytes an edge, in memory
        return self.to_scipy().tocsc()

    def to_scipy(self) -> csr_matrix:
        """Return the (N, N) matrix of how many edges lead from a row's document to a column's: int32, in memory."""
        size = len(self.in_degree)
        matrix = csr_matrix((np.ones(len(self.targets), np.int32), self.targets, self.offsets), (size, size), copy=True)
        matrix.sum_duplicates()
        return matrix

    def to_arrow(self) -> Any:
        """Return a pyarrow Table: source and target (int32, documents), link (int64), section (int32), -1 for none."""
        import pyarrow as pa  # not above: training needs none of it

        source = np.repeat(np.arange(len(self.in_degree), dtype=np.int32), np.diff(self.offsets))
        columns = {"source": source, "target": self.targets, "link": self.links, "section": self.sections}
        return pa.table({name: pa.array(column) for name, column in columns.items()})


def cut_parts(starts: np.ndarray, most: int, most_documents: int) -> list[np.ndarray]:
    """Cut documents, given by their first tokens or edges, into parts: their numbers; a larger one is one by itself."""
    bounds = [0]
    while bounds[-1] < len(starts) - 1:
        full = int(np.searchsorted(starts, starts[bounds[-1]] + most, side="right")) - 1
        bounds.append(min(max(full, bounds[-1] + 1), bounds[-1] + most_documents, len(starts) - 1))
    return [np.arange(start, stop) for start, stop in pairwise(bounds)]


def graph_folder(store: Path, name: str) -> Path:
    """Name the folder of a graph; a name that is not one plain word is a ValueError, as writing replaces the folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name) or name.endswith(PARTS):
        made = f"; `linkbert graph {store} --method {name}` makes {name.partition(':')[2]!r}" if ":" in name else ""
        raise ValueError(f"{name!r} cannot name a graph: take letters, digits, '-' and '_', such as 'random-2'{made}")
    return store / "graphs" / name


def graph_names(store: Path) -> list[str]:
    """List the finished graphs of a store."""
    found = sorted(file.parent.name for file in (store / "graphs").glob("*/graph.json"))
    return [name for name in found if not name.endswith(PARTS)]


def graph_options(method: str) -> type[Settings]:
    """Make the settings of a graph method: its keyword-only parameters, each with a default; `memory` may be "4GB"."""
    build, options = registry.find("graphs", method), dict[str, Any]()
    kinds = typing.get_type_hints(build) | {"memory": ByteSize}
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN:
            if parameter.default is parameter.empty:
                raise ValueError(f"graph method {method}: its option {name!r} has no default")
            options[name] = kinds.get(name, type(parameter.default)), parameter.default
    return create_model("Options", __base__=Settings, **options)


def add_graph(
    store: Store,
    name: str,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make STORE/graphs/NAME by a method of the registry, or by `package.module:name`; return its graph.json.

    A graph that is there stays as it is, since runs may refer to it; made otherwise, it is a ValueError. So is an
    option that the method does not have.
    """
    chosen = graph_options(method)(**options or {}).model_dump()
    meta = {"method": method} | {key: value for key, value in chosen.items() if key != "memory"}
    folder, there = graph_folder(store.path, name), dict[str, Any]()
    with suppress(ValueError):  # there is none, or it is damaged
        there = LinkGraph.open(store.path, name).meta
    if there:
        if any(there.get(key) != value for key, value in meta.items()):
            made = ", ".join(f"{key} {there[key]}" for key in meta if key in there)
            raise ValueError(f"{store.path} has a graph {name!r} already ({made}); give this one another --name")
        remove(folder.with_name(name + ".parts"))  # a kill may have left them
        return there
    parts = folder.with_name(name + ".parts")
    plan = json.dumps([meta, __version__, len(store)], sort_keys=True)
    own = parts / blake2b(plan.encode(), digest_size=4).hexdigest()  # parts made by another plan lie in another folder
    own.mkdir(parents=True, exist_ok=True)
    tools = dict(zip(GIVEN, (executor or make_executor(1), progress or (lambda *_: None), meta, own), strict=True))
    build = registry.find("graphs", method)
    tools = {key: tools[key] for key in tools.keys() & inspect.signature(build).parameters}
    try:
        edges = build(store, **chosen, **tools)
        write_graph(store.path, name, len(store), edges if isinstance(edges, Iterable) else [edges], meta)
    except (ValueError, TypeError):
        remove(parts)
        raise
    remove(parts)
    return read_graph(folder)


def _checked(blocks: Iterable[Edges], documents: int, links: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of blocks, sorted by source; what cannot be edges of documents is a ValueError."""
    last = -1
    for block in blocks:
        if not isinstance(block, Edges):
            raise ValueError(f"a graph method must return Edges, got {type(block).__name__}")
        nothing, arrays = np.full(len(block.source), -1), {}
        for key in ("source", *EDGE_ARRAYS):
            array = nothing if getattr(block, key) is None else np.asarray(getattr(block, key))
            least, most = (0, documents) if key in ("source", "targets") else (-1, links if key == "links" else 2**31)
            if array.shape != nothing.shape or (array.dtype.kind not in "iu" and len(array)):
                raise ValueError(f"edges: {key} must be {len(nothing)} integers, got {array.shape} {array.dtype}")
            if len(array) and not least <= array.min() <= array.max() < most:
                raise ValueError(f"edges: {key} must be {least} to {most - 1}, got {array.min()} to {array.max()}")
            arrays[key] = array.astype(np.int64)
        if np.any(arrays["source"] == arrays["targets"]):
            raise ValueError("edges: a document has an edge to itself")
        order = np.argsort(arrays["source"], kind="stable")
        arrays = {key: array[order] for key, array in arrays.items()}
        if len(nothing) and arrays["source"][0] <= last:
            raise ValueError(f"edges: blocks must be in order of their source, got {arrays['source'][0]} after {last}")
        last = arrays["source"][-1] if len(nothing) else last
        yield arrays


def write_graph(store: Path, name: str, documents: int, edges: Iterable[Edges], meta: Mapping[str, Any]) -> None:
    """Write a graph from blocks of edges; `meta` is read after the last one, so that a generator may fill it.

    In memory are a block and 12 bytes a document. A target that a document names twice counts once in the in-degree.
    """
    offsets, in_degree = np.zeros(documents + 1, ARRAYS["offsets"]), np.zeros(documents, ARRAYS["in_degree"])
    known = store / "tokens" / "links.bin"
    links = known.stat().st_size // 4 if known.is_file() else 2**63
    with replacing(graph_folder(store, name), folder=True) as folder, ExitStack() as stack:
        files = {key: stack.enter_context((folder / f"{key}.bin").open("wb")) for key in EDGE_ARRAYS}
        for block in _checked(edges, documents, links):
            np.add.at(offsets[1:], block["source"], 1)
            for key, dtype in EDGE_ARRAYS.items():
                files[key].write(block[key].astype(dtype).data)  # tofile of numpy would not say that a disk is full
            # Sorted by hand: unique of numpy hashes, and takes seconds on evenly spaced numbers. By target: to add
            # here and there in a large array takes five times as long as in order.
            pairs = np.sort(block["targets"].astype(np.int64) * documents + block["source"])
            np.add.at(in_degree, pairs[np.diff(pairs, prepend=-1) > 0] // max(documents, 1), 1)
        np.cumsum(offsets, out=offsets)
        (folder / "offsets.bin").write_bytes(offsets.data)
        (folder / "in_degree.bin").write_bytes(in_degree.data)
        spread = np.quantile(in_degree if documents else [0], QUANTILES, method="inverted_cdf")
        quantiles = {f"{q:g}": int(value) for q, value in zip(QUANTILES, spread, strict=True)}
        head = {"format": FORMAT, "documents": documents, "edges": int(offsets[-1])}
        write_json(folder / "graph.json", {**meta, **head, "in_degree": quantiles})
