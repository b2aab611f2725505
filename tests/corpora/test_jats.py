"""Full text in JATS: ranges of citations, packages, PubMed beside PMC, damage. (What an article becomes: golden.)"""

import gzip
import io
import re
import tarfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.sources import find_reader, read_source
from linkbert.graph.links import add_graph
from linkbert.records import Document


def reference(name, **ids):
    named = "".join(f'<pub-id pub-id-type="{kind}">{value}</pub-id>' for kind, value in ids.items())
    return f'<ref id="{name}"><mixed-citation>{named}</mixed-citation></ref>'


def cite(rid, text):
    return f'<xref ref-type="bibr" rid="{rid}">{text}</xref>'


def article(ids, body, references="", *, title="Title", back=""):
    named = "".join(f'<article-id pub-id-type="{kind}">{value}</article-id>' for kind, value in ids.items())
    return f"""<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>{named}
        <title-group><article-title>{title}</article-title></title-group></article-meta></front>
        <body>{body}</body><back>{back}<ref-list>{references}</ref-list></back></article>""".encode()


def read(path):
    skipped = Skipped()
    return [each for each in read_source("jats", path, None, skipped) if isinstance(each, Document)], skipped


def read_one(tmp_path, body, count=9):
    path = tmp_path / "a.nxml"
    path.write_bytes(
        article({"pmid": 1}, f"<p>{body}</p>", "".join(reference(f"B{i}", pmid=i) for i in range(1, count)))
    )
    (document,), skipped = read(path)
    places = [(document.text[a.start : a.end], int(a.target)) for a in document.links if a.start >= 0]
    return places, [int(link.target) for link in document.links if link.start < 0], skipped


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (f"a [{cite('B3', '3')}]", [("3", 3)]),
        (f"a {cite('B3 B5', '[3, 5]')}", [("[3, 5]", 3), ("[3, 5]", 5)]),
        (f"a [{cite('B3', '3')}-{cite('B5', '5')}]", [("3", 3), ("3-5", 4), ("5", 5)]),
        (f"a {cite('B3', '[3]')} – {cite('B5', '[5]')}", [("[3]", 3), ("[3] – [5]", 4), ("[5]", 5)]),
        (f"a<sup>{cite('B3', '3')}</sup>–<sup>{cite('B5', '5')}</sup>", [("3", 3), ("3–5", 4), ("5", 5)]),
        (f"a {cite('B3', '3–5')}", [("3–5", 3), ("3–5", 4), ("3–5", 5)]),
        (f"a {cite('B3 B5', '(3-5)')}", [("(3-5)", 3), ("(3-5)", 4), ("(3-5)", 5)]),
        (f"a {cite('B3 B4', '3-5')}", [("3-5", 3), ("3-5", 4)]),  # it names both: no more are meant
        (f"a {cite('B3', '3')}, {cite('B5', '5')}", [("3", 3), ("5", 5)]),
        (f"a {cite('B3', '3')}{cite('B5', '5')}", [("3", 3), ("5", 5)]),
        (f"a {cite('B3', '13')}-{cite('B5', '16')}", [("13", 3), ("16", 5)]),  # the numbers say otherwise
        (f"a {cite('B5', '5')}-{cite('B3', '3')}", [("5", 5), ("3", 3)]),
        (f"a {cite('B3', '2001')}-{cite('B5', 'Toad, 2003')}", [("2001", 3), ("Toad, 2003", 5)]),
        (f"a {cite('B7', '7-99')}", [("7-99", 7)]),  # the list ends before
        (f"a {cite('B3', '')} b", []),
        (f"a {cite('B3', ' Toad  <i>et</i> al ')}.", [("Toad et al", 3)]),
        ('a <xref ref-type="fn" rid="B3">3</xref><xref ref-type="fn" rid="x">*</xref>', [("3", 3)]),
    ],
)
def test_citations_stand_at_their_places(tmp_path, text, places):
    found, others, skipped = read_one(tmp_path, text)
    assert found == places
    assert others == [i for i in range(1, 9) if i not in {target for _, target in places}]
    assert skipped == {}


def test_a_package_gives_what_its_files_give(tmp_path):
    files = {
        f"PMC0/PMC{i}.xml": article({"pmc": f"PMC{i}"}, f"<p>Words {cite('B1', i)}</p>", reference("B1", pmc=i + 1))
        for i in range(20)
    }
    files |= {"PMC0/other.xml": b"<book/>", "PMC0/nameless.xml": article({}, "<p>a</p>")}
    files |= {"PMC0/empty.xml": article({"pmid": 9}, "", title=""), "PMC0/broken.xml": b"<article><front>"}
    files |= {"PMC0/page.xml": b"%PDF-1.4 \x00\xff", "PMC0/note.txt": b"not taken"}
    folder, tar = tmp_path / "folder", tmp_path / "oa_comm_xml.PMC000xxxxxx.baseline.2024-12-18.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    assert find_reader(tar) == find_reader(folder) == "jats"
    documents, skipped = read(tar)
    assert (documents, skipped) == read(folder)
    assert sorted(document.id for document in documents) == sorted(f"PMC{i}" for i in range(20))
    assert skipped == {
        "XML that holds no article": 1,
        "article without a PMID, PMCID or DOI": 1,
        "article without text": 1,
        CUT: 2,
        "file of another kind: .txt": 1,
    }
    for number, example in enumerate(sorted(each for each in skipped.examples if CUT in each)):
        assert example.startswith(("PMC0/broken.xml", "PMC0/page.xml")[number])


