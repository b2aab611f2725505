"""A small source of each format, and every record that its reader gives: golden/sources/NAME and NAME.json."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from linkbert.corpora import READERS, find_reader
from linkbert.corpora.reader import Options, Skipped

SOURCES = Path(__file__).parent / "golden" / "sources"
GOLDEN = {"jsonl": "notes.jsonl", "mediawiki": "wiki.xml", "text": "tale.md"}


@pytest.mark.parametrize("format", READERS)
def test_a_reader_gives_these_records(format):
    path = SOURCES / GOLDEN[format]
    assert find_reader(path) == format
    skipped, records = Skipped(), []
    for shard in READERS[format].plan(path, Options()):
        for record in READERS[format].read(shard, Options(), skipped):
            records.append({type(record).__name__: asdict(record)})
    expected = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(records)) == expected["records"]
    assert skipped == expected["skipped"]
