"""Parquet and Arrow files: what is written comes back, whatever the types; damage costs what it hits."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import jsonl, parquet
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Link

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = words.filter(bool)
LINKS = pa.list_(pa.struct({"target": pa.string(), "start": pa.int32(), "end": pa.int64(), "fragment": pa.string()}))


@st.composite
def documents(draw):
    text = draw(words)
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda place: place[0] < place[1])
    place = places | st.just((-1, -1)) if text else st.just((-1, -1))
    links = st.builds(lambda at, target, fragment: Link(*at, target, fragment), place, names, words)
    return Document(draw(names), draw(words), text, tuple(draw(st.lists(links, max_size=3))))


def read(path: Path, columns: str = "") -> tuple[list[Document], Skipped]:
    skipped = Skipped()
    return list(read_source("parquet", path, parquet.Options(columns), skipped)), skipped


def write(path: Path, table: pa.Table, *, rows: int = 1000) -> Path:
    """Write a table as the file's name says, `rows` in a row group or batch: stream.arrow is a stream."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        with (pa.ipc.new_file if "file" in path.name else pa.ipc.new_stream)(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def make_table(records: list[Document]) -> pa.Table:
    links = [
        [{"start": link.start, "end": link.end, "target": link.target, "fragment": link.fragment} for link in doc.links]
        for doc in records
    ]
    columns = {key: pa.array([getattr(doc, key) for doc in records], pa.string()) for key in ("id", "title", "text")}
    return pa.table({"links": pa.array(links, LINKS), "other": [1.5] * len(records), **columns})


