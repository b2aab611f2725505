"""One record that is too large, between two that are not, in every format: it is counted, and held by nobody."""

import bz2
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from html import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkbert.corpora.reader import CUT, Skipped, make_options
from linkbert.corpora.readers import csv, jats, jsonl, mediawiki, papers, parquet, pubmed, stackexchange, streams, xml
from linkbert.corpora.sources import TOO_LARGE, find_reader, read_source

LIMIT = 100_000  # of the tests; a file is read in blocks of 65,536 bytes
TEXTS = {"1": "One.", "2": "much text " * 40_000, "3": "Three."}


def article(number: str, text: str) -> str:
    meta = f'<article-id pub-id-type="pmid">{number}</article-id>'
    return f"<article><front><article-meta>{meta}</article-meta></front><body><p>{text}</p></body></article>"


def record(number: str, text: str) -> str:
    part = f"<Article><Abstract><AbstractText>{text}</AbstractText></Abstract></Article>"
    return f"<PubmedArticle><MedlineCitation><PMID>{number}</PMID>{part}</MedlineCitation></PubmedArticle>"


def page(number: str, text: str) -> str:
    return f"<page><title>{number}</title><ns>0</ns><revision><text>{text}</text></revision></page>"


FORMS = {  # how a file is called, what stands before, in, between and behind its records
    "a.jsonl": ("", '{{"id": {0}, "text": "{1}"}}\n'.format, ""),
    "a.csv": ("id,text\n", '{0},"{1}"\n'.format, ""),
    "a.tsv": ("id\ttext\n", "{0}\t{1}\n".format, ""),
    "a.nxml": ("<set>", article, "</set>"),
    "pubmed.xml": ("<PubmedArticleSet>", record, "</PubmedArticleSet>"),
    "Posts.xml": (
        "<posts>\n",
        lambda number, text: f'<row Id="{number}" PostTypeId="1" Body="{escape(text)}" />\n',
        "</posts>",
    ),
    "wiki.xml": ('<mediawiki xml:lang="en">', page, "</mediawiki>"),
}
PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


@pytest.fixture
def small(monkeypatch):
    for module in (jsonl, csv, stackexchange, pubmed, mediawiki):
        monkeypatch.setattr(module, "XML_BYTES" if module is mediawiki else "SHARD_BYTES", 1_000)
    monkeypatch.setattr(xml, "READER", replace(xml.READER, largest=LIMIT))
    for module in (streams, mediawiki, parquet):
        monkeypatch.setattr(module, "LARGEST", LIMIT)
    for module in (stackexchange, pubmed, jats):
        monkeypatch.setattr(module, "LARGEST_TREE", LIMIT)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", FORMS)
def test_a_record_too_large_is_counted_and_passed_over(tmp_path, small, name, packed):
    before, write, behind = FORMS[name]
    content = (before + "".join(write(number, text) for number, text in TEXTS.items()) + behind).encode()
    path = tmp_path / (name + packed)
    path.write_bytes(PACKED[packed](content))
    skipped = Skipped()
    found = read_source(find_reader(path), path, None, skipped)
    assert [(each.id, each.text) for each in found] == [("1", "One."), ("3", "Three.")]
    assert skipped == {streams.TOO_LARGE: 1}


