"""Web pages: what is text, where links stand, what addresses mean, encodings, damage. (A small site: golden.)"""

import gzip
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.cli import main
from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import html
from linkbert.corpora.resolve import Place, find_place, resolve
from linkbert.corpora.sources import find_reader, read_source
from linkbert.graph.links import add_graph
from linkbert.records import Document, Redirect


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(path, **options):
    skipped = Skipped()
    return list(read_source("html", path, html.Options(**options), skipped)), skipped


def shown(page):
    return [(page.text[start:end] if start >= 0 else None, href) for start, end, href in page.links]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<h1>One</h1>two <i>th</i>ree<p>four\n\tfive</p>six", "One\ntwo three\nfour five\nsix"),
        ("a<br>b<hr>c<wbr>d<!-- > --> e&nbsp;&#8203;&amp;lt;", "a\nb\ncd e \u200b&lt;"),
        ("<dl><dt>a<dd>b</dl><ul><li>c<li>d</ul><pre>\n e\n  f</pre>g", "a\nb\nc\nd\ne\nf\ng"),
        (
            "a<script>b</script><style>d</style><svg><title>e</title></svg>g<p hidden>f</p>h<table><td>i</table>j",
            "ag\nh\nj",
        ),
        ("<form><p>a</p><input><select><option>b</select></form><form>c<input></form>", "a"),
        ("a\0b\x02c&#1;d\ufffe", "abcd\ufffe"),
        ("<header>a</header><article>b<header>c</header></article>", "b\nc"),
        ("<header>a</header><div>b</div><article>c</article><article>d</article>", "b\nc\nd"),
        ("x<main>a</main>y<article>b</article>", "a"),
        ('a <p title=\'<b>">\' class="x>y">b</p <c<d>e', "a\nb\ne"),
        ("<h2>a<a href='#a'>\xb6</a></h2><a href='#b'>b</a> <a href='#c'> # </a>c", "a\nb c"),
    ],
)
def test_prose_stays(source, text):
    assert html.parse(source).text == text


def test_links_keep_their_text_and_have_a_place_if_it_is_in_the_text():
    page = html.parse(
        "<p>a<a href='1'> b <b>c</b> </a>d <a href=2><img src=x></a>e <a href='3'>f<br>g<div>h</div>i</a>"
        "<table><tr><td><a href='4'>j</a></table><nav><a href=5>k<a href=6>l</nav><a name=m href=7>m</a><a>n</a>"
    )
    assert page.text == "a b c d e f g\nh\ni\nmn"
    assert shown(page) == [("b c", "1"), ("f g", "3"), ("h", "3"), ("i", "3"), ("m", "7")] + [
        (None, href) for href in ("2", "4", "5", "6")
    ]
    assert page.sections == (("m", 18),)


def test_tables_of_data_are_dropped_and_tables_that_lay_a_page_out_are_not():
    source = "<table><tr><th>a<td>b<tr><td>c<td>d</table><table><tr><td><p>e<td>f<table><tr><td>g</table></table>"
    assert html.parse(source).text == "e\nf"


def test_selectors_choose_the_text():
    source = "<div class=x>a<div class=x>b<p class=y><a href=1>c</a></p></div></div>d<div class=x>e</div>"
    page = html.parse(source, body="div.x, p", drop=".y")
    assert (page.text, shown(page)) == ("a\nb\ne", [(None, "1")])
    assert html.parse(source, body="h1") is None
    assert html.parse(source, body=".x", drop=".x").text == ""


@pytest.mark.parametrize("selector", ["p[", ":::", "p >", "div#", "p:no", "p,"])
def test_a_selector_that_is_none_is_refused_before_anything_is_built(selector, tmp_path, capsys):
    site = write(tmp_path / "site", {"a.html": "<p>a"})
    with pytest.raises(ValueError, match="is not a CSS selector such as"):
        build_documents([site], tmp_path / "store", options={"drop": selector})
    assert not (tmp_path / "store").exists()
    assert main(["build", str(site), "--to", str(tmp_path / "store"), "--body", selector]) == 1
    assert "is not a CSS selector such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("c.html", ("a/b/c.html", "")),
        (" ../c%20d.html#e%20f ", ("a/c d.html", "e f")),
        ("/c/", ("c/", "")),
        ("/", ("/", "")),
        ("..", ("a/", "")),
        ("../..", ("/", "")),
        ("../../../c.html", ("../c.html", "")),
        ("./c//d/./e.html?f=g#:~:text=h", ("a/b/c/d/e.html", "")),
        ("c.php?d=%C3%A9", ("a/b/c.php?d=é", "")),
        ("%zz%ff.html", ("a/b/%zz\ufffd.html", "")),
        ("c\\d.html", ("a/b/c/d.html", "")),
        ("//Other.org/c", ("https://other.org/c", "")),
        ("http://u:p@www.other.org:8080/../c/index.htm", ("https://other.org:8080/c", "")),
        ("https://other.org", ("https://other.org/", "")),
        *(
            (href, None)
            for href in ("", "#c", "mailto:c", "javascript:c()", "data:,c", "tel:1", "http://[", "http:///c")
        ),
    ],
)
def test_addresses_mean_files_of_the_tree(href, target):
    assert resolve(href, find_place("a/b/page.html")) == target


