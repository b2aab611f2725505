"""reStructuredText: what becomes of each mark, which page each reference means, and what damage costs."""

import time
from pathlib import Path

import pytest
from docutils.parsers.rst import states
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import rst
from linkbert.corpora.sources import find_reader, read_source
from linkbert.graph.hyperlinks import build
from linkbert.records import Document, Link
from linkbert.workers import make_executor

TREES = """\
.. _trees:

Trees of the north
==================

Some *oaks*, see :ref:`the fruit <acorns>`, :ref:`acorns`, :doc:`/guide/moss` and :doc:`Moss <guide/moss>`.
A |name| by `its maker`_ or `another <guide/moss.rst>`_, one__ and `anonymous`__; http://bare.example.org stays.

.. |name| replace:: substituted *name*
.. _its maker: https://maker.example.org/a
__ guide/moss.html
__ https://two.example.org

.. code-block:: py

   code = ":ref:`nothing`"

.. note:: A note that
   goes on.

   - with an item

.. versionadded:: 3.1
   Leaves with :func:`~grove.Tree.leaf`.

A literal::

    .. class:: NoClass

.. toctree::

   guide/moss

======  ======
cell    cell
======  ======
"""
MOSS = """\
:orphan:

Moss
====

.. module:: grove

.. class:: Tree(name)
           Tree()

   A tree of :meth:`leaf` and :meth:`.Tree.root`, !plain :class:`!Tree`.

   .. method:: leaf(at=0)

      Return a :class:`Leaf`; :class:`Root` is elsewhere, :func:`open` unknown.

.. class:: Leaf

.. setting:: DEPTH

Depth of roots, :pinch:`DEPTH`.

.. _acorns:

Fruit of ``oaks``
-----------------

.. glossary::

   acorn
      A nut.
"""
FILES = {
    "index.rst": TREES,
    "guide/moss.rst": MOSS,
    "guide/other.rst": """.. class:: grove.Root

:set:`DEPTH` :set:`DEPTH` :term:`Acorn` :class:`Twin` :command:`grow`
""",
    "guide/a.rst": ".. class:: x.Twin\n\n   Text.",
    "guide/b.rst": ".. class:: y.Twin\n\n   Text of :class:`Twin`.",
    "command/grow.rst": """Grow
====

.. include:: ../parts/loop.rst
.. include:: /parts/part.rst
.. include:: ../../up.rst
""",
    "parts/loop.rst": "Around.\n\n.. include:: loop.rst\n.. include:: part.rst\n",
    "parts/part.rst": "A part with :ref:`trees`.\n\n",
}


def make_tree(path: Path, files: dict[str, str | bytes] = FILES) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path) -> tuple[dict[str, Document], Skipped]:
    skipped = Skipped()
    return {each.id: each for each in read_source("rst", path, None, skipped) if isinstance(each, Document)}, skipped


def links_of(page: Document) -> list[tuple[str, str, str]]:
    return [(page.text[link.start : link.end], link.target, link.fragment) for link in page.links]


def test_what_is_text_and_where_references_lead(tmp_path):
    pages, skipped = read(make_tree(tmp_path))
    assert sorted(pages) == ["command/grow", "guide/a", "guide/b", "guide/moss", "guide/other", "index"]
    index = pages["index"]
    assert index.title == "Trees of the north"
    assert index.text == (
        "Some oaks, see the fruit, Fruit of oaks, Moss and Moss. "
        "A substituted name by its maker or another, one and anonymous; "
        "http://bare.example.org stays.\nA note that goes on.\nwith an item\nLeaves with leaf.\nA literal:"
    )
    assert links_of(index) == [
        ("the fruit", "guide/moss", "acorns"),
        ("Fruit of oaks", "guide/moss", "acorns"),
        ("Moss", "guide/moss", ""),
        ("Moss", "guide/moss", ""),
        ("its maker", "https://maker.example.org/a", ""),
        ("another", "guide/moss", ""),
        ("one", "guide/moss", ""),
        ("anonymous", "https://two.example.org", ""),
        ("leaf", "guide/moss", "grove.Tree.leaf"),
    ]
    moss = pages["guide/moss"]
    assert moss.title == "Moss"
    assert moss.text.startswith(
        "Tree(name)\nTree()\nA tree of leaf and Tree.root, !plain Tree.\nleaf(at=0)\nReturn a Leaf;"
    )
    assert links_of(moss) == [
        ("leaf", "guide/moss", "grove.Tree.leaf"),
        ("Tree.root", ":meth:`Tree.root`", ""),
        ("Leaf", "guide/moss", "grove.Leaf"),
        ("Root", "guide/other", "grove.Root"),
        ("open", ":func:`open`", ""),
        ("DEPTH", "guide/moss", "DEPTH"),
    ]
    at = dict(moss.sections)
    assert moss.text[at["grove.Tree.leaf"] :].startswith("leaf(at=0)")
    assert moss.text[at["acorns"] :].startswith("Fruit of oaks")
    assert links_of(pages["guide/other"]) == [
        ("DEPTH", "guide/moss", "DEPTH"),
        ("DEPTH", "guide/moss", "DEPTH"),
        ("Acorn", "guide/moss", "acorn"),
        ("Twin", ":class:`Twin`", ""),
        ("grow", "command/grow", ""),
    ]
    assert links_of(pages["guide/b"]) == [("Twin", "guide/b", "y.Twin")]  # of several the one of its own page
    assert pages["command/grow"].text == "Around.\nA part with Trees of the north.\nA part with Trees of the north."
    assert (skipped[rst.AMBIGUOUS], skipped[rst.UNKNOWN], skipped[rst.INCLUDED]) == (1, 2, 2)


