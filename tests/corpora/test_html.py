"""Web pages: what is text, where links stand, what addresses mean, encodings, damage. (A small site: golden.)"""

import gzip
import os
import tarfile
import time
import zipfile

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
from linkbert.workers import make_executor


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(path, **options):
    skipped = Skipped()
    return list(read_source("html", path, html.Options(**options), skipped)), skipped


def shown_links(page):
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
        (
            "10<sup>6</sup> m<sup>2</sup>, s<sup>&minus;2</sup>, (x)<sup>3</sup>, 5<sup>th</sup>",
            "10^6 m2, s^−2, (x)^3, 5th",
        ),
        (
            "a<i style='display: none'>b</i>c<p style='color:red;DISPLAY:NONE'>d<p hidden=until-found>e"
            "<p role=tabpanel hidden>f<div class=Tab-pane style='visibility:hidden'>g</div>"
            "<p id=more style='display:none'>h"
            "<div class=faq><p>i<div style='display:none'>j</div></div><div hidden>k</div><p class=details hidden>l",
            "ac\ne\nf\ng\nh\ni\nj\nl",
        ),
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
    assert shown_links(page) == [("b c", "1"), ("f g", "3"), ("h", "3"), ("i", "3"), ("m", "7")] + [
        (None, href) for href in ("2", "4", "5", "6")
    ]
    assert page.sections == (("m", 18),)


def test_tables_of_data_are_dropped_and_tables_that_lay_a_page_out_are_not():
    source = "<table><tr><th>a<td>b<tr><td>c<td>d</table><table><tr><td><p>e<td>f<table><tr><td>g</table></table>"
    assert html.parse(source).text == "e\nf"


def test_tables_that_frame_a_note_are_prose():
    cells = "<tr><th>Note</th></tr><tr><td>Boats <a href=1>float</a>.</td></tr>"
    for kind in ("admonitionblock tip", "note"):
        page = html.parse(f"<p>a<div class='{kind}'><table>{cells}</table></div><table>{cells}</table>")
        assert (page.text, shown_links(page)) == ("a\nNote\nBoats float.", [("float", "1"), (None, "1")])