@given(
    st.lists(documents(), min_size=1, max_size=8),
    st.sampled_from(["a.parquet", "stream.arrow", "file.arrow"]),
    st.sampled_from(
        [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
    ),
)
@settings(deadline=None, max_examples=20)
def test_what_is_written_comes_back_from_any_kind_of_column(tmp_path_factory, records, name, kind):
    table = make_table(records).cast(
        pa.schema([(f.name, kind if f.type == pa.string() else f.type) for f in make_table(records).schema])
    )
    path = write(tmp_path_factory.mktemp("table") / name, table, rows=3)
    assert find_reader(path) == "parquet"
    original, parquet.SHARD_BYTES, parquet.ROWS = (parquet.SHARD_BYTES, parquet.ROWS), 100, 2
    try:
        found, skipped = read(path)
    finally:
        parquet.SHARD_BYTES, parquet.ROWS = original
    assert found == records
    assert not skipped


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_shards_cover_a_file_and_count_its_rows(tmp_path, monkeypatch, name):
    monkeypatch.setattr(parquet, "SHARD_BYTES", 2_000)
    monkeypatch.setattr(parquet, "ROWS", 7)
    records = [Document(f"{i}", "", f"text {i} " * 5) for i in range(500)]
    records[321] = replace(records[321], id="")
    path = write(tmp_path / name, make_table(records), rows=20)
    shards = list(parquet.plan(path, parquet.Options()))
    assert len(shards) > 5
    assert [shard.start for shard in shards] == [0, *(shard.stop for shard in shards[:-1])]
    assert shards[-1].stop == path.stat().st_size
    found, skipped = read(path)
    assert found == [*records[:321], *records[322:]]
    assert skipped.examples == [f"{name} row 322: no id"]
    first, stop, _ = shards[-1].extra  # a shard does not decode what lies before it
    assert len(list(parquet._read_units(shards[-1], parquet.Options(), first))) == stop - first < 25


def test_columns_have_names_of_their_own(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        pa.table({
            "url": pa.array([1, 2, None, 4], pa.uint64()),
            "body": ["one", "two", "three", None],
            "name": pa.array(["One", "One", None, "x"]).dictionary_encode(),
            "refs": [["2", "3"], None, [], ["", None]],
            "json": ['[{"target": "b", "start": 0, "end": 3}, "c", 5]', "null", "", "[1"],
        }),
    )  # fmt: skip
    found, skipped = read(path, "id=url, text=body,title=name,links=refs")
    assert found == [
        Document("1", "One", "one", (Link(-1, -1, "2"), Link(-1, -1, "3"))),
        Document("2", "One", "two"),
    ]
    assert skipped == {"no id": 1, "no text": 1}
    found, skipped = read(path, "id=body,text=body,links=json")
    assert found == [
        Document("one", "one", "one", (Link(0, 3, "b"), Link(-1, -1, "c"), Link(-1, -1, "5"))),
        Document("two", "two", "two"),
        Document("three", "three", "three"),
    ]
    assert skipped == {"no id": 1}
    for columns, message in (
        ("", r"a.parquet has no column 'id' .* say --columns id=NAME,text=NAME with .*, url, body, name, refs, json"),
        ("id=url,text=body,title=t", "no column 't' to be the title"),
        ("id=url,txt=body", "unknown 'txt'; did you mean 'text'?"),
        ("id", "id is which column"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, columns)


def test_links_are_checked_as_in_json_lines(tmp_path):
    links = [[
        {"target": "b", "start": 0, "end": 1},
        {"target": "b", "start": 1, "end": 9},
        {"target": None, "start": None, "end": None},
        {"target": "c", "start": None, "end": None},
        None,
    ]]  # fmt: skip
    table = pa.table({"id": ["a"], "text": ["text"], "links": links})
    found, skipped = read(write(tmp_path / "a.parquet", table))
    assert found == [Document("a", "a", "text", (Link(0, 1, "b"), Link(-1, -1, "b"), Link(-1, -1, "c")))]
    assert skipped == {"link out of range (kept without its place)": 1, "link without target": 2}


def test_a_dataset_of_hugging_face_is_read_split_by_split(tmp_path):
    # As save_to_disk of datasets 5.2 writes it; `map` has left its cache there.
    table = make_table([Document(f"{i}", "", "text") for i in range(4)])
    folder = tmp_path / "set"
    (folder / "train").mkdir(parents=True)
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    (folder / "train" / "dataset_info.json").write_text("{}")
    (folder / "train" / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    write(folder / "train" / "data-00000-of-00002.arrow", table[1:2])
    write(folder / "train" / "data-00001-of-00002.arrow", table[2:])
    write(folder / "train" / "cache-0123.arrow", table)
    write(folder / "test" / "data-00000-of-00001.arrow", table[:1])
    assert find_reader(folder) == "parquet"
    found, skipped = read(folder)
    assert [document.id for document in found] == ["0", "1", "2", "3"]
    assert skipped == {"file of another kind: .json": 3}
    assert len(build_documents([folder], tmp_path / "store")) == 4


def test_a_damaged_file_of_many_costs_itself(tmp_path):
    records = [Document(f"{i}", "", f"text {i * 7919 % 10007} " * 20) for i in range(300)]
    folder = tmp_path / "tables"
    good = write(folder / "b.parquet", make_table(records))
    write(folder / "a.parquet", make_table(records)).write_bytes(good.read_bytes()[:-100])
    (folder / "c.arrow").write_bytes(b"no table at all")
    (folder / "d.parquet").write_bytes(b"")
    cut = write(folder / "e.arrow", make_table(records), rows=10)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write(folder / "f.parquet", pa.table({"x": [1]}))
    (folder / "g.parquet").symlink_to("/etc/passwd")
    found, skipped = read(folder)
    assert found[:300] == records
    assert found[300:] == records[: len(found) - 300]
    assert 100 < len(found) - 300 < 200
    assert skipped == {CUT: 4, jsonl.NO_COLUMN: 1, "name or link that leads out of the tree (refused)": 1}
    for name, message in (("a.parquet", "is cut off, damaged or no table"), ("d.parquet", "d.parquet is cut off")):
        with pytest.raises(ValueError, match=message):
            read(folder / name)
    with pytest.raises(ValueError, match=r"f\.parquet has no column 'id'"):
        read(folder / "f.parquet")


def test_damage_inside_a_parquet_file_costs_a_row_group(tmp_path):
    records = [Document(f"{i}", "", f"text {i * 7919 % 10007} " * 20) for i in range(300)]
    path = write(tmp_path / "a.parquet", make_table(records), rows=100)
    group = pq.read_metadata(path).row_group(1)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "id")
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 20] = b"\xff" * 20
    path.write_bytes(data)
    found, skipped = read(path)
    assert found == [*records[:100], *records[200:]]
    assert skipped == {CUT: 1}


def test_a_length_of_any_size_is_damage(tmp_path, monkeypatch):
    path = write(tmp_path / "stream.arrow", make_table([Document("0", "Title", "text")]), rows=10)

    def fail(*_):
        raise MemoryError  # as Arrow does where a damaged length cannot be had

    monkeypatch.setattr(parquet, "_read_units", fail)
    with pytest.raises(ValueError, match=r"stream\.arrow is cut off, damaged or no table"):
        read(path)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_damage_is_an_error_of_ours(tmp_path_factory, data):
    records = [Document(f"{i}", "Title", f"text {i}", (Link(0, 4, "1"),)) for i in range(20)]
    name = data.draw(st.sampled_from(["a.parquet", "stream.arrow", "file.arrow"]))
    path = write(tmp_path_factory.mktemp("table") / name, make_table(records), rows=10)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        found, _ = read(path)
    except ValueError:
        found = []  # nothing can be read of it
    for document in found:
        document.text.encode()
        for link in document.links:
            assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(document.text)


def test_text_that_is_not_utf8_is_mended(tmp_path):
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"fine"]).buffers())
    found, skipped = read(write(tmp_path / "a.parquet", pa.table({"id": ["a", "b"], "text": text})))
    assert [document.text for document in found] == ["caf\ufffd", "fine"]
    assert skipped == {"invalid UTF-8 (replaced)": 1}


@pytest.mark.parametrize("column", [pa.array([2**62, 1], pa.duration("s")), pa.array([2**31 - 1, 1], pa.date32())])
def test_a_value_that_python_has_not_costs_its_row(tmp_path, column):
    found, skipped = read(write(tmp_path / "a.parquet", pa.table({"id": ["a", "b"], "text": column})))
    assert len(found) + skipped.total() == 2
    assert skipped[CUT] == 1


def test_what_holds_no_table_is_refused(tmp_path):
    write(tmp_path / "a.parquet", make_table([]))
    with pytest.raises(ValueError, match=r"a\.parquet is empty: there is no row in it"):
        read(tmp_path / "a.parquet")


def test_columns_of_other_meaning_are_not_read(tmp_path):
    sections, flag = pa.array([["History"]]), pa.array(["yes"])
    table = pa.table({"id": ["a"], "text": ["One."], "sections": sections, "disambiguation": flag, "redirect": [True]})
    assert read(write(tmp_path / "a.parquet", table)) == ([Document("a", "a", "One.")], {})
