"""Markdown: what becomes of each mark, where links lead, and that no input costs more than its size."""

import io
import json
import re
import tarfile
import time
import timeit
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.helpers import parseLinkDestination

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import markdown
from linkbert.corpora.readers.markdown import LARGEST, PIECE, read_page
from linkbert.corpora.readers.pages import NO_NOTEBOOK
from linkbert.corpora.sources import TOO_LARGE, find_reader, read_source
from linkbert.graph.links import add_graph
from linkbert.records import Document, Redirect


def links_of(source: str, id_: str = "a/page", **options) -> list[tuple[str, str, str]]:
    """List (anchor, target, fragment); the anchor of a link without a place is "-"."""
    page = read_page(source, id_, **options)
    return [(page.text[link.start : link.end] if link.start >= 0 else "-", *link_of(link)) for link in page.links]


def link_of(link):
    return link.target, link.fragment


def read(path: Path) -> tuple[list[Document], list[Redirect], Skipped]:
    skipped, documents, redirects = Skipped(), [], []
    for record in read_source("markdown", path, None, skipped):
        (documents if isinstance(record, Document) else redirects).append(record)
    return documents, redirects, skipped


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("one\ntwo  \nthree\\\nfour", "one two\nthree\nfour"),
        ("*a* __b__ ***c*** ~~d~~ `e*e*` snake_case 2*3*4 \\*f\\* &amp; &#100;", "a b c d e*e* snake_case 234 *f* & d"),
        ("- one\n\n  more\n  1. two\n- [x] three\n- [ ] four", "one\nmore\ntwo\nthree\nfour"),
        ("Part\n====\n> quoted\nlazily\n\n***\nlast", "quoted lazily\nlast"),
        ("x\n\n```py\ncode\n```\n\n    code\n\n![alt *text*](a.png) y", "x\ny"),
        ("x | y\n--|--\n1 | 2\n\nz", "z"),
        ("a<br>b <b>c</b> <!-- d --> e <T a=\"<\" b='>'>f</T> 1 < 2 <!-- g", "a\nb c e f 1 < 2 <!-- g"),
        ("<ul>\n<li>a</li><li>b</li>\n</ul>\n<style>\np {}\n\nq {}</style>after", "a\nb\nafter"),
        ("a\n<!-- b\n\nc\n--> d\n\ne", "a\nd\ne"),
        ("a [b][1] c\n<!-- links -->\n[1]: d.md\n\n- [e][2]\n<!-- links -->\n[2]: f.md", "a b c\ne"),
        ("a[^1] b\n[^1]: note\n\n    its second paragraph\n\nc", "a b\nc"),
        ("> [!warning]- Title\n> body", "Title\nbody"),
        ("a %%hidden%% b\tc", "a b c"),
        ("+----+----+\n| a  | b  |\n+====+====+\n| c  | d  |\n+----+----+\n\ne + f\n+ g", "e + f\ng"),
        ('<div\n  class="x"\n>\n\nin\n\n</div>\n\n> quoted <b\n\n1 <a\n\n> c', "in\nquoted <b\n1 <a\nc"),
        (
            "これは**注意：**ここ。한국어는 **[x](y)**는 a **b**。 中**“c”**文",
            "これは注意：ここ。한국어는 x는 a b。 中“c”文",
        ),
        ("See ![x](/a.png =100x200) end [y](b.md =50%x).", "See end y."),
        ("Text.\n\n%% kanban:settings\n```\n{}\n```\n%%\n\nMore 5 %% of it.", "Text.\nMore 5 %% of it."),
        (
            '[block:callout]\n{"title": "T", "body": "Old"}\n[/block]\n\n[block:code]\n{"codes": []}\n[/block]\n',
            "T\nOld",
        ),
        ("\\begin{gather*}\nV_{a} \\\\ W_{b}\n\\end{gather*}", "\\begin{gather*} V_{a} \\\\ W_{b} \\end{gather*}"),
        ("%% a %% kept\n\nkept, too\n\n%% b %%\n%%\nc\n\nd\n%%\ne %%", "kept\nkept, too\ne %%"),
        ("It is {{cloze a word}} here.", "It is a word here."),
        ("a\n\n[!code-csharp[Load](x.cs?name=Load)]\n\n[!INCLUDE [t](p.md)] b [!Video https://x.org/v]", "a\nb"),
        ('{{< tabpane >}}\n{{< tab "Bash" lang="sh" >}}\ncd x\n{{< /tab >}}\n{{< /tabpane >}}\nafter', "after"),
        ('{{< tab "Words" >}}\nsaid\n{{< /tab >}}', "said"),
        ("import and export {x}", "import and export {x}"),
        ("[x] [y][z] [a](b c) [[d", "[x] [y][z] [a](b c) [[d"),
        (
            "H~2~O, C~max~, x^2^, 10^-6^ m^-2^, ~~old~~ ++n *e*++ `H~2~O` $x^2^a$",
            "H2O, Cmax, x2, 10^-6 m^-2, old n e H~2~O $x^2^a$",
        ),
        (
            "~/a and ~/b, 1~3~5, Smith~et~al, 2^3^4, x^n+y^n, C++ and i++, ^a b",
            "~/a and ~/b, 1~3~5, Smith~et~al, 2^3^4, x^n+y^n, C++ and i++, ^a b",
        ),
        ("a {++*b*++}{--c--} {~~d~>e~~} {==f==}{>>g<<} `{++h++}`", "a b e f {++h++}"),
        ("10<sup>9</sup> m<sup>2</sup>", "10^9 m2"),
        ("a^[a *note* with [b](c.md)] d ^[e](f)^", "a d ^e^"),
    ],
)
def test_marks_go_and_words_stay(source, text):
    assert read_page(source, "a").text == text


