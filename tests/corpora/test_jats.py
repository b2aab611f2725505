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
from linkbert.corpora.readers import papers
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


@pytest.mark.parametrize(
    ("body", "text", "anchors"),
    [  # marks in superscripts, and bare ones behind words; an anchor is the mark without its brackets
        (f"Dry years<sup>{cite('B1', 1)},{cite('B2', 2)}</sup>. We", "Dry years [1,2]. We", ["1", "2"]),
        (f"Old maps.<sup>{cite('B1', 1)}</sup> In", "Old maps.[1] In", ["1"]),
        (f"Old maps.{cite('B1', '<sup>1–3</sup>')} In", "Old maps.[1–3] In", ["1–3"] * 3),
        (f"v2.0.6<sup>{cite('B1', 1)}</sup>a", "v2.0.6 [1] a", ["1"]),
        (f"roles{cite('B1', 1)}–{cite('B3', 3)},{cite('B5', 5)}.", "roles [1–3,5].", ["1", "1–3", "3", "5"]),
        (f"(PSQI){cite('B1', 1)} and 30%<sup>{cite('B2', 2)}</sup>", "(PSQI) [1] and 30% [2]", ["1", "2"]),
        (f"salt <sup>{cite('B1', 1)}</sup> and “so.”<sup>{cite('B2', 2)}</sup>", "salt [1] and “so.”[2]", ["1", "2"]),
        (f"a<sup>{cite('B1', 1)}</sup><sup>{cite('B2', 2)}</sup>b", "a [1,2] b", ["1", "2"]),
        (f"<sup>{cite('B1', 1)}</sup>They", "[1] They", ["1"]),
        # brackets that are there, names and years
        (f"a ({cite('B1', 1)},{cite('B2', 2)}) and<sup>({cite('B3', 3)})</sup>", "a (1,2) and(3)", ["1", "2", "3"]),
        (f"weeks{cite('B1', '[1]')}. See {cite('B2', 2)}.", "weeks[1]. See 2.", ["[1]", "2"]),
        (f"roles{cite('B1', 1)},{cite('B2', 2)}.", "roles [1,2].", ["1", "2"]),
        (f"by{cite('B1', 'Toad 2001')}and {cite('B2', 2002)}", "by Toad 2001 and 2002", ["Toad 2001", "2002"]),
        # other superscripts
        ("10<sup>6</sup> to 10<sup> -4</sup>, 2<sup>−n</sup>", "10^6 to 10^-4, 2^−n", []),
        ("mg L<sup>−1</sup>, m<sup>2</sup>, Ca<sup>2+</sup>, 5<sup>th</sup>", "mg L^−1, m2, Ca2+, 5th", []),
        ("a report<sup>34</sup>, the height<sup>2</sup>", "a report [34], the height^2", []),
        (f"word<sup>{cite('x', '*')}</sup> H<sub>2</sub>O", "word* H2O", []),
        # what is left out leaves no hole and joins no words
        ("given by<disp-formula><graphic/></disp-formula>where", "given by where", []),
        ("shown<fig><p>A map.</p></fig>below", "shown below", []),
        ("a word<xref ref-type='fn' rid='f'>a</xref>Next", "a word Next", []),
        ("a (<media/>) is <media/>, or [<xref ref-type='bibr' rid='B1'/>, <media/>].", "a is, or.", []),
        ("call f() or g(<inline-graphic/>, <inline-graphic/>; b)", "call f() or g(b)", []),
        # formulas
        ("is <inline-formula><italic>P</italic> &lt; 0.05</inline-formula>.", "is P < 0.05.", []),
        ("the<inline-formula><math><mi>n</mi></math></inline-formula>th", "the n th", []),
        ("a (<inline-formula><alternatives><tex-math>n^2</tex-math><math><msup><mi>n</mi><mn>2</mn></msup></math>"
         "</alternatives></inline-formula>)", "a (n^2)", []),
        ("by<disp-formula><label>(1)</label><tex-math>\\begin{document}$$x = 2$$\\end{document}</tex-math>"
         "</disp-formula>for", "by $x = 2$ for", []),
        # paragraphs inside a line
        ("maps of <abbrev><def><p>Coastal Office</p></def>(CO)</abbrev> and", "maps of Coastal Office (CO) and", []),
        ("say <abbrev>CO<def><p>Coastal Office</p></def></abbrev>, too", "say CO Coastal Office, too", []),
    ],
)  # fmt: skip
def test_marks_and_formulas_join_no_words(tmp_path, body, text, anchors):
    path = tmp_path / "a.nxml"
    references = "".join(reference(f"B{i}", pmid=i) for i in range(1, 9))
    path.write_bytes(article({"pmid": 1}, f"<p>{body}</p>", references))
    (document,), _ = read(path)
    assert document.text == f"Title\n{text}"
    assert [document.text[link.start : link.end] for link in document.links if link.start >= 0] == anchors


