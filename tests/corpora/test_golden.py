"""A small source of each format, and every record that its reader gives: golden/sources/NAME and NAME.json."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkbert.corpora.reader import Skipped
from linkbert.corpora.sources import find_reader, read_source
from linkbert.registry import BUILT_IN

SOURCES = Path(__file__).parent / "golden" / "sources"
GOLDEN = {
    "csv": "table.csv",
    "dokuwiki": "dokuwiki",
    "feed": "blog.xml",
    "html": "site",
    "jats": "article.nxml",
    "jsonl": "notes.jsonl",
    "markdown": "vault",
    "mediawiki": "wiki.xml",
    "parquet": "table.columns",  # as JSON, to be read by people
    "pubmed": "records.xml",
    "rst": "manual",
    "stackexchange": "Posts.xml",
    "text": "tale.txt",
    "tiddlywiki": "tiddlers",
    "wikipedia": "extracted",
    "wikitext": "wikitext",
    "xml": "memo.xml",
    "zim": "guide.zim",
    "zimwiki": "notebook",
}


@pytest.mark.parametrize("name", BUILT_IN["readers"])
def test_a_reader_gives_these_records(name, tmp_path, request):
    golden = path = SOURCES / GOLDEN[name]
    if name == "parquet":
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table(json.loads(golden.read_text(encoding="utf-8"))), path)
    if name == "zim":  # a binary format, too: written from a list of its entries
        entries = json.loads((SOURCES / "guide.json").read_text(encoding="utf-8"))
        path = request.getfixturevalue("write_zim")(entries, golden.name)
    assert name == "xml" or find_reader(path) == name
    skipped, records = Skipped(), []
    for record in read_source(name, path, None, skipped):
        values = {key: value for key, value in asdict(record).items() if key != "sections" or value}
        records.append({type(record).__name__: values})
    expected = json.loads(golden.with_name(golden.name + ".json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(records)) == expected["records"]
    assert skipped == expected["skipped"]
