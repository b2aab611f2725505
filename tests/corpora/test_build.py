"""A build gives the same bytes however often it is killed, with however many workers; what does not fit is refused."""

import bz2
import errno
import gzip
import json
import lzma
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linkbert import registry
from linkbert.api import build_store, describe_build
from linkbert.corpora import build
from linkbert.corpora.build import build_documents
from linkbert.corpora.link_table import add_links, load_links
from linkbert.corpora.reader import CUT, FaultError, Reader, Skipped, list_options, make_options
from linkbert.corpora.readers import jsonl
from linkbert.corpora.sources import _check, find_reader, read_source
from linkbert.corpora.store import Store
from linkbert.records import Document, Link, Redirect
from linkbert.registry import BUILT_IN
from linkbert.tasks import table
from linkbert.workers import make_executor

SCRIPT = """
import sys
from linkbert.corpora.readers import jsonl
from linkbert.corpora.build import build_documents
from linkbert.workers import make_executor
jsonl.SHARD_BYTES = 20_000
with make_executor(int(sys.argv[4])) as executor:
    build_documents([sys.argv[1]], sys.argv[2], links_table=sys.argv[3], executor=executor)
"""


def write_source(path: Path, documents: int = 3000) -> Path:
    rng = random.Random(0)
    with path.open("w") as file:
        for i in range(documents):
            text = " ".join(rng.choices(["one", "two", "three."], k=60))
            links = [{"start": 0, "end": 3, "target": f"{rng.randrange(documents)}"}]
            # One document in fifty has the id of an earlier one, one line in a hundred is broken.
            file.write(json.dumps({"id": f"{i if i % 50 else i // 2}", "text": text, "links": links}) + "\n")
            file.write("" if i % 100 else "broken\n")
    return path


def write_table(path: Path, documents: int = 3000) -> Path:
    path.write_text("source\ttarget\n" + "".join(f"{i}\t{i * 7 % documents}\n" for i in range(0, documents, 3)))
    return path


def content(store: Path) -> dict[str, bytes]:
    files = {path.relative_to(store).as_posix(): path for path in sorted(store.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "store.json"} | {
        "store.json": json.dumps(json.loads((store / "store.json").read_text()) | {"created": ""}).encode()
    }


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["processes", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_worker_that_dies_costs_no_finished_shard(tmp_path, kind):
    path = write_source(tmp_path / "a.jsonl")
    build_documents([path], tmp_path / "here")
    killed = []

    def kill_one(stage, done, total):
        if not killed and done > total // 4:
            workers = [child.pid for child in multiprocessing.active_children()]
            if kind == "dask":  # the children are nannies of the workers
                workers = [worker.pid for worker in cluster.workers.values()]
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with ExitStack() as stack:
        address = None
        if kind == "dask":
            distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
            cluster = distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=":0")
            address = stack.enter_context(cluster).scheduler_address
        executor = stack.enter_context(make_executor(2, address))
        try:
            build_documents([path], tmp_path / "there", executor=executor, progress=kill_one)
        except ValueError as error:  # Dask starts another worker by itself
            assert kind == "processes"
            assert str(error).startswith("a worker was killed")  # noqa: PT017
    build_documents([path], tmp_path / "there")
    assert killed
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_bytes_with_one_worker_or_two(tmp_path):
    source, table = write_source(tmp_path / "a.jsonl"), write_table(tmp_path / "links.tsv")
    whole = build_documents([source], tmp_path / "whole", links_table=table)
    assert whole.shards > 12
    shards = sorted(random.Random(0).sample(range(1, whole.shards - 5), 2))
    store = tmp_path / "killed"
    for workers, stop in zip((1, 2), shards, strict=True):
        command = [sys.executable, "-c", SCRIPT, str(source), str(store), str(table), str(workers)]
        with subprocess.Popen(command) as process:
            while process.poll() is None and len(list(store.glob("documents/*.json"))) < stop:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
    assert not (store / "store.json").exists()
    with pytest.raises(ValueError, match="is an unfinished build: run the same"):
        Store.open(store)
    time.sleep(0.2)  # workers end when they see that their parent has gone
    assert subprocess.run([*command[:-1], "2"], check=True, timeout=60).returncode == 0
    assert content(store) == content(tmp_path / "whole")
    assert {name.split("/")[0] for name in content(store)} == {
        "documents",
        "redirects",
        "dropped.parquet",
        "store.json",
    }


def test_a_finished_shard_is_not_made_again(tmp_path, monkeypatch):
    source, made = write_source(tmp_path / "a.jsonl", 600), []
    original = build.write_shard

    def write_shard(store, shard, records, skipped):
        made.append(shard)
        if len(made) == 3:
            raise KeyboardInterrupt
        original(store, shard, records, skipped)

    monkeypatch.setattr(build, "write_shard", write_shard)
    with pytest.raises(KeyboardInterrupt):
        build_documents([source], tmp_path / "store")
    store = build_documents([source], tmp_path / "store")
    assert made == [0, 1, 2, *range(2, store.shards)]


def test_the_first_document_of_an_id_stays_and_wins_over_a_redirect(tmp_path, monkeypatch):
    records = {
        "one.fake": [Document("a", "A", "first", (Link(0, 5, "b"),)), Redirect("b", "a"), Document("c", "C", "")],
        "two.fake": [Document("a", "A", "second"), Document("b", "B", ""), Redirect("d", "a"), Redirect("d", "c")],
    }
    fake = Reader(read=lambda path, options: iter(records[path.name]))
    monkeypatch.setattr(sys.modules[__name__], "FAKE", fake, raising=False)
    monkeypatch.setattr(registry, "references", registry.references.__wrapped__)
    monkeypatch.setitem(BUILT_IN["readers"], "fake", f"{__name__}:FAKE")
    for name in records:
        (tmp_path / name).touch()
    store = build_documents([tmp_path / name for name in records], tmp_path / "store", format="fake")
    assert [(document.id, document.text) for document in store.documents()] == [("a", "first"), ("c", ""), ("b", "")]
    assert [store.find(id_) for id_ in "acbd"] == [0, 1, 2, None]
    manifest = store.manifest
    assert (manifest["documents"], manifest["redirects"], manifest["shards"], manifest["links_found"]) == (3, 3, 2, 1)
    assert manifest["skipped"] == {"duplicate id": 1, "duplicate redirect": 1, "redirect shadowed by a document": 1}


def test_lines_of_json_are_no_table_of_links(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "x"}\n')
    (tmp_path / "links.jsonl").write_text('{"source": "a", "target": "b"}\n')
    with pytest.raises(ValueError, match=r"links.jsonl is JSON, no table of two columns: jq -r "):
        build_documents([tmp_path / "a.jsonl"], tmp_path / "store", links_table=tmp_path / "links.jsonl")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_a_table_of_links_joins_the_documents_it_names(tmp_path, compress):
    (tmp_path / "a.jsonl").write_text(
        '{"id": "a", "text": "x", "links": [{"target": "z"}]}\n{"id": "b", "text": ""}\n{"id": "b", "text": "again"}\n'
    )
    table = tmp_path / f"links.tsv{ {bytes: '', gzip.compress: '.gz', lzma.compress: '.xz'}[compress] }"
    table.write_bytes(compress(b"a\tb\r\nx\ta\nno tab\nb\ta\n\nx\tb\n\tb\na\tc\tmore\nb\t\xff\n"))
    store = build_documents([tmp_path / "a.jsonl"], tmp_path / "store", links_table=table)
    targets = {document.id: [link.target for link in document.links] for document in store.documents()}
    assert targets == {"a": ["z", "b", "c"], "b": ["a", "\ufffd"]}
    assert store.manifest["skipped"] == {
        "duplicate id": 1,
        "links table: invalid UTF-8 (replaced)": 1,
        "links table: not two columns": 2,
        "links table: unknown source": 2,
    }
    assert f"{table.name} line 3: links table: not two columns" in store.manifest["examples"]
    (tmp_path / "none.tsv").write_text("source\ttarget\n")
    with pytest.raises(ValueError, match=r"none\.tsv holds no links: each line must be a source, a tab or a comma"):
        build_documents([tmp_path / "a.jsonl"], tmp_path / "other", links_table=tmp_path / "none.tsv")
    assert not (tmp_path / "other").exists()


def test_a_store_is_built_once_and_another_is_refused(tmp_path):
    source, store = write_source(tmp_path / "a.jsonl", 300), tmp_path / "store"
    seen = []
    build_documents([source], store, progress=lambda *told: seen.append(told))
    assert seen[-1] == ("documents", source.stat().st_size, source.stat().st_size)
    before = content(store)
    assert build_documents([source], store).manifest["documents"] == len(Store.open(store))
    assert content(store) == before
    with pytest.raises(ValueError, match=r"holds a store of other sources or options, .* choose another folder"):
        build_documents([source], store, links_table=write_table(tmp_path / "links.tsv"))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds an unfinished build of other sources .* run that one again"):
        build_documents([source], unfinished)
    with pytest.raises(ValueError, match="is in the way: it is neither a store nor an empty folder"):
        build_documents([source], tmp_path)
    assert source.exists()


def test_a_source_that_changed_at_equal_size_is_another(tmp_path):
    file, folder = write_source(tmp_path / "a.jsonl", 300), tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("one")
    stores = {file: tmp_path / "of-file", folder: tmp_path / "of-folder"}
    for source, store in stores.items():
        build_documents([source], store)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("what is hidden is not read, and may change")
    build_documents([folder], stores[folder])
    file.write_bytes(b"\n" + file.read_bytes()[:-1])
    (folder / "a.md").rename(folder / "b.md")
    for source, store in stores.items():
        with pytest.raises(ValueError, match="or its sources have changed"):
            build_documents([source], store)


@pytest.mark.parametrize("what", ["file", "replaced", "folder", "table"])
def test_a_source_that_changes_while_it_is_read_is_one_line(tmp_path, what):
    file, folder = write_source(tmp_path / "a.jsonl", 300), tmp_path / "notes"
    table = write_table(tmp_path / "links.tsv")
    folder.mkdir()
    for name in "ab":
        write_source(folder / f"{name}.jsonl", 300)

    def change(*_):
        changed = {"folder": folder / "b.jsonl", "table": table}.get(what, file)
        data = changed.read_bytes()
        if what == "replaced":
            changed.unlink()
        changed.write_bytes(data[:100_000] + data[100_000:].replace(b"a", b"b"))  # its ends and its size are the same

    for _ in range(2):  # nor is it finished by the next
        with pytest.raises(
            ValueError, match=r"changed while it was read: remove .*/store|have changed since"
        ) as caught:
            build_documents(
                [folder if what == "folder" else file], tmp_path / "store", links_table=table, progress=change
            )
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "store" / "store.json").exists()