@pytest.mark.parametrize(
    ("citation", "target"),
    [
        ('<object-id pub-id-type="pmid">7</object-id>', "7"),
        ('<pub-id pub-id-type="medline">7</pub-id>', "7"),
        ('<pub-id pub-id-type="pmid">PMID: 7</pub-id>', "7"),
        *((f'<pub-id pub-id-type="doi">{doi}</pub-id>', "doi:10.1000/one") for doi in (
            "10.1000/one.", "DOI 10.1000/One", "doi:10.1000/one", "https://www.doi.org/10.1000/one", "10.1000%2Fone",
            "http://dx.doi.org/10.1000/one;", "doi.org/10.1000/one", " 10.1000/ONE ")),
        ("A paper. doi:10.1000/one", "doi:10.1000/one"),
        ("A paper. <comment>(https://doi.org/10.1000/one)</comment>", "doi:10.1000/one"),
        ('doi: <ext-link xlink:href="http://short.example/a">10.1000/one</ext-link>', "doi:10.1000/one"),
        ("A paper <comment>[PubMed: 7]</comment>", "7"),
        ('<ext-link xlink:href="http://europepmc.org/abstract/MED/7">a</ext-link>', "7"),
        ("A paper, 10.5/12, in 2010.1000/x", None),
    ],
)  # fmt: skip
def test_names_of_a_cited_paper(tmp_path, citation, target):
    path = tmp_path / "a.nxml"
    entry = f'<ref id="B1"><mixed-citation>A. {citation}</mixed-citation></ref>'
    path.write_bytes(article({"pmid": 1}, f"<p>a {cite('B1', 1)}</p>", entry))
    assert [link.target for link in read(path)[0][0].links] == [target] * bool(target)


def test_forms_of_one_citation_are_one_and_papers_of_one_entry_are_told_apart(tmp_path):
    path = tmp_path / "a.nxml"

    def form(tag, kind, value, more=""):
        return f'<{tag}{more}><pub-id pub-id-type="{kind}">{value}</pub-id></{tag}>'

    both = form("element-citation", "doi", "10.1000/a") + form("mixed-citation", "pmid", 7, ' id="m1"')
    several = form("mixed-citation", "pmid", 8, ' id="c2a"') + form("mixed-citation", "pmid", 9, ' id="c2b"')
    entries = f"""<ref id="B1"><citation-alternatives>{both}</citation-alternatives></ref><ref id="B2">{several}</ref>
        <ref id="B3"><mixed-citation id="c3a"/>{form("mixed-citation", "pmid", 5, ' id="c3b"')}</ref>"""
    marks = ("B1", "m1", "B2", "c2a", "c2b", "c2b c2a", "c3a", "c3b")
    path.write_bytes(article({"pmid": 1}, f"<p>{' and '.join(cite(rid, f'[{rid}]') for rid in marks)}</p>", entries))
    (document,), skipped = read(path)
    assert [(document.text[link.start : link.end], link.target) for link in document.links] == [
        ("[B1]", "7"), ("[m1]", "7"), ("[B2]", "8"), ("[B2]", "9"), ("[c2a]", "8"), ("[c2b]", "9"), ("[c2b c2a]", "9"),
        ("[c2b c2a]", "8"), ("[c3b]", "5")]  # fmt: skip
    assert skipped == {}