def test_one_file_may_hold_a_namespace_or_several_articles(tmp_path):
    path = tmp_path / "a.xml.gz"
    both = b"<set>" + article({"pmid": 1}, "<p>a</p>") + article({"doi": "10.1/B"}, "<p>b</p>") + b"</set>"
    both = both.replace(b"<article ", b'<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/" ')
    path.write_bytes(gzip.compress(both))
    assert find_reader(path) == "jats"
    assert [(document.id, document.text) for document in read(path)[0]] == [
        ("1", "Title\na"),
        ("doi:10.1/b", "Title\nb"),
    ]


def test_pubmed_and_pmc_make_one_store(tmp_path):
    record = """<PubmedArticle><MedlineCitation><PMID>{0}</PMID><Article><ArticleTitle>Abstract {0}</ArticleTitle>
        </Article></MedlineCitation><PubmedData>
        <ArticleIdList><ArticleId IdType="pmc">PMC{0}0</ArticleId></ArticleIdList>
        <ReferenceList><Reference><ArticleIdList><ArticleId IdType="pubmed">1</ArticleId></ArticleIdList></Reference>
        </ReferenceList></PubmedData></PubmedArticle>"""
    pubmed, full = tmp_path / "p.xml", tmp_path / "a.nxml"
    pubmed.write_text(f"<PubmedArticleSet>{''.join(record.format(i) for i in (1, 2, 3))}</PubmedArticleSet>")
    references = (
        reference("B1", pmid=2) + reference("B2", pmcid="PMC30") + reference("B3", doi="https://doi.org/10.1/A")
    )
    body = f"<p>Words {cite('B1', 1)}, {cite('B2', 2)} and {cite('B3', 3)}.</p>"
    full.write_bytes(article({"pmid": 1, "pmcid": "PMC10", "doi": "10.1/a"}, body, references, title="Full text"))
    store = build_documents([pubmed, full], tmp_path / "store")
    assert [(document.id, document.title) for document in store.documents()] == [
        ("2", "Abstract 2"), ("3", "Abstract 3"), ("1", "Full text")]  # fmt: skip
    meta = add_graph(store, "hyperlink", "hyperlink")
    assert (meta["found"], meta["resolved"], meta["self"], meta["redirected"]) == (5, 5, 1, 2)


def test_headings_with_nothing_under_them_go(tmp_path):
    path = tmp_path / "a.nxml"
    path.write_bytes(
        article(
            {"pmid": 1},
            """<sec id="a"><title>A</title><sec id="b"><title>B</title><fig/></sec></sec>
        <sec id="c"><title>C</title><sec id="d"><title>D</title><p>d</p></sec><sec id="e"><title>E</title></sec>
        </sec>""",
        )
    )
    (document,), _ = read(path)
    assert document.text == "Title\nC\nD\nd"
    assert document.sections == (("c", 6), ("d", 8))


def test_entities_are_never_expanded_nor_fetched(tmp_path):
    path = tmp_path / "a.nxml"
    bombs = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 12))
    for body in ("<p>One &b11; two</p>", '<p id="&b11;">One</p>'):
        path.write_bytes(f'<!DOCTYPE article [<!ENTITY b0 "boom">{bombs}]>'.encode() + article({"pmid": 1}, body))
        documents, skipped = read(path)
        assert skipped[CUT] or documents  # the parser may stop at the bomb; it does not go off
        assert not any("boom" in document.text for document in documents)
    head = '<!DOCTYPE article [<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY alpha "b">]>'
    path.write_bytes(head.encode() + article({"pmid": 1}, "<p>a&f;b &alpha;</p>"))
    documents, skipped = read(path)
    assert [document.text for document in documents] == ["Title\nab α"]
    assert skipped == {"entity of a DTD's own (left out)": 1}


def test_hostile_nesting_and_ranges_stay_small(tmp_path):
    path = tmp_path / "a.nxml"
    path.write_bytes(article({"pmid": 1}, f"<p>a{'<italic>b' * 1500}c{'</italic>d' * 1500}e</p>"))
    (document,), _ = read(path)
    assert document.text == f"Title\na{'b' * 1500}c{'d' * 1500}e"
    found, others, _ = read_one(tmp_path, f"{cite('B1', '1')}-{cite('B999', '999')} {cite('B1', '1-999999')}", 1000)
    assert (len(found), len(others)) == (3, 997)


