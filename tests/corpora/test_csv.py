"""CSV and TSV: what people's programs write is read; a mark, a cell or a row that is wrong costs itself."""

import csv
import gzip
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import csv as reader
from linkbert.corpora.readers.jsonl import Options
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Link

FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"


def read(path: Path, columns: str = "") -> tuple[list[Document], Skipped]:
    skipped = Skipped()
    assert find_reader(path) == "csv"
    return list(read_source("csv", path, Options(columns), skipped)), skipped


def links_of(document: Document) -> list[str]:
    return [link.target for link in document.links]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id,text,links\na,One,b;c\n", [("a", "One", ["b", "c"])]),
        ("id;text;links\na;One, two;b|c\n", [("a", "One, two", ["b", "c"])]),
        ("\ufeffid\ttext\r\na\tOne\r\n\r\n", [("a", "One", [])]),
        ('id,text\na,"One\n\ntwo, ""three"""\n', [("a", 'One\n\ntwo, "three"', [])]),
        ('id\ttext\na\t"One" said he\nb\tTwo\n', [("a", '"One" said he', []), ("b", "Two", [])]),  # no quotes of CSV
        ('id\ttext\na\t"One\ntwo"\n', [("a", "One\ntwo", [])]),  # as pandas writes
        ('"id"\t"text"\n"1"\t"a"\t"One"\n', [("a", "One", [])]),  # as R writes the names of rows
        ('id,text,links\n1.0,x,"2.0,3.0"\n', [("1", "x", ["2", "3"])]),
        ("id,text,links\nWeb 2.0,x,[2.0 3.0]\n", [("Web 2.0", "x", ["2", "3"])]),
        ("id,text,links\na,x,Web 2.0; 3.0;b\n", [("a", "x", ["Web 2.0", "3", "b"])]),
        ("id,text,links\nv1.0,x,v2.0\n", [("v1.0", "x", ["v2.0"])]),
        ("""id,text,links\na,x,"['b', 'c']"\n""", [("a", "x", ["b", "c"])]),
        ('id,text,links\na,x,"[""b"", {""target"": ""c""}]"\n', [("a", "x", ["b", "c"])]),
        ('id,text,links\na,x,"Paris, Texas"\n', [("a", "x", ["Paris, Texas"])]),
        ("id,text,links\na,x,10.1002/(SICI)9:15/16<1::AID-S9>3.0.CO;2-2;d\n",
         [("a", "x", ["10.1002/(SICI)9:15/16<1::AID-S9>3.0.CO;2-2", "d"])]),
        ('id,text,links\na,x,"W2, W3"\nb,x,"https://x.org/b, https://x.org/c"\n',
         [("a", "x", ["W2", "W3"]), ("b", "x", ["https://x.org/b", "https://x.org/c"])]),
        ('id,text,links\na,x,"{2, 3}"\nb,x,"(1, 2)"\nc,x,"{\'d\', \'c\'}"\nd,x,(1984)\n',
         [("a", "x", ["2", "3"]), ("b", "x", ["1", "2"]), ("c", "x", ["d", "c"]), ("d", "x", ["(1984)"])]),
        ("""id,text,links\na,x,"[1, nan]"\nb,x,"['c', None, nan]"\n""", [("a", "x", ["1"]), ("b", "x", ["c"])]),
        ("id,text,links\na,x,()\nb,x,set()\nc,x,frozenset({'d'})\nd,x,\"W1, , W2,\"\n",
         [("a", "x", []), ("b", "x", []), ("c", "x", ["d"]), ("d", "x", ["W1", "W2"])]),
        ("""id,text,links\na,x,"['Walvis, NA, x', nan]"\n""", [("a", "x", ["Walvis, NA, x"])]),
        ("id,text,links\na ,x, b\n b,x,a \n", [("a", "x", ["b"]), ("b", "x", ["a"])]),
        ("id,text,links\na,x,nan\nb,x,\n", [("a", "x", []), ("b", "x", [])]),
    ],
)  # fmt: skip
def test_tables_are_read_as_people_write_them(tmp_path, text, found):
    (tmp_path / "a.csv").write_bytes(text.encode())
    documents, skipped = read(tmp_path / "a.csv")
    assert [(each.id, each.text, links_of(each)) for each in documents] == found
    assert not skipped


def test_a_link_in_a_cell_has_its_place(tmp_path):
    (tmp_path / "a.tsv").write_text('id\ttext\tlinks\na\tSee b.\t[{"start": 4, "end": 5, "target": "b"}]\n')
    (document,), _ = read(tmp_path / "a.tsv")
    assert document.links == (Link(4, 5, "b"),)
    assert document.text[4:5] == "b"


def test_a_table_without_a_header_has_columns_by_their_places(tmp_path):
    (tmp_path / "a.csv").write_text("1001,2000,Moss,grows here,1002\n1002,2001,Fern,and there,\n")
    documents, skipped = read(tmp_path / "a.csv", "id=1,title=3,text=4,links=5")
    assert [(each.id, each.title, each.text, links_of(each)) for each in documents] == [
        ("1001", "Moss", "grows here", ["1002"]),
        ("1002", "Fern", "and there", []),
    ]
    assert not skipped