def test_a_tree_is_found_by_itself(tmp_path):
    many = {f"{i}.rst": f"Page {i}\n======\n\nText." for i in range(31)}
    notes = {f"{i}.md": "# A note" for i in range(3)}
    path = make_tree(tmp_path / "mixed", many | notes)
    assert find_reader(path) == "rst"
    store = build_documents([path], tmp_path / "store")
    assert len(store) == 31
    assert store.manifest["other_files"] == {".md": 3}
    sphinx = {
        "index.txt": "Docs\n====\n\n.. toctree::\n\n   a\n",
        "a.txt": "See :doc:`index`.",
        "README.rst": "Read me",
    }
    path = make_tree(tmp_path / "sphinx", sphinx)
    assert find_reader(path) == "rst"
    assert list(read(path)[0]) == ["a"]
    assert find_reader(make_tree(tmp_path / "books", {"a.txt": "A book: its text.", "b.txt": "Another."})) == "text"


@pytest.mark.slow
def test_one_and_two_workers_give_the_same_store(tmp_path):
    path = make_tree(
        tmp_path / "tree", FILES | {f"many/{i}.rst": f"Page\n====\n\n:ref:`trees` {'x ' * 40_000}" for i in range(9)}
    )
    stores = [tmp_path / "one", tmp_path / "two"]
    for workers, to in enumerate(stores, 1):
        with make_executor(workers) as executor:
            store = build_documents([path], to, executor=executor)
            counts: dict[str, int] = {}
            list(build(store, executor=executor, counts=counts))
    files = [{each.name: each.read_bytes() for each in (to / "documents").iterdir()} for to in stores]
    assert files[0] == files[1]
    assert len(files[0]) > 3
    assert counts["found"] == counts["resolved"] + counts["dead"]


def test_bad_pages_cost_themselves_only(tmp_path, capfd):
    files = {
        "cut.rst": TREES[:400],
        "latin.rst": "Caf\xe9\n====\n\nText, :ref:`x`.".encode("latin-1"),
        "long.rst": "word " * 1_000_000,
        "unknown.rst": ".. strange:: Argument\n   :option: 1\n\n   Body, `cut ``more\n\n|none| nowhere_ [1]_\n\nEnd.",
        "raw.rst": """.. raw:: html
   :file: /etc/passwd

.. csv-table::
   :file: /etc/passwd

.. include:: /etc/passwd

Text.""",
        "twice.rst": ".. _x:\n\nOne\n===\n\n.. _x:\n\nTwo\n---\n\nText.",
        "empty.rst": "",
    }
    pages, skipped = read(make_tree(tmp_path, files))
    assert sorted(pages) == ["cut", "latin", "raw", "twice", "unknown"]
    assert pages["raw"].text == "Text."
    assert pages["latin"].title == "Café"
    assert links_of(pages["latin"]) == [("One", "twice", "x")]
    assert pages["unknown"].text.startswith("Argument\nBody")
    assert pages["unknown"].text.endswith("End.")
    assert skipped["not UTF-8 (read as Latin-1)"] == 1
    assert skipped[rst.LONG] == 1
    assert skipped["no text in the file"] == 1
    assert capfd.readouterr() == ("", "")