_words = st.sampled_from([
    "<sec>", '<sec id="s">', "</sec>", "<title>", "</title>", "<p>", "</p>", "<list>", "</list>", "<list-item>",
    "</list-item>", "<fig>", "</fig>", "<table-wrap>", "</table-wrap>", "<sup>", "</sup>", "</xref>", "<xref>",
    "<body>", "</body>", "a b", " ", "1", "4", "–", "-", "[", "&alpha;", "&x;", "\ud7ff", "\u2028", "<break/>",
    "<!-- c -->", "<?p i?>",
    "<ext-link>", '<ext-link ext-link-type="pmid" xlink:href="7">', "</ext-link>",
    '<related-article ext-link-type="doi" xlink:href="10.1/x"/>',
    *(f'<xref ref-type="bibr" rid="{rid}">' for rid in ("B1", "B4", "B1 B3", "B9", "", "B5")),
])  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_words, max_size=40).map("".join), st.booleans())
def test_any_xml_is_read_and_anchors_are_text(tmp_path, text, mend):
    path = tmp_path / "a.nxml"
    if mend:  # close what is open, so that more than damage is tested
        open_ones, kept = [], []
        for piece in re.split(r"(<[^>]*>)", text):
            if piece.startswith("</"):
                if f"<{piece[2:-1]}" not in open_ones:
                    continue
                while (last := open_ones.pop()) != f"<{piece[2:-1]}":
                    kept.append(f"</{last[1:]}>")
            elif piece.startswith("<") and piece[1].isalpha() and piece[-2] != "/":
                open_ones.append(re.match("<[a-z-]+", piece)[0])
            kept.append(piece)
        text = "".join(kept) + "".join(f"</{last[1:]}>" for last in reversed(open_ones))
    references = "".join(reference(f"B{i}", pmid=i) for i in range(1, 5)) + reference("B5")
    path.write_bytes(b'<!DOCTYPE article SYSTEM "a.dtd">' + article({"pmid": 1}, text, references))
    documents, skipped = read(path)
    assert len(documents) + skipped[CUT] == 1 or not mend
    for document in documents:
        assert all(
            link.start == link.end == -1 or document.text[link.start : link.end].strip() for link in document.links
        )
        assert {"1", "2", "3", "4"} <= {link.target for link in document.links}
        assert all(0 <= start < len(document.text) for _, start in document.sections)
        assert all(line.strip() == line != "" for line in document.text.split("\n"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_any_bytes_are_read_without_an_error(tmp_path, data, at):
    path = tmp_path / "a.nxml"
    whole = article({"pmid": 1}, f"<p>Words {cite('B1', 1)}</p>", reference("B1", pmid=2))
    for content in (data, whole[:at] + data + whole[at + len(data) :]):
        path.write_bytes(content)
        read(path)


@pytest.mark.data
def test_the_same_citations_as_pubmed_parser(data):
    """Paragraph by paragraph, on 8 real articles: all that pubmed_parser finds, captions apart, and nothing else."""
    parser = pytest.importorskip("pubmed_parser")

    def key(text):
        return re.sub(r"\W+", "", text)[:50]

    compared = captions = 0
    for path in sorted((data / "corpora" / "pubmed" / "jats").glob("*.nxml")):
        (document,), _ = read(path)
        names = {each["ref_id"]: each["pmid_cited"] for each in parser.parse_pubmed_references(str(path))}
        names = {rid: pmid for rid, pmid in names.items() if pmid}
        assert set(names.values()) <= {link.target for link in document.links}
        found, at = {}, 0
        for line in document.text.split("\n"):
            inside = [link for link in document.links if at <= link.start < at + len(line)]
            in_range = re.compile(r"\W*\d+\W*[-–]\W*\d+\W*")  # pubmed_parser sees the ends of a range only
            anchors = ((document.text[link.start : link.end], link.target) for link in inside)
            targets = (target for anchor, target in anchors if not in_range.fullmatch(anchor))
            found[key(line)] = Counter(target for target in targets if target in names.values())
            at += len(line) + 1
        paragraphs = etree.parse(path).xpath("//body//p")
        for each, node in zip(parser.parse_pubmed_paragraph(str(path), all_paragraph=True), paragraphs, strict=True):
            cited = [names[rid] for rids in each["reference_ids"] for rid in rids.split() if rid in names]
            if node.xpath("ancestor::caption or ancestor::table-wrap"):
                captions += len(cited)
            elif cited or key("".join(node.itertext())) in found:
                assert found[key("".join(node.itertext()))] == Counter(cited)
                compared += len(cited)
    assert (compared, captions) == (383, 7)