def test_selectors_choose_the_text():
    source = "<div class=x>a<div class=x>b<p class=y><a href=1>c</a></p></div></div>d<div class=x>e</div>"
    page = html.parse(source, body="div.x, p", drop=".y")
    assert (page.text, shown_links(page)) == ("a\nb\ne", [(None, "1")])
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
        ("%zz%ff.html", ("a/b/%zz\xff.html", "")),
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
            "j.html": "<p>j " * (html.LARGEST // 5 + 1),
        },
    )
    records, skipped = read(tmp_path)
    assert [record.id for record in records if isinstance(record, Document)] == ["a.html", "i.xhtml"]
    assert skipped == {
        "no web page but another kind of file (left out)": 2,
        "page without text": 2,
        "page with tags nested too deeply (left out)": 3,
        "file too large (left out)": 1,
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


@pytest.mark.parametrize(
    "inside",
    [
        "<path d='M0 0'/>",
        '<g><title>a</title><circle r="1" /></g>',
        "<desc>b</desc><a xlink:href='#c'/>",
        "</svg><math><mi>x</mi><mspace width='1em'/></math><svg>",
    ],
)
def test_what_closes_itself_in_a_drawing_is_no_nesting(inside):
    drawing = f"<p>a<svg viewBox='0 0 9 9'>{inside * 9_000}</svg>b"
    assert html.is_bounded(drawing)
    assert html.parse(drawing).text == "ab"


@pytest.mark.parametrize(
    "source",
    [
        "<x/>",
        "<svg><g a=b/>",
        "<svg><div/>",
        "<svg><p></p><x/>",
        "<svg><title><x/>",
        "<math><mi><x/>",
        "<svg></svg><x/>",
    ],
)
def test_what_does_not_close_itself_is_nesting(source):
    assert not html.is_bounded(source + source[source.rindex("<") :] * 9_000)


@pytest.mark.parametrize(
    ("navigation", "kept"),
    [
        ("<p class=menu><a href=1>Home</a> | <a href=2>Index</a></p>", ""),
        ("<div class='crumbs x'><a href=1>Top</a> &gt; Here</div>", ""),
        ("<ul id=docNav><li><a href=1>Prev</a><li><a href=2>Next</a></ul>", ""),
        ("<table><tr><td class=NavBarCell1><a href=1>Package</a></td></table>", ""),
        ("<div id=page-footer>Copyright, by nobody. <a href=1>Imprint</a></div>", ""),
        ("<p>Next: <a href=1 rel=next>B</a>, Up: <a href=2>C</a> [<a href=3>Index</a>]</p>", ""),
        ("<p><a href=1>A</a> » <a href=2>B</a> » C</p>", ""),
        ("<p><a href=1 hreflang=fr>fr</a> | <a href=2>de</a></p>", ""),
        ("<p class=menu>Today there are <a href=1>oysters</a>, and a soup of the fish of the day.</p>", "oysters"),
        (
            "<div class=sidebar>A word on boats, which are longer than wide, and float. <a href=1>Why</a></div>",
            "Why",
        ),
        ("<div class=navy><a href=1>Ships</a></div>", "Ships"),
        ("<div class=footnotes><a href=1>Ships</a></div>", "Ships"),
        ("<p>Choose <a class=menu-item href=1>Open</a> there.</p>", "Open"),
        ("<div class=with-nav><h1><a href=1>Ships</a></h1></div>", "Ships"),
        (
            "<p>In the long run, and that is what counts, one comes <a href=1 rel=index>home</a> from the sea.</p>",
            "home",
        ),
    ],
)
def test_navigation_is_told_by_names_roles_and_shape_and_prose_is_not(navigation, kept):
    page = html.parse(f"<body><div><p id=a>Some prose about the sea.</p>{navigation}<p id=b>More prose.</p></div>")
    assert ("prose about the sea." in page.text, page.text.endswith("More prose.")) == (True, True)
    assert [shown for shown, _ in shown_links(page) if shown] == [kept] * bool(kept)
    assert len(page.links) == navigation.count(" href=")
    assert all(
        page.text[at:].startswith(start) for (_, at), start in zip(page.sections, ("Some", "More"), strict=False)
    )


def test_a_page_that_is_nothing_but_navigation_stays():
    assert html.parse("<div class=nav><a href=1>A</a> <a href=2>B</a></div>").text == "A B"


def test_links_beside_the_main_text_stay_without_a_place():
    page = html.parse("<a href=1>a</a><main><a href=2>b</a></main><nav><a href=3>c</a></nav>")
    assert (page.text, shown_links(page)) == ("b", [("b", "2"), (None, "1"), (None, "3")])


BOATS = [f"boat{number}" for number in range(12)]
SEEN = "is a boat that has sailed on all of the seven seas, as all <a href=/y>boats</a> of it have."
SITE = {
    f"{folder}{name}.html": f"<title>{name.title()} - The Fleet{mark}</title><p><a href=/x>All boats</a> of {owner}"
    f"<h1>{name}</h1><p>The {name} {SEEN}"
    for folder, mark, owner in (("new/", "", "ours"), ("old/", " (old)", "theirs"))
    for name in BOATS
}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_most_pages_have_is_neither_text_nor_title(workers, tmp_path):
    files = SITE | {"new/index.html": "<title>The Fleet</title><h1>Boats</h1><p><a href=/x>All boats</a> of ours"}
    write(tmp_path / "site", files)
    with make_executor(workers) as executor:
        store = build_documents([tmp_path / "site"], tmp_path / "store", executor=executor)
    documents = {document.id: document for document in store.documents()}
    for name in BOATS:
        new, old = documents[f"new/{name}.html"], documents[f"old/{name}.html"]
        assert (new.title, old.title) == (name.title(), name.title())
        assert new.text.startswith(f"{name}\nThe {name} is a boat")
        assert old.text.startswith(f"{name}\nThe {name} is a boat")
        assert [new.text[link.start : link.end] for link in new.links if link.start >= 0] == ["boats"]
        assert {link.target for link in new.links} == {"x", "y"}
    assert (documents["new/index.html"].title, documents["new/index.html"].text) == ("The Fleet", "Boats")


def test_only_the_lines_that_are_navigation_are_cut():
    ways = "<p>In <a hreflang=de href=1>Deutsch</a> <a hreflang=fr href=2>fr</a><img id=m>"
    page = html.parse(
        f"<h1>A</h1>{ways}<p id=n><a href=3>B</a><li><a href=4>C</a>{ways}<p id=o>D <a href=5>e<p>f</a> g{ways}"
    )
    assert page.text == "A\nB\nC\nD e\nf g"
    assert shown_links(page)[:4] == [("B", "3"), ("C", "4"), ("e", "5"), ("f", "5")]
    assert sorted(href for _, _, href in page.links[4:]) == ["1", "1", "1", "2", "2", "2"]
    assert page.sections == (("m", 2), ("n", 2), ("m", 6), ("o", 6))


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (["Owl | Birds", "Crow | Birds", "Tit | Birds"], ["Owl", "Crow", "Tit"]),
        (["Owl (Birds 1.0)", "Crow (Birds 1.0)", "Tit (Birds 1.0)"], ["Owl", "Crow", "Tit"]),
        (
            ["Owl - Night - Birds", "Crow - Day - Birds", "Tit: Birds"],
            ["Owl - Night - Birds", "Crow - Day - Birds", "Tit: Birds"],
        ),
        (["Birds -- Owl", "Birds -- Crow", "Birds -- Tit (old)"], ["Owl", "Crow", "Tit (old)"]),
        (["Qt 5: Owl - Day", "Qt 5: Crow", "Qt 5: Tit"], ["Owl - Day", "Crow", "Tit"]),
        (["A - Owl | Site", "A - Crow | Site", "A - Tit | Site"], ["Owl", "Crow", "Tit"]),
        (["Owl (a) x", "Owl (b) y", "Owl (c) z"], ["Owl (a) x", "Owl (b) y", "Owl (c) z"]),
        (["Birds", "Birds", "Birds"], ["Heading"] * 3),
        (["", "A", "B"], ["Heading", "A", "B"]),
    ],
)
def test_titles(titles, expected, tmp_path):
    pages = {
        f"{i}.html": f"<title>{title}</title><a href=#x>Skip to text</a><h2>No</h2><h1>Heading ¶</h1>"
        for i, title in enumerate(titles)
    }
    records, _ = read(write(tmp_path, pages))
    documents = [record for record in records if isinstance(record, Document)]
    assert [(document.title, document.text) for document in documents] == [
        (title, "No\nHeading ¶") for title in expected
    ]