def test_links_of_tables_are_kept_without_a_place():
    source = "| a | b |\n|---|---|\n| [c](d.md) | `\\|` |\n| | e<br>f |\n"
    assert read_page(source, "a").text == ""
    assert links_of(source) == [("-", "a/d", "")]


def test_mdx_is_markdown_between_tags():
    source = """import A from "a"
import {
  b } from "b"

<Tabs x={{ y: "z" }} f={() => 1}>

- {/* c */}one {props.d}

</Tabs>
"""
    assert read_page(source, "a", mdx=True).text == "one"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "<A>\n  <B>\n    Intro.\n\n    * One.\n    * Two.\n      - Three.\n    * Four.\n  </B>\n</A>",
            "Intro.|One.|Two.|Three.|Four.",
        ),
        ("<A>\n    Intro\n    * One\n    * Two\n</A>", "Intro|One|Two"),
        ("<A>\n    ### Head\n    1. One\n    2. Two\n\n    > Said\n</A>", "Head|One|Two|Said"),
        ("* a\n    * b\n        * c\n\n          of c\n* d", "a|b|c|of c|d"),
        ("A line\n    that goes on\nin 1984. It was.", "A line that goes on in 1984. It was."),
    ],
)
def test_what_mdx_indents_is_what_it_would_be_at_the_left(source, text):
    assert read_page(source, "a", mdx=True).text.split("\n") == text.split("|")


@pytest.mark.parametrize(
    ("source", "text", "section"),
    [
        ("## Names [#api]\n\nOf all.", "Names|Of all.", "api"),  # Fumadocs
        ("## Sets [a]\n\nOf all.", "Sets [a]|Of all.", None),
        ("One.\n\n@[code{3-10} ts](../@src/foo.ts)\n\nTwo @[b].", "One.|Two @[b].", None),  # VuePress
        ("One.\n\n{* ../src/a.py hl[1,3] *}\n\n{!../src/tut.py!}\n\nTwo {! no", "One.|Two {! no", None),  # MkDocs
    ],
)
def test_marks_of_generators_are_no_text(source, text, section):
    page = read_page(source, "a")
    assert page.text.split("\n") == text.split("|")
    assert [name for name, _ in page.sections] == [section] * bool(section)


@pytest.mark.parametrize(
    ("address", "target", "fragment"),
    [
        ("b.md", "a/b", ""),
        ("./b.markdown?raw=1#c%20d", "a/b", "c d"),
        ("../B%20b.MDX#", "B b", ""),
        ("/c/d.html", "c/d", ""),
        ("/", ".", ""),
        ("..", ".", ""),
        ("../../out.md", "../out", ""),
        ("b/", "a/b", ""),
        ("<b c.md>", "a/b c", ""),
        ("e\u0301.md", "a/\u00e9", ""),
        ("https://x.org/p?q=1#r", "https://x.org/p?q=1", "r"),
        ("//x.org/p.md", "//x.org/p.md", ""),
    ],
)
def test_a_target_has_one_normal_form(address, target, fragment):
    html = address.strip("<>")
    for source in (
        f"[t]({address})",
        f"[t][r]\n\n[r]: {address}",
        f'<a href="{html}">t</a>',
        f"[t]({address} 'title')",
    ):
        assert links_of(source) == [("t", target, fragment)]