def test_docutils_is_left_as_it_is(tmp_path):
    from docutils.core import publish_string

    before = states.directives.directive
    read(make_tree(tmp_path))
    assert states.directives.directive is before
    assert b"<em>x</em>" in publish_string(".. note:: :emphasis:`x`", writer="html5")
    assert list(read(tmp_path)[0]) == list(read(tmp_path)[0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([*TREES.split("\n"), *MOSS.split("\n"), "`", "   ::", "====", "- a", "__ x", "\x00", "|a|_"])
    )
)
@example(["=" * 40, "   Leaves with :func:`~grove.Tree.leaf`.", "=" * 40, "", "Of `moss <moss.rst>`_."])
def test_any_lines_give_links_in_the_text(lines):
    tree = rst.survey([("a.rst", "\n".join(lines).encode())])
    for page in rst.read_file("a.rst", "\n".join(lines).encode(), tree, Skipped()):
        placed = [link for link in page.links if (link.start, link.end) != (-1, -1)]
        assert all(0 <= link.start < link.end <= len(page.text) for link in placed)
        anchors = [page.text[link.start : link.end] for link in placed]
        assert anchors == [anchor.strip() for anchor in anchors]


def test_a_reference_in_the_title_is_a_link_of_the_page():
    files = {
        "over": "==================\nOn :doc:`moss </b>`\n==================\n\nMore on :doc:`moss </b>`.",
        "under": "On :doc:`moss </b>`\n===================\n\nMore on :doc:`moss </b>`.",
        "named": "On `moss <b.rst>`_\n==================\n\nMore on :doc:`moss </b>`.",
        "part": "On\n==\n\nOn :doc:`moss </b>`\n-------------------\n\nMore on :doc:`moss </b>`.",
    }
    data = {f"{name}.rst": text.encode() for name, text in (files | {"b": "Moss\n====\n\nGreen."}).items()}
    tree = rst.survey([*data.items()])
    for name in files:
        (page,) = rst.read_file(f"{name}.rst", data[f"{name}.rst"], tree, Skipped())
        first, second = links_of(page)
        assert first == ("moss" if name == "part" else "", "b", "")  # the title is no part of the text
        assert second == ("moss", "b", "")
        assert page.title == ("On" if name == "part" else "On moss")


@pytest.mark.slow
def test_an_error_of_our_own_is_not_one_of_the_page(monkeypatch):
    def fail(*_):
        raise KeyError("ours")

    tree = rst.survey([("a.rst", b"Text."), ("b.rst", b"\n\n".join(b" " * i + b"- x" for i in range(0, 1800, 2)))])
    skipped = Skipped()
    assert not list(rst.read_file("b.rst", b"\n\n".join(b" " * i + b"- x" for i in range(0, 1800, 2)), tree, skipped))
    assert skipped == {rst.BROKEN: 1}
    monkeypatch.setattr(rst._Page, "write_block", fail)
    with pytest.raises(KeyError, match="ours"):
        list(rst.read_file("a.rst", b"Text.", tree, skipped))


