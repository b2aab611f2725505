"""A graph on disk: edges of documents in compressed rows, memory-mapped for reading, written through a stream.

    STORE/graphs/NAME/offsets.bin     int64 (documents + 1): the edges of document d are offsets[d] to offsets[d + 1]
    STORE/graphs/NAME/targets.bin     int32 (edges): the document an edge leads to
    STORE/graphs/NAME/links.bin       int64 (edges): the number of the link an edge comes from, -1 for none
    STORE/graphs/NAME/sections.bin    int32 (edges): the sentence of the target where the section named by the link
                                      starts, -1 for none
    STORE/graphs/NAME/in_degree.bin   int32 (documents): distinct documents with an edge to this one
    STORE/graphs/NAME/graph.json      counts, see the module that builds the graph

A document's edges are in the order of its links, or, where they come from none, the best first. Whatever made it, a
graph has this form.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from linkbert.files import map_array, read_json, replacing, write_json

log = logging.getLogger(__name__)
FORMAT = 1
PARTS = (".part", ".parts")  # how folders end that are no graphs yet
EDGE_ARRAYS: dict[str, np.dtype[Any]] = {
    "targets": np.dtype("<i4"),
    "links": np.dtype("<i8"),
    "sections": np.dtype("<i4"),
}
ARRAYS: dict[str, np.dtype[Any]] = {"offsets": np.dtype("<i8"), **EDGE_ARRAYS, "in_degree": np.dtype("<i4")}
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class LinkGraph:
    """A graph open for reading; the arrays are read-only views of its files."""

    offsets: np.ndarray  # (N + 1,) int64
    targets: np.ndarray  # (E,) int32
    links: np.ndarray  # (E,) int64
    sections: np.ndarray  # (E,) int32
    in_degree: np.ndarray  # (N,) int32
    meta: dict[str, Any]

    @classmethod
    def open(cls, store: str | Path, name: str = "hyperlink") -> LinkGraph:
        """Map a graph of a store into memory; a ValueError names the graphs there are when this one is not."""
        folder = graph_folder(Path(store), name)
        if not (folder / "graph.json").is_file():
            there = sorted(path.parent.name for path in folder.parent.glob("*/graph.json"))
            raise ValueError(
                f"{store} has no graph {name!r} (it has: {', '.join(there) or 'none'}): make it with `linkbert graph`"
            )
        meta = read_json(folder / "graph.json")
        if meta.get("format") != FORMAT:
            raise ValueError(f"{folder} is a graph of format {meta.get('format')}, this linkbert reads format {FORMAT}")
        documents, edges = meta["documents"], meta["edges"]
        sizes = {"offsets": documents + 1, "in_degree": documents} | dict.fromkeys(EDGE_ARRAYS, edges)
        arrays = {key: map_array(folder / f"{key}.bin", dtype, sizes[key]) for key, dtype in ARRAYS.items()}
        return cls(**arrays, meta=meta)

    @cached_property
    def leads_to_documents(self) -> bool:
        """Whether every target is the number of a document; looked at once."""
        return not len(self.targets) or bool(0 <= self.targets.min() <= self.targets.max() < len(self.in_degree))


def is_whole(store: Path, name: str) -> bool:
    """Say whether a graph is there as it was written; one that is damaged is told of, and may be made again."""
    if not (graph_folder(store, name) / "graph.json").is_file():
        return False
    try:
        LinkGraph.open(store, name)
    except ValueError as error:
        log.warning("%s", error)
        return False
    return True


def graph_folder(store: Path, name: str) -> Path:
    """Name the folder of a graph; a name that is not one plain word is a ValueError, as writing replaces the folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name) or name.endswith(PARTS):
        raise ValueError(f"{name!r} cannot name a graph: take letters, digits, '-' and '_', such as 'random-2'")
    return store / "graphs" / name


def _create(path: Path, dtype: np.dtype, size: int) -> np.ndarray:
    """Map a new file of zeros into memory, for writing; its room on the disk is taken at once, or refused."""
    with path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
    return np.memmap(path, dtype, "r+") if size else np.zeros(0, dtype)


def write_graph(
    store: Path,
    name: str,
    documents: int,
    edges: Iterable[dict[str, np.ndarray]],
    meta: dict[str, Any],
) -> None:
    """Write a graph from chunks of edges in order of their source.

    A chunk holds equally long arrays "source" (document numbers, never falling), "targets", "links" and "sections"; the
    edges of a document are all in one chunk, so that a target it names twice counts once in the in-degree. Chunks
    are what memory must hold; numbers a document each are mapped.
    """
    with replacing(graph_folder(store, name)) as folder:
        folder.mkdir()
        offsets = _create(folder / "offsets.bin", ARRAYS["offsets"], documents + 1)
        in_degree = _create(folder / "in_degree.bin", ARRAYS["in_degree"], documents)
        files = {key: (folder / f"{key}.bin").open("wb") for key in EDGE_ARRAYS}
        try:
            for chunk in edges:
                np.add.at(offsets[1:], chunk["source"], 1)
                for key, dtype in EDGE_ARRAYS.items():
                    files[key].write(chunk[key].astype(dtype).tobytes())
                # Sorted by hand: unique of numpy hashes, and takes seconds on evenly spaced numbers. By target: to add
                # here and there in a large array takes five times as long as in order.
                pairs = np.sort(chunk["targets"].astype(np.int64) * documents + chunk["source"])
                targets = pairs[np.diff(pairs, prepend=-1) > 0] // max(documents, 1)
                firsts = np.flatnonzero(np.diff(targets, prepend=-1))
                in_degree[targets[firsts]] += np.diff(firsts, append=len(targets)).astype(in_degree.dtype)
        finally:
            for file in files.values():
                file.close()
        np.cumsum(offsets, out=offsets)
        spread = np.quantile(in_degree, QUANTILES, method="inverted_cdf") if documents else np.zeros(len(QUANTILES))
        quantiles = {f"{q:g}": int(value) for q, value in zip(QUANTILES, spread, strict=True)}
        head = {"format": FORMAT, "documents": documents, "edges": int(offsets[-1])}
        write_json(folder / "graph.json", head | meta | {"in_degree": quantiles})
