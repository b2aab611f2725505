"""XML by XPath: what is a line, where links stand, and what is refused."""

import re
import shlex
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import xml
from linkbert.corpora.readers.xml import Options
from linkbert.corpora.sources import read_source
from linkbert.records import Document, Redirect

FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"
SAMPLES = {
    "RFC XML": {  # an anchor may be a number or a word
        "a.xml": """<!DOCTYPE rfc [<!ENTITY nbsp "&#160;">]><rfc number="9110"><front><title>Semantics</title><abstract>
            <t>What <em>it</em> means, see <xref target="CACHING"/>.</t></abstract></front><middle><section anchor="s">
            <name>Terms</name><t>As in <xref target="CACHING">caching</xref> and <xref target="s">here</xref>.</t>
            </section></middle><back><reference anchor="CACHING"><front><title>Caching</title></front>
            <seriesInfo name="STD" value="98"/><seriesInfo name="RFC" value="9111"/></reference></back></rfc>""",
        "b.xml": """<rfc number="9111"><front><title>Caching</title></front><middle><t>Of <xref target="RFC9110"/>.</t>
            </middle><back><reference anchor="RFC9110"><seriesInfo name="RFC" value="9110"/></reference></back>
            </rfc>""",
    },
    "Akoma Ntoso": {  # a link may name a version of an act; a schedule has names of its own
        "a.xml": """<akomaNtoso xmlns="http://docs.oasis-open.org/legaldocml/ns/akn/3.0"><act><meta><FRBRWork>
            <FRBRthis value="/akn/xx/act/1/!main"/><FRBRuri value="/akn/xx/act/1"/><FRBRcountry value="xx"/></FRBRWork>
            <FRBRExpression><FRBRthis value="/akn/xx/act/1/eng@2020-01-01/!main"/></FRBRExpression></meta><body>
            <section eId="s1"><num>1.</num><heading>Terms</heading><content><p>As in <ref href="/akn/xx/act/2#s4">Act
            2</ref> and <ref href="#s1">here</ref>.</p></content></section></body><attachments><attachment><doc><meta>
            <FRBRWork><FRBRthis value="/akn/xx/act/1/!schedule"/></FRBRWork></meta><mainBody><p>A list of <ref
            href="/akn/xx/act/3">Act 3</ref>.</p></mainBody></doc></attachment></attachments></act></akomaNtoso>""",
        "b.xml": """<a:akomaNtoso xmlns:a="http://docs.oasis-open.org/legaldocml/ns/akn/3.0"><a:judgment><a:meta>
            <a:FRBRWork><a:FRBRthis value="/akn/xx/act/2/!main"/><a:FRBRuri value="/akn/xx/act/2"/></a:FRBRWork>
            </a:meta><a:judgmentBody><a:p>On <a:ref href="/akn/xx/act/1/eng@2020-01-01/!main#s1">Act 1</a:ref>.</a:p>
            </a:judgmentBody></a:judgment></a:akomaNtoso>""",
    },
    "TEI": {
        "a.xml": """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Moss</title>
            </titleStmt><sourceDesc><biblStruct><idno type="MD5">77</idno><idno type="DOI">10.1/a</idno></biblStruct>
            </sourceDesc></fileDesc><profileDesc><abstract><p>On moss.</p></abstract></profileDesc></teiHeader><text>
            <body><div><head>Growth</head><p>Moss grows <ref type="bibr" target="#b0">[1]</ref>, see
            <ref type="figure" target="#f0">1</ref>, <ref type="bibr">2</ref>.</p></div></body><back><listBibl>
            <biblStruct xml:id="b0"><analytic>
            <idno type="DOI">10.1/b</idno></analytic></biblStruct></listBibl></back></text></TEI>""",
        "b.xml": """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><sourceDesc><idno type="DOI">10.1/b</idno>
            </sourceDesc></teiHeader><text><body><p>So does <ref type="bibr" target="#b3">(Toad)</ref>.</p></body><back>
            <biblStruct xml:id="b3"><idno type="DOI">10.1/a</idno></biblStruct></back></text></TEI>""",
    },
    "EUR-Lex": {
        "a.xml": """<ACT><BIB.INSTANCE><DOCUMENT.REF><COLL>L</COLL><NO.OJ>12</NO.OJ><YEAR>2001</YEAR></DOCUMENT.REF>
            <PAGE.FIRST>1</PAGE.FIRST></BIB.INSTANCE><TITLE><TI><P>Regulation</P></TI></TITLE><ENACTING.TERMS><ARTICLE>
            <TI.ART>Article 1</TI.ART><ALINEA>As in Directive 9 (<REF.DOC.OJ COLL="L" NO.OJ="13" DATE.PUB="20010203"
            PAGE.FIRST="5">OJ L 13</REF.DOC.OJ>).</ALINEA></ARTICLE></ENACTING.TERMS></ACT>""",
        "b.xml": """<ACT><BIB.INSTANCE><DOCUMENT.REF><COLL>L</COLL><NO.OJ>13</NO.OJ><YEAR>2001</YEAR></DOCUMENT.REF>
            <PAGE.FIRST>5 </PAGE.FIRST></BIB.INSTANCE><ENACTING.TERMS><ALINEA>Repeals <REF.DOC.OJ COLL="L" NO.OJ="12"
            DATE.PUB="20010101" PAGE.FIRST="1">the other</REF.DOC.OJ>.</ALINEA></ENACTING.TERMS></ACT>""",
    },
}