def test_what_nobody_reads_may_change_and_a_source_that_is_not_there_is_counted(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("one")
    log = folder / "build.log"
    log.write_text("begun")
    store = build_documents([folder], tmp_path / "store", progress=lambda *_: log.write_text(log.read_text() + "."))
    assert len(store) == 1
    assert log.read_text() > "begun"
    absent = "http://127.0.0.1:9/missing.jsonl"
    store = build_documents([write_source(tmp_path / "a.jsonl", 300), absent], tmp_path / "other")
    assert len(store) > 200
    assert any(absent in json.dumps(example) for example in store.manifest["examples"])


def test_stray_files_in_a_store_are_no_shards(tmp_path):
    source = write_source(tmp_path / "a.jsonl", 300)
    whole = build_documents([source], tmp_path / "whole")
    strays = [
        f"{part}/{name}" for part in ("documents", "redirects") for name in ("a.json", "00000 (1).parquet", "9.json")
    ]

    def stray(*_):
        for name in strays:
            (tmp_path / "store" / name).write_text("{}")

    store = build_documents([source], tmp_path / "store", progress=stray)
    assert {name: data for name, data in content(store.path).items() if name not in strays} == content(whole.path)


def test_files_of_other_kinds_among_the_sources_are_counted_and_named(tmp_path):
    (tmp_path / "data.dat.gz").write_bytes(gzip.compress(b"a,b"))
    (tmp_path / "x.bin").write_bytes(bytes(10))
    source = write_source(tmp_path / "a.jsonl", 3)
    store = build_documents([source, tmp_path / "data.dat.gz", tmp_path / "x.bin"], tmp_path / "store")
    assert store.manifest["other_files"] == {".bin": 1, ".dat.gz": 1}
    assert CUT not in store.manifest["skipped"]
    assert store.manifest["examples"][-1].endswith("x.bin: file of another kind: .bin")


@pytest.mark.slow
def test_the_remedy_for_a_mixed_folder_reads_all_of_it(tmp_path, caplog):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": "Text. " * 999}) + "\n")
    pq.write_table(pa.table({"id": ["c"], "text": ["Text."]}), tmp_path / "in" / "deep" / "c.parquet")
    (tmp_path / "in" / "note.md").write_text("A note.")
    store = build_store(tmp_path / "in", tmp_path / "one", vocabulary="train:100")
    assert len(store) == 2
    said = next(record.getMessage() for record in caplog.records if "parquet" in record.getMessage())
    assert said.startswith(f"1 file of {tmp_path / 'in'} left out, which is read as jsonl: ")
    pattern = said.split("'")[1]
    store = build_store([tmp_path / "in", pattern], tmp_path / "two", vocabulary="train:100")
    assert [document.id for document in store.documents()] == ["a", "b", "c"]
    notes = f"put them ({tmp_path / 'in'}/**/*.md) into a folder of their own and name it, too"
    assert f"--format markdown reads them in place of it; to read both, {notes}" in caplog.text


def test_what_is_left_out_is_shown_and_the_rest_counted(tmp_path, caplog):
    lines = [json.dumps({"id": f"a{number}", "text": "Text."}) for number in range(30)]
    links = [{"target": f"a{number}"} for number in range(2, 30)] * 40
    first = json.dumps({"id": "b", "text": "Text.", "links": [{"start": 0, "end": 4, "target": "a1"}, *links]})
    (tmp_path / "a.jsonl").write_text("\n".join([first, *lines, *lines]) + "\n")
    build_documents([tmp_path / "a.jsonl"], tmp_path / "store")
    assert "duplicate id" in caplog.text
    assert f"and {30 - sum('duplicate id' in message for message in caplog.messages)} more, counted" in caplog.text
    assert "of 1,121 links only 1 have a place in the text" in caplog.text


def test_pages_beside_files_of_an_unknown_kind_are_read(tmp_path):
    for number in range(6):
        (tmp_path / f"p{number}.html").write_text(f"<p>Page {number}")
        for part in range(2):
            (tmp_path / f"p{number}-{part}.chunk").write_text("x")
    assert find_reader(tmp_path) == "html"
    (tmp_path / "more.chunk").write_text("x")
    with pytest.raises(ValueError, match=r"holds mostly \.chunk files.*it holds \.(chunk 13|html 6), "):
        find_reader(tmp_path)
    for number in range(1_000):
        (tmp_path / f"a{number}.chunk").touch()
    with pytest.raises(ValueError, match=r"among the first 1,000 files are \.chunk 1000"):
        find_reader(tmp_path)


def test_a_cut_source_is_built_and_the_cut_is_reported(tmp_path):
    path = tmp_path / "a.jsonl.xz"
    data = lzma.compress(write_source(tmp_path / "a.jsonl").read_bytes())
    path.write_bytes(data[: len(data) // 2])
    store = build_documents([path], tmp_path / "store")
    assert 500 < len(store) < 2500
    assert store.manifest["skipped"]["source cut off or damaged"] == 1
    assert any("is cut off: its compressed data ends" in example for example in store.manifest["examples"])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "is empty: there is no document in it"),
        ("a.jsonl", b"{}\nbroken\n", r"no document was found in .*a\.jsonl \(no id: 1; not JSON: 1\)"),
        ("a.jsonl.gz", b"what is this", "is not a .gz file, or damaged from its start"),
        ("a.xml.bz2", b"not bzip2", "is not a .bz2 file, or damaged from its start"),
        ("a.bin", b"what is this", r"in no format that is known here: name one with --format \(jsonl, "),
        ("a.bin", b"", "is empty"),
        (
            "folder/a.png",
            b"",
            r"holds nothing that is known here \(.jsonl, .*\): it holds .png 1; --format NAME .*:reader",
        ),
    ],
)
def test_bad_sources_are_one_line_and_leave_nothing(tmp_path, name, data, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        build_documents([path.parent if "/" in name else path], tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_bad_arguments_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="no source was given"):
        build_documents([], tmp_path / "store")
    with pytest.raises(ValueError, match=r"missing\.jsonl is not there: check the path"):
        build_documents([tmp_path / "missing.jsonl"], tmp_path / "store")
    with pytest.raises(ValueError, match="unknown reader 'json'; did you mean 'jsonl'"):
        build_documents([tmp_path], tmp_path / "store", format="json")


def test_a_full_disk_is_one_line_and_the_build_goes_on_after_it(tmp_path, monkeypatch):
    source, store = write_source(tmp_path / "a.jsonl", 600), tmp_path / "store"
    original = build.write_shard

    def write_shard(folder, shard, records, skipped):
        if shard == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(folder, shard, records, skipped)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_shard", write_shard)
        with pytest.raises(ValueError, match=r"^the disk is full: make room and run the same command again"):
            build_documents([source], store)
    assert not list(store.rglob("*.part"))
    build_documents([source], store)
    build_documents([source], tmp_path / "whole")
    assert content(store) == content(tmp_path / "whole")


def test_what_a_cluster_still_writes_after_an_error_is_not_in_the_way(tmp_path):
    """The only shard that was asked for fails, and another one of the cluster's is written when the build has ended."""
    source, store, flying = write_source(tmp_path / "a.jsonl", 600), tmp_path / "store", []

    class Cluster(Executor):
        in_flight = 2
        elsewhere = frozenset()

        def submit(self, function, *arguments):
            flying.append(partial(function, *arguments))
            future = Future()
            future.set_exception(OSError(errno.ENOSPC, "No space left on device", "00000.parquet"))
            return future

    with pytest.raises(ValueError, match="the disk is full"):
        build_documents([source], store, executor=Cluster())
    flying[0]()
    build_documents([source], store)
    build_documents([source], tmp_path / "whole")
    assert content(store) == content(tmp_path / "whole")


def test_paths_may_hold_what_sql_and_globs_mean_something_by(tmp_path):
    source = tmp_path / "it's [a] source*.jsonl"
    source.write_text('{"id": "a", "text": ""}\n{"id": "a", "text": ""}\n')
    store = build_documents([source], tmp_path / "it's [a] store?*")
    assert len(store) == 1
    assert find_reader(source) == "jsonl"


@pytest.mark.slow
def test_a_dask_cluster_builds_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    source = write_source(tmp_path / "a.jsonl", 600)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="inproc://"
        ) as cluster,
        make_executor(dask=cluster.scheduler_address) as executor,
    ):
        build_documents([source], tmp_path / "dask", executor=executor)
    build_documents([source], tmp_path / "here")
    assert content(tmp_path / "dask") == content(tmp_path / "here")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "documents", "links"),
    [("computing-dictionary", 12_010, 57_941), ("wikipedia-articles", 7_136, 52_458)],
)
def test_real_corpora_have_their_known_sizes(data, tmp_path, monkeypatch, name, documents, links):
    monkeypatch.undo()
    table = data / "corpora" / f"{name}.links.tsv.xz"
    source = data / "corpora" / f"{name}.jsonl.xz"
    store = build_documents([source], tmp_path / "store", links_table=table if table.exists() else None)
    assert (len(store), store.manifest["links_found"], store.manifest["skipped"]) == (documents, links, {})


