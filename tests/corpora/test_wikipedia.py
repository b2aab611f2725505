"""Wikipedia as others have processed it: each form of JSON gives the page's title, text, links and other names."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import wikipedia
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Redirect

TEXT = "Old mill\nThe mill stands on the river."
URL = "https://en.wikipedia.org/wiki?curid=12"
HTML = '<body><p>The mill stands on the <a rel="mw:WikiLink" href="./River_Dee#Banks">river</a>.</p></body>'
FORMS = {
    "extractor": {"id": "12", "url": URL, "title": "Old mill",
                  "text": 'Old mill\n\nThe mill stands on the &lt;a href="river%20Dee%23Banks"&gt;river&lt;/a&gt;.\n'},
    "old extractor": {"id": "12", "url": URL, "title": "Old mill",
                      "text": 'Old mill\n\nThe mill stands on the <a href="River%20Dee%23Banks">river</a>.\n'},
    "sentences": {"id": "12", "url": URL, "title": "Old mill", "text": ["Old", "x"],
                  "text_with_links": ["The mill stands", ' on the <a href="river%20Dee%23Banks">river</a>.']},
    "paragraphs": {"id": "12", "url": URL, "title": "Old mill",
                   "text": [["Old mill"], ["The mill stands", ' on the <a href="River%20Dee%23Banks">river</a>.']]},
    "kilt": {"_id": "12", "wikipedia_id": "12", "wikipedia_title": "Old mill",
             "text": ["Old mill\n", "BULLET::::- The mill stands on the river.\n", "Section::::A:Sources.\n"],
             "anchors": [{"text": "river", "href": "river%20Dee%23Banks", "paragraph_id": 1, "start": 35, "end": 40}]},
    "cirrus": {"page_id": 12, "title": "Old mill", "namespace": 0, "text": "no", "outgoing_link": ["River_Dee"],
               "language": "en", "source_text": "The mill stands on the [[river Dee#Banks|river]].",
               "redirect": [{"namespace": 0, "title": "the mill"}, {"namespace": 1, "title": "Talk:x"}]},
    "enterprise": {"name": "Old mill", "identifier": 12, "url": "https://en.wikipedia.org/wiki/Old_mill",
                   "article_body": {"html": HTML}, "redirects": [{"name": "The mill", "url": "x"}]},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_title_text_and_links(tmp_path, name):
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps({"index": {"_id": "12"}}) * (name == "cirrus") + "\n" + json.dumps(FORMS[name]) + "\n")
    skipped = Skipped()
    records = [*read_source("jsonl", path, None, skipped)]
    [page] = [each for each in records if isinstance(each, Document)]
    [link] = page.links
    assert (page.id, page.title, skipped) == ("Old mill", "Old mill", {})
    assert page.text.removeprefix("Old mill\n").removesuffix("\nSources") == TEXT.partition("\n")[2]
    assert (page.text[link.start : link.end], link.target, link.fragment) == ("river", "River Dee", "Banks")
    names = {"kilt": ["12"], "cirrus": ["The mill"], "enterprise": ["The mill"]}.get(name, [])
    assert [each.source for each in records if isinstance(each, Redirect)] == names


def test_without_wikitext_links_have_no_place_and_other_namespaces_are_counted(tmp_path):
    page = {"title": "Old mill", "text": "A mill.", "outgoing_link": ["River_Dee", "Category:Mills", "Template:X"]}
    lines = [page, page | {"namespace": 10}, page | {"title": "None", "text": ""}]
    (path := tmp_path / "cirrus.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert find_reader(path) == "jsonl"
    [found] = read_source("jsonl", path, None, skipped := Skipped())
    assert [(link.start, link.target) for link in found.links] == [(-1, "River Dee")]
    assert skipped == {wikipedia.OTHER_NAMESPACE: 1, wikipedia.NO_TEXT: 1}


def test_a_record_of_ones_own_is_not_taken_for_a_form():
    for record in (
        {"id": "a", "title": "A", "text": 'See <a href="b">b</a>.', "url": "https://example.org/a"},
        {"id": "a", "title": "A", "text": "Plain.", "url": URL},
        {"id": "a", "text": "x", "anchors": []},
    ):
        assert wikipedia.find_form(record) == ""


ITEM = {"href": "a", "start": 0, "end": 1, "paragraph_id": 0}
VALUES = st.none() | st.integers(-2, 50) | st.sampled_from(["", "Old mill", URL, '<a href="x">y</a>'])
VALUES |= st.lists(st.sampled_from(["x\n", 1, ITEM, {"title": "T"}]), max_size=3)
VALUES |= st.fixed_dictionaries({"html": st.sampled_from(["<p>x", 3])})
KEYS = sorted({key for form in FORMS.values() for key in form})


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
@settings(max_examples=200, deadline=None)
def test_records_of_any_content_are_read_or_counted(more):
    for form in FORMS.values():
        record = form | more
        if found := wikipedia.find_form(record):
            for each in wikipedia.read_record(found, record, "here", Skipped()):
                for link in each.links if isinstance(each, Document) else ():
                    assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(each.text)