def read(path: Path, files: dict[str, str | bytes], **options: str) -> tuple[list[Document | Redirect], Skipped]:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    skipped = Skipped()
    return list(read_source("xml", path, Options(**options), skipped)), skipped


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_examples_of_the_documentation_are_right(tmp_path, kind):
    section = FORMATS.read_text(encoding="utf-8").partition("### `xml`")[2].partition("\n### ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| {kind}")]
    words = shlex.split(re.search(r"`(.*)`", row)[1].replace("\\|", "|"))
    options = dict(zip((word[2:] for word in words[::2]), words[1::2], strict=True))
    records, _ = read(tmp_path, SAMPLES[kind], **options)
    first, *more, second = (each for each in records if isinstance(each, Document))
    assert [each.text for each in more] == ["A list of Act 3."] * (kind == "Akoma Ntoso")
    names = {each.source: each.target for each in records if isinstance(each, Redirect)}
    for one, other in ((first, second), (second, first)):
        assert other.id in [names.get(link.target, link.target) for link in one.links]
        assert all(link.start >= 0 for link in one.links)
    assert "meta" not in first.text
    assert kind != "RFC XML" or "see CACHING." in first.text
    assert len(first.links) == (2 if kind == "RFC XML" else 1)


def test_lines_places_and_paths(tmp_path):
    page = (
        '<doc><title>Moss</title><p>Grows on <b>the <a href="b.xml#x">north</a></b> side.</p><ul><li>one</li>'
        '<li><a href="../c.xml">two</a></li></ul><p xml:id="q">x <a href="https://www.x.org/"/></p></doc>'
    )
    (found,), skipped = read(tmp_path, {"a/a.xml": page})
    assert (found.id, found.title) == ("a/a.xml", "Moss")
    assert found.text == "Grows on the north side.\none\ntwo\nx"
    shown = [
        (found.text[link.start : link.end] if link.start >= 0 else "", *link.target.split("#")) for link in found.links
    ]
    assert shown == [("north", "a/b.xml"), ("two", "c.xml"), ("", "https://x.org/")]
    assert found.links[0].fragment == "x"
    assert dict(found.sections)["q"] == len("Grows on the north side.\none\ntwo\n")
    assert not skipped
    many, _ = read(tmp_path / "many", {"m.xml": "<d><r id='1'>A <c>2</c></r><r id='2'>B</r></d>"},
                   document="r", name="@id", link="c")  # fmt: skip
    assert [(each.id, [link.target for link in each.links]) for each in many] == [("1", ["2"]), ("2", [])]


@pytest.mark.parametrize("name", ["NOTE", "footnote", "authorialNote"])
def test_a_footnote_does_not_cut_its_sentence(tmp_path, name):
    note = f'<{name}><p>As in <ref href="c.xml">C</ref>.</p><p>Twice.</p></{name}>'
    page = f'<d><p>The rule{note} holds in <a href="b.xml">B</a>.</p><note><p>Mind the gap.</p></note></d>'
    (found,), _ = read(tmp_path, {"a.xml": page})
    assert found.text == "The rule holds in B.\nMind the gap."
    assert [(link.start, link.target) for link in found.links] == [(-1, "c.xml"), (18, "b.xml")]


def test_breaks_of_lines_part_words(tmp_path):
    [document], _ = read(tmp_path, {"a.xml": "<a><p>Two<br/>lines, a wo<lb break='no'/>rd<pb/>more</p></a>"}, text="p")
    assert document.text == "Two lines, a word more"