def test_what_is_wrong_costs_itself_and_is_counted_where_it_stands(tmp_path):
    rows = [
        b"id,title,text,links",
        b'a,A,"never closed,b',
        b"b,B,fine,",
        b"c,C,too,many,cells",
        b"too few",
        "d,D,Café,".encode("cp1252"),
        b"e,E,no list,[b",
        b",F,no id,",
        b"g,G,null\0byte,",
        b'h,H,"two\nlines",a',
        b'i,I,"open to the end,a',
    ]
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows))
    documents, skipped = read(tmp_path / "a.csv")
    assert [(each.id, each.text) for each in documents] == [
        ("a", '"never closed'), ("b", "fine"), ("d", "Café"), ("e", "no list"), ("g", "null\0byte"),
        ("h", "two\nlines"), ("i", '"open to the end'),
    ]  # fmt: skip
    assert skipped == {
        reader.UNCLOSED: 2,
        reader.CELLS: 2,
        reader.LATIN: 1,
        "links are not a list (left out)": 1,
        "no id": 1,
    }
    assert f"a.csv line 4: {reader.CELLS}" in skipped.examples


def test_shards_end_between_rows(tmp_path, monkeypatch):
    whole = "id,text\n" + "".join(f'{i},"line\nof ""{i}"""\n' for i in range(2_000))
    (tmp_path / "a.csv").write_text(whole)
    monkeypatch.setattr(reader, "SHARD_BYTES", 500)
    shards = list(reader.plan(tmp_path / "a.csv", Options()))
    assert len(shards) > 50
    assert [shard.start for shard in shards[1:]] == [shard.stop for shard in shards[:-1]]
    assert (shards[0].start, shards[-1].stop) == (0, len(whole))
    documents, skipped = read(tmp_path / "a.csv")
    assert [each.id for each in documents] == [str(i) for i in range(2_000)]
    assert not skipped
    (tmp_path / "a.csv").write_text(whole + "x,y,z\n")
    _, skipped = read(tmp_path / "a.csv")
    assert skipped.examples == [f"a.csv line 4002: {reader.CELLS}"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"url,body\nu,b\n", r"no column 'id' .* say --columns id=NAME,text=NAME with .* url, body"),
        ("a.csv", b"source,target\na,b\n", r"no column 'id' .*a table of links is for --links"),
        ("a.csv", "id,text\na,b\n".encode("utf-16"), "is UTF-16: `iconv"),
        ("a.csv", b"id,id,text\na,b,c\n", "no column 'id'"),
        ("a.csv.gz", b"not gzip at all", "is not a .gz file"),
    ],
)
def test_what_is_no_table_of_documents_is_one_line(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=said) as raised:
        build_documents([tmp_path / name], tmp_path / "store")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_cut_file_keeps_its_rows_and_a_cell_too_long_costs_its_row(tmp_path, short_cells):
    rows = "id,text\n" + "".join(f"{i},{i * 7919 % 10007} words\n" for i in range(50_000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode())[:-3_000])
    documents, skipped = read(tmp_path / "a.csv.gz")
    assert len(documents) > 40_000
    assert skipped[CUT] == 1
    (tmp_path / "b.csv").write_text("id,text\na," + "x" * 9_000 + '\nb,"' + "x\n" * 2_000 + "\nc,fine\n")
    documents, skipped = read(tmp_path / "b.csv")
    assert [each.id for each in documents][-1] == "c"
    assert skipped[reader.CELLS] >= 1


@pytest.mark.slow
def test_many_open_marks_take_time_in_proportion(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n" + '"a"b,"x\n' * 20_000)
    _, skipped = read(tmp_path / "a.csv")
    assert skipped[reader.UNCLOSED] == 20_000


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(",;\t|"), st.booleans())
def test_what_csv_writes_comes_back(tmp_path_factory, rows, delimiter, quote_all):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO(newline="")
    how = csv.QUOTE_ALL if quote_all or delimiter == "\t" else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, quoting=how, lineterminator="\n")
    writer.writerow(["id", "text", "title"])
    writer.writerows([f"n{i}", text, title] for i, (text, title) in enumerate(rows))
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    documents, skipped = read(path)
    assert [(each.text, each.title) for each in documents] == [
        (text, title or f"n{i}") for i, (text, title) in enumerate(rows)
    ]
    assert not skipped


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(b"id,text,links\na,b,c\n" + data)
    for document in read(path)[0]:
        assert all(link.start == -1 or 0 <= link.start < link.end <= len(document.text) for link in document.links)


def test_the_example_of_the_documentation_is_right(tmp_path):
    section = FORMATS.read_text(encoding="utf-8").partition("### `csv`")[2].partition("###")[0]
    table = re.search(r"((?:    .+\n)+)", section)[1]
    (tmp_path / "a.csv").write_text(re.sub(r"(?m)^    ", "", table))
    documents, skipped = read(tmp_path / "a.csv")
    assert [(each.id, links_of(each)) for each in documents] == [("paris", ["france", "europe"]), ("france", ["paris"])]
    assert not skipped


def test_a_quotation_mark_is_looked_for_in_so_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MANY_LINES", 50)
    monkeypatch.setattr(reader, "MANY_ROWS", 40)
    whole = 'a,"A\n' + "line\n" * 48 + '"\n'
    (tmp_path / "a.csv").write_text(f'id,text\n{whole}b,"B\n' + "c,C\n" * 90 + whole.replace("a", "d", 1))
    documents, skipped = read(tmp_path / "a.csv")
    assert ([each.id for each in documents], dict(skipped)) == (["a", "b", *"c" * 90, "d"], {reader.UNCLOSED: 1})
    assert max(len(shard.extra[1]) for shard in reader.plan(tmp_path / "a.csv", Options())) == 40
