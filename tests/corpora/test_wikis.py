"""DokuWiki, TiddlyWiki and files of wikitext: which page a link means, what is text, what damage costs."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.reader import OTHER, Skipped
from linkbert.corpora.readers import wikis
from linkbert.corpora.sources import TOO_LARGE, find_reader, read_source
from linkbert.records import Document

GOLDEN = Path(__file__).parent / "golden" / "sources"
FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"


def read(path: Path, files: dict[str, str | bytes], reader: str) -> tuple[dict[str, Document], Skipped]:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert find_reader(path) == reader
    skipped = Skipped()
    return {each.id: each for each in read_source(reader, path, None, skipped) if isinstance(each, Document)}, skipped


def links_of(page: Document) -> list[tuple[str, str]]:
    return [(page.text[link.start : link.end] if link.start >= 0 else "", link.target) for link in page.links]


def test_dokuwiki_links_follow_namespaces(tmp_path):
    head = "====== T ======\n"
    pages, _ = read(
        tmp_path,
        {
            "a.txt": f"{head}[[x:]] [[b]] [[x:b|B]] [[:b#place]] [[#here]] [[x:b?do=edit]] [[mail@x.org]]",
            "b.txt": head + "b",
            "x/start.txt": f"{head}[[b]] [[.y:c]] [[..:a]] [[.:b]] [[y:c]] [[x:y:c]] [[x/y/c]] [[..:..:a]]",
            "x/b.txt": head + "xb",
            "x/y/c.txt": f"{head}[[..:b]] [[..:..:a]] [[Grüße aus Łódź]] [[d/e]]",
            "x/y/d_e.txt": f"{head}[[www.x.org|there]]",
            "x/y/gruesse_aus_lodz.txt": head + "text",
        },
        "dokuwiki",
    )
    assert links_of(pages["a"]) == [("x", "x/start"), ("b", "b"), ("B", "x/b"), ("b", "b"), ("b", "x/b")]
    assert [to for _, to in links_of(pages["x/start"])] == ["x/b", "x/y/c", "a", "x/b", "y/c", "x/y/c", "x/y/c", "a"]
    assert [to for _, to in links_of(pages["x/y/c"])] == ["x/b", "a", "x/y/gruesse_aus_lodz", "x/y/d_e"]
    assert links_of(pages["x/y/d_e"]) == [("there", "http://www.x.org")]


def test_of_an_installation_of_dokuwiki_only_its_pages_are_read(tmp_path):
    files = {f"data/pages/p{i}.txt": f"====== P{i} ======\n[[p0]]" for i in range(3)}
    pages, skipped = read(tmp_path, files | {"inc/lang/de/admin.txt": "====== Verwaltung ======\nText"}, "dokuwiki")
    assert sorted(pages) == ["p0", "p1", "p2"]
    assert skipped == {wikis.OUTSIDE: 1}


def test_pages_beside_media_are_the_top_of_dokuwiki(tmp_path):
    head = "====== T ======\n"
    files = {
        "pages/start.txt": f"{head}[[:en:own]] [[en:own|P]] [[gone]]",
        "pages/en/own.txt": f"{head}[[:start]] [[start]]",
        "attic/pages/start.txt": head + "old",
    }
    pages, skipped = read(tmp_path / "data", files, "dokuwiki")
    assert links_of(pages["start"]) == [("own", "en/own"), ("P", "en/own"), ("gone", "gone")]
    assert links_of(pages["en/own"]) == [("start", "start"), ("start", "en/start")]
    assert skipped == {wikis.OUTSIDE: 1}
    named, _ = read(tmp_path / "named", {"pages/a.txt": head + "[[pages:b]]", "pages/b.txt": head + "b"}, "dokuwiki")
    assert links_of(named["pages/a"]) == [("b", "pages/b")]  # a namespace
    files = {"pages/x.txt": f"{head}[[log:y]]", "log/y.txt": head + "y", "meta/z.txt": head + "z"}
    assert sorted(read(tmp_path / "spaces", files, "dokuwiki")[0]) == ["log/y", "meta/z", "pages/x"]


def test_names_of_a_notebook_are_looked_for_beside_the_page_and_above(tmp_path):
    head = "Content-Type: text/x-zim-wiki\nWiki-Format: zim 0.6\n\n====== T ======\n"
    files = {
        "A.txt": f"{head}[[B]] [[+B]] [[A:B]] [[:B]] [[Gone]] [[+Gone]]",
        "A/B.txt": f"{head}[[B]] [[C]] [[A]] [[:C:D]] [[C:D|d]] [[+C]]",
        "A/B/C.txt": f"{head}[[B]] [[D]] [[b#x]]",
        "B.txt": head + "b",
        "C.txt": head + "c",
        "C/D.txt": head.replace("\n", "\r\n") + "See [[http://x.org/a|it]], [[wp?Moss]] and [[./a.pdf]].",
        "C++.txt": head + '[[C++]] http://x.org/a__b //it// {{{code: lang="c"\nint f() { return 0; }\n}}}\nx_{1}',
        "notebook.zim": "[Notebook]\n",
    }
    pages, skipped = read(tmp_path, files, "zimwiki")
    assert pages["C++"].text == "T\nC++ http://x.org/a__b it\nx1"
    assert skipped == {f"{OTHER}.zim": 1}
    assert [to for _, to in links_of(pages["A"])] == ["B", "A/B", "A/B", "B", "Gone", "A/Gone"]
    assert [to for _, to in links_of(pages["A/B"])] == ["A/B", "C", "A", "C/D", "C/D", "A/B/C"]
    assert [to for _, to in links_of(pages["A/B/C"])] == ["A/B", "A/B/D", "A/B"]
    assert pages["C/D"].text == "T\nSee it, Moss and ./a.pdf."


def test_tables_of_restructured_text_and_plain_text_are_no_dokuwiki(tmp_path):
    (tmp_path / "a.txt").write_text("======  ======\ncell    cell\n======  ======\n")
    assert find_reader(tmp_path) == "text"


def test_a_tiddler_without_a_head_and_links_by_capitals(tmp_path):
    files = {
        "a.tid": "my caption: x\r\ntitle: OneTwo\r\n\r\nSee ThreeFour and NoPage, `ThreeFour`.\r\n",
        "ThreeFour.tid": "\nNo head. [[onetwo]] [img[x.png]] {{OneTwo}} {{||Own}} $:/core",
        "Own.tid": "title: Own\n\nText",
    }
    pages, skipped = read(tmp_path, files, "tiddlywiki")
    assert pages["OneTwo"].text == "See ThreeFour and NoPage, ThreeFour."
    assert links_of(pages["OneTwo"]) == [("ThreeFour", "ThreeFour")]
    assert links_of(pages["ThreeFour"]) == [("onetwo", "OneTwo"), ("", "OneTwo"), ("", "Own")]
    assert pages["ThreeFour"].text == "No head. onetwo $:/core"
    assert not skipped


def test_marks_of_a_tiddler_that_hold_others(tmp_path):
    files = {
        "a.tid": "title: Alpha\nurl: over there\nsee: Read [[this|OneTwo]]\n\n[[a OneTwo here|Beta]], [[OneTwo|Beta]]: "
        '{{!!url}}{{!!none}}, `{{!!url}}`.\n\n<<.x """Say\n<<y>> and "z".""">>\n<$m eg="""<<now>>"""/>\nEnd.',
        "b.tid": "\ntags: OneTwo\ntitle: Beta\n\n\\rules except wikilink\nOneTwo is [[one|OneTwo]].",
        "c.tid": "title: OneTwo\n\n\\rules only wikilink\nAlpha, OneTwo.",
    }
    pages, _ = read(tmp_path, files, "tiddlywiki")
    assert pages["Alpha"].text == "a OneTwo here, OneTwo: over there, {{!!url}}.\nEnd."
    assert links_of(pages["Alpha"]) == [("a OneTwo here", "Beta"), ("OneTwo", "Beta"), ("", "OneTwo")]
    assert pages["Beta"].text == "OneTwo is one."
    assert links_of(pages["Beta"]) == [("one", "OneTwo"), ("", "OneTwo")]
    assert links_of(pages["OneTwo"]) == [("OneTwo", "OneTwo")]


@pytest.mark.parametrize(
    ("defined", "call", "text"),
    [
        ("\\define w(x) <b>$x$</b>", "<<w oak>>", "oak"),
        ("\\define w(x, y:'the ash') $x$ by $(y)$", '<<w y:"an elm" x:oak>>', "oak by an elm"),
        ("\\define w(x, y:'the ash') $x$ by $(y)$", "<<w [[an oak]]>>", "an oak by the ash"),
        ("\\procedure w(x)\n<i><<x>></i>\n\\end", '<<w "an oak">>', "an oak"),
        ("\\procedure w(to) <$link to=<<to>>><$text text=<<to>>/></$link>", "<<w Beta>>", "[Beta>Beta]"),
        ("\\procedure w(a,to) <$link to=<<to>> ><<a>></$link>", '<$macrocall $name="w" a="it" to=Beta/>', "[it>Beta]"),
        ("\\function f(x) [<x>] B +[join[ ]]\n\\define w(x) <$link to={{{ [f<x>] }}}>C</$link>", "<<w A>>", "[C>A B]"),
        ("\\function w(x) [[(]] [<x>] =[[)]] +[join[]]", "<<w oak>>", "(oak)"),
        ("\\function w(x) [tag<x>sort[]]", "an <<w oak>> elm", "an elm"),
        ("\\define w() <$list filter='[tag[x]]'>each</$list>", "an <<w>> elm", "an elm"),
        ("\\define v(x) ''$x$''\n\\define w(x) <<v $x$>>", "<<w oak>>", "oak"),
        ("\\define w() <<w>> <<w>>", "an <<w>> elm", "an elm"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["own", "macros"])
def test_macros_that_a_tree_defines(tmp_path, defined, call, text, place):
    files = {
        "a.tid": f"title: Alpha\n\n{(defined + chr(10)) * (place == 'own')}\nSee {call}.",
        "m.tid": f"title: $:/m\ntags: {'$:/tags/Macro' * (place == 'macros')}\n\n{defined}",
    }
    page = read(tmp_path, files, "tiddlywiki")[0]["Alpha"]
    shown = page.text
    for link in reversed(page.links):
        shown = f"{shown[: link.start]}[{shown[link.start : link.end]}>{link.target}]{shown[link.end :]}"
    assert shown == f"See {text}."


def test_wikitext_and_markdown_of_one_tree_are_read_together(tmp_path, caplog):
    files = {"one.mediawiki": "See [[two]] and [[a.md|it]].", "two.mediawiki": "Text.", "a.md": "[[one]]", "b.md": "b"}
    pages, _ = read(tmp_path, files | {"c.md": "c"}, "wikitext")
    assert sorted(pages) == ["a", "b", "c", "one", "two"]
    assert links_of(pages["a"]) == [("one", "one")]
    assert links_of(pages["one"]) == [("two", "two"), ("it", "a")]
    assert not caplog.messages


def test_pages_of_one_name_are_told_apart_by_their_folder(tmp_path):
    files = {
        "x/a.wiki": "[[b]]",
        "x/b.wiki": "x",
        "y/a.wiki": "[[b]]",
        "y/b.wiki": "y",
        "c.wiki": "[[b]] [[x/b]] [[/y/b.wiki|up]]",
    }
    pages, _ = read(tmp_path, files, "wikitext")
    assert [links_of(pages[page])[0][1] for page in ("x/a", "y/a", "c")] == ["x/b", "y/b", "b"]  # the last: either
    assert links_of(pages["c"])[1:] == [("x/b", "x/b"), ("up", "y/b")]


@pytest.mark.slow
def test_damage_costs_its_page(tmp_path):
    files = {
        "a.tid": b"title: A\n\nCaf\xe9 [[B",
        "b.tid": b"",
        "c.tid": "title: C\n\n" + "x" * 5_000_000,
        "e.tid": b"x" * (wikis.LARGEST + 1),
        "d.tid": "title: A\n\nagain",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    skipped = Skipped()
    found = list(read_source("tiddlywiki", tmp_path, None, skipped))
    assert [(each.id, each.text[:9]) for each in found] == [("A", "Café [[B"), ("C", "x" * 9), ("A", "again")]
    assert skipped == {"not UTF-8 (read as Latin-1)": 1, wikis.NO_TEXT: 1, TOO_LARGE: 1}


MARKS = ["[[", "]]", "|", "{{", "}}", "((", "))", "**", "//", "======", "<code>", "</code>", "\n", "  * ", "^", "```",
         "<<", ">>", "<$x ", '"""', "%%", "CamelCase", "~", "\\define x()", "\\\\ ", "a", " ", "!"]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(MARKS), max_size=40), st.sampled_from(["dokuwiki", "tiddlywiki", "wikitext", "zimwiki"])
)
def test_any_marks_give_links_in_the_text(marks, reader):
    name = "a.tid" if reader == "tiddlywiki" else "a.txt"
    row = getattr(wikis, reader.upper())
    data = ("\n\n" * (reader == "tiddlywiki") + "".join(marks)).encode()
    for page in row.read_file(name, data, row.survey([(name, data)]), Skipped()):
        for link in getattr(page, "links", ()):
            assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(page.text)
            assert link.start < 0 or page.text[link.start : link.end].strip() == page.text[link.start : link.end]