WORDS = "<p>" + "words " * 50


@pytest.mark.parametrize(
    ("page", "first"),
    [
        (f"<h1>Owl</h1>{WORDS}<article><h4>owl(x)</h4><p>Calls.</article>{WORDS}", "Owl"),
        (f"<h1>Site</h1><article><h2>Owl</h2>{WORDS}</article><p>A comment.", "Owl"),
        (f"<h2>Site</h2>{WORDS}<article><h1>Owl</h1><p>Short.</article>", "Owl"),
        ("<h2>Site</h2><article>Owl</article>", "Owl"),
    ],
)
def test_the_only_article_is_the_main_text_if_it_looks_like_it(page, first):
    assert html.parse(page).text.split("\n")[0] == first


def test_a_bar_at_the_top_does_not_say_the_heading_twice():
    page = html.parse(
        "<div><a href=x>Owls</a></div><h1 id=y>Owls</h1><p>They <a href=z>fly</a>.<p>They <a href=z>fly</a>."
    )
    assert page.text == "Owls\nThey fly.\nThey fly."
    assert shown_links(page) == [("fly", "z"), ("fly", "z"), (None, "x")]
    assert page.sections == (("y", 0),)


def test_a_stub_that_a_script_leaves_is_a_redirect(tmp_path):
    stub = "<link rel=canonical href=p/sum.html><noscript><meta http-equiv='Refresh' content='0;p/sum.html'></noscript>"
    pages = {"index.html": f"<title>x</title>{stub}<main><a href=p/sum.html>p/sum.html</a></main>"}
    pages["p/sum.html"] = (
        "<p>Text. <a href='javascript:go(\"../\", \"owl.html\")'>Owl</a> <a href='javascript:top()'>top</a>"
    )
    records, skipped = read(write(tmp_path, pages))
    assert [each.id for each in records if isinstance(each, Document)] == ["p/sum.html"]
    assert Redirect("index.html", "p/sum.html") in records
    assert skipped == {html.BY_SCRIPT: 1}