@pytest.mark.parametrize(
    "address", ["mailto:a@b.c", "javascript:x()", "#here", "", "p.png", "https://x.org/p.JPG", "?q"]
)
def test_what_leads_to_no_document_is_no_link(address):
    assert links_of(f"[t]({address}) <a href='{address}'>u</a>") == []
    assert read_page(f"[t]({address})", "a").text == "t"


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("[[Note]]", ("Note", "[[note]]", "")),
        ("[[ Folder/Note.md |shown words]]", ("shown words", "[[folder/note]]", "")),
        ("[[Note#A#B]]", ("Note > A > B", "[[note]]", "B")),
        ("[[Note#^b-1|]]", ("Note", "[[note]]", "^b-1")),
        ("[[../Up]]", ("../Up", "[[up]]", "")),
        ("[[./Here]]", ("./Here", "[[a/here]]", "")),
        ("[[STRASSE e\u0301]]", ("STRASSE e\u0301", "[[strasse \u00e9]]", "")),
        ("![[Note#Part]]", ("-", "[[note]]", "Part")),
        ("[see [[Note]]](b.md)", ("Note", "[[note]]", "")),
        ("**[[Note|*shown*]]**", ("*shown*", "[[note]]", "")),
        ("[[1]](b.md)", ("[1]", "a/b", "")),
        ("[ *two*  words ](b.md)", ("two words", "a/b", "")),
        ("[![image](i.png)](b.md)", ("-", "a/b", "")),
        ("# [Head](b.md)\n\ntext", ("-", "a/b", "")),
        ("<https://x.org/a>", ("https://x.org/a", "https://x.org/a", "")),
        ("<a href=b.md>no end", ("-", "a/b", "")),
        ("x[^1]\n\n[^1]: [n](b.md)", ("-", "a/b", "")),
    ],
)
def test_every_kind_of_link(source, link):
    assert link in links_of(source)


def test_code_and_pictures_hold_no_links():
    source = (
        "`[a](b.md)` `[[c]]`\n\n```\n[[d]]\n```\n\n    [[e]]\n\n![[f.PNG]] ![g](h.md) <pre>[[i]]</pre> \\[[j]] [[#k]]\n"
    )
    assert links_of(source) == []


@pytest.mark.parametrize(
    ("source", "text", "links"),
    [
        ('<Card\n  title="A card"\n  href="b.md"\n>\nBody\n</Card>', "Body", ["a/b"]),
        ('<Said\n  by="x"\n>\nOne.\n</Said>\n<Said\n  by="y"\n>\nTwo.\n</Said>', "One.\nTwo.", []),
        (
            "<Tree config={[ { items: [ { label: 'a', more: { deep: 1 } } ] } ]} />\n\nx {f({ a: { b: 1 } })} y",
            "x y",
            [],
        ),
        ('See <a\n  href="b.md"\n>this</a>.\n\n> quoted <b\n> c', "See this.\nquoted <b c", ["a/b"]),
        ("<Card\n  href='b.md'\n  icon={\n<svg w='2'>\n<path />\n</svg>\n}\n>Go</Card>", "Go", ["a/b"]),
        ("<Card\n  href='b.md'\n  icon={\n<>\n<svg w='2'>\n<path />\n</svg>\n</>\n}\n/>\n\nGo", "Go", ["a/b"]),
        ("<code>{`Array<{ icon: `}[Icon](icons.md){`; }>`}</code>", "Icon", ["a/icons"]),
    ],
)
def test_tags_and_expressions_of_mdx_may_have_lines_and_braces(source, text, links):
    page = read_page(source, "a/page", mdx=True)
    assert page.text == text
    assert [link.target for link in page.links] == links


def test_a_definition_may_have_its_shortcode_on_the_next_line():
    assert links_of('see [b page][b]\n\n[b]:\n  {{< relref "b.md" >}}') == [("b page", "a/b", "")]