def test_a_page_tells_the_address_of_its_tree():
    there = Place("x.org", "docs/a/", "x.org/docs/", "")
    for canonical in ("https://www.x.org/docs/a/b.html", "http://x.org/docs/a/b", "//x.org/docs/a/b.html"):
        assert find_place("a/b.html", canonical) == there
    assert resolve("https://x.org/docs/c.html", there) == ("c.html", "")
    assert resolve("../../other/c.html", there) == ("https://x.org/other/c.html", "")
    assert find_place("html/a/b.html", "https://x.org/docs/a/b.html") == there._replace(top="html/")
    assert find_place("www.x.org/a/b.html") == Place("x.org", "a/", "x.org/", "www.x.org/")
    assert resolve("http://x.org/c.html", find_place("www.x.org/a/b.html")) == ("www.x.org/c.html", "")
    assert find_place("index.html", "https://x.org/docs/") == Place("x.org", "docs/", "x.org/docs/", "")
    assert resolve("c.html", find_place("a/b.html", "", "https://y.org/z/")) == ("https://y.org/z/c.html", "")
    assert resolve("c.html", find_place("a/b.html", "", "http://[")) == ("a/c.html", "")
    assert find_place("a/b.html", "file:///x/a/b.html") == Place(folder="a/")


def test_links_find_pages_whatever_they_are_called(tmp_path):
    links = (
        "../",
        "..",
        "/index.html",
        "b",
        "b.html?x",
        "https://x.org/s/a/b.html",
        "/moved",
        "copy.html#c",
        "gone.html",
    )
    write(
        tmp_path / "site",
        {
            "index.html": "<p>Home",
            "a/b.html": '<link rel="canonical" href="http://x.org/s/a/b.html"><p id=c>B',
            "a/page.html": "".join(f'<p>To <a href="{href}">it</a>.' for href in links),
            "a/copy.html": '<link rel="canonical" href="b.html"><p>B',
            "moved.html": '<meta http-equiv="Refresh" content="0;URL=a/b.html#c"><p>Moved.',
        },
    )
    store = build_documents([tmp_path / "site"], tmp_path / "store")
    counts = add_graph(store, "hyperlink", "hyperlink")
    assert store.manifest["documents"] == 3
    assert (counts["found"], counts["dead"]) == (len(links), 1)
    assert (counts["fragments"], counts["fragments_found"]) == (2, 2)


@pytest.mark.parametrize(
    ("data", "text", "fault"),
    [
        ("<p>é".encode(), "é", ""),
        ("\ufeff<meta charset=latin1><p>é".encode(), "é", ""),
        ("\ufeff<p>é".encode("utf-16-le"), "é", ""),
        ("<meta charset='ISO-8859-1'><p>“é".encode("cp1252"), "“é", ""),
        ("<meta http-equiv=content-type content='text/html; charset=koi8-r'><p>да".encode("koi8-r"), "да", ""),
        ("<?xml version='1.0' encoding='windows-1251'?><p>да".encode("cp1251"), "да", ""),
        (b"<?xml version='1.0'?><title/><p>a<a id='b'/><i/>c", "ac", ""),
        ("<meta charset=shift_jis><p>日本①".encode("cp932"), "日本①", ""),
        ("<p>é".encode("latin-1"), "é", "undeclared encoding (read as Windows-1252)"),
        (b"<meta charset=utf-8><p>a\xe9", "a\ufffd", "invalid UTF-8 (replaced)"),
        (b"<meta charset=punycode><meta charset=utf-8><p>a", "a", ""),
        (b"<meta charset=../../x><p>a", "a", ""),
    ],
)
def test_encodings_are_declared_or_found(data, text, fault):
    source, found = html.decode(data)
    assert (html.parse(source).text, found) == (text, fault)