@pytest.mark.slow
@pytest.mark.parametrize("mark", [*MARKS, "<code>x", "~~A", "\\define a\n", '<$a """', "<!--", "[ext[", "[[a|"])
def test_no_mark_costs_more_than_its_share(mark):
    start = time.perf_counter()
    for row, name in ((wikis.DOKUWIKI, "a.txt"), (wikis.ZIMWIKI, "a.txt"), (wikis.TIDDLYWIKI, "a.tid")):
        data = b"title: A\n\n" + (mark * (60_000 // len(mark))).encode()
        list(row.read_file(name, data, row.survey([(name, data)]), Skipped()))
    assert time.perf_counter() - start < 30


def test_dokuwiki_marks_that_stay_and_start_pages(tmp_path):
    source = (
        "====== T ======\n<nowiki>//raw//</nowiki> //it// http://x.org/a//b 10<sup>6</sup> [[b|{{c.png|C}}]] [[n:]]\n"
    )
    files = {"a.txt": source, **dict.fromkeys(("b.txt", "n.txt", "n/start.txt"), "====== U ======\nu\n")}
    pages, _ = read(tmp_path, files, "dokuwiki")
    assert pages["a"].text == "//raw// it http://x.org/a//b 10^6 n"
    assert links_of(pages["a"]) == [("", "b"), ("n", "n/start")]


def test_names_of_namespaces_are_those_of_files(tmp_path):
    files = {
        "Main.mediawiki": "See [[Help:Page]], [[User:Ann|Ann]], [[Talk:None]], [[Category:X]] and [[File:x.png]].",
        "Help:Page.mediawiki": "Help of [[Main]].",
        "User/Ann.mediawiki": "Ann.",
    }
    pages, _ = read(tmp_path, files, "wikitext")
    assert links_of(pages["Main"]) == [("Help:Page", "Help:Page"), ("Ann", "User/Ann"), ("Talk:None", "Talk:None")]


def test_links_to_subpages_are_read_as_mediawiki_does_or_as_paths(tmp_path):
    files = {
        "Top.wiki": "[[/A]] [[/B/]] [[/A|a]]",
        "Top/A.wiki": "[[../B]] [[../B/#x]] [[../]] [[../Else]]",
        "Top/B.wiki": "Text.",
        "Else.wiki": "[[/Top|t]]",
    }
    pages, _ = read(tmp_path, files, "wikitext")
    assert links_of(pages["Top"]) == [("/A", "Top/A"), ("B", "Top/B"), ("a", "Top/A")]
    shown = [("Top/B", "Top/B"), ("B#x", "Top/B"), ("Top", "Top"), ("Else", "Else")]
    assert links_of(pages["Top/A"]) == shown
    assert links_of(pages["Else"]) == [("t", "Top")]


STORE = r"""[{"title": "Oak", "tags": "[[Big Tree]]",
"text": "See [[it|Acorn]] & \u003Cb>GreenLeaf\u003C/b>.\n\n! More"},
{"title": "Acorn", "text": "Old."}, {"title": "GreenLeaf", "text": "Of [[Oak]]."}, {"title": "$:/core", "text": "x"},
{"title": "Big Tree", "text": "Tall.", "more": "a\nb"}, {"title": "Acorn", "text": "New."}, 7]"""
AREA = """<div created="2013" title="A &amp; B"
tags="Acorn">\n<pre>Is &lt;b&gt;[[Acorn]]&lt;/b&gt;.</pre>\n</div>
<div title="Plug" tags="systemConfig"><pre>js</pre></div>"""


def test_a_tiddlywiki_may_be_one_page_of_html(tmp_path):
    script = '<script class="tiddlywiki-tiddler-store" type="application/json">'
    files = {
        "all.html": f'<div id="storeArea">{AREA}</div>{script}{STORE}</script>{script}[{{"a"</script><p>Load</p>',
        "other.html": '<p id="storeArea">A page.</p>',
    }
    pages, skipped = read(tmp_path, files, "html")
    assert {name: page.text for name, page in pages.items()} == {
        "Oak": "See it & GreenLeaf.\nMore",
        "Acorn": "New.",
        "GreenLeaf": "Of Oak.",
        "Big Tree": "Tall.",
        "A & B": "Is Acorn.",
        "other.html": "A page.",
    }
    assert links_of(pages["Oak"]) == [("it", "Acorn"), ("GreenLeaf", "GreenLeaf"), ("", "Big Tree")]
    assert links_of(pages["A & B"]) == [("Acorn", "Acorn"), ("", "Acorn")]
    assert skipped == {wikis.SYSTEM: 2, wikis.NO_STORE: 1}


def test_every_page_of_a_mixed_wiki_is_found_by_its_name(tmp_path):
    notes = ["Apple", "Bread", "Cheese", "Dates", "Eggs", "Figs", "Grapes", "Honey"]
    others = ["Zinc", "Yttrium", "Tin", "Silver", "Lead", "Iron"]
    files = {f"glossary/{name}.md": name for name in notes} | {f"glossary/{name}.mediawiki": name for name in others}
    files["guide/FAQ.md"] = " ".join(f"[[{name}]]" for name in notes + others)
    pages, _ = read(tmp_path, files, "wikitext")
    assert [to for _, to in links_of(pages["guide/FAQ"])] == [f"glossary/{name}" for name in notes + others]


def test_a_namespace_of_dokuwiki_starts_at_the_top_and_an_address_ends_before_a_break(tmp_path):
    head = "====== T ======\n"
    text = head + "[[labs:|Labs]] mail https://a.org/topics\\\\ next"
    pages, _ = read(tmp_path, {"g/h/a.txt": text, "labs.txt": head + "l", "b.txt": head + "b"}, "dokuwiki")
    assert pages["g/h/a"].text == "Labs mail https://a.org/topics\nnext"
    assert links_of(pages["g/h/a"]) == [("Labs", "labs")]