def test_titles():
    assert read_page("text\n\n## *Head* {#h}\n\nmore", "a")[:2] == ("", "text\nHead\nmore")
    assert read_page("text\n\n# *Head* {#h}\n\nmore", "a")[:2] == ("Head", "text\nHead\nmore")
    assert read_page("# Head\n\nmore", "a")[:2] == ("Head", "more")
    assert read_page("---\ntitle: 2024-01-01\n---\n## Head\n", "a")[:2] == ("2024-01-01", "Head")
    assert read_page("---\ntitle: Head\n---\n# [Head](b.md) #\nmore ^id", "a")[:2] == ("Head", "more")
    assert read_page("more", "a")[:2] == ("", "more")
    assert read_page("---\ntitle: Oaks\n---\ntext\n\n# Head\n", "a")[:2] == ("Oaks", "text\nHead")
    assert read_page("---\ntitle: Oaks\n---\n# Head\n\ntext\n\n# More", "a")[:2] == ("Head", "text\nMore")
    assert read_page("---\ntitle: Oaks\n---\n&nbsp;\n\n<img src=x>\n\n# Head\n\ntext", "a")[:2] == ("Head", "text")
    assert read_page("\n \n---\ntitle: Oaks\n---\ntext", "a")[:2] == ("Oaks", "text")
    assert read_page("\n+++\ntitle = 'Oaks'\n+++\ntext", "a")[:2] == ("Oaks", "text")
    assert read_page("\n---\nA sentence\n---\ntext", "a")[:2] == ("", "A sentence\ntext")


@pytest.mark.parametrize("name", [":href", "v-bind:href", "x.href", ":to"])
def test_an_expression_is_no_address(name):
    assert read_page(f'<a class="x" {name}="page.link" id="here">shown</a>', "a")[1:4] == ("shown", (), (("here", 0),))


def test_places_have_names():
    page = read_page("# T\n\na\nb ^b1\n\n- c ^c\n- d\n\n^list\n\n## E {#e}\n<a id='f'></a>f <p name=g>g</p>", "a")
    assert page.text == "a b\nc\nd\nE\nf\ng"
    assert [(name, page.text[at:].split("\n")[0]) for name, at in page.sections] == [
        ("^b1", "a b"),
        ("^c", "c"),
        ("^list", "d"),
        ("e", "E"),
        ("f", "f"),
        ("g", "g"),
    ]


BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{b}, *{b}, *{b}]\n" for b, c in zip("abcdefg", "bcdefgh", strict=True))


@pytest.mark.parametrize(
    "front",
    ["a: [b", "a: b: c", BOMB, "a: &x 1", "[" * 60_000, "\t- a", "a: !!python/object/apply:os.system ['x'] x", "# b"],
)
def test_front_matter_is_no_text_whatever_it_holds(front):
    started = time.perf_counter()
    assert read_page(f"---\n{front}\n---\ntext", "a").text == "text"
    assert time.perf_counter() - started < 2


def test_front_matter_gives_a_title():
    for front, title in {
        "title: A: b # c": "A: b",
        "title: 'It is'": "It is",
        'title: " \U0001f333\tx"': "\U0001f333 x",
        "menu:\n  title: other\ntitle: own": "own",
        "title: >-\n  folded in\n  lines\nx: y": "folded in lines",
        "title: |": "",
    }.items():
        assert read_page(f"---\n{front}\n---\nx", "a")[:2] == (title, "x")
    assert read_page('+++\ntitle = "T"\n+++\nx', "a")[:2] == ("T", "x")
    assert read_page("title:: T\n\n- x", "a")[:2] == ("T", "x")
    assert read_page("---\n---\nx", "a").text == "x"
    assert read_page("---\nWords between rules.\n\n---\nx", "a").text == "Words between rules.\nx"
    assert read_page("---\ntitle: no end", "a").title == ""


