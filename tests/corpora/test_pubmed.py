"""PubMed files: dates, filters, versions and deletions across files, and damage. (What a record becomes: golden.)"""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import pubmed
from linkbert.corpora.sources import read_source
from linkbert.graph.links import add_graph
from linkbert.records import Document

DATA = Path(os.environ.get("LINKBERT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def record(pmid, title, *, version=1, date="<Year>2019</Year><Month>Nov</Month>", cites=(), doi="", abstract=""):
    references = "".join(
        f'<Reference><ArticleIdList><ArticleId IdType="{kind}">{value}</ArticleId></ArticleIdList></Reference>'
        for kind, value in cites
    )
    own = f'<ArticleIdList><ArticleId IdType="doi">{doi}</ArticleId></ArticleIdList>' if doi else ""
    return f"""<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article>
        <Journal><JournalIssue><PubDate>{date}</PubDate></JournalIssue></Journal><ArticleTitle>{title}</ArticleTitle>
        <Abstract><AbstractText>{abstract}</AbstractText></Abstract></Article></MedlineCitation>
        <PubmedData>{own}<ReferenceList>{references}</ReferenceList></PubmedData></PubmedArticle>"""


def file_of(*records, deleted=()):
    gone = "".join(f"<PMID>{pmid}</PMID>" for pmid in deleted)
    tail = f"<DeleteCitation>{gone}</DeleteCitation>" if deleted else ""
    return f"<PubmedArticleSet>{''.join(records)}{tail}</PubmedArticleSet>".encode()


def read(path, **options):
    skipped = Skipped()
    found = read_source("pubmed", path, pubmed.Options(**options), skipped)
    return [each for each in found if isinstance(each, Document)], skipped


def test_later_files_replace_and_delete(tmp_path):
    (tmp_path / "1.xml.gz").write_bytes(gzip.compress(file_of(
        record(1, "One, old", cites=[("pubmed", "2"), ("doi", "10.1/Three")]), record(2, "Two"), record(4, "Four"),
        record(5, "Five, first", version=1), record(5, "Five, second", version=2),
    )))  # fmt: skip
    (tmp_path / "2.xml.gz").write_bytes(gzip.compress(file_of(
        record(1, "One, new", cites=[("doi", "https://doi.org/10.1/THREE"), ("pubmed", "4"), ("pubmed", "1")]),
        record(3, "Three", doi="10.1/three"), deleted=[4, 77],
    )))  # fmt: skip
    (tmp_path / "3.xml").write_bytes(file_of(record(4, "Four, again")))
    sources = [tmp_path / name for name in ("1.xml.gz", "2.xml.gz", "3.xml")]
    store = build_documents(sources, tmp_path / "all")
    assert [(d.id, d.title) for d in store.documents()] == [
        ("2", "Two"), ("5", "Five, second"), ("1", "One, new"), ("3", "Three"), ("4", "Four, again")]  # fmt: skip
    assert store.manifest["skipped"] == {"deleted": 1, "older version": 2}
    meta = add_graph(store, "hyperlink", "hyperlink")
    assert (meta["found"], meta["resolved"], meta["self"], meta["redirected"]) == (3, 3, 1, 1)
    store = build_documents(sources[:2], tmp_path / "two")
    assert "4" not in [d.id for d in store.documents()]


@pytest.mark.parametrize(
    ("date", "month"),
    [
        ("<Year>2019</Year><Month>Nov</Month><Day>3</Day>", (2019, 11)),
        ("<Year>2020</Year><Month>02</Month>", (2020, 2)),
        ("<Year>2020</Year>", (2020, 12)),
        ("<Year>1990</Year><Season>Spring</Season>", (1990, 4)),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", (1998, 12)),
        ("<MedlineDate>2000 Summer</MedlineDate>", (2000, 7)),
        ("<MedlineDate>unknown</MedlineDate>", (9999, 12)),
    ],
)
def test_publication_dates(tmp_path, date, month):
    path = tmp_path / "a.xml"
    path.write_bytes(file_of(record(1, "One", date=date)))
    year, number = month
    after = f"{year + number // 12}-{number % 12 + 1:02}"
    if year < 9999:  # of no known date: never before
        assert len(read(path, before=after)[0]) == 1
    found, skipped = read(path, before=f"{year}-{number:02}")
    assert (found, sum(skipped.values())) == ([], 1)


def test_short_abstracts_are_left_out_when_asked(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(file_of(record(1, "A title of many words", abstract="one two"), record(2, "B", abstract="a b c")))
    found, skipped = read(path, min_words=3)
    assert [document.id for document in found] == ["2"]
    assert skipped == {"fewer words than --min-words": 1}


def test_a_newer_version_that_a_filter_leaves_out_removes_the_older_ones(tmp_path):
    new, old = "<Year>2021</Year>", "<Year>2019</Year>"
    (tmp_path / "1.xml").write_bytes(file_of(record(1, "One"), record(2, "Two"), record(3, "Three")))
    (tmp_path / "2.xml").write_bytes(file_of(
        record(1, "One, second", version=2, date=new), record(1, "One, first again", date=old),
        record(2, "Two, second", version=2, date=new), record(2, "Two, third", version=3, date=old),
        record(4, "Four", date=old), record(4, "Four, second", version=2, date=new),
    ))  # fmt: skip
    (tmp_path / "3.xml").write_bytes(file_of(record(4, "Four, third", version=3, date=old)))
    sources = [tmp_path / f"{i}.xml" for i in (1, 2, 3)]
    store = build_documents(sources, tmp_path / "store", options={"before": "2020-01"})
    assert [d.title for d in store.documents()] == ["Three", "Two, third", "Four, third"]
    assert store.manifest["skipped"] == {
        "deleted": 2, "older version": 2, "not published before --before, or of unknown date": 3}  # fmt: skip


def test_whole_records_before_a_cut_are_kept(tmp_path):
    path = tmp_path / "a.xml.gz"
    data = file_of(*(record(i, f"Title {i}", abstract=f"{i**50}") for i in range(300)))
    for content in (gzip.compress(data)[:-2000], gzip.compress(data[: len(data) // 2])):
        path.write_bytes(content)
        found, skipped = read(path)
        assert len(found) > 20
        assert [document.id for document in found] == [str(i) for i in range(len(found))]
        assert skipped[CUT] == 1


def test_a_broken_record_costs_itself_only(tmp_path):
    path = tmp_path / "a.xml"
    broken = "<PubmedArticle><MedlineCitation><PMID>5</PMID>"
    path.write_bytes(file_of(record(1, "One"), record(2, "Two"), record(3, "Three </b>"), broken, record(4, "Four")))
    found, skipped = read(path)
    assert [document.id for document in found] == ["1", "2", "4"]
    assert skipped == {CUT: 2}
    assert all("near byte" in example for example in skipped.examples)


def test_a_file_may_hold_several_sets(tmp_path):
    """Answers of a server written one behind the other, with and without their prologs."""
    path = tmp_path / "a.xml"
    prolog = b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet>\n'
    sets = [file_of(record(1, "One")), file_of(record(2, "Two"), deleted=[9]), file_of(), file_of(record(3, "Three"))]
    path.write_bytes(b"\n".join([prolog + sets[0], prolog + sets[1], sets[2], sets[3]]))
    records = [*read_source("pubmed", path, pubmed.Options(), skipped := Skipped())]
    assert [each.id for each in records] == ["1", "2", "9", "3"]
    assert skipped == {}
    path.write_bytes(sets[0] + sets[1].partition(b"Two")[0] + sets[3])  # the second is cut off
    found, skipped = read(path)
    assert ([document.id for document in found], skipped) == (["1", "3"], {CUT: 1})


@pytest.mark.parametrize(
    ("citation", "target"),
    [
        ("Marin P. Wells. Letters 2020. https://doi.org/10.1000/Coast.2", "doi:10.1000/coast.2"),
        ("Marin P. Wells. doi:10.1000/coast.2.", "doi:10.1000/coast.2"),
        ("Marin P. Wells (DOI 10.1000/coast(2)); 3", "doi:10.1000/coast(2)"),
        ("Marin P. <i>Wells</i>. 10.1000/coast.2 [accessed 2020]", "doi:10.1000/coast.2"),
        ("Marin P. Wells. https://www.doi.org/10.1000%2Fcoast.2", "doi:10.1000/coast.2"),
        ("Marin P. Wells. PMID: 77. doi:10.1000/coast.2", "77"),
        ("Marin P. Wells. https://www.ncbi.nlm.nih.gov/pmc/articles/PMC55/", "PMC55"),
        ("Marin P. Wells 10.5/2, pages 210.1000/3", None),
    ],
)
def test_a_citation_names_its_paper_in_words(tmp_path, citation, target):
    path = tmp_path / "a.xml"
    path.write_bytes(file_of(record(1, "One", cites=[("pii", "S1")])).replace(
        b"<Reference>", f"<Reference><Citation>{citation}</Citation>".encode()))  # fmt: skip
    assert [link.target for link in read(path)[0][0].links] == [target] * bool(target)


MATH = '<m:math xmlns:m="http://www.w3.org/1998/Math/MathML">{}</m:math>'


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("10<sup>6</sup> cells and 10 <sup>-4</sup> a day", "10^6 cells and 10 -4 a day"),
        ("10<sup>-4</sup>, 2<sup>−n</sup>, kg m<sup>-2</sup>", "10^-4, 2^−n, kg m^-2"),
        ("H<sub>2</sub>O, CD4<sup>+</sup>, Ca<sup>2+</sup>, 1<sup>st</sup>", "H2O, CD4+, Ca2+, 1st"),
        ("m<sup>2</sup>, as before<sup>12</sup> and.<sup>13</sup>", "m2, as before [12] and.[13]"),
        (f"at {MATH.format('<m:msup><m:mn>10</m:mn><m:mn>6</m:mn></m:msup>')} Hz", "at 10^6 Hz"),
        (f"if {MATH.format('<m:mi>P</m:mi><m:mo>&lt;</m:mo><m:mn>0.05</m:mn>')}.", "if P < 0.05."),
        (f"{MATH.format('<m:mfrac><m:mrow><m:mi>a</m:mi><m:mo>+</m:mo><m:mi>b</m:mi></m:mrow><m:mn>2</m:mn></m:mfrac>')}",
         "(a+b)/2"),
        (f"{MATH.format('<m:msqrt><m:mi>x</m:mi></m:msqrt><m:mfenced><m:mi>y</m:mi></m:mfenced>')}", "√x(y)"),
        (f"{MATH.format('<m:msub><m:mi>x</m:mi><m:mi>i</m:mi></m:msub><m:mi>y</m:mi>')}", "x_i y"),
    ],
)  # fmt: skip
def test_exponents_and_formulas_read_as_they_are_meant(tmp_path, title, text):
    path = tmp_path / "a.xml"
    path.write_bytes(file_of(record(1, title)))
    assert read(path)[0][0].title == text


def test_a_label_may_be_all_the_text_there_is(tmp_path):
    path = tmp_path / "a.xml"
    labels = ("RESULTS", "LEVEL OF EVIDENCE: 4", "LEVEL OF EVIDENCE III", "TRIAL: NCT7", "CONCLUSIONS:")
    parts = "".join(f'<AbstractText Label="{label}"/>' for label in labels)
    path.write_bytes(file_of(record(1, "One", abstract=f"Few.</AbstractText>{parts}<AbstractText>")))
    assert read(path)[0][0].text == "One\nFew.\nLEVEL OF EVIDENCE: 4\nLEVEL OF EVIDENCE III\nTRIAL: NCT7"


def test_one_bad_file_of_many_is_reported_and_the_others_are_built(tmp_path):
    (tmp_path / "1.xml.gz").write_bytes(gzip.compress(file_of(record(1, "One"))))
    (tmp_path / "2.xml.gz").write_bytes(b"\x1f\x8b\x08 this is no gzip")
    (tmp_path / "3.xml.gz").write_bytes(gzip.compress(b"<other></other>"))
    (tmp_path / "4.xml.gz").write_bytes(gzip.compress(file_of(record(4, "Four"))))
    store = build_documents([tmp_path / f"{i}.xml.gz" for i in (1, 2, 3, 4)], tmp_path / "store")
    assert [document.id for document in store.documents()] == ["1", "4"]
    assert store.manifest["skipped"] == {CUT: 1}
    assert store.manifest["other_files"] == {".xml.gz": 1}
    assert sum("2.xml.gz" in example or "3.xml.gz" in example for example in store.manifest["examples"]) == 2


def test_entities_are_never_expanded_nor_fetched(tmp_path):
    path = tmp_path / "a.xml"
    bombs = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 12))
    head = f'<!DOCTYPE PubmedArticleSet [<!ENTITY b0 "boom">{bombs}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    path.write_bytes(head.encode() + file_of(record(1, "One &b11; and &f; two")))
    found, skipped = read(path)
    assert skipped[CUT] or found  # the parser may stop at the bomb; it does not go off
    assert not any(word in document.text for document in found for word in ("boom", "root:"))
    head = '<!DOCTYPE PubmedArticleSet [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    path.write_bytes(head.encode() + file_of(record(1, "a&f;b")))
    assert [document.text for document in read(path)[0]] == ["ab"]


def test_marks_nested_to_any_depth_are_text(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(file_of(record(1, f"a{'<i>b' * 1500}c{'</i>d' * 1500}e")))
    found, skipped = read(path)
    assert skipped == {}
    assert found[0].text == f"a{'b' * 1500}c{'d' * 1500}e"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([
    "<PubmedArticleSet>", "<PubmedArticle>", "</PubmedArticle>", "<MedlineCitation>", "</MedlineCitation>", "<PMID>",
    '<PMID Version="x">', "</PMID>", "<Article>", "</Article>", "<ArticleTitle/>", "<Abstract><AbstractText>", "7", "a",
    "</AbstractText></Abstract>", "<PubmedData>", "</PubmedData>", "<ReferenceList><Reference><ArticleIdList>", "<!--",
    "</ArticleIdList></Reference></ReferenceList>", '<ArticleId IdType="pubmed">', "<ArticleId>", "</ArticleId>", "&x;",
    "</PubmedArticleSet>", "<DeleteCitation>", "</DeleteCitation>", "\ud7ff", "\0", "<Year>", "</Year>",
]), max_size=40).map("".join))  # fmt: skip
def test_any_xml_is_read_without_an_error(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<PubmedArticleSet>" + text.encode())
    for document in read(path, before="2020-01", comments=True)[0]:
        assert document.id


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
def test_a_real_sample():
    found, skipped = read(DATA / "corpora" / "pubmed" / "pubmed_linked_sample.xml.gz")
    ids = {document.id for document in found}
    assert len(ids) == 708
    assert len(found) + skipped["older version"] == 711


def test_a_record_without_any_text_is_counted(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(
        file_of(record(1, "[Not Available]."), record(2, ""), record(3, "[Not Available].", abstract="Few."))
    )
    documents, skipped = read(path)
    assert [(each.id, each.title, each.text) for each in documents] == [("3", "3", "Few.")]
    assert (skipped["record without text"], skipped.empty) == (2, ["1", "2"])