PLUGIN = """
from linkbert.corpora.reader import Reader
from linkbert.records import Document, Link


def read(source, options):
    for number, line in enumerate(source.read_text().splitlines()):
        yield Document(str(number), "", line, (Link(-1, -1, "0"),))


def read_file(name, data, options, skipped):
    yield Document(name, "", data.decode())


FILES = Reader(read_file=read_file, suffixes=(".note",))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_of_ones_own_works_with_any_number_of_workers(tmp_path, monkeypatch, workers):
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "notes").mkdir()
    for name in ("a.note", "b.note"):
        (tmp_path / "notes" / name).write_text(f"text of {name}\nmore")
    with make_executor(workers) as executor:
        store = build_documents(
            [tmp_path / "notes" / "a.note"], tmp_path / "one", format="own_plugin:read", executor=executor
        )
        assert [document.text for document in store.documents()] == ["text of a.note", "more"]
        store = build_documents([tmp_path / "notes"], tmp_path / "two", format="own_plugin:FILES", executor=executor)
        assert [document.id for document in store.documents()] == ["a.note", "b.note"]
    with pytest.raises(ValueError, match="own_plugin:nothing cannot be imported"):
        build_documents([tmp_path / "notes"], tmp_path / "three", format="own_plugin:nothing")


BAD_PLUGIN = """
from linkbert.corpora.reader import FaultError, Reader
from linkbert.records import Document, Link


