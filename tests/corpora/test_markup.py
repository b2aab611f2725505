"""Texts that are written in HTML, Markdown or wikitext: a record says what a file of the same content says."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkbert.api import build_store
from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import markup
from linkbert.graph.links import LinkGraph
from linkbert.records import Document, Link, Redirect

HTML = {
    "a.html": "<title>A</title><p>See <a href='sub/b.html#x'>b</a> &amp; <a href='/sub/c.html'>c</a>.",
    "sub/b.html": "<p>To <a href='../a.html'>a</a> and <a href='c.html'>c</a>, <a href='https://x.org/'>x</a>.",
    "sub/c.html": "<p>Words, and <a href='../gone.html'>none</a>.",
}
MARKDOWN = {
    "a.md": "# A\n\nSee [b](sub/b.md#x), [home](sub/) and [[Bee]].",
    "sub/b.md": "---\ntitle: Bee\n---\nTo *[a](../a.md)*, [x](https://x.org/).",
    "sub/README.md": "Home, [b](b.md).",
}


def edges(store):
    graph, ids = LinkGraph.open(store.path, "hyperlink"), [document.id for document in store.documents()]
    return sorted((ids[a], ids[b]) for a in range(len(ids)) for b in graph.targets[slice(*graph.offsets[a : a + 2])])


@pytest.mark.parametrize(("pages", "kind"), [(HTML, "html"), (MARKDOWN, "markdown")])
def test_records_say_what_files_say(tmp_path, pages, kind):
    lines = tmp_path / "pages.jsonl"
    lines.write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in pages.items()))
    for name, text in pages.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    site = build_store(tmp_path / "site", tmp_path / "one", vocabulary="train:100")
    records = build_store(lines, tmp_path / "two", vocabulary="train:100", options={"markup": kind})
    bare = (lambda name: name.removesuffix(".md")) if kind == "markdown" else str
    texts = [{bare(each.id): each.text for each in store.documents()} for store in (site, records)]
    assert texts[0] == texts[1]
    assert edges(site) == sorted((bare(a), bare(b)) for a, b in edges(records))
    places = [
        sorted((link.start, link.end) for each in store.documents() for link in each.links) for store in (site, records)
    ]
    assert places[0] == places[1]


def read(kind, *records, url=None):
    """Return what a record of each (id, title, text) becomes, and what was counted."""
    skipped, made = Skipped(), list[object]()
    for id_, title, text in records:
        made += markup.read_marked(Document(id_, title, text, (Link(0, 3, "beside"),)), kind, url, "line", skipped)
    return made, skipped


def test_addresses_lead_to_records_that_have_them():
    (page, *names), _ = read("html", ("http://www.x.org/a/b/", "t", "<p><a href='../c'>c</a> <a href='?p=1'>p</a>"))
    assert [link.target for link in page.links] == ["https://x.org/a/c", "https://x.org/a/b?p=1", "beside"]
    assert (page.text, page.links[2].start) == ("c p", -1)
    assert Redirect("https://x.org/a/b", page.id) in names
    (page, *names), _ = read("markdown", ("7", "t", "[c](../c.md)"), url="https://x.org/a/b")
    assert [link.target for link in page.links] == ["https://x.org/c", "beside"]
    assert Redirect("https://x.org/a/b", "7") in names


def test_addresses_in_markdown_are_as_those_of_records(tmp_path):
    pages = {
        "https://www.x.org/docs/a.md": "[b](b.md), [c](../c/), [c](https://x.org/c), [d](/c/d/)",
        "http://x.org/docs/b.md": "[a](https://x.org/docs/a.md)",
        "https://x.org/c/": "[a](../docs/a.md), [d](d)",
        "https://x.org/c/d/": "[c](../), [a](../../docs/a.md)",
    }
    lines = [json.dumps({"id": number, "url": url, "text": text}) for number, (url, text) in enumerate(pages.items())]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    store = build_store(tmp_path / "a.jsonl", tmp_path / "s", vocabulary="train:100", options={"markup": "markdown"})
    assert edges(store) == [
        *(("0", to) for to in "1223"),
        ("1", "0"),
        *(("2", to) for to in "03"),
        *(("3", to) for to in "02"),
    ]


def test_titles_lead_to_records_of_wikitext():
    made, _ = read(
        "wikitext", ("1", "rome", "'''Rome''' in [[italy|Italy]]s."), ("2", "Sea", "#REDIRECT [[Rome#Port]]")
    )
    assert [made[0].text, made[0].links[0]] == ["Rome in Italys.", Link(8, 14, "Italy")]
    assert made[1:] == [Redirect("Rome", "1"), Redirect("2", "Rome", "Port"), Redirect("Sea", "2")]


@pytest.mark.parametrize(
    ("kind", "text", "cause"),
    [
        ("html", "<script>1</script>", markup.NO_TEXT),
        ("html", "<div>" * 9_999, "page with tags nested too deeply (left out)"),
        ("markdown", "```\na\n```", markup.NO_TEXT),
        ("wikitext", "#REDIRECT [[File:a.png]]", markup.NO_TEXT),
    ],
)
def test_what_has_no_words_is_counted(kind, text, cause):
    assert read(kind, ("1", "t", text)) == ([], {cause: 1})


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_every_table_takes_markup_and_says_what_it_leaves(tmp_path, form, caplog):
    rows, source = [{"id": "a", "text": "<a href='b'>b</a>!"}, {"id": "b", "text": "No link."}], tmp_path / f"t.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        lines = (
            ["id,text", *(f'{row["id"]},"{row["text"]}"' for row in rows)] if form == "csv" else map(json.dumps, rows)
        )
        source.write_text("\n".join(lines) + "\n")
    said = {"text that seems to have links of html (--markup html reads them, none says no)": 1}
    for given, texts, skipped in (("", "<a", said), ("none", "<a", {}), ("html", "b!", {})):
        store = build_store(source, tmp_path / f"s{given}", vocabulary="train:100", options={"markup": given})
        document = next(iter(store.documents()))
        assert document.text.startswith(texts)
        assert dict(store.manifest["skipped"]) == skipped
    assert [link.target for link in document.links] == ["b"]
    with pytest.raises(ValueError, match="--markup htm is not known: did you mean 'html'"):
        build_store(source, tmp_path / "none", vocabulary="train:100", options={"markup": "htm"})


@pytest.mark.parametrize(
    "text",
    ["a [1] (b)", "f[[1, 2]](x)", "<abbr>", "[x](y z)", "[[", "a[i](j)", "{{[[x]]", "<a name='x'>", "x ](http://"],
)
def test_what_has_no_link_is_of_no_kind(text):
    assert markup.find_kind(text) in ("", "wikitext" if "[[x" in text else "")
