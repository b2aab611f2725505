"""Bad files of every reader of wikis, tables and XML: each costs itself, is counted, and is one line of a report."""

import gzip
import os
import zipfile
from html import escape

import pytest

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT
from linkbert.corpora.readers import csv, stackexchange, streams
from linkbert.corpora.sources import TOO_LARGE

LATIN, DUPLICATE = "not UTF-8 (read as Latin-1)", "duplicate id"
PAGES = {  # suffix, a page of a name, and what it has more
    "dokuwiki": (".txt", "====== {0} ======\nText with [[good]] {0} [[go"),
    "rst": (".rst", "{0}\n=======\n\nText with `it <good.rst>`_ {0} `it <go"),
    "tiddlywiki": (".tid", "title: {0}\n\nText with [[good]] {0} [[go"),
    "wikitext": (".wiki", "Text with [[good]] {0} {{{{go"),
    "zimwiki": (".txt", "Content-Type: text/x-zim-wiki\n\n====== {0} ======\nText with [[good]] {0} [[go"),
    "xml": (".xml", "<d><p>Text with <a href='good.xml'>it</a> {0}</p></d>"),
}
BOMB = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))


def build(path, reader, **options):
    store = build_documents([path], path.parent / "store", format=reader, options=options)
    assert all(len(line.splitlines()) == 1 for line in store.manifest["examples"])
    return {each.id: each for each in store.documents()}, store.manifest["skipped"]


@pytest.mark.slow
@pytest.mark.parametrize("reader", PAGES)
def test_a_bad_page_costs_itself(tmp_path, reader):
    suffix, text = PAGES[reader]
    (tree := tmp_path / "tree").mkdir()
    page = text.format("good").encode()
    (tree / f"good{suffix}").write_bytes(page)
    (tree / f"good{suffix}.gz").write_bytes(gzip.compress(page))
    (tree / f"cut{suffix}").write_bytes(text.format("cut").encode()[:-5])
    (tree / f"damaged{suffix}.gz").write_bytes(gzip.compress(os.urandom(9_000))[:-4_000])
    (tree / f"latin{suffix}").write_bytes(text.format("latin").replace("Text", "Caf\xe9").encode("latin-1"))
    (tree / f"large{suffix}").touch()
    os.truncate(tree / f"large{suffix}", 100 << 20)
    if reader == "xml":
        (tree / f"bomb{suffix}").write_text(f'<!DOCTYPE d [<!ENTITY e0 "ha">{BOMB}]><d>x &e9; y</d>')
    documents, skipped = build(tree, reader)
    if reader == "xml":
        assert sorted(documents) == ["good.xml"]
        assert skipped == {CUT: 4, TOO_LARGE: 1, DUPLICATE: 1}
        return
    assert sorted(documents) == ["cut", "good", "latin"]
    assert skipped == {CUT: 1, LATIN: 1, TOO_LARGE: 1, DUPLICATE: 1}
    assert "Caf\xe9" in documents["latin"].text
    assert [link.target for each in documents.values() for link in each.links] == ["good"] * 3


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(csv, "SHARD_BYTES", 1_000)
    monkeypatch.setattr(stackexchange, "SHARD_BYTES", 1_000)
    monkeypatch.setattr(stackexchange, "LARGEST_TREE", 50_000)
    monkeypatch.setattr(streams, "LARGEST", 50_000)


def test_a_bad_row_of_a_table_costs_itself(tmp_path, small):
    rows = ["id,text,links", 'good,"Text, good",good', "good,again,", "latin,Caf\xe9,good", 'cell,no JSON,"{""go"": 1"']
    rows += ["large," + "x" * 100_000 + ",good", 'cut,"Text, cut']
    (tmp_path / "a.csv").write_bytes("\n".join(rows).encode("latin-1"))
    documents, skipped = build(tmp_path / "a.csv", "csv")
    assert sorted(documents) == ["cell", "cut", "good", "latin"]
    assert (documents["latin"].text, documents["good"].text) == ("Caf\xe9", "Text, good")
    wrong = {"links are not a list (left out)": 1, csv.UNCLOSED: 1, csv.LATIN: 1}
    assert skipped == {streams.TOO_LARGE: 1, DUPLICATE: 1} | wrong


def test_a_bad_row_of_stack_exchange_costs_itself(tmp_path, small):
    rows = {"1": "<p>Good", "2": "Large " * 20_000, "3": "Caf\xe9"}
    lines = [f'<row Id="{id_}" PostTypeId="1" Body="{escape(body)}" />' for id_, body in rows.items()]
    lines += [
        f'<!DOCTYPE x [<!ENTITY e0 "ha">{BOMB}]><row Id="4" PostTypeId="1" Body="&e9;"/>',
        lines[0],
        lines[0][:30],
    ]
    (tmp_path / "Posts.xml").write_bytes("\n".join(["<posts>", *lines]).encode("latin-1"))
    documents, skipped = build(tmp_path / "Posts.xml", "stackexchange")
    assert sorted(documents) == ["1"]
    assert skipped == {streams.TOO_LARGE: 1, stackexchange.BROKEN: 2, CUT: 1, DUPLICATE: 1}


def test_a_suffix_in_capitals_is_one(tmp_path):
    data = b"# Page\n\nSome words here.\n"
    (tmp_path / "tree").mkdir()
    (tmp_path / "zip").mkdir()
    (tmp_path / "tree" / "x.md.GZ").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "zip" / "Z.ZIP", "w") as file:
        file.writestr("y.md", data)
    for source, format_ in ((tmp_path / "tree", "markdown"), (tmp_path / "zip" / "Z.ZIP", None)):
        documents, skipped = build(source, format_)
        assert ["Some words here" in each.text for each in documents.values()] == [True]
        assert not skipped