class TwoError(ValueError):
    def __init__(self, one, two):
        super().__init__(one + two)


def fail():
    raise TwoError("one", "two")


def read_file(name, data, options, skipped):
    if data == b"links":
        links = (Link(0, 5, "x"), Link(0, 6, "x"), Link(3, 2, "x"), Link(-1, -1, "x"))
        yield Document(name, "", "links", links)
    yield {b"dict": {}, b"int": Document(1, "", "")}.get(data) or eval(data)


FILES, BARE = Reader(read_file=read_file, suffixes=(".org",)), Reader(read_file=read_file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("int('x')", "invalid literal"),
        ("nothing", "NameError: name 'nothing' is not defined (run with -v for the traceback)"),
        ("fail()", "onetwo"),
        ("[][0]", "IndexError: list index out of range"),
        ("dict", "TypeError: a reader yields Documents and Redirects"),
        ("int", "TypeError: a reader yields Documents and Redirects whose texts are str"),
    ],
)
def test_an_error_of_a_reader_of_ones_own_names_it_and_the_file(tmp_path, monkeypatch, data, said, workers):
    (tmp_path / "bad_plugin.py").write_text(BAD_PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "gamma.org").write_text(data)
    with (
        pytest.raises(ValueError, match=r"bad_plugin:FILES, .*/notes/gamma\.org: ") as error,
        make_executor(workers) as executor,
    ):
        build_documents([tmp_path / "notes"], tmp_path / "store", format="bad_plugin:FILES", executor=executor)
    assert said in str(error.value)


def test_links_out_of_range_lose_their_place_and_a_tree_needs_suffixes(tmp_path, monkeypatch):
    (tmp_path / "bad_plugin.py").write_text(BAD_PLUGIN.replace("    yield {", "    return\n    yield {"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_plugin", raising=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.org").write_text("links")
    store = build_documents([tmp_path / "notes"], tmp_path / "store", format="bad_plugin:FILES")
    assert [(link.start, link.end) for link in store.document(0).links] == [(0, 5), (-1, -1), (-1, -1), (-1, -1)]
    assert store.manifest["skipped"] == {"link out of range (kept without its place)": 2}
    many = Document("many", "", "text", (Link(0, 9, "b"),) * 30_000)  # in linear time
    assert {link.start for link in next(_check(many, Skipped(), "")).links} == {-1}
    with pytest.raises(ValueError, match="the reader bad_plugin:BARE names no suffixes; give Reader"):
        build_documents([tmp_path / "notes"], tmp_path / "bare", format="bad_plugin:BARE")


def test_a_broken_plugin_is_left_out_with_a_warning_and_raises_only_by_its_name(tmp_path, monkeypatch, caplog):
    (tmp_path / "broken_plugin.py").write_text("import no_such_module")
    metadata = tmp_path / "broken-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    groups = ("readers", "tasks")
    (metadata / "entry_points.txt").write_text("".join(f"[linkbert.{g}]\nbrk = broken_plugin:X\n" for g in groups))
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (registry.references, registry.usable, table.tasks):
        cached.cache_clear()
    try:
        source = write_source(tmp_path / "a.jsonl", 3)
        assert find_reader(source) == "jsonl"
        assert list_options()
        assert "rte" in table.tasks()
        said = "of an installed package, broken_plugin:X cannot be imported (No module named 'no_such_module')"
        lines = [f"{kind} 'brk' {said}: it is left out" for kind in ("reader", "task")]
        assert [record.getMessage() for record in caplog.records] == lines
        with pytest.raises(ValueError, match="reader 'brk' of an installed package"):
            build_documents([source], tmp_path / "store", format="brk")
    finally:
        monkeypatch.undo()
        for cached in (registry.references, registry.usable, table.tasks):
            cached.cache_clear()


def test_a_fault_pickles_and_dicts_are_no_documents(tmp_path):
    fault = pickle.loads(pickle.dumps(FaultError("cause", "message")))
    assert (fault.cause, str(fault)) == ("cause", "message")
    with pytest.raises(ValueError, match=r"give linkbert\.Document objects"):
        build_store([{"id": "a", "text": "one"}], tmp_path / "store")


def test_an_option_that_the_reader_does_not_take_is_refused_and_its_readers_are_named(tmp_path):
    source = write_source(tmp_path / "a.jsonl", 3)
    with pytest.raises(ValueError, match=r"--before is an option of jats and pubmed, not of jsonl: leave it out"):
        build_documents([source], tmp_path / "store", options={"before": "2020-01"})
    with pytest.raises(ValueError, match=r"unknown option --befor; did you mean '--before'"):
        build_documents([source], tmp_path / "store", options={"befor": "2020-01"})
    with pytest.raises(ValueError, match=r"--min-words must be of type int, got 'many'"):
        make_options(["pubmed"], {"min_words": "many"})
    with pytest.raises(ValueError, match=r"'2020' is not a month such as 2020-02"):
        make_options(["pubmed"], {"before": "2020"})
    assert make_options(["pubmed", "html"], {"min_words": "3", "drop": "p"})["pubmed"].min_words == 3
    assert not (tmp_path / "store").exists()


def test_options_are_listed_with_their_readers():
    rows = {(row.reader, row.name): row for row in list_options()}
    assert rows["pubmed", "min_words"][2:] == (int, 0, "only abstracts of so many words or more")
    assert {reader for reader, name in rows if name == "drop"} == {"html", "zim"}


LINES = ['{"id": 101, "text": "one", "links": [102.0, "a"]}\n', '{"id": 102.0, "text": "two", "links": []}\n']
PUBMED = """<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>{}</PMID><Article><ArticleTitle>One</ArticleTitle>
</Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"""
WIKI = """<mediawiki><page><title>{}</title><ns>0</ns><revision><text>Text.</text></revision></page></mediawiki>"""
JATS = """<article><front><article-meta><article-id pub-id-type="pmid">{}</article-id></article-meta></front>
<body><p>One.</p></body></article>"""
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def pack(folder: Path, kind: str) -> Path:
    """Put a folder into an archive, or leave it as it is."""
    return folder if kind == "folder" else Path(shutil.make_archive(f"{folder}-{kind}", kind, folder))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar"])
@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize(
    ("reader", "suffix", "contents", "ids"),
    [
        ("jsonl", ".ndjson", LINES, ["101", "102"]),
        ("pubmed", ".xml", [PUBMED.format(7), PUBMED.format(8)], ["7", "8"]),
        ("mediawiki", ".xml", [WIKI.format("Ab"), WIKI.format("Cd")], ["Ab", "Cd"]),
        ("jats", ".nxml", [JATS.format(5), JATS.format(6)], ["5", "6"]),
        ("text", ".txt", ["one", "two"], ["nested/a0", "nested/a1"]),
    ],
)
def test_a_tree_of_any_kind_of_files_is_read(tmp_path, kind, compression, reader, suffix, contents, ids):
    folder = tmp_path / "source"
    (folder / "nested").mkdir(parents=True)
    for number, content in enumerate(contents):
        name = f"nested/a{number}{suffix}{compression}"
        (folder / name).write_bytes(COMPRESS[compression](content.encode()))
    (folder / "one.tid").write_text("other")
    source, skipped = pack(folder, kind), Skipped()
    assert find_reader(source) == reader
    records = [record for record in read_source(reader, source, None, skipped) if isinstance(record, Document)]
    assert sorted(record.id for record in records) == ids  # make_archive does not sort
    assert skipped == {"file of another kind: .tid": 1}


@pytest.mark.parametrize(
    "head", ['<article xmlns="http://docbook.org/ns/docbook">', "<!DOCTYPE article PUBLIC 'DTD DocBook'><article>"]
)
def test_articles_of_docbook_are_read_by_xpaths(tmp_path, head):
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).write_text(f'<?xml version="1.0"?>{head}<para>Words.</para></article>')
    with pytest.raises(ValueError, match="--format xml reads them by XPaths"):
        find_reader(tmp_path)