def test_a_broken_article_costs_itself_only_and_documents_may_follow_each_other(tmp_path):
    path = tmp_path / "a.xml"
    declaration = b'<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE pmc-articleset>'
    articles = [article({"pmid": i}, f"<p>caf\xe9 &alpha; {i}</p>").decode().encode("latin-1") for i in range(3)]
    articles = [each.replace(b' xmlns:xlink="http://www.w3.org/1999/xlink"', b"") for each in articles]
    for i in range(3):
        articles[i] = articles[i].replace(b"<p>", b'<p><ext-link xlink:href="x">a</ext-link> ')
    articles[1] = articles[1].replace(b"</p>", b"<italic></bold></p>")
    head = declaration + b'<pmc-articleset xmlns:xlink="http://www.w3.org/1999/xlink">'
    path.write_bytes(head + b"".join(articles) + b"</pmc-articleset>")
    documents, skipped = read(path)
    assert [document.text for document in documents] == ["Title\na café α 0", "Title\na café α 2"]
    assert skipped == {CUT: 1}
    assert "article 2 of 3" in skipped.examples[0]
    whole = [article({"pmid": i}, f"<p>{i}</p>") for i in range(3)]
    path.write_bytes(b"\n".join(b'<?xml version="1.0"?>\n<!DOCTYPE article>\n' + each for each in whole))
    documents, skipped = read(path)
    assert ([document.id for document in documents], skipped) == (["0", "1", "2"], {})
    path.write_bytes(whole[0] + whole[1] + whole[2][:-40])
    documents, skipped = read(path)
    assert ([document.id for document in documents], skipped) == (["0", "1"], {CUT: 1})


def test_scanned_pages_are_text_and_code_is_not(tmp_path):
    path = tmp_path / "a.nxml"
    for body, text in (
        ('<preformat preformat-type="pmc-ocr-text">Read in\n1921.</preformat>', "Read in 1921."),
        ("<preformat>Read in 1921.</preformat>", "Read in 1921."),
        ("<sec><p>a</p><preformat>x = 1</preformat></sec>", "a"),
    ):
        path.write_bytes(article({"pmid": 1}, body))
        (document,), skipped = read(path)
        assert document.text == f"Title\n{text}"
        assert sum(skipped.values()) == (text != "a")


@pytest.mark.parametrize(
    ("dates", "month"),
    [
        ("<pub-date><year>2019</year><month>11</month></pub-date>", (2019, 11)),
        ('<pub-date pub-type="collection"><year>2019</year></pub-date>'
         '<pub-date pub-type="epub"><day>3</day><month>Mar</month><year>2019</year></pub-date>', (2019, 3)),
        ('<pub-date pub-type="pmc-release"><year>2018</year></pub-date>'
         '<pub-date pub-type="ppub"><season>Spring</season><year>2019</year></pub-date>', (2019, 4)),
        ("<pub-date><string-date>Summer 2019</string-date></pub-date>", (2019, 7)),
        ("", None),
    ],
)  # fmt: skip
def test_only_what_was_published_before_a_month(tmp_path, dates, month):
    path = tmp_path / "a.nxml"
    path.write_bytes(article({"pmid": 1}, "<p>a</p>").replace(b"<title-group>", dates.encode() + b"<title-group>"))

    def count(before):
        found = read_source("jats", path, papers.Options(before), skipped := Skipped())
        number = len([*found])
        assert number + sum(skipped.values()) == 1
        return number

    year, number = month or (2100, 1)
    assert count("") == 1
    assert count(f"{year + number // 12}-{number % 12 + 1:02}") == bool(month)
    assert count(f"{year}-{number:02}") == 0


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


def test_an_entry_that_is_a_note_alone_leads_to_what_its_words_name(tmp_path):
    note = '<ref id="B1"><note><p>See <ext-link xlink:href="https://pubmed.ncbi.nlm.nih.gov/55/">it</ext-link>.</p></note></ref>'
    body = '<p>As said [<xref ref-type="bibr" rid="B1">1</xref>].</p>'
    (tmp_path / "a.nxml").write_bytes(article({"pmid": 1}, body, note))
    ((document,), skipped) = read(tmp_path / "a.nxml")
    assert [(document.text[link.start : link.end], link.target) for link in document.links] == [("1", "55")]
    assert not skipped