def test_a_vault_resolves_as_its_reader_would_expect(tmp_path):
    files = {
        "README.md": "[[deep/deeper/note]] [[NOTE]] [[Other name]] [a](deep) [b](deep/index.md) [[lost]] [c](x.md)",
        "deep/deeper/Note.md": "# Deepest\n\nUp [home](../../) ^end",
        "deep/Note.md": "The nearer to the top counts. [[README]] [[deeper/Note#^end]]",
        "deep/index.md": "---\naliases: [other name]\n---\n[[Note]]",
    }
    for name, text in files.items():
        (tmp_path / "vault" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "vault" / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "vault.zip", "w") as archive:
        for name in sorted(files, reverse=True):
            archive.write(tmp_path / "vault" / name, name)
    for source in ("vault", "vault.zip"):
        store = build_documents([tmp_path / source], tmp_path / f"{source}.store")
        graph = add_graph(store, "hyperlink", "hyperlink")
        assert (graph["found"], graph["resolved"], graph["fragments_found"]) == (11, 9, 1)
        ids = [document.id for document in store.documents()]
        targets = np.fromfile(store.path / "graphs" / "hyperlink" / "targets.bin", np.int32)
        found = [ids[target] for target in targets]
        note, deepest = "deep/Note", "deep/deeper/Note"
        assert found[:5] == [deepest, note, "deep/index", "deep/index", "deep/index"]
        assert sorted(found[5:]) == sorted(["README", deepest, note, "README"])


def test_lists_and_quotes_of_any_depth_lose_nothing():
    """A parser bounds the depth, and drops what is deeper with all that follows."""
    for deep in (
        "\n".join(f"{'  ' * i}- w{i}" for i in range(200)),
        "\n".join(f"{'   ' * i}1. w{i}" for i in range(200)),
        "\n\n".join(f"{'>' * i} w{i}" for i in range(200)),
        "- " * 199 + "w0\n" + " ".join(f"w{i}" for i in range(1, 200)),
    ):
        page = read_page(f"{deep}\n\nAfter [it](b.md).\n\n## End", "a")
        assert page.text.split() == [*(f"w{i}" for i in range(200)), "After", "it.", "End"]
        assert [link.target for link in page.links] == ["b"]


def test_deleted_and_hidden_links_are_none_and_notes_have_no_place():
    assert links_of("{++[a](b.md)++} {--[c](d.md)--} ^[e [f](g.md)]") == [("a", "a/b", ""), ("-", "a/g", "")]