def test_a_large_file_of_no_known_kind_hides_no_reader(tmp_path):
    files = {"a.xml": JATS.format(5), "b.xml": JATS.format(6), "index.xml": "<list>" + "<x/>" * 999}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert find_reader(tmp_path) == "jats"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_by_another_name_is_no_text(tmp_path, kind):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.md").write_text("See [b](b.md).")
    shutil.make_archive(str(tmp_path / "notes"), kind, tmp_path / "x")
    (tmp_path / f"notes.{kind}").rename(tmp_path / "notes")
    with pytest.raises(ValueError, match=r"archive, no text \(left out; its name is to end in \.zip or \.tar\): 1"):
        build_documents([tmp_path / "notes"], tmp_path / "store", format="markdown")


def test_what_no_reader_takes_by_itself_names_a_way(tmp_path):
    (tmp_path / "a.xml").write_text("<memo/>")
    with pytest.raises(ValueError, match=r"--format xml reads it by XPaths, --format package\.module:reader"):
        find_reader(tmp_path / "a.xml")


def test_a_book_is_read_as_the_zip_of_pages_that_it_is(tmp_path):
    head = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{0}</title></head>'
    page = head + '<body><p>{0}, see <a href="{1}">{1}</a>.</p></body></html>'
    with zipfile.ZipFile(tmp_path / "book.EPUB", "w") as book:
        for name, content in (
            ("mimetype", "application/epub+zip"), ("META-INF/container.xml", "<c/>"), ("OEBPS/a.opf", "<package/>"),
            ("OEBPS/1.xhtml", page.format("One", "2.xhtml")), ("OEBPS/2.xhtml", page.format("Two", "1.xhtml#x")),
        ):  # fmt: skip
            book.writestr(name, content)
    assert find_reader(tmp_path / "book.EPUB") == "html"
    store = build_documents([tmp_path / "book.EPUB"], tmp_path / "store")
    assert [(each.title, each.links[0].target) for each in store.documents()] == [
        ("One", "OEBPS/2.xhtml"), ("Two", "OEBPS/1.xhtml"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
@pytest.mark.parametrize("compression", ["", ".gz"])
def test_a_tree_of_tables_is_read(tmp_path, kind, compression):
    folder = tmp_path / "source"
    folder.mkdir()
    for number, ids in enumerate([[1, 2], [3.0, 4.0]]):
        table = pa.table({"id": ids, "text": ["x", "y"], "links": [[4.0], [3.0]]})
        pq.write_table(table, tmp_path / "one")
        (folder / f"{number}.parquet{compression}").write_bytes(COMPRESS[compression]((tmp_path / "one").read_bytes()))
    records = list(read_source("parquet", pack(folder, kind)))
    links = [(record.id, record.links[0].target) for record in records]
    assert sorted(links) == [("1", "4"), ("2", "3"), ("3", "4"), ("4", "3")]


def test_the_build_says_what_was_read_and_what_was_skipped(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a.tid", "b.tid", "c.PNG", "Makefile"):
        (folder / name).write_text("other")
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(LINES[0].encode()))
    (folder / "b.jsonl").write_bytes(b"")
    store = build_documents([folder], tmp_path / "store", options={"columns": "title=id"})
    assert store.manifest["skipped"] == {"empty file": 1}
    assert describe_build(store) == [
        f"{folder}: read as jsonl (files *.jsonl, *.ndjson, *.json, compressed or not) --columns title=id",
        "skipped 4 files: .tid 2, .png 1, no suffix 1",
    ]


@pytest.mark.parametrize(
    ("name", "columns", "column"),
    [
        ("a.md", None, ""),
        ("a.jsonl", "", "--columns links=NAME names a column of them, "),
        ("a.jsonl", "links=bib.*.link", "nothing stands at links=bib.*.link, which --columns names, "),
    ],
)
def test_a_store_without_links_says_where_they_may_come_from(tmp_path, name, columns, column):
    (tmp_path / name).write_text('{"id": "a", "text": "Words."}' if column else "Words.")
    options = {} if columns is None else {"columns": columns}
    lines = describe_build(build_documents([tmp_path / name], tmp_path / "store", options=options))
    assert lines[1:] == [f"no links found: {column}--links FILE names a table of them"]


def test_a_bad_file_of_a_tree_costs_only_itself(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.jsonl.gz").write_bytes(gzip.compress("".join(LINES).encode() * 500)[:-40])
    (folder / "b.jsonl").write_text(LINES[1])
    (folder / "c.jsonl.xz").write_bytes(b"not xz")
    store = build_documents([folder], tmp_path / "store")
    assert (len(store), store.manifest["skipped"][CUT]) == (2, 2)


@pytest.mark.parametrize(
    ("table", "edges"),
    [
        ('"source"\t"target"\n"a"\t"b"\n"b"\t"c d"\n', [("a", "b"), ("b", "c d")]),
        ('"","source","target"\n"1","a","b"\n', [("a", "b")]),
        ('source,target\na,"c, d"\n"say ""x""",b\n', [("a", "c, d"), ('say "x"', "b")]),
        ("a,b\nb,a\n", [("a", "b"), ("b", "a")]),
        ("year,target,source\n2001,b,a\n", [("a", "b")]),
        ('"Heroes"\ta\na\t"Heroes"\na\t"Heroes" (song)\n',
         [('"Heroes"', "a"), ("a", '"Heroes"'), ("a", '"Heroes" (song)')]),
        ('paper\tref\n"a"\t"b"\n"b"\t"c d"\n', [("paper", "ref"), ("a", "b"), ("b", "c d")]),
        ('source\ttarget\na\tb\n"say ""x"""\ta\n', [("a", "b"), ('say "x"', "a")]),
        ('from\tto\n7\t"c d"\n"c d"\t7\n', [("7", "c d"), ("c d", "7")]),
        ("101.0,102\n102.0,1e+05\nnan,101\n", [("101", "102"), ("102", "100000"), ("nan", "101")]),
        ("007\t1.0\nb\t2.0\n", [("007", "1"), ("b", "2")]),
        ("1.0\ta\nb\t1.0\n", [("1.0", "a"), ("b", "1.0")]),  # names of versions
        ("123456789012345678901,b\n", [("123456789012345678901", "b")]),
        ("source,source_id,target,target_id\nParis,p1,France,f1\n", [("Paris", "France")]),
        ("source, target\na, b c\n", [("a", "b c")]),
        ('"a", "b, c"\n"d"; e, f\n', [("a", "b, c"), ("d; e", "f")]),
        ("1e+999999999,b\n", [("1e+999999999", "b")]),  # a number that no memory holds
    ],
)  # fmt: skip
def test_a_table_of_links_is_read_as_people_write_them(tmp_path, table, edges):
    (tmp_path / "links.csv").write_text(table)
    skipped, described = load_links(tmp_path / "links.csv", tmp_path)
    assert not skipped
    assert described.startswith(f"{tmp_path / 'links.csv'}: {len(edges)} link")
    documents = [Document(id_, "", "") for id_ in dict.fromkeys(source for source, _ in edges)]
    found = add_links(iter(documents), tmp_path)
    assert [(document.id, link.target) for document in found for link in document.links] == edges


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {".xyz": 3, ".txt": 1},
            "mostly .xyz files, which no reader takes: it holds .txt 1, .xyz 3; --format text",
        ),
        ({".adoc": 31, ".md": 3}, "mostly .adoc files"),
        ({".pdf": 4, ".html": 3}, "mostly .pdf files"),
        ({"": 900, ".md": 2}, "mostly no suffix files"),
        ({".adoc": 3, ".md": 4}, "markdown"),
        ({".py": 90, ".json": 60, ".png": 300, ".md": 2}, "markdown"),
        ({".json": 900, ".md": 2}, "mostly .json files"),
        ({"": 9, ".md": 1}, "markdown"),  # LICENSE, Makefile
        ({".csv": 2, ".md": 3}, "markdown"),
        ({".csv": 2, ".md": 1}, "markdown"),  # what is no table of documents
        ({".txt": 9, ".md": 2}, "markdown"),
        ({".txt": 90, ".md": 2}, "text"),
    ],
)
def test_a_tree_of_mostly_unknown_files_is_refused_with_the_ways_on(tmp_path, files, found):
    for suffix, count in files.items():
        for number in range(count):
            (tmp_path / f"{number}{suffix}").write_text("a text of a few words,")
    if found.startswith("mostly"):
        with pytest.raises(ValueError, match=re.escape(found)) as raised:
            find_reader(tmp_path)
        assert "a reader of your own (docs/extending.md)" in str(raised.value)
    else:
        assert find_reader(tmp_path) == found


