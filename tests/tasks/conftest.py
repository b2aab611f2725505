import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkbert.corpora.reader import Skipped
from linkbert.corpora.store import DROPPED, Store, write_shard
from linkbert.graph.links import Edges, write_graph


@pytest.fixture(scope="session")
def make_store(tmp_path_factory):
    """Write a store of shards of Documents, rows that do not count, and a graph of (source, target)."""

    def make(shards, dropped=(), edges=()):
        path = tmp_path_factory.mktemp("store")
        for number, documents in enumerate(shards):
            write_shard(path, number, documents, Skipped())
        rows = [{"shard": shard, "row": row, "cause": "duplicate id"} for shard, row in dropped]
        pq.write_table(pa.Table.from_pylist(rows, schema=DROPPED), path / "dropped.parquet")
        count = sum(map(len, shards)) - len(rows)
        (path / "store.json").write_text(json.dumps({"format": 1, "documents": count, "shards": len(shards)}))
        source, targets = np.array(sorted(edges), np.int64).reshape(-1, 2).T
        write_graph(path, "hyperlink", count, [Edges(source, targets)], {"method": "hyperlink"})
        return Store.open(path)

    return make
