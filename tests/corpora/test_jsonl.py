"""JSON lines: what is written comes back; what is broken is counted where it stands."""

import bz2
import gzip
import json
import lzma
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import jsonl, streams
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Link

COMPRESS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress, "": bytes}

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = words.filter(bool)


@st.composite
def documents(draw):
    text = draw(words)
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda place: place[0] < place[1])
    place = places | st.just((-1, -1)) if text else st.just((-1, -1))
    links = st.builds(lambda at, target, fragment: Link(*at, target, fragment), place, names, words)
    return Document(draw(names), draw(words), text, tuple(draw(st.lists(links, max_size=3))), draw(st.booleans()))


def write(document: Document) -> str:
    links = [
        {"start": link.start, "end": link.end, "target": link.target, "fragment": link.fragment}
        for link in document.links
    ]
    record = {"id": document.id, "title": document.title, "text": document.text, "links": links}
    return json.dumps(record | {"disambiguation": document.disambiguation}, ensure_ascii=False) + "\n"


def read(path: Path) -> tuple[list[Document], Skipped]:
    skipped = Skipped()
    return list(read_source("jsonl", path, None, skipped)), skipped


@pytest.mark.slow
@given(st.lists(documents(), min_size=1, max_size=8), st.sampled_from(sorted(COMPRESS)))
@settings(deadline=None, max_examples=50)
def test_what_is_written_comes_back_through_any_compression(tmp_path_factory, records, suffix):
    path = tmp_path_factory.mktemp("jsonl") / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix]("".join(map(write, records)).encode()))
    assert find_reader(path) == "jsonl"
    original, jsonl.SHARD_BYTES = jsonl.SHARD_BYTES, 50
    try:
        found, skipped = read(path)
    finally:
        jsonl.SHARD_BYTES = original
    assert found == records
    assert not skipped


def test_shards_hold_whole_lines_and_cover_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(write(Document(f"document {i}", "", "x" * i)) for i in range(3000)))
    shards = list(jsonl.plan(path, jsonl.Lines()))
    assert len(shards) > 10
    assert b"".join(shard.data for shard in shards) == path.read_bytes()
    assert all(shard.data.endswith(b"\n") for shard in shards[:-1])
    assert [shard.start for shard in shards[1:]] == [shard.stop for shard in shards[:-1]]
    assert shards[-1].stop == path.stat().st_size
    path.write_text(path.read_text() + "oops\n")
    _, skipped = read(path)
    assert skipped.examples == ["a.jsonl line 3001: not JSON"]


OUT = [
    '{"start": 1, "end": 9',
    '{"start": 2, "end": 2',
    '{"start": 0',
    '{"start": true, "end": 2',
    '{"start": -1, "end": -1',
]
LINES = """\ufeff{"id": "a", "text": "one two", "links": [{"target": "b"}, {"start": 0, "end": 3, "target": 7}]}

not json
["a list"]
{"text": "no id"}
{"id": "", "text": "no id"}
{"id": "c"}
{"id": ["c"], "text": ""}
{"id": "c", "text": 5}
{"id": "c", "text": "", "title": {}}
{"id": "c", "text": "", "links": {}}
{"id": "c", "text": "", "disambiguation": "no"}
{"id": 12, "title": null, "text": "", "links": null, "other": 1}
{"id": "d", "title": "D", "text": "abc", "links": [OUT, {"start": 0, "end": 1}, "b"]}
{"id": "e", "text": "\\ud800x", "links": [{"start": 1, "end": 2, "target": "b"}]}
{"id": "f", "text": "last, without a line break", "disambiguation": true}"""