@pytest.mark.parametrize(
    ("table", "edges"),
    [
        ("citing;cited;year\na;b;2001\n", [("a", "b")]),
        ("year,to,from\n2001,b,a\n", [("a", "b")]),
        ("# Nodes: 2\n# FromNodeId\tToNodeId\n1\t2\n2\t#1\n", [("1", "2"), ("2", "#1")]),  # of SNAP
        ("% asym\n1   2\n 2 1\n", [("1", "2"), ("2", "1")]),  # of KONECT
        ("1 2 0\n2 1 1\n", [("1", "2"), ("2", "1")]),
        ("New York,Los Angeles\n", [("New York", "Los Angeles")]),
        ('<?xml version="1.0"?>\n<postlinks>\n  <row Id="9" PostId="1" RelatedPostId="2" LinkTypeId="3" />\n'
         "</postlinks>", [("1", "2")]),  # of Stack Exchange
        ("Id,CreationDate,PostId,RelatedPostId\n7,2001-02-03,1,2\n", [("1", "2")]),
        ("id,depth,cited_opinion_id,citing_opinion_id\n1,1,2,5\n2,3,3,6\n", [("5", "2"), ("6", "3")]),
        ("citationid,citingcorpusid,citedcorpusid\n9,5,2\n", [("5", "2")]),
        ("cited_paper_id\tyear\tciting_paper_id\n2\t2001\t5\n", [("5", "2")]),
        ("weight,src,dst\n0.5,a,b\n", [("a", "b")]),
        (":START_ID,role,:END_ID\na,x,b\n", [("a", "b")]),  # of Neo4j
        ("1 2 3 4\n2 5 6\n3\n4 1\n", [("1", "2"), ("1", "3"), ("1", "4"), ("2", "5"), ("2", "6"), ("4", "1")]),
        ("a,b,c,d\nb,a\nc,a,,,b\n", [("a", "b"), ("a", "c"), ("a", "d"), ("b", "a"), ("c", "a"), ("c", "b")]),
        (":START_ID(Person),role,:END_ID(Film),:TYPE\na,x,b,IN\n", [("a", "b")]),
        ("citing_doi,cited_doi,source\na,b,crossref\n", [("a", "b")]),  # the words of one pair count
        ("page_id,target,start,end\na,b,10,20\n", [("a", "b")]),
        ("paper_id,ref_id,volume,start_page,end_page\na,b,1,10,20\n", [("a", "b")]),
        ("paper_id,cited_id,subject\na,b,math\n", [("a", "b")]),
        ("id,source_type,source_id,target_type,target_id\n9,page,1,page,2\n", [("1", "2")]),
        ("page_from,year,page_to\na,2001,b\n", [("a", "b")]),
        ("1,2,0.5,17\n3,4,0.5,18\n5,6\n", [("1", "2"), ("3", "4"), ("5", "6")]),  # cut off
        ("1,2,see, also this\n3,4,anchor\n5,6\n", [("1", "2"), ("3", "4"), ("5", "6")]),
        ("1,2,NA\n3,4,2001\n", [("1", "2"), ("3", "4")]),
        ("1\t2\t\\N\n2\t3\t5\n", [("1", "2"), ("2", "3")]),
        ("a b inf\nc d 1.0\n", [("a", "b"), ("c", "d")]),
        ("1 2 2001-01-01\n2 3 2002\n", [("1", "2"), ("2", "3")]),
        ("0 1 2 3\n1 2 3\n2 3\n3\n", [("0", "1"), ("0", "2"), ("0", "3"), ("1", "2"), ("1", "3"), ("2", "3")]),
        ("PAR1,PAR2\n", [("PAR1", "PAR2")]),  # a gene
        (",0,1,2\na,b,c,\nb,a,,\n", [("a", "b"), ("a", "c"), ("b", "a")]),  # of pandas
        ("1 2 {'weight': 3}\n2 1 {}\n", [("1", "2"), ("2", "1")]),
    ],
)  # fmt: skip
def test_tables_of_links_of_others(tmp_path, table, edges):
    (tmp_path / "links").write_text(table)
    skipped, _ = load_links(tmp_path / "links", tmp_path)
    found = add_links(iter([Document(source, "", "") for source in dict.fromkeys(each for each, _ in edges)]), tmp_path)
    assert [(document.id, link.target) for document in found for link in document.links] == edges
    assert not skipped


