"""A small source of each format, and every record that its reader gives: golden/sources/NAME and NAME.json."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from linkbert.corpora import READERS, find_reader
from linkbert.corpora.reader import Options, Skipped

SOURCES = Path(__file__).parent / "golden" / "sources"
GOLDEN = {
    "jsonl": "notes.jsonl",
    "markdown": "vault",
    "mediawiki": "wiki.xml",
    "pubmed": "records.xml",
    "text": "tale.txt",
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_these_records(name):
    path = SOURCES / GOLDEN[name]
    assert find_reader(path) == name
    skipped, records = Skipped(), []
    for shard in READERS[name].plan(path, Options()):
        for record in READERS[name].read(shard, Options(), skipped):
            values = {key: value for key, value in asdict(record).items() if key != "sections" or value}
            records.append({type(record).__name__: values})
    expected = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(records)) == expected["records"]
    assert skipped == expected["skipped"]