def test_entities_that_a_file_declares_stand_where_they_are_named(tmp_path):
    page = """<!DOCTYPE d SYSTEM "d.dtd" [<!ENTITY nbsp "&#160;"><!ENTITY MUST "<b>MUST</b>"><!ENTITY it "the &co; way">
        <!ENTITY co "Acme &#38;amp; Co"><!ENTITY ref "as in <a href='b.xml'>B</a> &MUST;"><!ENTITY f SYSTEM "f.xml">]>
        <d><title>Of&nbsp;&co;</title><p>&MUST;&nbsp;go, &it;. So &ref; be &eacute;t&eacute;.</p><p>x &f;y</p></d>"""
    [document], skipped = read(tmp_path, {"a.xml": page})
    assert document.title == "Of Acme & Co"
    assert document.text == "Of\xa0Acme & Co\nMUST\xa0go, the Acme & Co way. So as in B MUST be été.\nx y"
    assert [(document.text[link.start : link.end], link.target) for link in document.links] == [("B", "b.xml")]
    assert skipped == {"entity (left out)": 1}
    assert skipped.examples == ["a.xml (&f;): entity (left out)"]


def test_an_entity_of_another_file_is_none_of_html(tmp_path):
    entities = (
        '<!ENTITY section-files SYSTEM "f"><!ENTITY regexps SYSTEM "r"><!ENTITY copy ""><!ENTITY sect1 SYSTEM "s">'
    )
    page = (
        f"<!DOCTYPE b [{entities}]><b><title>T</title><p>Hello&copy;</p>&section-files;&regexps;&sect1;<p>you</p></b>"
    )
    [document], skipped = read(tmp_path, {"a.xml": page})
    assert (document.text, skipped) == ("Hello\nyou", {"entity (left out)": 3})


def test_marks_in_an_entity_may_have_the_prefixes_of_its_file(tmp_path):
    page = """<!DOCTYPE d [<!ENTITY k "<l x:href='k.xml'>KDE</l>">]>
        <d xmlns="urn:d" xmlns:x="http://www.w3.org/1999/xlink"><p>The &k; and<b> old</b>, &k;&k; way.</p></d>"""
    [document], skipped = read(tmp_path, {"a.xml": page})
    assert (document.text, skipped) == ("The KDE and old, KDEKDE way.", {})
    assert [(link.start, link.target) for link in document.links] == [(4, "k.xml"), (17, "k.xml"), (20, "k.xml")]


def test_many_entities_of_one_element_take_time_by_their_number(tmp_path):
    page = f"<a><p>{'word &nbsp;' * 20_000}</p></a>"
    start = time.process_time()
    [document], skipped = read(tmp_path, {"a.xml": page})
    assert time.process_time() - start < 6  # it was 30 s
    assert (len(document.text.split()), skipped) == (20_000, {})


def test_what_entities_add_to_a_file_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(xml, "EXPANDED", 1_000)
    page = f'<!DOCTYPE d [<!ENTITY a "{"x" * 500} ">]><d>{"&a;" * 9} end</d>'
    [document], skipped = read(tmp_path, {"a.xml": page})
    assert 1_000 < len(document.text) < 3_000
    assert document.text.endswith("end")
    assert skipped["entity (left out)"] == 9 - document.text.count("x") // 500


def test_documents_one_behind_the_other_in_a_file_are_all_read(tmp_path):
    grant = '<?xml version="1.0"?>\n<!DOCTYPE g [ ]>\n<g><doc-number>{}</doc-number>'
    grant += "<invention-title>Moss {}</invention-title><p>Text.</p><c><doc-number>{}</doc-number></c></g>\n"
    page = grant.format(1, "A", 2) + grant.format(2, "B", 1) + grant.format(3, "C", 1)[:60]
    found, skipped = read(tmp_path, {"a.xml": page}, name="doc-number", link="c")
    assert [(each.id, each.title, [link.target for link in each.links]) for each in found] == [
        ("1", "Moss A", ["2"]), ("2", "Moss B", ["1"]),
    ]  # fmt: skip
    assert skipped == {CUT: 1}
    one, skipped = read(tmp_path / "one", {"a.xml": "<d>\n<![CDATA[\n<?xml version='1.0'?>]]>x</d>"})
    assert (one[0].text, skipped) == ("<?xml version='1.0'?>x", {})


def test_an_attribute_of_ids_names_several_and_an_address_or_a_name_one(tmp_path):
    page = '<d><r rid="b c">B, C</r> <r target="#d e.xml#f">D</r> <r href="New York.xml">N</r> <l>New York</l></d>'
    [document], _ = read(tmp_path, {"a.xml": page}, name="@none", link=".//r | .//l/text()")
    assert sorted(link.target for link in document.links) == ["New York", "New York.xml", "b", "c", "e.xml"]
    ids = "//b[@id = $link]/text()"
    page = '<d><r rid="x y">See</r><b id="x">One</b><b id="y">Two</b></d>'
    [document], _ = read(tmp_path / "ids", {"a.xml": page}, name="@none", link=".//r", target=ids)
    assert sorted(link.target for link in document.links) == ["One", "Two"]