def test_a_script_names_the_page_that_it_leads_to(tmp_path):
    calls = [
        "go('../','kernel','man/file.html#open')",
        "go('file.html')",
        'go("../","kernel", "no.html")',
        "go('one.html')",
    ]
    pages = {
        "lib/kernel-8.5/man/file.html": "<p>One",
        "lib/tools-1.0/man/file.html": "<p>Two",
        "a/one.html": "<p>Three",
    }
    pages["a/a.html"] = " ".join(f"<a href='javascript:{call.replace(chr(39), '&#39;')}'>x</a>" for call in calls)
    records, skipped = read(write(tmp_path, pages))
    page = next(each for each in records if getattr(each, "id", "") == "a/a.html")
    assert [(link.target, link.fragment) for link in page.links] == [
        ("lib/kernel-8.5/man/file.html", "open"),
        ("a/one.html", ""),
    ]
    assert skipped == {html.BY_SCRIPT: 2}


def test_of_a_page_of_mediawiki_the_article_is_read(tmp_path):
    page = """<title>Oak</title><body><div id=siteSub>From the wiki</div><div id=contentSub>&lt; <a href=t>Trees</a> |
        <a href=e>Elm</a></div><div id=mw-content-text class=mw-parser-output><p>An <a href=e>elm</a>.<sup
        class=reference><a href=#1>[1]</a></sup></div><div class=catlinks><a href=c>Category</a></div>"""
    (document,) = (each for each in read(write(tmp_path, {"a.html": page}))[0] if isinstance(each, Document))
    assert (document.title, document.text) == ("Oak", "An elm.")
    assert [(link.start, link.target) for link in document.links] == [(3, "e"), (-1, "t"), (-1, "e"), (-1, "c")]
    other = html.parse("<p>The id mw-content-text.<figure><figcaption>Shown")
    assert other.text == "The id mw-content-text.\nShown"


def test_a_page_without_title_or_h1_is_called_as_its_file(tmp_path):
    records, _ = read(write(tmp_path, {"a/owls.html": "<a href=#x>Skip to content</a><h2>b</h2><p>c"}))
    assert [(r.title, r.text) for r in records if isinstance(r, Document)] == [("owls", "b\nc")]


@pytest.mark.parametrize(
    "ruby",
    [
        "<ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>",
        "<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>",
        "<ruby><rb>漢<rb>字<rt>かん<rt>じ<rtc>x</ruby>",
    ],
)
def test_readings_are_no_text(ruby):
    page = html.parse(f"<p>この<a href=1>{ruby}</a>は")
    assert (page.text, shown_links(page)) == ("この漢字は", [("漢字", "1")])


def test_symbolic_links_in_the_tree_are_other_names(tmp_path):
    site = write(tmp_path / "site", {"en/mod.html": "<p>Mod", "v2/a/b.html": "<p>B", "flat.html": "en/mod.html\n"})
    links = [
        "tr/mod.html",
        "now/a/b.html",
        "chain.html",
        "flat.html",
        "en/mod.html.gz",
        "en/mod/",
        "gone.html",
        "out.html",
    ]
    write(site, {"index.html": "".join(f'<p>See <a href="{link}">it</a>.' for link in links), "tr/x.txt": ""})
    for name, to in {
        "tr/mod.html": "../en/mod.html",
        "now": "v2",
        "chain.html": "tr/mod.html",
        "gone.html": "none.html",
        "out.html": "/etc/hosts",
        "loop": ".",
    }.items():
        (site / name).symlink_to(to)
    with tarfile.open(tmp_path / "site.tar", "w") as tar:
        tar.add(site, "site")
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for path in sorted(site.rglob("*")):
            if path.is_symlink():
                info = zipfile.ZipInfo(str(path.relative_to(tmp_path)))
                info.external_attr = 0o120777 << 16
                archive.writestr(info, str(path.readlink()))
            elif path.is_file():
                archive.write(path, path.relative_to(tmp_path))
    for number, source in enumerate((site, tmp_path / "site.tar", tmp_path / "site.zip")):
        store = build_documents([source], tmp_path / f"store{number}")
        counts = add_graph(store, "hyperlink", "hyperlink")
        assert store.manifest["documents"] == 3
        assert (counts["found"], counts["dead"]) == (len(links), 2)
        assert sorted(store.manifest["skipped"].items())[:1] == [("link to another file (left out)", 1)]


