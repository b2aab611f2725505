"""The public names: their examples run as they stand, and what is exported builds the same store again."""

import doctest
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import linkbert
from linkbert import api, cli
from linkbert.api import build_store
from linkbert.corpora import build
from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT
from linkbert.corpora.readers import jsonl
from linkbert.workers import make_executor

WORDS = ["oak", "elm", "ash", "fir", "Oak"]


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    """48 towns that link to their countries, as in the examples; built without a command line."""
    folder = tmp_path_factory.mktemp("api")
    lines = []
    for country in ("arland", "borland", "corland", "dorland"):
        text = f"{country.title()} is a country. It has twelve towns. Its people like words. The sea is near."
        lines.append({"id": country, "title": country.title(), "text": text})
    for i in range(48):
        country = ("arland", "borland", "corland", "dorland")[i % 4]
        text = f"Town {i} lies in {country}. It has a market and a mill. Its river is near.\nHistory\nIt is old."
        start = text.index(country)
        links = [{"start": start, "end": start + len(country), "target": country}, {"target": "nowhere"}]
        lines.append({"id": f"town {i}", "title": f"Town {i}", "text": text, "links": links})
    (folder / "towns.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build_store([folder / "towns.jsonl"], folder / "store", vocabulary="train:300")
    return folder


def test_a_kill_behind_an_export_leaves_nothing_that_the_next_does_not_remove(towns, tmp_path):
    api.export_store(towns / "store", tmp_path / "out")
    (tmp_path / "out.lock").touch()  # as it is before it is removed
    with pytest.raises(ValueError, match="is there already"):
        api.export_store(towns / "store", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_relative_path_is_not_sent_to_workers_who_are_elsewhere(tmp_path, monkeypatch):
    """As a Dask cluster's, which would have written into a folder of theirs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "Some words."}\n')

    class Elsewhere(type(make_executor(1))):
        elsewhere = frozenset(["/their/folder"])

    monkeypatch.setattr(api, "make_executor", lambda *_: Elsewhere())
    for source, to in (("a.jsonl", tmp_path / "store"), (tmp_path / "a.jsonl", "store")):
        with pytest.raises(ValueError, match="is not the same to Dask's workers, who are in /their/folder: start them"):
            build_store(source, to, vocabulary="train:200")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert len(build_store(tmp_path / "a.jsonl", tmp_path / "store", vocabulary="train:200")) == 1


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, linkbert; linkbert.Document; print({'torch', 'numpy', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    with pytest.raises(AttributeError, match="linkbert has no 'Documents'"):
        _ = linkbert.Documents


@pytest.mark.parametrize("name", linkbert.__all__)
def test_every_public_name_says_what_it_is(name):
    assert getattr(linkbert, name).__doc__.strip()
    assert name in dir(linkbert)


def test_the_examples_of_the_public_names_run(towns, tmp_path, monkeypatch, capfd):
    """In one folder with a store, one after the other: the run of one is the model of the next."""
    monkeypatch.chdir(towns)
    named = {name: getattr(linkbert, name) for name in linkbert.__all__} | {"export_store": api.export_store}
    count = 0
    for name, each in named.items():
        module = importlib.import_module(each.__module__)
        names = vars(module) | {"store": towns / "store", "folder": tmp_path / name}
        for example in doctest.DocTestFinder(recurse=False).find(each, name, globs=names):
            runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
            failed, tried = runner.run(example, out=print)
            assert not failed, name
            count += tried > 0
    assert count == len(named) - 6, "all but Document, Link, Sampler, and those that docs/finetuning.md shows"


texts = (
    st.lists(st.sampled_from([*WORDS, "é", "東京", "\u2028", '"', "\\"]), min_size=1, max_size=9)
    .map(" ".join)
    .filter(str.strip)
)


@st.composite
def records(draw):
    """Documents with links (placed or not, to others, to itself, to nothing), and other names of documents."""
    made = []
    for id_ in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5, unique=True)):
        text, links = draw(texts), []
        for target in draw(st.lists(st.sampled_from([*WORDS, "alias", "gone", "circle"]), max_size=4)):
            start = draw(st.integers(-1, len(text) - 1))
            stop = draw(st.integers(start + 1, len(text))) if start >= 0 else -1
            links.append(
                {"start": start, "end": stop, "target": target, "fragment": draw(st.sampled_from(["", "oak"]))}
            )
        sections = [{"name": "oak", "start": draw(st.integers(0, len(text)))}]
        page = {"id": id_, "title": draw(texts), "text": text, "links": links, "sections": sections}
        made.append(page | {"disambiguation": draw(st.booleans())})
    names = st.tuples(st.sampled_from(["alias", "circle"]), st.sampled_from([*WORDS, "circle"]))
    for name, target in draw(st.lists(names, max_size=3)):
        made.append({"redirect": name, "target": target, "fragment": "oak"})
    return made


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records(), st.sampled_from(["jsonl", "parquet"]))
def test_a_folder_of_what_is_exported_builds_the_same_store_again(towns, tmp_path_factory, made, form):
    folder = tmp_path_factory.mktemp("law")
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in made))
    vocabulary = str(towns / "store" / "vocabulary")
    build_store([folder / "in.jsonl"], folder / "a", vocabulary=vocabulary)
    counts = api.export_store(folder / "a", folder / "out", format=form)
    b = build_store([folder / "out"], folder / "b", vocabulary=vocabulary)
    assert not {CUT, jsonl.NO_COLUMN, "no id"} & b.manifest["skipped"].keys()
    a, b = (api.Store.open(folder / name) for name in "ab")
    assert list(a.documents()) == list(b.documents())
    assert list(a.redirects()) == list(b.redirects())
    for name in ("offsets", "targets", "links", "sections", "in_degree"):
        assert np.array_equal(getattr(a.graph(), name), getattr(b.graph(), name)), name
    meta = a.graph().meta
    if form == "jsonl":
        rows = map(json.loads, (folder / "out" / "documents.jsonl").read_text("utf-8").split("\n")[:-1])
    else:
        rows = pq.read_table(folder / "out" / "documents.parquet").to_pylist()
    outcomes = [link["outcome"] for row in rows for link in row.get("links", ())]
    found = {key: outcomes.count(key) for key in ("resolved", "missing", "self", "disambiguation")}
    assert found == {"resolved": meta["edges"], "missing": meta["dead"], "self": meta["self"],
                     "disambiguation": meta["disambiguation"]}  # fmt: skip
    assert counts["edges"] == meta["edges"]


def test_a_store_just_built_has_its_links_and_graphs(tmp_path):
    made = linkbert.build_store(
        [linkbert.Document("a", "A", "See B.", (linkbert.Link(4, 5, "b"),)), linkbert.Document("b", "B", "Nothing.")],
        tmp_path / "store", vocabulary="train:100",
    )  # fmt: skip
    assert [(outcome, target) for _, outcome, target in made.links(0)] == [("resolved", 1)]
    assert made.graph().edges_in(1).tolist() == [0]


def test_what_is_wrong_with_documents_is_one_line_that_names_them(tmp_path):
    good, how = linkbert.Document("f", "F", "France."), {"vocabulary": "train:100"}
    for documents, options, said in (
        ([good], {"format": "markdown"}, "of Documents no file is read: leave out format"),
        ([good], {"options": {"columns": "id=a"}}, "leave out options"),
        ([good, linkbert.Document("a", "A", b"abc")], {}, r"documents\[1\] \(id 'a'\): Object of type bytes"),
        ([linkbert.Document("a", "A", "text", sections=("a",))], {}, r"documents\[0\] \(id 'a'\): "),
        ([good, "path"], {}, r"documents\[1\] is 'path': give Documents only"),
        (3, {}, "sources are paths or Documents, got 3"),
        ([good], {"workers": 1.5}, r"workers must be an integer >= 1, got 1\.5"),
        ([good], {"workers": "2"}, "workers must be an integer >= 1, got '2'"),
        ([tmp_path, good], {}, r"got Document\(.*: give linkbert.Document objects"),
        ([linkbert.Document("a", "A", None)], {}, r"no document was found in the Documents \(no text: 1\)"),
        ([], {}, "no source was given, and no Document"),
        (None, {}, "no source was given, and no Document"),
        ((each for each in ()), {}, "no source was given, and no Document"),
        ([good], {"vocabulary": 200}, "vocabulary must be a path or a name, got a int"),
        ([good], {"options": ["a=b"]}, "options must be a dict, got"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            build_store(documents, tmp_path / "store", **how | options)
        assert "\n" not in str(caught.value)
        assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="to must be a path"):
        build_store([good], "")


def test_documents_that_cannot_be_as_they_are_are_counted_and_named(tmp_path):
    documents = [linkbert.Document("a\ud800", "\udfff", "half \ud83d pair", (linkbert.Link(5, 6, "f\ud800"),)),
                 linkbert.Document("b", "B", None),
                 linkbert.Document("c", "C", "C.", (linkbert.Link(0, 1, ""),))]  # fmt: skip
    made = build_store(documents, tmp_path / "store", vocabulary="train:100")
    assert made.document(0) == linkbert.Document(
        "a\ufffd", "\ufffd", "half \ufffd pair", (linkbert.Link(5, 6, "f\ufffd"),)
    )
    assert made.manifest["skipped"] == {
        "half of a surrogate pair (replaced)": 1, "no text": 1, "link without target": 1
    }  # fmt: skip
    assert made.manifest["examples"][1] == "documents[1] (id 'b'): no text"
    for links in (((0, 1, "f"),), (linkbert.Link("f", 0, 1),), linkbert.Link(0, 1, "f")):
        with pytest.raises(ValueError, match=r"documents\[0\] \(id 'd'\): .*Link"):
            build_store([linkbert.Document("d", "D", "D.", links)], tmp_path / "no", vocabulary="train:100")
    one = build_store(linkbert.Document("a", "A", "One Document alone."), tmp_path / "one", vocabulary="train:100")
    assert len(one) == 1


def test_documents_of_any_size_are_built_and_no_file_of_ones_own_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("linkbert.corpora.readers.streams.LARGEST", 64)  # of a line of a file
    monkeypatch.chdir(tmp_path)
    for name in ("wiki.documents.jsonl", "wiki.lock"):
        Path(name).write_text("my own")
    documents = [
        linkbert.Document("a", "A", "See b here. " * 9, (linkbert.Link(4, 5, "b"),)),
        linkbert.Document("b", "B", "B."),
    ]
    made = build_store(documents, "wiki", vocabulary="train:100")
    assert [each.id for each in made.documents()] == ["a", "b"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["wiki", "wiki.documents.jsonl", "wiki.lock"]
    assert Path("wiki.lock").read_text() == Path("wiki.documents.jsonl").read_text() == "my own"
    again = build_store(iter(documents), tmp_path / "wiki", vocabulary="train:100")  # the same place in other words
    assert again.manifest == made.manifest
    monkeypatch.setattr("linkbert.corpora.build.END", 1)
    monkeypatch.setattr("linkbert.corpora.build.WHOLE", 1)
    other = [replace(documents[0], text=documents[0].text.replace("h", "H")), documents[1]]  # as large
    with pytest.raises(ValueError, match="changed since"):
        build_store(other, "wiki", vocabulary="train:100")


def test_a_note_that_changes_is_told_from_the_one_that_was_built(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "oak.md").write_text("Oak is a tree.")
    build_store(tmp_path / "notes", tmp_path / "store", vocabulary="train:100")
    (tmp_path / "notes" / "oak.md").write_text("Oak is a bush.")
    with pytest.raises(ValueError, match="changed since"):
        build_store(tmp_path / "notes", tmp_path / "store", vocabulary="train:100")


def test_a_pair_of_surrogates_would_move_links_and_is_refused(tmp_path):
    document = linkbert.Document("x", "X", "\ud83d\ude00 see link", (linkbert.Link(7, 11, "y"),))
    with pytest.raises(ValueError, match=r"documents\[0\] \(id 'x'\): a surrogate pair in two"):
        build_store([document], tmp_path / "store", vocabulary="train:100")


def test_numbers_that_pandas_wrote_are_names_and_places(tmp_path):
    lines = [{"id": 7, "text": "Lutetia."}, {"redirect": 12, "target": 7}, {"redirect": "Lut", "target": 7.0},
             {"id": "a", "text": "See it.", "links": [{"start": 0.0, "end": 3.0, "target": 12}]}]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = build_store(tmp_path / "in.jsonl", tmp_path / "store", vocabulary="train:100")
    assert not store.manifest["skipped"]
    assert store.document(1).links == (linkbert.Link(0, 3, "12"),)
    assert store.graph().edges_out(1).tolist() == [0]


def test_a_glob_is_one_for_the_command_line_and_for_python(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": "Text."}) + "\n")
    store = build_store(str(tmp_path / "in" / "*.jsonl"), tmp_path / "one", vocabulary="train:100")
    assert [document.id for document in store.documents()] == ["a", "b"]
    store = build_store([tmp_path / "in" / "**" / "*.jsonl"], tmp_path / "two", vocabulary="train:100")
    assert [document.id for document in store.documents()] == ["a", "b", "deep/c"]
    with pytest.raises(ValueError, match="is not there and matches no file"):
        build_store(str(tmp_path / "*.md"), tmp_path / "three", vocabulary="train:100")


def test_what_a_store_does_not_have_is_one_line(towns):
    store = api.Store.open(towns / "store")
    for ask, said in (
        (lambda: list(store.documents(9)), r"has no shard 9: they run from 0 to 0"),
        (lambda: list(store.documents(-1)), "has no shard -1"),
        (lambda: list(store.tables(["id", "texts"])), "has no column 'texts'; did you mean 'text'"),
        (lambda: store.graph().edges_in(-1), "no document -1: numbers run from 0 to 51"),
        (lambda: store.graph().edges_out(52), "no document 52"),
        (lambda: store.graph().edges_out("town 0"), "no document 'town 0': numbers run from 0 to 51"),
        (lambda: store.document("town 0"), "has no document 'town 0': numbers run from 0 to 51"),
        (lambda: store.document(1.5), r"has no document 1\.5"),
        (lambda: list(store.documents("0")), "has no shard 0"),
    ):
        with pytest.raises(ValueError, match=said):
            ask()
    assert store.find(5) is None
    assert len(repr(store)) < len(str(store.path)) + 40


def test_documents_that_break_off_leave_no_file_behind(tmp_path):
    def documents():
        yield linkbert.Document("a", "A", "One.")
        raise OSError("the line broke")

    with pytest.raises(OSError, match="the line broke"):
        linkbert.build_store(documents(), tmp_path / "store")
    assert not any(tmp_path.iterdir())


def test_a_build_from_documents_that_broke_off_goes_on(tmp_path, monkeypatch):
    documents = [linkbert.Document(str(n), f"Town {n}", "One. Two.") for n in range(9)]
    finish, finished = build._finish, []

    def stopped_once(*args):
        finished.append(args)
        if len(finished) == 1:
            raise KeyboardInterrupt
        return finish(*args)

    monkeypatch.setattr(build, "_finish", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        linkbert.build_store(documents, tmp_path / "store")
    assert len(linkbert.build_store(documents, tmp_path / "store")) == 9
    with pytest.raises(ValueError, match="other sources"):
        linkbert.build_store(documents[:5], tmp_path / "store")


def test_parquet_has_what_jsonl_has(towns, tmp_path):
    for form in ("jsonl", "parquet"):
        assert cli.main(["export", str(towns / "store"), "--to", str(tmp_path / form), "--format", form]) == 0
    for name in ("documents", "edges-hyperlink"):
        lines = [json.loads(line) for line in (tmp_path / "jsonl" / f"{name}.jsonl").read_text().splitlines()]
        assert pq.read_table(tmp_path / "parquet" / f"{name}.parquet").to_pylist() == lines
    assert not (tmp_path / "parquet" / "redirects.parquet").exists()  # there is none
    assert lines[0] == {"source": "town 0", "target": "arland", "link": 0, "section": -1}


def test_an_export_replaces_nothing_and_leaves_nothing_half(towns, tmp_path, capsys, monkeypatch):
    (tmp_path / "there").mkdir()
    assert cli.main(["export", str(towns / "store"), "--to", str(tmp_path / "there")]) == 1
    assert "is there already: name a new folder" in capsys.readouterr().err
    monkeypatch.setattr(api.Store, "link_targets", property(lambda _: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        api.export_store(towns / "store", tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_store_without_a_graph_is_exported_with_unknown_outcomes(towns, tmp_path):
    store = tmp_path / "store"
    build_store([towns / "towns.jsonl"], store, vocabulary=str(towns / "store" / "vocabulary"), graph=False)
    assert api.export_store(store, tmp_path / "out") == {"documents": 52, "links": 96, "redirects": 0, "edges": 0}
    assert {outcome for _, outcome, _ in api.Store.open(store).links(5)} == {"unknown"}


def test_redirects_and_sections_that_are_not_as_they_should_be_are_counted(tmp_path):
    lines = [{"redirect": "a"}, {"redirect": 3, "target": []}, {"id": "a", "text": "A.", "sections": [["x", 1]]},
             {"id": "b", "text": "B.", "sections": 3}, {"id": "c", "text": "C."}]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = build_documents([tmp_path / "in.jsonl"], tmp_path / "store")
    assert store.manifest["skipped"] == {
        "redirect without a name or a target": 2, "sections are not a list of names and starts": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: linkbert.load_model(None), "a model must be a path or a name, got a NoneType"),
        (lambda: linkbert.Store.open(7), "a store must be a path or a name, got a int"),
        (lambda: linkbert.pretrain("store", None), "to must be a path or a name, got a NoneType"),
        (
            lambda: linkbert.pretrain([linkbert.Document("a", "A", "b")], "run"),
            "a store must be a path or a name, got a Document",
        ),
        (lambda: linkbert.finetune(object(), "sst2", data=".", to="x"), "model must be a path or a name, got a object"),
        (lambda: linkbert.build_store("a.txt", "s", format=print), "format must be a name, got <built-in"),
        (lambda: linkbert.build_store("a.txt", ""), "to must be a path or a name, got an empty text"),
    ],
)
def test_what_is_no_path_is_one_line(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        call()
    assert not any(tmp_path.iterdir())


def test_what_python_shows_of_a_store_and_its_pairs_is_short_and_says_what_is_missing(towns, caplog):
    store = towns / "store"
    with pytest.raises(TypeError, match=r"open a store with linkbert\.Store\.open\('store'\)"):
        linkbert.Store("store")
    opened = linkbert.Store.open(store)
    assert len(repr(opened.graph())) < 1_000
    assert "array" not in repr(opened.graph())
    pairs = linkbert.PairDataset(store, sequence_length=32, shares="0,1/4,3/4", scope="segment")
    assert repr(pairs).startswith("PairDataset('")
    assert f"{len(pairs):,} pairs" in repr(pairs)
    assert "of the pairs will be linked, 75% were asked, as few places have a link" in caplog.text
