"""The MediaWiki reader: pages of a small dump in every container, cut anywhere, damaged anywhere."""

import bz2
import gzip
import lzma
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.reader import NoOptions, Skipped
from linkbert.corpora.readers import mediawiki
from linkbert.corpora.readers.mediawiki import plan, read_blocks, read_site
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Link, Redirect

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de">
  <siteinfo><dbname>dewiki</dbname><case>first-letter</case><namespaces>
    <namespace key="0" case="first-letter" /><namespace key="6" case="first-letter">Datei</namespace>
    <namespace key="14" case="first-letter">Kategorie</namespace><namespace key="100">Portal</namespace>
  </namespaces></siteinfo>
"""


def page(title, text, *, ns=0, redirect="", extra=""):
    redirect = f'<redirect title="{redirect}" />' if redirect else ""
    ns = "" if ns is None else f"<ns>{ns}</ns>"
    return (
        f"  <page><title>{title}</title>{ns}<id>1</id>{redirect}<revision><id>2</id>{extra}"
        f'<text xml:space="preserve">{text}</text></revision></page>\n'
    )


def dump(*pages, head=HEAD, tail="</mediawiki>\n"):
    return (head + "".join(pages) + tail).encode()


def read_all(path):
    skipped = Skipped()
    return list(read_source("mediawiki", path, None, skipped)), skipped


@pytest.fixture
def written(tmp_path):
    def write(data, name="dump.xml"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


LONG = [page(f"Seite {number}", f"{number} " + str(number**1500)) for number in range(400)]  # more than one block
MANY = [page(f"Seite {number}", f"Text {number} mit [[Ziel]]. " + "äöü " * (number % 50)) for number in range(400)]


def titles(records):
    return [record.title for record in records]


def test_a_dump_gives_documents_and_redirects(written):
    data = dump(
        page("Haus", "Ein '''Haus''' im [[dorf|Dorf]].&lt;ref&gt;[[Quelle]]&lt;/ref&gt; [[Datei:a.jpg]] a &amp;amp; b"),
        page("Villa", "#WEITERLEITUNG [[haus#Arten]]", redirect="Haus"),
        page("Hütte", "#REDIRECT: [[Haus]]"),
        page("Kategorie:Bau", "x", ns=14),
        page("Bau (Begriffsklärung)", "{{Begriffsklärung}} [[Haus]]"),
        page("Portal:X", "x", ns=None),
        page("Stil.css", "a {}", extra="<model>css</model>"),
        page("Bild", "#REDIRECT [[Datei:a.jpg]]"),
    )
    records, skipped = read_all(written(data))
    assert records == [
        Document("Haus", "Haus", "Ein Haus im Dorf. a & b", (Link(12, 16, "Dorf"), Link(-1, -1, "Quelle"))),
        Redirect("Villa", "Haus", "Arten"),
        Redirect("Hütte", "Haus"),
        Document("Bau (Begriffsklärung)", "Bau (Begriffsklärung)", "Haus", (Link(0, 4, "Haus"),), disambiguation=True),
    ]
    assert skipped == {
        "page of another namespace": 2,
        "page that is not wikitext": 1,
        "redirect out of the articles": 1,
    }


def test_the_last_revision_counts_and_old_schemas_are_read(written):
    revisions = "<revision><text>old</text></revision><revision><text bytes='3'>new</text></revision>"
    bare = (
        f"<page><title>A&amp;B</title>{revisions}</page><page><title>Leer</title><revision><text /></revision></page>"
    )
    records, _ = read_all(written(dump(bare, head="<mediawiki>")))
    assert records == [Document("A&B", "A&B", "new"), Document("Leer", "Leer", "")]


def test_a_site_is_what_the_dump_declares():
    site = read_site(HEAD.encode())
    assert (site.language, site.first_letter) == ("de", True)
    assert [site.namespace(name) for name in ("datei", "File", "Kategorie", "2001", "portal")] == [6, 6, 14, None, 100]
    assert not read_site(b"<mediawiki><siteinfo><case>case-sensitive</case></siteinfo>").first_letter


def streams(data, size):
    return b"".join(bz2.compress(data[start : start + size], 1) for start in range(0, len(data), size))


CONTAINERS = {
    "dump.xml": bytes,
    "dump.xml.bz2": bz2.compress,
    "multistream.xml.bz2": lambda data: streams(data, 5000),
    "dump.xml.gz": gzip.compress,
    "dump.xml.xz": lzma.compress,
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("size", [1 << 30, 3000, 700])
def test_every_container_cut_anywhere_gives_the_same_pages(written, monkeypatch, name, size):
    monkeypatch.setattr(mediawiki, "ARCHIVE_BYTES", size)
    monkeypatch.setattr(mediawiki, "XML_BYTES", size)
    path = written(CONTAINERS[name](dump(*MANY)), name)
    assert find_reader(path) == "mediawiki"
    records, skipped = read_all(path)
    assert titles(records) == [f"Seite {number}" for number in range(400)]
    assert skipped == {}
    assert list(plan(path, NoOptions())) == list(plan(path, NoOptions()))


@settings(max_examples=12, deadline=None)
@given(size=st.integers(30, 4000))
def test_plain_dumps_cut_anywhere_lose_and_double_no_page(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("ranges") / "dump.xml"
    path.write_bytes(dump(*MANY[:20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mediawiki, "XML_BYTES", size)
        records, skipped = read_all(path)
    assert titles(records) == [f"Seite {number}" for number in range(20)]
    assert skipped == {}


def test_blocks_of_an_archive_are_found_from_anywhere(tmp_path):
    path = tmp_path / "a.bz2"
    data = bytes(range(256)) * 2000
    path.write_bytes(streams(data, 50_000) + bz2.compress(data, 1))
    blocks = dict(read_blocks(path, 0))
    assert b"".join(blocks.values()) == data + data
    for start in (1, 500, sorted(blocks)[3], sorted(blocks)[3] + 1):
        assert dict(read_blocks(path, start)) == {at: block for at, block in blocks.items() if at >= start}


@pytest.mark.slow
def test_zeros_behind_an_archive_are_not_searched_again_and_again(tmp_path):
    """A file that was made in its full size and filled in part: 40 MB of nothing behind the last stream."""
    path = tmp_path / "a.bz2"
    path.write_bytes(streams(bytes(range(256)) * 2000, 50_000))
    blocks = dict(read_blocks(path, 0))
    with path.open("r+b") as file:
        file.truncate(40 << 20)
    begin = time.process_time()
    assert dict(read_blocks(path, 0)) == blocks
    assert time.process_time() - begin < 2
    begin = time.process_time()
    assert list(read_blocks(path, 10 << 20, 11 << 20)) == []
    assert time.process_time() - begin < 0.2
    path.write_bytes(bz2.compress(random.Random(0).randbytes(2_000_000))[:700_000] + bytes(4 << 20))
    assert list(read_blocks(path, 0)) == [(4, None)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("size", [pytest.param(1 << 30, marks=pytest.mark.slow), 3000])
def test_whole_pages_before_a_cut_are_kept_and_the_cut_is_counted(written, monkeypatch, name, size):
    monkeypatch.setattr(mediawiki, "ARCHIVE_BYTES", size)
    monkeypatch.setattr(mediawiki, "XML_BYTES", size)
    data = CONTAINERS[name](dump(*LONG))
    records, skipped = read_all(written(data[: len(data) * 3 // 4], name))
    assert len(records) > 100
    assert titles(records) == [f"Seite {number}" for number in range(len(records))]
    assert skipped[mediawiki.CUT] + skipped[mediawiki.PAGE_CUT] >= 1
    assert skipped.examples


def test_a_damaged_block_costs_only_itself(written):
    data = bytearray(bz2.compress(dump(*LONG), 1))
    data[len(data) // 2] ^= 255
    records, skipped = read_all(written(bytes(data), "dump.xml.bz2"))
    assert 300 < len(records) < 400
    assert {"Seite 0", "Seite 399"} <= set(titles(records))
    assert skipped[mediawiki.CUT] == 1


def test_a_page_without_its_end_does_not_swallow_the_next(written):
    data = dump(page("A", "a").replace("</page>", ""), page("B", "b"))
    records, skipped = read_all(written(data))
    assert titles(records) == ["B"]
    assert skipped == {mediawiki.PAGE_CUT: 1}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "a.xml", "is empty"),
        (b"", "a.xml.bz2", "is empty"),
        (b"<html>no dump</html>", "a.xml", "is not a MediaWiki dump"),
        (bz2.compress(b"<html>no dump</html>"), "a.xml.bz2", "is not a MediaWiki dump"),
        (b"no archive", "a.xml.bz2", "damaged"),
        (bz2.compress(dump(page("A", "a")))[:40], "a.xml.bz2", "cut off"),
        (gzip.compress(dump(page("A", "a")), mtime=0)[:12], "a.xml.gz", "cut off"),
    ],
)
def test_what_is_no_dump_is_refused_in_one_line(written, data, name, message):
    with pytest.raises(ValueError, match=message) as error:
        list(plan(written(data, name), NoOptions()))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_invalid_utf8_is_replaced_and_counted(written):
    records, skipped = read_all(written(dump(page("A", "cafX x")).replace(b"cafX", b"caf\xe9")))
    assert records[0].text == "caf� x"
    assert skipped == {"invalid UTF-8 (replaced)": 1}


def test_entities_of_a_doctype_are_never_expanded(written):
    bomb = """<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>"""
    records, _ = read_all(written(dump(page("A", "&b; &c; &#65;&amp;lt;"), head=bomb + HEAD)))
    assert records[0].text == "&b; &c; A<"


def test_unclosed_cdata_takes_linear_time(written):
    begin = time.process_time()
    records, _ = read_all(written(dump(page("A", "<![CDATA[" * 50_000), page("B", "b"))))
    assert titles(records) == ["A", "B"]
    assert time.process_time() - begin < 3


def test_cdata_is_text(written):
    records, _ = read_all(written(dump(page("A", "<![CDATA[a < b & [[c]]]]>"))))
    assert records[0].text == "a < b & c"


@pytest.mark.slow
def test_a_page_of_many_megabytes_is_read(written):
    data = dump(page("A", "Ein [[Wort]] mehr. " * 120_000), page("B", "b"))
    records, skipped = read_all(written(gzip.compress(data, 1), "a.xml.gz"))
    assert titles(records) == ["A", "B"]
    assert len(records[0].links) == 120_000
    assert skipped == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<page>", "</page>", "<title>A</title>", "<text>x</text>", "<text", "<ns>0</ns>", "<ns>x", "&#0;"]
        )
        | st.binary(max_size=4).map(lambda data: data.decode("latin-1"))
    )
)
def test_any_xml_is_read_without_an_error(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("any") / "a.xml"
    path.write_bytes(HEAD.encode() + "".join(pieces).encode("latin-1"))
    records, skipped = read_all(path)
    assert all(isinstance(record, Document | Redirect) for record in records)
    assert skipped


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "documents", "redirects", "disambiguations"),
    [
        ("enwiki-excerpt-pages-articles", 106, 99, 8),
        ("ltgwiki-pages-articles", 903, 141, 7),
        ("enwiki-table-markup", 5, 0, 0),
    ],
)
def test_real_dumps(data, name, documents, redirects, disambiguations):
    records, skipped = read_all(data / f"corpora/mediawiki/{name}.xml.bz2")
    found = [record for record in records if isinstance(record, Document)]
    assert (len(found), len(records) - len(found)) == (documents, redirects)
    assert sum(document.disambiguation for document in found) == disambiguations
    assert all(document.text[link.start : link.end] for document in found for link in document.links if link.start >= 0)
    assert set(skipped) <= {"page of another namespace", "redirect out of the articles"}


@pytest.mark.parametrize(
    ("base", "shown"), [("https://x.org/a", "/B|A/C|C"), ("https://de.wikipedia.org/a", "/B|../C|../C/")]
)
def test_subpages_are_those_of_their_page_but_not_at_wikipedia(written, base, shown):
    head = HEAD.replace("<dbname>", f"<base>{base}</base><dbname>")
    documents, _ = read_all(written(dump(page("A/D", "[[/B]]|[[../C]]|[[../C/]]"), head=head)))
    links = ["A/D/B", "A/C", "A/C"] if "x.org" in base else ["/B"]
    assert (documents[0].text, [link.target for link in documents[0].links]) == (shown, links)