@pytest.mark.slow
@pytest.mark.parametrize(
    "mark", ["`", ":a:`", "*", "|", ".. _a: b\n", "- ", "  " * 50 + "x\n", "=\n", ".. class:: a\n"]
)
def test_no_mark_costs_more_than_its_share(mark):
    data = (mark * (60_000 // len(mark))).encode()
    start = time.perf_counter()
    list(rst.read_file("a.rst", data, rst.survey([("a.rst", data)]), Skipped()))
    assert time.perf_counter() - start < 30


def test_what_another_page_describes_again_without_an_index_is_no_second_place(tmp_path):
    files = {
        "a.rst": ".. module:: m\n\n.. data:: g\n\n   Text.\n\n.. autodata:: h\n\n.. confval:: x\n   :type: str\n",
        "b.rst": ".. data:: g\n   :type: int\n   :noindex:\n\n.. confval:: x\n   :no-index:\n\n:data:`g` :confval:`x` "
        ":data:`m.h`",
    }
    pages, skipped = read(make_tree(tmp_path, files))
    assert [to for _, to, _ in links_of(pages["b"])] == ["a", "a", "a"]
    assert skipped[rst.AMBIGUOUS] == 0


def test_proposals_have_heads_and_numbers(tmp_path):
    head = "PEP: 8\nTitle: Style\nAuthor: A B <a@b.org>,\n        C D\nStatus: Active\n\n"
    files = {
        "pep-0008.rst": f"{head}Introduction\n============\n\n:pep:`20#zen`, :pep:`the other <20>` and :rfc:`2119`.",
        "pep-0020.rst": "Zen\n===\n\nPlain: a\nText: of lines\nis: text\n",
    }
    pages, _ = read(make_tree(tmp_path, files))
    assert (pages["pep-0008"].title, pages["pep-0020"].title) == ("Style", "Zen")
    assert pages["pep-0008"].text == "Introduction\nPEP 20, the other and RFC 2119."
    assert links_of(pages["pep-0008"]) == [
        ("PEP 20", "pep-0020", "zen"),
        ("the other", "pep-0020", ""),
        ("RFC 2119", "https://rfc-editor.org/rfc/rfc2119", ""),
    ]
    assert pages["pep-0020"].text == "Plain: a Text: of lines is: text"


def test_an_expression_of_cmake_is_named_without_its_arguments(tmp_path):
    files = {
        "manual/genex.rst": ".. genex:: $<TARGET_FILE:tgt>\n\n   Text.\n",
        "command/install.rst": "See :genex:`TARGET_FILE` and :genex:`$<TARGET_FILE:x> <TARGET_FILE>`.",
    }
    pages, _ = read(make_tree(tmp_path, files))
    assert [to for _, to, _ in links_of(pages["command/install"])] == ["manual/genex"] * 2


def test_a_folder_makes_no_links_of_roles_of_text(tmp_path):
    files = {"sub/b.rst": "Bee\n===\n\nWords.", "a.rst": "Air\n===\n\nH\\ :sub:`2`\\ O, :doc:`sub/b`"}
    pages, skipped = read(make_tree(tmp_path, files))
    assert (pages["a"].text, len(pages["a"].links), skipped.total()) == ("H2O, Bee", 1, 0)


def test_a_page_that_includes_a_part_of_itself_is_one(tmp_path):
    page = ".. _a:\n\nAbbey\n=====\n\n.. start\n\nOnce.\n\n.. end\n\n.. include:: a.rst\n   :start-after: start\n"
    pages, skipped = read(make_tree(tmp_path, {"a.rst": page, "b.rst": "B\n=\n\n:ref:`a`."}))
    assert (pages["a"].text, links_of(pages["b"]), skipped) == ("Once.", [("Abbey", "a", "a")], {})


def test_a_name_is_looked_up_in_the_package_that_it_says(tmp_path):
    pages = {
        "boats.rst": "Boats\n=====\n\n.. module:: boats\n\nWords.\n",
        "tool.rst": "Tool\n====\n\n.. automodule:: boats.bin.boats\n\nWords.\n",
        "mast.rst": "Mast\n====\n\n.. currentmodule:: boats\n\n.. class:: Mast\n\n   .. method:: Mast.up()\n",
        "hull.rst": "Hull\n====\n\n.. autoclass:: boats.parts.Hull\n\nWords.\n",
        "a.rst": "A\n=\n\n:mod:`bin.boats`, :class:`boats.Oar`, :mod:`.bin.boats`, :meth:`Hull.float`, "
        ":meth:`boats.Mast.up`, :func:`boats.bin.boats.run`\n",
    }
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    page = next(each for each in read_source("rst", tmp_path) if each.id == "a")
    targets = [link.target for link in page.links]
    assert targets == [":mod:`bin.boats`", ":class:`boats.Oar`", "tool", "hull", "mast", "tool"]


@pytest.mark.parametrize(
    "aside",
    [
        "+---------+\n| :doc:`b`|\n+---------+",
        "===== ========\n one  :doc:`b`\n===== ========",
        ".. csv-table:: Title\n   :header: x, y\n\n   one, :doc:`b`",
        ".. list-table:: Title\n\n   * - one\n     - :doc:`b`",
        ".. table:: Title\n\n   ===== ========\n    one  :doc:`b`\n   ===== ========",
        ".. figure:: x.png\n\n   one :doc:`b`",
        ".. [1] one :doc:`b`",
        ":one: :doc:`b`",
    ],
)
def test_what_is_no_text_keeps_its_links(tmp_path, aside):
    (tmp_path / "a.rst").write_text(f"A\n=\n\n{aside}\n\nWords.\n")
    (tmp_path / "b.rst").write_text("B\n=\n\n.. sectionauthor:: One <one@example.org>\n\nWords.\n")
    a, b = read_source("rst", tmp_path)
    assert (a.title, a.text, b.text) == ("A", "Words.", "Words.")
    assert a.links == (Link(-1, -1, "b"),)


def test_titles_of_one_or_two_letters(tmp_path):
    files = {
        "a.rst": "A\n=\n\nText, :doc:`b`, :ref:`x` and :ref:`y`.\n",
        "b.rst": "==\nGo\n==\n\n.. _x:\n\nX\n~\n\nMore.\n\n.. _y:\n\nYes\n...\n\nOn.",
    }
    for name, text in (files | {"c.rst": "A line of text\n-\n\nand a list"}).items():
        (tmp_path / name).write_text(text)
    documents, _ = read(tmp_path)
    assert [documents[name].title for name in "abc"] == ["A", "Go", "c"]
    assert documents["a"].text == "Text, Go, X and Yes."
    assert [link.target for link in documents["a"].links] == ["b"] * 3


SPHINX = """\
A
=

|it|_ :ref:`b:Deep part` :ref:`shown <deep part>` `o <https://docs.example.org/en/b.html>`_
:file:`x/{y}` :guilabel:`&File` :abbr:`WHO (World Health)`

.. ifconfig:: x

   In.

.. include:: /c.inc

.. |it| replace:: *it* all
.. _it: b.rst
"""


def test_what_sphinx_knows_besides(tmp_path):
    files = {
        "doc/conf.py": "extensions = ['sphinx.ext.autosectionlabel']\nhtml_baseurl = 'https://docs.example.org/en/'\n",
        "doc/a.rst": SPHINX,
        "doc/b.rst": "B\n=\n\nOne.\n\nDeep part\n---------\n\nTwo.\n",
        "doc/c.inc": "Three :doc:`b`.\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    documents = {each.id: each for each in read_source("rst", tmp_path) if isinstance(each, Document)}
    assert {*documents} == {"doc/a", "doc/b"}
    page = documents["doc/a"]
    assert page.text == "it all Deep part shown o x/y File WHO\nIn.\nThree B."
    assert [(page.text[link.start : link.end], link.target, link.fragment) for link in page.links] == [
        ("it all", "doc/b", ""),
        ("Deep part", "doc/b", "deep part"),
        ("shown", "doc/b", "deep part"),
        ("o", "doc/b", ""),
        ("B", "doc/b", ""),
    ]


def test_titles_are_labels_below_the_folder_of_their_conf_py_alone():
    files = [(f"{folder}/b.rst", b"B\n=\n\nOne.\n") for folder in ("doc", "doc-old")]
    tree = rst.survey(files, rst.READER, {"doc/conf.py": b"extensions = ['sphinx.ext.autosectionlabel']\n"})
    assert tree.sections == {"b": [("doc/b", "B")], "b:b": [("doc/b", "B")]}


def test_cards_and_buttons_lead_somewhere(tmp_path):
    cards = """\
.. grid:: 2

   .. grid-item-card:: Title
      :link: b
      :link-type: doc

      Body.

   .. card:: Two
      :link: part
      :link-type: ref

   .. card:: Three
      :link: https://x.org/

.. button-ref:: b

   Go.
"""
    (tmp_path / "a.rst").write_text(f"A\n=\n\n{cards}")
    (tmp_path / "b.rst").write_text("B\n=\n\n.. _part:\n\nPart\n----\n\nWords.\n")
    page = read(tmp_path)[0]["a"]
    assert page.text == "Title\nBody.\nTwo\nThree\nGo."
    links = [(link.start, link.target, link.fragment) for link in page.links]
    assert links == [(-1, "b", ""), (-1, "b", "part"), (-1, "https://x.org/", ""), (-1, "b", "")]


def test_of_translations_the_nearest_page_has_the_label(tmp_path):
    files = {f"{language}/a.rst": "A\n=\n\nSee :ref:`saving`." for language in ("en", "fr")}
    files |= {f"{language}/b.rst": f".. _saving:\n\nSaved {language}\n========\n\nText." for language in ("en", "fr")}
    pages, _ = read(make_tree(tmp_path, files))
    assert {page: links_of(pages[page])[0][:2] for page in ("en/a", "fr/a")} == {
        "en/a": ("Saved en", "en/b"), "fr/a": ("Saved fr", "fr/b")
    }  # fmt: skip


def test_old_addresses_of_a_page_are_no_text(tmp_path):
    pages, _ = read(make_tree(tmp_path, {"a.rst": ".. redirect-from::\n\n   Old/Path\n\nLaunch\n======\n\nText."}))
    assert (pages["a"].title, pages["a"].text) == ("Launch", "Text.")