@pytest.mark.parametrize("behind", ["", "\n", '\n{"id": "c", "text": "x'])
def test_a_line_too_large_may_be_the_last_or_stand_before_a_cut(tmp_path, small, behind):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "One."}\n{"id": "b", "text": "' + TEXTS["2"] + behind)
    skipped = Skipped()
    assert [each.id for each in read_source("jsonl", tmp_path / "a.jsonl", None, skipped)] == ["a"]
    assert skipped == {streams.TOO_LARGE: 1} | ({CUT: 1} if "c" in behind else {})


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_limit_can_be_set(tmp_path, name):
    long = "Much text. " * 200_000
    (tmp_path / name).write_text(long if name == "a.txt" else json.dumps({"id": "a", "text": long}))
    for mib, held in ((0, 1), (1, 0), (3, 1)):
        skipped = Skipped()
        options = make_options([name[2:].replace("txt", "text")], {"largest": mib}).popitem()[1]
        assert len([*read_source(find_reader(tmp_path / name), tmp_path / name, options, skipped)]) == held
        assert skipped.total() == 1 - held
    for mib in (-1, 1024):
        with pytest.raises(ValueError, match=f"--largest {mib}: give MiB, 1 to 1023"):
            make_options(["text", "jsonl"], {"largest": mib})


def test_lines_behind_one_too_large_have_their_numbers(tmp_path, small):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "One."}\n"' + TEXTS["2"] + '"\n[]\n')
    skipped = Skipped()
    list(read_source("jsonl", tmp_path / "a.jsonl", None, skipped))
    assert skipped.examples[-1].startswith("a.jsonl line 3 (")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_row_too_large_is_passed_over(tmp_path, small, name):
    table = pa.table({"id": [*TEXTS], "text": [*TEXTS.values()], "links": [["2"], ["3"] * 9, ["1"]]})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_stream(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    skipped = Skipped()
    assert [each.id for each in read_source("parquet", tmp_path / name, None, skipped)] == ["1", "3"]
    assert skipped.examples == [f"{name} row 2: {streams.TOO_LARGE}"]


def test_a_file_of_any_xml_and_a_cell_have_limits(tmp_path, small, short_cells):
    (tmp_path / "a.xml").write_text(f"<d>{TEXTS['2']}</d>")
    skipped = Skipped()
    assert not list(read_source("xml", tmp_path / "a.xml", None, skipped))
    assert skipped == {TOO_LARGE: 1}
    (tmp_path / "a.csv").write_text('id,text\n1,One\n2,"' + "x" * 9_000 + '"\n3,Three\n')
    skipped = Skipped()
    assert [each.id for each in read_source("csv", tmp_path / "a.csv", None, skipped)] == ["1", "3"]
    assert skipped == {streams.TOO_LARGE: 1}


def test_a_header_too_large_is_named(tmp_path, small):
    (tmp_path / "a.csv").write_text("id,text," + "x" * 2 * LIMIT + "\n1,One,y\n")
    with pytest.raises(ValueError, match="its first line is too large"):
        list(read_source("csv", tmp_path / "a.csv", None, Skipped()))


MEASURE = """
import resource, sys
from pathlib import Path
from linkbert.corpora.reader import Skipped, load_reader
from linkbert.corpora.sources import read_source
import lxml.etree
load_reader(sys.argv[1])
before, skipped = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Skipped()
assert len(list(read_source(sys.argv[1], Path(sys.argv[2]), None, skipped))) == 2 and len(skipped) == 1, skipped
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMS if name != "a.nxml"])
def test_memory_stays_flat(tmp_path, name):
    before, write, behind = FORMS[name]
    texts = TEXTS | {"2": "much text " * 20_000_000}
    path = tmp_path / name
    path.write_text(before + "".join(write(number, text) for number, text in texts.items()) + behind)
    command = [sys.executable, "-c", MEASURE, find_reader(path), str(path)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 100_000  # kB, of a record of 200 MB


@pytest.mark.parametrize("name", ["wiki.xml", "pubmed.xml", "a.nxml"])
def test_a_number_of_any_length_and_an_unknown_encoding_cost_no_more_than_a_record(tmp_path, name):
    before, write, behind = FORMS[name]
    records, digits = [write(number, "text") for number in "123"], "9" * 5_000
    records[1] = records[1].replace("<ns>0", f"<ns>{digits}").replace("<PMID>", f'<PMID Version="{digits}">')
    date = f"<pub-date><year>{digits}</year><month>{digits}</month></pub-date></article-meta>"
    records[1] = records[1].replace("</article-meta>", date)
    content = '<?xml version="1.0" encoding="no-such"?>' * (name == "a.nxml") + before + "".join(records) + behind
    (tmp_path / name).write_text(content)
    for options in (None, papers.Options(before="2020-01")) if name == "a.nxml" else (None,):
        found = read_source(find_reader(tmp_path / name), tmp_path / name, options, Skipped())
        assert [each.id for each in found] == ([] if options else ["1", "2", "3"]), "these have no date, or a late one"