def test_what_cannot_be_read_is_counted(tmp_path):
    (tmp_path / "a.md").write_bytes("Café".encode("latin-1"))
    (tmp_path / "b.md").write_bytes(b"\xef\xbb\xbf# Only a title\r\n")
    (tmp_path / "c.md").write_bytes(b"x " * (LARGEST // 2 + 1))
    (tmp_path / "d.markdown").write_text("> " * 200 + "deep")
    (tmp_path / "e.md").write_text("\r\rE\r\rmac\0 \v")
    assert find_reader(tmp_path) == "markdown"
    documents, redirects, skipped = read(tmp_path)
    assert [(document.id, document.title, document.text) for document in documents] == [
        ("a", "a", "Café"),
        ("d", "d", "deep"),
        ("e", "e", "E\nmac\ufffd"),
    ]
    assert [(each.source, each.target) for each in redirects] == [("[[a]]", "a"), ("[[d]]", "d"), ("[[e]]", "e")]
    assert skipped == {"not UTF-8 (read as Latin-1)": 1, "no text in the file": 1, TOO_LARGE: 1}


def test_a_line_of_a_hundred_megabytes_is_left_out(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, size in (("a.md", 100 << 20), ("b.md", 1 << 10)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(b"*a [b](c) " * (size // 10 + 1)))
    tracemalloc.start()
    started = time.perf_counter()
    documents, _, skipped = read(path)
    assert time.perf_counter() - started < 20
    assert tracemalloc.get_traced_memory()[1] < 500 << 20
    tracemalloc.stop()
    assert [document.id for document in documents] == ["b"]
    assert skipped == {TOO_LARGE: 1}


def test_a_long_paragraph_is_read_in_pieces():
    source = "A sentence with [a link](b.md) in it. " * 1_000
    page = read_page(source, "a")
    assert len(source) > 3 * PIECE
    assert page.text == "A sentence with a link in it. " * 999 + "A sentence with a link in it."
    assert [page.text[link.start : link.end] for link in page.links] == ["a link"] * 1_000


UNITS = re.findall(  # "." is a space, N a line break
    r"\S+",
    r"""[ * ` <!-- ![a]( _a. \ **a. [a][ -. *** > [[a| <a.href=x> <a." <{ %% { <!--N <pre> [^a]:N -.aN #N | a|bN-|-N
    [a]:.b."N & ~~a. aN ..-.aN [x](y) ^aNN a^b. %%.aN
    [block:x]N{ ={<svg. {{cloze.a <a.x={ \begin{a} +--+N [`a`][b.c]""",
)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear_in_hostile_markdown(unit):
    # Quadratic time would be fourfold; at 200,000 characters it is 2 seconds at most.
    unit = unit.replace(".", " ").replace("N", "\n")

    def seconds(size):  # no collection of others' garbage in between
        return timeit.timeit(partial(read_page, unit * (size // len(unit)), "a", mdx=True), time.process_time, number=1)

    assert any(seconds(20_000) < 3 * seconds(10_000) + 0.3 for _ in range(3))  # a busy machine may need another try


PARTS = st.sampled_from(
    re.findall(
        r"\S+",
        r"""[ ] ( ) [[ ]] | ! * _ ` ```N N NN -. >. #. .... <a.href=x> </a> <!-- --> <br> [^1] [^1]:. ^id {#id} { } ---N
        a:.bN |-|N word . é \ &amp; %% import.xN [a](b) [[c|d]] <pre> </pre> <!doctype> # : ~~ == 1). [x]. =N""",
    )
).map(lambda part: part.replace(".", " ").replace("N", "\n"))


@given(st.lists(PARTS | st.characters(exclude_categories=["Cs"]), max_size=40).map("".join), st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_is_an_error(source, mdx):
    page = read_page(source, "a/b", mdx=mdx)
    for link in page.links:
        anchor = page.text[link.start : link.end] if link.start >= 0 else "anchor"
        assert anchor == anchor.strip(" \n") != ""
        assert "\n" not in anchor
        assert link.target
    assert all(0 <= at <= len(page.text) for _, at in page.sections)
    assert all(line == line.strip(" ") != "" for line in page.text.split("\n")) or not page.text


words = st.lists(st.sampled_from(["tide", "moon", "Sea", "é", "x_y", "5"]), min_size=1, max_size=3).map(" ".join)
FORMS = st.sampled_from(
    ["[{}]({}.md)", "**[{}]({}.md 'title')**", "[[{1}|{0}]]", "<a href='{1}.md'>{0}</a>", "[*{}*](<{}.md>)"]
)
ENDS = st.sampled_from([" ", "\n", ". ", "\n\n", "\n- item ", "\n\n> ", "\n\n## "])


@given(st.lists(st.tuples(words, FORMS, ENDS), max_size=12))
@settings(max_examples=150, deadline=None)
def test_the_text_of_a_link_is_its_anchor(pieces):
    source = "# Title\n\n" + "".join(
        f"before {form.format(anchor, f't{i}')} after{end}" for i, (anchor, form, end) in enumerate(pieces)
    )
    page = read_page(source, "page")
    found = [(page.text[link.start : link.end], link.target.strip("[]")) for link in page.links]
    assert found == [(anchor, f"t{i}") for i, (anchor, *_) in enumerate(pieces)]


@given(st.text("ab<>()\\ \n&amp;\x7f\x01/#é", max_size=12), st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=500, deadline=None)
def test_an_address_ends_where_the_parser_ends_it(text, start, stop):
    start, stop = sorted((min(start, len(text)), min(stop, len(text))))
    ours, theirs = markdown._parse_destination(text, start, stop), parseLinkDestination(text, start, stop)
    assert (ours.ok, ours.pos, ours.str) == (theirs.ok, theirs.pos, theirs.str)


@given(st.text("ab :=~*_[]<>!&%{}$#\\\n\t`.-(|", max_size=30))
@settings(max_examples=500, deadline=None)
def test_a_block_without_marks_reads_as_the_parser_reads_it(block):
    source, found = f"x {block} y", []
    for marked in (markdown._MARKED, re.compile("")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(markdown, "_MARKED", marked)
            found.append(read_page(source, "page"))
    assert found[0] == found[1]


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# First\n", "\n", "See [b](deep/b.ipynb#x)."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": []},
        {"cell_type": "markdown", "source": "More."},
    ]
}
OLD_NOTEBOOK = {"worksheets": [{"cells": [{"cell_type": "heading", "level": 2, "source": ["Old, [a](../a.ipynb)"]}]}]}


def test_of_a_notebook_the_cells_that_are_text_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.ipynb").write_text(json.dumps(NOTEBOOK))
    (tmp_path / "deep" / "b.ipynb").write_text(json.dumps(OLD_NOTEBOOK))
    for name, text in (("cut", '{"cells": ['), ("list", "[]"), ("cell", '{"cells": [{"cell_type": "markdown"}]}')):
        (tmp_path / f"{name}.ipynb").write_text(text)
    documents, _, skipped = read(tmp_path)
    assert [(each.id, each.title, each.text) for each in documents] == [
        ("a", "First", "See b.\nMore."),
        ("deep/b", "b", "Old, a"),
    ]
    assert [link_of(link) for each in documents for link in each.links] == [("deep/b", "x"), ("a", "")]
    assert skipped[NO_NOTEBOOK] == 3


@pytest.mark.parametrize("suffix", ["rst", "org", "adoc", "docx", "ipynb", "md", "html"])
def test_links_may_name_what_pages_were_made_from(tmp_path, suffix):
    (tmp_path / "a.md").write_text(f"See [b](deep/b.{suffix}).")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.md").write_text(f"See [a](../a.{suffix}).")
    documents, *_ = read(tmp_path)
    assert [link.target for each in documents for link in each.links] == ["deep/b", "a"]


@pytest.mark.parametrize("link", ["[[git|https://x.org/g]]", "[[https://x.org/g|git]]"])
def test_an_address_in_a_wiki_link_leads_there_and_the_other_side_is_shown(tmp_path, link):
    (tmp_path / "a.md").write_text(f"See {link}.")
    (tmp_path / "git.md").write_text("Of git, [[a]].")
    (a, _), *_ = read(tmp_path)
    assert (a.text, [link_of(link) for link in a.links]) == ("See git.", [("https://x.org/g", "")])


def test_a_name_that_ends_so_is_another_name(tmp_path):
    (tmp_path / "Archive.md").write_text("Kept: [[archive.org]], [[archive.md]].")
    (tmp_path / "b.md").write_text("See [[archive.org]].")
    documents, *_ = read(tmp_path)
    assert [link.target for each in documents for link in each.links] == [
        "[[archive.org]]",
        "Archive",
        "[[archive.org]]",
    ]


@pytest.mark.parametrize(
    ("head", "title", "text"),
    [
        ("Title: Oak\nDate: 2020-01-01\nTags: a,\n  b\nslug: tree\n\n", "Oak", "Text."),
        ("title: Oak\n\n", "Oak", "Text."),
        ("Date: 2020-01-01\nTitle: Oak\n\n", "Oak", "Text."),
        ("Summary: a sentence.\n\n", "page", "Summary: a sentence.\nText."),
        ("Title: no line of a header\nfollows.\n\n", "page", "Title: no line of a header follows.\nText."),
    ],
)
def test_lines_of_a_header_are_front_matter(tmp_path, head, title, text):
    (tmp_path / "page.md").write_text(f"{head}Text.")
    (document,), *_ = read(tmp_path)
    assert (document.title, document.text) == (title, text)


def test_addresses_of_generators_and_programs_lead_to_pages(tmp_path):
    forms = [
        "{filename}/deep/b.md",
        "{filename}deep/b.md",
        "|filename|deep/b.md",
        "link://slug/b",
        "link://filename/deep/b.md",
    ]
    forms += [
        "obsidian://open?vault=v&file=deep%2Fb",
        "obsidian://vault/v/b",
        "bear://x-callback-url/open-note?title=B",
    ]
    (tmp_path / "a.md").write_text("\n".join(f"[{number}](<{form}>)" for number, form in enumerate(forms)))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.md").write_text(
        "Title: B\nslug: b\n\n[x](zotero://select/1), [y](mailto:a@b). [[!tag z]]Words."
    )
    (a, b), *_ = read(tmp_path)
    assert [link.target for link in a.links] == ["deep/b"] * len(forms)
    assert ([link.target for link in b.links], b.text) == (["zotero://select/1"], "x, y. Words.")


@pytest.mark.data
def test_real_books_lose_nothing_but_their_pictures(data):
    documents, _, skipped = read(data / "corpora" / "classic-books.tar.xz")
    assert len(documents) == 66
    assert 5.9e6 < sum(len(document.text.split()) for document in documents) < 6.2e6
    assert not skipped