def test_links_that_lead_nowhere_for_want_of_what_is_told_are_counted(tmp_path):
    page = (
        '<TEI><p>As <ref target="#b0">1</ref> and <ref target="#b1">2</ref>.</p><b id="b0">10.1/b</b><b id="b1"/></TEI>'
    )
    target = "//b[@id = substring-after($link, '#')]/text()"
    [document], skipped = read(tmp_path, {"a.xml": page}, name="@none", link=".//ref", target=target)
    assert [link.target for link in document.links] == ["10.1/b"]
    assert skipped == {"link whose --target finds nothing (left out)": 1}
    _, skipped = read(tmp_path / "dita", {"a.dita": '<topic><p>As <xref keyref="k"/> says.</p></topic>'})
    assert skipped == {"link by a key, which a map of DITA gives (left out)": 1}


@pytest.mark.parametrize("title", ["", ".//name"])
def test_a_title_is_what_is_called_so_or_what_is_told(tmp_path, title):
    page = """<refentry><name>list</name><citation><article-title>No</article-title></citation>
        <refmeta><refentrytitle>ls</refentrytitle></refmeta><s><title>Use</title><p>x</p></s></refentry>"""
    [document], _ = read(tmp_path, {"a.xml": page}, title=title)
    assert document.title == ("list" if title else "ls")


def test_bad_files_cost_themselves(tmp_path):
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    files = {
        "bomb.xml": f'<!DOCTYPE d [<!ENTITY e0 "ha">{entities}]><d>x &e9; y</d>',
        "cut.xml": "<d><p>one</p><p>tw",
        "deep.xml": "<d>" * 100_000,
        "empty.xml": "",
        "file.xml": '<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]><d>a &f; b</d>',
        "latin.xml": '<?xml version="1.0" encoding="ISO-8859-1"?><d>Caf\xe9</d>'.encode("latin-1"),
        "none.xml": "<d/>",
        "part.xml": '<?xml version="1.0"?>\n<d>of &another.file; book</d>',
        "wrong.xml": b"<d>Caf\xe9</d>",
    }
    found, skipped = read(tmp_path, files)
    assert [each.text for each in found if isinstance(each, Document)] == ["a b", "Café", "of book"]
    assert skipped == {CUT: 5, "entity (left out)": 2, "document without text": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"link": "//["}, "is not an XPath such as"),
        ({"text": "//p:x"}, "cannot be evaluated .*names have no prefixes here"),
        ({"link": "string(.)"}, "finds no elements or attributes"),
    ],
)
def test_bad_paths_are_one_line(tmp_path, options, said):
    (tmp_path / "a.xml").write_text("<d>x</d>")
    with pytest.raises(ValueError, match=said) as raised:
        build_documents([tmp_path / "a.xml"], tmp_path / "store", format="xml", options=options)
    assert "\n" not in str(raised.value)


trees = st.recursive(
    st.sampled_from(["a", " ", "b c", "&amp;", "<e/>"]),
    lambda inner: st.builds(
        lambda tag, href, parts: f"<{tag}{href}>{''.join(parts)}</{tag}>",
        st.sampled_from(["p", "a", "title"]),
        st.sampled_from(["", ' href="x"', ' href="#y"', ' id="z"']),
        st.lists(inner, max_size=4),
    ),
)


@settings(max_examples=80, deadline=None)
@given(trees, st.sampled_from(["", ".//p", ".//a | .//p"]))
def test_any_tree_gives_links_in_the_text(inside, text):
    for page in xml.read_file("a.xml", f"<d>{inside}</d>".encode(), Options(text=text), Skipped()):
        for link in getattr(page, "links", ()):
            assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(page.text)
            assert link.start < 0 or page.text[link.start : link.end].strip() == page.text[link.start : link.end]


def test_files_of_a_kind_of_xml_are_read_where_it_is_said_how(tmp_path):
    for name, text in {"a.dita": '<topic id="a"><title>A</title><p>To <xref href="b.dita">b</xref>.</p></topic>',
                       "b.dita": '<topic id="b"><p>B.</p></topic>', "notes.txt": "N."}.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    with pytest.raises(
        ValueError, match=r"mostly \.dita files, whose words only you know.*--format xml reads them by XP"
    ):
        build_documents([tmp_path], tmp_path.with_name("store"))
    store = build_documents([tmp_path], tmp_path.with_name("store"), format="xml")
    assert [(each.id, [link.target for link in each.links]) for each in store.documents()] == [
        ("a.dita", ["b.dita"]), ("b.dita", [])
    ]  # fmt: skip