def test_every_broken_line_is_counted_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = LINES.replace("OUT", ", ".join(f'{link}, "target": "b"}}' for link in OUT))
    path.write_bytes(lines.encode().replace(b"last", b"last\xff"))
    found, skipped = read(path)
    placeless = Link(-1, -1, "b")
    assert found == [
        Document("a", "a", "one two", (placeless, Link(0, 3, "7"))),
        Document("c", "c", ""),
        Document("12", "12", ""),
        Document("d", "D", "abc", (placeless,) * 6),
        Document("e", "e", "\ufffdx", (Link(1, 2, "b"),)),
        Document("f", "f", "last\ufffd, without a line break", disambiguation=True),
    ]
    assert skipped == {
        "not JSON": 1,
        "not an object": 1,
        "no id": 2,
        "no text": 1,
        "id is not a string": 1,
        "text is not a string": 1,
        "title is not a string": 1,
        "links are not a list (left out)": 1,
        "disambiguation is not true or false": 1,
        "link out of range (kept without its place)": 4,
        "link without target": 1,
        "invalid UTF-8 (replaced)": 1,
        "half of a surrogate pair (replaced)": 1,
    }
    assert skipped.examples[0] == "a.jsonl line 3: not JSON"


def test_one_link_need_be_no_list_and_of_several_titles_the_first_counts(tmp_path):
    rows = [
        {"id": 1, "text": "x", "links": 2, "title": ["One", "Uno"]},  # as Crossref, Hacker News
        {"id": 2, "text": "x", "links": {"target": 1}, "title": []},
        {"id": 3, "text": "x", "links": float("nan")},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, skipped = read(tmp_path / "a.jsonl")
    assert [(each.title, [link.target for link in each.links]) for each in found] == [
        ("One", ["2"]), ("2", ["1"]), ("3", []),
    ]  # fmt: skip
    assert not skipped


def test_deep_nesting_is_one_broken_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": ' + "[" * 200_000 + "\n" + write(Document("b", "B", "")))
    found, skipped = read(path)
    assert [document.id for document in found] == ["b"]
    assert skipped == {"not JSON": 1}


@pytest.mark.parametrize(
    "suffix", [".gz", *(pytest.param(each, marks=pytest.mark.slow) for each in (".bz2", ".xz", ".zst"))]
)
def test_of_a_cut_file_what_is_there_is_kept(tmp_path, suffix):
    lines = [write(Document(f"{i}", "", f"{i * 7919 % 10007} " * 20)) for i in range(20_000)]
    data = COMPRESS[suffix]("".join(lines).encode())
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data[: len(data) * 2 // 3])
    found, skipped = read(path)
    assert 3_000 < len(found) < 20_000
    assert [document.id for document in found] == [f"{i}" for i in range(len(found))]
    assert skipped[jsonl.CUT] == 1
    assert "is cut off: its compressed data ends in the middle" in " ".join(skipped.examples)


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffix", [".gz", *(pytest.param(each, marks=pytest.mark.slow) for each in (".bz2", ".xz", ".zst"))]
)
def test_of_a_damaged_file_what_stands_before_the_damage_is_kept(tmp_path, suffix):
    rng, lines = random.Random(0), []
    for i in range(20_000):
        lines.append(write(Document(f"{i}", "", "".join(rng.choices("abcdefghij ", k=100)))))
    data = bytearray(COMPRESS[suffix]("".join(lines).encode()))
    path = tmp_path / f"a.jsonl{suffix}"
    share = len(data) * 3 // 4
    data[share : share + 1000] = bytes(1000)
    path.write_bytes(data)
    found, skipped = read(path)
    assert len(found) > {".bz2": 5_000, ".gz": 14_900, ".xz": 14_900, ".zst": 13_500}[suffix]
    assert [document.id for document in found[:5_000]] == [f"{i}" for i in range(5_000)]
    assert skipped[jsonl.CUT] == 1
    assert "is damaged near byte" in " ".join(skipped.examples)


def test_what_is_no_json_lines_is_told_what_they_are(tmp_path):
    for name, text, said in (
        (
            "a.jsonl",
            '{"url": "u", "body": "b"}',
            "a.jsonl line 1, with the keys url, body \\(--columns id=KEY,text=KEY",
        ),
        ("a.jsonl", "[1, 2]\n", "a.jsonl before object 1: not an object"),
        ("a.jsonl", '{\n"id": "a"\n}\n', "a.jsonl object 1, with the keys id .*: no text"),
        (
            "a.jsonl",
            '{"id": "a",\n"text": "b"}\n',
            "one object a line, or is an array of objects; `jq -c .`.*: not JSON",
        ),
        ("a.jsonl", '\ufeff{"id": "a", "text": "b"}\n'.encode("utf-16-le"), "is UTF-16: `iconv"),
    ):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=said):
            build_documents([tmp_path / name], tmp_path / "store")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_with_nothing_in_it_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    with pytest.raises(ValueError, match=r"a\.jsonl(\.gz)? is empty: there is no document in it"):
        read(path)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz is not a \.gz file, or damaged from its start"):
        read(path)


S2ORC = {
    "paper_id": "77",
    "title": "On moss",
    "body_text": [
        {"section": "A", "text": "Moss grows [1].", "cite_spans": [
            {"start": 11, "end": 14, "text": "[1]", "ref_id": "B0"},
            {"start": 0, "end": 4, "text": "Fern", "ref_id": "B2"},
        ]},
        {"section": "B", "text": "It is green [2, 9].", "cite_spans": [
            {"start": 12, "end": 15, "text": "[2,", "ref_id": "B1"}, {"start": 16, "end": 99, "ref_id": "B0"},
            {"start": 16, "end": 18, "ref_id": "B9"},
        ]},
    ],
    "bib_entries": {f"B{i}": {"link": link} for i, link in enumerate(["78", "79", "80", None, "81"])},
}  # fmt: skip
CORD = {  # whose names are lists
    "paper_id": "77",
    "body_text": [
        {"text": "Moss grows [1].", "cite_spans": [{"start": 11, "end": 14, "text": "[1]", "ref_id": "B0"}]},
    ],
    "bib_entries": {f"B{i}": {"ids": {"DOI": names}} for i, names in enumerate((["10.1/b"], [], ["10.1/c", "10.1/d"]))},
}
UNARXIVE = {
    "paper_id": "2101.1",
    "metadata": {"title": "Waves"},
    "body_text": [
        {"text": "A wave {{formula:f1}} moves {{cite:c2}}, see {{figure:x}}.", "cite_spans": []},
        {"text": "So {{cite:c9}} and {{cite:c1}} say."},
    ],
    "bib_entries": {"c1": {"ids": {"arxiv_id": "2101.2"}}, "c2": {"ids": {"arxiv_id": "2101.3"}}},
    "ref_entries": {"f1": {"type": "formula", "latex": "e^x"}, "x": {"type": "figure"}},
}
OPENALEX = {
    "id": "https://openalex.org/W1",
    "title": "Rain",
    "abstract_inverted_index": {"the": [0, 3], "rain": [1], "wets": [2], "cat": [4]},
    "referenced_works": ["https://openalex.org/W2", "https://openalex.org/W3"],
}


@pytest.mark.parametrize(
    ("record", "columns", "text", "links"),
    [
        (S2ORC, "id=paper_id,text=body_text,links=bib_entries.*.link",
         "Moss grows [1].\nIt is green [2, 9].", [("[1]", "78"), ("", "80"), ("[2,", "79"), ("", "78"), ("", "81")]),
        ({"paper_id": "77", "pdf_parse": S2ORC},
         "id=paper_id,text=pdf_parse.body_text,links=pdf_parse.bib_entries.*.link",
         "Moss grows [1].\nIt is green [2, 9].", [("[1]", "78"), ("", "80"), ("[2,", "79"), ("", "78"), ("", "81")]),
        (S2ORC, "id=paper_id,text=body_text.*.text,links=bib_entries.*.link", "Moss grows [1].\nIt is green [2, 9].",
         [("", "78"), ("", "79"), ("", "80"), ("", "81")]),
        (CORD, "id=paper_id,text=body_text,links=bib_entries.*.ids.DOI", "Moss grows [1].", [("[1]", "10.1/b")]),
        (CORD, "id=paper_id,text=body_text,links=bib_entries.*.ids.DOI.*", "Moss grows [1].",
         [("[1]", "10.1/b"), ("", "10.1/c"), ("", "10.1/d")]),
        (UNARXIVE, "id=paper_id,title=metadata.title,text=body_text,links=bib_entries.*.ids.arxiv_id",
         "A wave e^x moves [2], see .\nSo  and [1] say.", [("[2]", "2101.3"), ("[1]", "2101.2")]),
        (OPENALEX, "id=id,text=abstract_inverted_index,links=referenced_works", "the rain wets the cat",
         [("", "https://openalex.org/W2"), ("", "https://openalex.org/W3")]),
        ({"a.b": 1, "content": {"text": "x", "refs": '[{"to": {"id": 5}}, {"to": {}}]'}},
         "id=a.b,text=content.text,links=content.refs.*.to.id", "x", [("", "5")]),
    ],
)  # fmt: skip
def test_columns_may_be_paths_into_records_of_others(tmp_path, record, columns, text, links):
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    skipped = Skipped()
    (found,) = read_source("jsonl", tmp_path / "a.jsonl", jsonl.Lines(columns), skipped)
    assert found.text == text
    assert [
        (found.text[link.start : link.end] if link.start >= 0 else "", link.target) for link in found.links
    ] == links
    placeless = sum(not shown for shown, _ in links[:4]) if columns.endswith("link") and "body_text," in columns else 0
    assert skipped["link out of range (kept without its place)"] == placeless
    rows = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([record]), rows)
    if "{{formula" not in text and record is not OPENALEX and record is not UNARXIVE:
        (again,) = read_source("parquet", rows, jsonl.Options(columns), Skipped())
        assert again == found