def test_a_tree_finds_its_own_address_and_pages_in_other_capitals(tmp_path):
    site = "https://wiki.example.org/docs"
    links = [f"{site}/sea/boat", f"{site}/sea/Boat.html", "http://www.wiki.example.org/docs/sea/", f"{site}/none.html"]
    pages = {
        "index.html": "".join(
            f'<p>See <a href="{link}">it</a>.' for link in [*links, "https://other.example/sea/boat"]
        ),
        "sea/boat.html": "<p>B <a href='../Index.HTML'>b</a> <a href='../HARBOUR.html'>c</a> <a href=../Two.html>d</a>",
        "sea/index.html": "<p>Sea",
        "Harbour.html": "<p>Harbour",
        "two.html": "<p>2",
        "TWO.html": "<p>3",
    }
    store = build_documents([write(tmp_path / "site", pages)], tmp_path / "store")
    counts = add_graph(store, "hyperlink", "hyperlink")
    assert (counts["found"], counts["dead"]) == (8, 3)  # none.html, another site, one of two
    targets = {link.target for document in store.documents() for link in document.links}
    assert {"Harbour.html", "index.html", "none.html", "Two.html", "https://other.example/sea/boat"} <= targets


def test_pages_are_meant_where_text_lies_beside_them(tmp_path):
    texts = {f"{i}.txt": "Some text." for i in range(5)}
    site = write(tmp_path / "site", texts | {"a.html": "<p>a", "b.html": "<p>b"})
    assert find_reader(site) == "html"
    assert build_documents([site], tmp_path / "store").manifest["other_files"] == {".txt": 5}
    assert (
        find_reader(write(tmp_path / "tales", {f"{i}.txt": "x" for i in range(9)} | {"index.html": "<p>a"})) == "text"
    )


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


def test_a_page_may_have_so_many_elements(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "ELEMENTS", 3_000)
    (tmp_path / "a.html").write_text("<p>one <a href=b.html>two</a> " * 1_499)
    (tmp_path / "b.html").write_text("<p>one <a href=a.html>two</a> " * 1_501)
    skipped = Skipped()
    records = [*read_source("html", tmp_path, None, skipped)]
    assert [each.id for each in records if isinstance(each, Document)] == ["a.html"]
    assert skipped == {html.TOO_LARGE: 1}


def test_names_in_other_forms_of_unicode_and_in_latin_1_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        "<p><a href='Caf%C3%A9.html'>x</a> <a href='Café.html'>y</a> <a href='%DC.html'>z</a>"
    )
    (tmp_path / "Cafe\u0301.html").write_text("<p>One</p>")
    (tmp_path / os.fsdecode(b"\xdc.html")).write_text("<p>Two</p>")
    documents = {each.id: each for each in read_source("html", tmp_path) if isinstance(each, Document)}
    assert [link.target for link in documents["a.html"].links] == ["Cafe\u0301.html"] * 2 + ["\\xdc.html"]
    assert {"Cafe\u0301.html", "\\xdc.html"} < {*documents}


def test_lists_of_a_search_and_contents_of_a_page_are_no_text(tmp_path):
    """Of Doxygen and LaTeX2HTML."""
    search = '<body class="SRPage"><div id="SRIndex"><div class="SRStatus" id="Loading">Loading...</div></div></body>'
    contents = (
        '<a name="CHILD_LINKS"><strong>Subsections</strong></a><ul class="ChildLinks"><li><a href="a.html#s">x</a></ul>'
    )
    pages = {
        "search/a_0.html": search,
        "a.html": f"<title>A</title>{contents}<p>Words <a href=b.html>b</a>.",
        "b.html": "<p>B.",
    }
    records, skipped = read(write(tmp_path, pages))
    assert [(each.id, each.text) for each in records if isinstance(each, Document)] == [
        ("a.html", "Words b."),
        ("b.html", "B."),
    ]
    assert skipped.total() == 1


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("b.md#x", ("guide/b", "x")),
        ("../b.ipynb", ("b", "")),
        ("/c.rst", ("c", "")),
        ("https://example.org/c.md", ("https://example.org/c.md", "")),
        ("zotero://select/1#x", ("zotero://select/1", "x")),
        ("urn:isbn:1", None),
        ("mailto:a@b.org", None),
        ("https:c.html", None),
    ],
)
def test_what_pages_were_made_from_and_other_schemes(href, target):
    assert resolve(href, Place(folder="guide/")) == target