def test_what_is_no_page_is_counted_and_left_out(tmp_path):
    write(
        tmp_path,
        {
            "a.html": "<p>a",
            "b.html": b"%PDF-1.7\n<p>b",
            "c.htm": bytes(range(256)) * 9,
            "d.html": b"",
            "e.html": "<frameset><frame src=a.html></frameset>",
            "f.html": "<div>" * 100_000 + "f",
            "g.html": "<p>" + "".join(f"<b {i}>" for i in range(9_000)) + "<p>g" * 9_000,
            "h.html": "<p " + " ".join(f"a{i}" for i in range(100_000)) + ">h",
            "i.xhtml": "<html><body><h1>i</h1></body></html>",
        },
    )
    records, skipped = read(tmp_path)
    assert [record.id for record in records if isinstance(record, Document)] == ["a.html", "i.xhtml"]
    assert skipped == {
        "no web page but another kind of file (left out)": 2,
        "page without text": 2,
        "page with tags nested too deeply (left out)": 3,
    }
    records, skipped = read(tmp_path, body="h1")
    assert [record.id for record in records if isinstance(record, Document)] == ["i.xhtml"]
    assert skipped["page without the body that was asked for (left out)"] == 3
    assert find_reader(tmp_path) == "html"
    page = write(tmp_path / "one", {"page.html.gz": gzip.compress(b"<p>a")}) / "page.html.gz"
    assert find_reader(page) == "html"
    assert [record.id for record in read(page)[0] if isinstance(record, Document)] == ["page.html"]


def test_many_tags_that_end_by_themselves_are_no_nesting():
    source = "<ul>" + "<li><p>a<a name=b>" * 20_000 + "</ul><p><i>c</i>" * 20_000
    assert html.is_bounded(source)
    assert html.is_bounded("<div>" * 30 + "<div><p>a<p>b <i>c</i></div>" * 30_000)


UNITS = ["<div>", "<ul><li>", "<p>x", "<a href=x>y", "<table>", "<!--", "<", "&", "<svg>", "<pre>", "</p>", "<b x>x<p>"]
UNITS += [
    "<script>",
    "<a href='#a'>\xb6</a>",
    "<p id=a>",
    "<a id=a><br>",
    "<table><tr><td><p>x</table>",
    "<![CDATA[",
    "<?",
]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear_in_hostile_pages(unit):
    started = time.perf_counter()
    source = unit * (400_000 // len(unit))
    if html.is_bounded(source):
        html.parse(source)
    resolve(unit * (400_000 // len(unit)), Place(folder="a/"))
    assert time.perf_counter() - started < 5


TAGS = """
<p> </p> <b> </b> <div> </div> <table> <tr> <td> <th> </table> <pre> </pre> <br> <nav> </nav> <!-- --> <script>
</script> <svg> </svg> <form> <select> <option> </a> <a> <a_href=x> <a_href='y#z'> <a_href=#w> <a_name=n> <i_id='m'>
<article> </article> <main> <template> <h1> <li> <title> <base_href=..> &lt; &amp; &nbsp; &#2; &#160; <a<b> ¶ < >
" ' = / text
"""
PARTS = st.sampled_from([*TAGS.replace("_", "\0").split(), " ", "\n", "\x03", "\0", "\u2028"]).map(
    lambda part: part.replace("\0", " ")
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS | st.text(max_size=3), max_size=40), st.sampled_from(["", "p", "div"]))
def test_any_soup_of_tags_keeps_the_law_of_anchors(parts, drop):
    source = "".join(parts).encode("utf-8", "replace")
    skipped = Skipped()
    page = html.parse(html.decode(source)[0], drop=drop)
    assert page.text == "\n".join(" ".join(line.split()) for line in page.text.split("\n"))
    before = 0
    for start, end, href in page.links:
        assert href
        if start >= 0:
            anchor = page.text[start:end]
            assert before <= start < end
            assert anchor == anchor.strip()
            assert "\n" not in anchor
            before = end
    for name, at in page.sections:
        assert name
        assert not page.text[at].isspace()
    for record in html.read_file("a/b.html", source, html.Options(drop=drop), skipped):
        assert isinstance(record, Document | Redirect)


@given(st.text("/.%#?:[]@\\ ahtpw\n\xe9", max_size=20), st.text("/.:ahtp", max_size=9))
def test_any_address_is_read_without_an_error(href, base):
    for place in (find_place("a/b.html", base, href), find_place("x.org/b.html", href, base)):
        found = resolve(href, place)
        assert found is None or found[0]


@pytest.mark.data
def test_catholic_encyclopedia(data):
    """At least 99 % of the 915,642 links between its articles are found, and no article is missing."""
    options = html.Options(body="div#springfield2", drop="div.pub")
    skipped, targets, ids = Skipped(), [], set()
    path = data / "corpora" / "catholic-encyclopedia.html.tar.xz"
    for record in read_source("html", path, options, skipped):
        if isinstance(record, Document) and record.id[7:12].isdecimal():
            ids.add(record.id)
            targets += [link.target for link in record.links if link.start >= 0 and link.target != record.id]
    assert len(ids) == 11_632
    assert sum(target in ids for target in targets) >= 0.99 * 915_642
    assert skipped == {}