def test_a_table_of_links_says_which_columns_were_taken(tmp_path):
    for name, text, said in (
        ("a.csv", "x,citing,cited\n1,a,b\n", "1 link, from citing to cited"),
        ("a.tsv", "1\t2\t0.5\n", "1 link, from the first column to the second of 3"),
        ("a.adjlist", "# of networkx\n1 2 3\n", "2 links, from the first column to all others"),
    ):
        (tmp_path / name).write_text(text)
        assert load_links(tmp_path / name, tmp_path)[1] == f"{tmp_path / name}: {said}"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            b"id,kind,paper,other\n1,a,5,2\n",
            "has the columns id, kind, paper, other: call two of them source and target",
        ),
        (b'\xef\xbb\xbf\n# x\n{"source": "a"}', "is JSON, no table of two columns: jq -r"),
        (b"PAR1\x15\x04", "is Parquet, no table of text: python -c"),
        (b'[{"source": "a", "target": "b"}]', "is JSON, no table of two columns: jq -r"),
        (b"[\n", "is JSON, no table of two columns: jq -r"),
        ("a,b\n".encode("utf-16"), "is UTF-16: iconv -f UTF-16"),
        (b"%%MatrixMarket matrix coordinate pattern\n3 3 1\n1 2\n", "is Matrix Market: grep -v '^%'"),
        (b"<http://a> <http://p> <http://b> .\n", "is RDF, no table"),
        (b"_:a <http://p> <http://b> . # c\n", "is RDF, no table"),
        (b"graph [\n  node [ id 1 ]\n]\n", "is a graph as networkx reads it"),
        (b'Creator "ours"\ngraph [\n', "is a graph as networkx reads it"),
        (b"*Vertices 2\n1 a\n", "is a graph as networkx reads it"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<graphml>\n', "is a graph as networkx reads it"),
        (b'<?xml version="1.0"?><graphml xmlns="g">\n<edge source="a" target="b"/>', "is a graph as networkx reads it"),
    ],
)
def test_what_is_no_table_of_links_says_what_to_do(tmp_path, table, said):
    (tmp_path / "links").write_bytes(table)
    with pytest.raises(ValueError, match=re.escape(said)):
        load_links(tmp_path / "links", tmp_path)
    assert not (tmp_path / "links.sqlite").exists()


@pytest.mark.parametrize(
    "line", ['creator\t"work"', "Creator (Mark) Jones,Book A", "Graph [discrete mathematics],Vertex", "*network,foo",
             "<graphml>,XML", "<A>\t<B>", "<?xml tutorial,XML"]
)  # fmt: skip
def test_names_that_begin_as_other_kinds_of_files_do_are_names(tmp_path, line):
    mark = "\t" if "\t" in line else ","
    (tmp_path / "links").write_text(f"{line}\na{mark}b\n")
    skipped, said = load_links(tmp_path / "links", tmp_path)
    assert (skipped, said) == ({}, f"{tmp_path / 'links'}: 2 links")


def test_no_line_of_xml_around_rows_is_a_link(tmp_path):
    rows = '<?xml version="1.0" encoding="utf-8"?>\n<postlinks>\n  <row PostId="1" RelatedPostId="3" />\n</postlinks>\n'
    (tmp_path / "PostLinks.xml").write_bytes(b"\xef\xbb\xbf" + rows.encode())
    assert load_links(tmp_path / "PostLinks.xml", tmp_path) == ({}, f"{tmp_path / 'PostLinks.xml'}: 1 link")