KEYS = ["text", "cite_spans", "start", "end", "ref_id", "a"]
json_values = st.recursive(
    st.none() | st.integers(-1, 5) | st.sampled_from(["a", "[1]", "{{cite:a}} x", '{"a": 1}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(json_values, json_values, st.sampled_from(["a.*.a", "a", "a.*", "text.*.cite_spans.*.a", "*"]), st.booleans())
def test_records_of_any_shape_are_read_or_counted(text, entries, path, spans):
    text = [{"text": "a paragraph", "cite_spans": text}] if spans else text
    record = {"id": 1, "b": {"text": text}, "a": entries}
    found = jsonl.make_record(record, Skipped(), "", {"id": "id", "text": "b.text", "links": path})
    for link in found.links if found else ():
        assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(found.text)


@pytest.mark.parametrize("spans", [1, True, 0.5, "x", {"start": 0}, [1], None])
def test_spans_that_are_no_list_of_spans_leave_the_text(spans):
    pieces = [{"text": "One.", "cite_spans": spans}, json.dumps({"text": "Two.", "cite_spans": spans})]
    record = {"id": 1, "body": pieces, "refs": {"a": {"link": "b"}}}
    made = jsonl.make_record(record, Skipped(), "", {"text": "body", "links": "refs.*.link"})
    assert made == Document("1", "1", "One.\nTwo.", (Link(-1, -1, "b"),))


def test_a_link_that_is_a_list_is_counted_and_the_path_that_takes_its_items_named():
    record = {"id": "a", "text": "x", "refs": [{"to": ["b", "c"]}, {"to": ["d"]}]}
    links = {}
    for path in ("refs.*.to", "refs.*.to.*"):
        made = jsonl.make_record(record, skipped := Skipped(), "", {"links": path})
        links[path] = [link.target for link in made.links], skipped.total()
    assert links == {"refs.*.to": (["d"], 1), "refs.*.to.*": (["b", "c", "d"], 0)}


VALUES = st.recursive(
    st.none() | st.integers() | st.text('a"\\{}[],\n é', max_size=6),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text('k"{', max_size=3), each, max_size=3),
    max_leaves=6,
)
FORMS = [
    lambda objects, indent: json.dumps(objects, indent=indent),
    lambda objects, indent: "".join(json.dumps(each, indent=indent, ensure_ascii=False) + "\n" for each in objects),
    lambda objects, _: "".join(map(json.dumps, objects)),
    lambda objects, _: "".join(f"{json.dumps(each)},\n" for each in objects),
    lambda objects, _: "[\n" + "\n,".join(map(json.dumps, objects)) + "\n]\n",
    lambda objects, indent: "\ufeff" + json.dumps([[each] for each in objects], indent=indent),
]


@given(
    st.lists(st.dictionaries(st.text("ab", max_size=2), VALUES, max_size=3), max_size=4),
    st.sampled_from(FORMS),
    st.sampled_from([None, 0, 2]),
    st.integers(1, 9),
)
@settings(max_examples=300, deadline=None)
def test_objects_are_found_in_json_of_any_form(objects, form, indent, size):
    data = form(objects, indent).encode() + b" "
    blocks = [(data[at : at + size], at + size) for at in range(0, len(data), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "decompressed_blocks", lambda _: iter(blocks))
        patch.setattr(streams, "source_size", lambda _: len(data))
        shards = list(streams.cut_values(Path("a.json"), 5))
    lines = [line for shard in shards for line in shard.data.split(b"\n") if line.strip()]
    assert [json.loads(line) for line in lines] == objects
    assert not [fault for shard in shards for fault in shard.faults]


@pytest.mark.parametrize(
    ("text", "found", "faults"),
    [
        ('[{"id": 1}, 2, {"id": 3}]', ["1", "3"], {"not an object"}),
        ('[{"id": 1}, {"id": 2', ["1"], {CUT}),
        ('[{"id": 1}, {"id": "2', ["1"], {CUT}),
        ('[{"id": 1}, "x", "y"]', ["1"], {"not an object"}),
        ('[{"id": 1}, {"a": "' + "long " * 500_000 + '"}, {"id": 3}]', ["1", "3"], {streams.TOO_LARGE}),
        ('[{"id": 1}, {"a": ' + "[" * 1_200_000 + "]" * 1_200_000 + '}, {"id": 3}]', ["1", "3"], {streams.TOO_LARGE}),
        ('[{"id": 1}, {"a": 1 2}, {"id": 3}]', ["1", "3"], {"not JSON"}),
    ],
)
def test_what_is_amiss_in_an_array_costs_itself(tmp_path, text, found, faults):
    source = tmp_path / "a.json"
    source.write_text(re.sub(r'"id": (\d)', r'"id": \1, "text": "Text."', text))
    store = build_documents([source], tmp_path / "store", options={"largest": 1})
    assert ([document.id for document in store.documents()], {*store.manifest["skipped"]}) == (found, faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"n": 1, "data": [{"id": "a", "text": "b"}]}', "but n, data: jq -c '.data[]' makes lines of its data"),
        (
            '{"a": {"text": "b"}, "c": {"text": "d"}}',
            "but a, c: jq -c 'to_entries[] | .value + {id: .key}' makes lines",
        ),
        ('{"key": 1, "refs": [1]}\n{"key": 2}', "but key, refs: say --columns id=KEY,text=KEY"),
        ("{}", "but no key: say --columns"),
    ],
)
def test_json_without_documents_at_its_top_says_a_way(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        build_documents([tmp_path / "a.json"], tmp_path / "store")


@pytest.mark.parametrize(
    "text", ['{"id": 1, "text": "a"}{"id": 2, "text": "b"}', '{"id": 1, "text": "a"},\n{"id": 2, "text": "b"},\n']
)
def test_objects_in_a_row_are_found(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert [document.id for document in build_documents([tmp_path / "a.json"], tmp_path / "store").documents()] == [
        "1",
        "2",
    ]


def test_a_folder_of_objects_is_read_and_what_has_no_text_is_no_document(tmp_path):
    (folder := tmp_path / "in").mkdir()
    for name in "abc":
        (folder / f"{name}.json").write_text(json.dumps({"id": name, "text": "Text.", "links": ["b"]}, indent=2))
    (folder / "package.json").write_text('{\n  "name": "x"\n}\n')
    store = build_documents([folder], tmp_path / "store")
    assert [document.id for document in store.documents()] == ["a", "b", "c"]
    assert store.manifest["skipped"] == {jsonl.NO_COLUMN: 1}
    with pytest.raises(ValueError, match="no objects with id and text, but name: say --columns id=KEY,text=KEY"):
        build_documents([folder / "package.json"], tmp_path / "none")
    (notes := tmp_path / "notes").mkdir()
    (notes / "README.md").write_text("What this is.")
    for number in range(9):
        (notes / f"{number}.json").write_text('{"name": "x"}')
    assert find_reader(notes) == "markdown"