def test_a_build_that_was_killed_before_it_had_a_plan_is_begun_again(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "One."}\n')
    (store := tmp_path / "store").mkdir()
    (store / "plan.json.part").write_text("{")
    assert len(build_documents([tmp_path / "a.jsonl"], store)) == 1
    assert not list(store.glob("plan.json*"))


def write_site(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def what(store: Store) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Return the targets of each document's links, by id, and what was skipped."""
    links = {document.id: {link.target for link in document.links} for document in store.documents()}
    return links, dict(store.manifest["skipped"])


NOTES = {"a.md": "See [[b]] and [c](deep/c.md).", "deep/b.md": "Back to [a](../a.md).", "deep/c.md": "To [[a]]."}
PAGES = {
    name.replace(".md", ".html"): f"<html><body><p>A page. {text}</p></body></html>"
    for name, text in {
        "a.md": '<a href="deep/c.html">c</a>',
        "deep/b.md": '<a href="/a.html">a</a>',
        "deep/c.md": '<a href="../deep/b.html">b</a>',
    }.items()
}


@pytest.mark.parametrize(("files", "suffix"), [(NOTES, "md"), (PAGES, "html")])
def test_files_that_are_named_are_one_tree_as_their_folder_is(tmp_path, files, suffix):
    site = write_site(tmp_path / "site", files)
    for hidden in (".git/HEAD", "deep/.obsidian/app.json"):
        write_site(site, {hidden: "{}"})
    (site / f"gone.{suffix}").symlink_to("nothing")
    whole = build_store(site, tmp_path / "whole", vocabulary="train:100")
    whole.manifest["skipped"].clear()  # the link that leads to nothing, which a glob says, too
    named = build_store([f"{site}/**/*.{suffix}"], tmp_path / "named", vocabulary="train:100")
    again = build_store([site / name for name in reversed(files)], tmp_path / "again", vocabulary="train:100")
    assert what(whole) == what(named) == what(again)
    assert sum(map(len, what(whole)[0].values())) == sum(
        text.count("[[") + text.count("](") + text.count("<a ") for text in files.values()
    )
    assert [source["path"] for source in named.manifest["sources"]] == [f"3 files of {site}"]


def test_a_file_that_is_named_twice_or_linked_to_counts_once(tmp_path):
    site = write_site(tmp_path / "site", PAGES)
    (site / "deep" / "link.html").symlink_to("../a.html")
    (site / "deep" / "out.html").symlink_to(write_site(tmp_path, {"out.html": "<p>Out.</p>"}) / "out.html")
    store = build_documents([site / "a.html", site / "a.html", *sorted((site / "deep").iterdir())], tmp_path / "store")
    assert [document.id for document in store.documents()] == ["a.html", "deep/b.html", "deep/c.html", "out.html"]
    assert not store.manifest["skipped"]
    assert "deep/link.html" in pq.read_table(store.path / "redirects")["source"].to_pylist()


def test_of_a_tree_some_files_are_read_and_no_others(tmp_path):
    site = write_site(
        tmp_path / "site", {**NOTES, "deep/d.md": "Left out.", "deep/node_modules/e.md": "Left out, too."}
    )
    store = build_documents([site / "a.md", site / "deep" / "b.md"], tmp_path / "store")
    assert what(store)[0] == {"a": {"deep/b", "deep/c"}, "deep/b": {"a"}}


def test_named_files_of_several_kinds_are_read_by_their_readers(tmp_path):
    site = write_site(tmp_path / "site", {**NOTES, "x.jsonl": '{"id": "x", "text": "Text."}\n', "broken.bin": "\0"})
    store = build_documents(
        [site / "x.jsonl", *(site / name for name in NOTES), site / "broken.bin"], tmp_path / "store"
    )
    assert {*what(store)[0]} == {"x", "a", "deep/b", "deep/c"}
    assert store.manifest["other_files"] == {".bin": 1}


def test_pages_of_a_mirror_have_any_name(tmp_path):
    """wget saves a page by its address: without a suffix, with a query, with the suffix of the program that made it."""
    page = '<!DOCTYPE html>\n<html><body><p>A page of words. <a href="{}">On</a></p></body></html>'
    site = write_site(
        tmp_path / "site",
        {
            "index.html": page.format("about"),
            "about": page.format("show.php?id=7"),
            "show.php?id=7": page.format("old.aspx"),
            "old.aspx": page.format("index.html"),
            "LICENSE": "No page at all, but <html> is named in it.",
            "config.php": "<?php echo 1; ?>",
            "view.php": "<html><body><?= $title ?></body></html>",
        },
    )
    assert find_reader(site) == "html"
    links, _ = what(build_documents([site], tmp_path / "store"))
    assert links == {
        "index.html": {"about"},
        "about": {"show.php?id=7"},
        "show.php?id=7": {"old.aspx"},
        "old.aspx": {"index.html"},
    }


def test_a_page_without_a_telling_name_that_changes_is_noticed(tmp_path):
    page = tmp_path / "about"
    page.write_text("<html><body>A page.</body></html>")
    before = build._dates_of(tmp_path, "html")
    os.utime(page, (1, 1))
    assert build._dates_of(tmp_path, "html") != before


def test_templates_and_tables_of_data_do_not_decide_what_a_folder_is(tmp_path, caplog):
    files = {**NOTES, **{f"theme/{number}.html": "{% extends 'base' %}<p>{{ page }}</p>" for number in range(9)}}
    assert find_reader(write_site(tmp_path / "templates", files)) == "markdown"
    assert "9 files" in caplog.text
    assert "--format html reads them in place of it" in caplog.text
    files = {**NOTES, **{f"layouts/{number}.html": '{{ define "main" }}<h1>{{ .Title }}</h1>' for number in range(9)}}
    assert find_reader(write_site(tmp_path / "layouts", files)) == "markdown"
    files = {**NOTES, **{f"data/{number}.csv": "year,sum\n1,2\n" for number in range(9)}}
    assert find_reader(write_site(tmp_path / "data", files)) == "markdown"
    files = {"a.csv": "id,text\n1,Words.\n", "b.csv": "id,text\n2,Words.\n", "README.md": "What this is."}
    assert find_reader(write_site(tmp_path / "tables", files)) == "csv"


def test_what_is_refused_for_its_suffix_says_how_it_is_read(tmp_path):
    site = write_site(tmp_path / "site", {"a.note": "See [[b]].", "b.note": "See [[a]]."})
    with pytest.raises(ValueError, match=re.escape(f"'{site}/**/*.note'")):
        build_store(site, tmp_path / "none", format="markdown")
    store = build_store(f"{site}/**/*.note", tmp_path / "store", vocabulary="train:100", format="markdown")
    assert len(what(store)[0]) == 2
