"""Files that a stranger made: what is small on disk and large in memory, and archives of which one file is damaged."""

import bz2
import gzip
import io
import json
import lzma
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from linkbert import files
from linkbert.corpora import sources
from linkbert.corpora.reader import CUT, OTHER, Skipped, load_reader
from linkbert.corpora.readers import jsonl, parquet, rst, wikis
from linkbert.corpora.readers.streams import TOO_LARGE
from linkbert.corpora.sources import LONGEST_HEADER, TOO_LONG, TOO_SLOW, find_reader, read_source
from linkbert.files import DECOMPRESSORS, CutFileError, decompressed_blocks
from linkbert.records import Document, Redirect

LINE = b'{"id": "a", "text": "One."}\n'
BLOCK = 45_899_235  # bytes that are alike in a block of bzip2 at its largest


def spaces_zst(size, head=LINE):
    """Write `head`, then spaces as blocks of 128 kB of one byte, four bytes each."""

    def block(kind, length, data, last=0):
        return (length << 3 | kind << 1 | last).to_bytes(3, "little") + data

    body = block(0, len(head), head) + block(1, 1 << 17, b" ") * (size >> 17) + block(1, 1, b" ", 1)
    return b"\x28\xb5\x2f\xfd\x00" + bytes([7 << 3]) + body


def spaces_gz(size):
    packer, segment, checksum = zlib.compressobj(9, zlib.DEFLATED, -15), b" " * (1 << 24), zlib.crc32(LINE)
    body = packer.compress(LINE) + packer.flush(zlib.Z_FULL_FLUSH)
    body += (packer.compress(segment) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 24) + packer.flush()
    for _ in range(size >> 24):
        checksum = zlib.crc32(segment, checksum)
    return b"\x1f\x8b\x08" + bytes(7) + body + struct.pack("<2I", checksum, (len(LINE) + size) % 2**32)


def spaces_bz2(size):
    """Write a stream by repeating the bits of a block."""

    def bits(data):
        return bin(int.from_bytes(b"\1" + data, "big"))[3:]

    start, end = f"{0x314159265359:048b}", f"{0x177245385090:048b}"
    head, whole = bits(bz2.compress(LINE)), bits(bz2.compress(b" " * (BLOCK + 1_000_000)))
    first = head[head.find(start) : head.find(end)]
    at = whole.find(start)
    block = whole[at : whole.find(start, at + 48)]
    checksum = int(first[48:80], 2)
    for _ in range(size // BLOCK):
        checksum = (checksum << 1 | checksum >> 31) % 2**32 ^ int(block[48:80], 2)
    text = head[: head.find(start)] + first + block * (size // BLOCK) + end + f"{checksum:032b}"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def spaces_xz(size):
    return lzma.compress(LINE) + lzma.compress(b" " * (1 << 27), preset=0) * (size >> 27)


BOMBS = {".bz2": spaces_bz2, ".gz": spaces_gz, ".xz": spaces_xz, ".zst": spaces_zst}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", BOMBS)
def test_what_is_decompressed_comes_in_bounded_pieces(tmp_path, suffix):
    (path := tmp_path / f"a{suffix}").write_bytes(BOMBS[suffix](1 << 27))
    sizes = [len(data) for data, _ in decompressed_blocks(path)]
    assert sum(sizes) > 90_000_000
    assert max(sizes) <= 64 << 20


PACKERS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", PACKERS)
def test_pieces_are_the_file_and_damage_behind_them_costs_nothing_before_it(tmp_path, suffix):
    pack, body = PACKERS[suffix], b"ab" * (1 << 20)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pack(body) + pack(b"-") + bytes(700) + pack(body) + pack(b"") + bytes(9))
    assert b"".join(data for data, _ in decompressed_blocks(path)) == body + b"-" + body
    path.write_bytes(pack(b"-" + body) + pack(b"+") + b"\xff" * 99)
    found = []
    with pytest.raises(CutFileError, match="is damaged near byte"):
        found.extend(data for data, _ in decompressed_blocks(path))
    assert b"".join(found) == b"-" + body + b"+"


def test_many_streams_in_a_file_share_what_takes_long_to_make(tmp_path, monkeypatch):
    made, make = [], zstandard.ZstdDecompressor
    monkeypatch.setattr("zstandard.ZstdDecompressor", lambda **options: made.append(1) or make(**options))
    empty = struct.pack("<2I", 0x184D2A50, 0) + zstandard.compress(b"")  # a frame to skip, and one of no byte
    (path := tmp_path / "a.zst").write_bytes(empty * 1_000 + zstandard.compress(LINE) + empty)
    assert (b"".join(data for data, _ in decompressed_blocks(path)), len(made)) == (LINE, 1)


def test_an_xz_may_not_ask_for_any_memory(tmp_path):
    header = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    at = header.index(b"\x21\x01") + 2  # the filter's properties: one byte, for the size of its dictionary
    header[at] = 37  # 1.5 GB
    header[20:24] = struct.pack("<I", zlib.crc32(header[12:20]))
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        DECOMPRESSORS[".xz"]()().decompress(bytes(header))


MEASURE = """
import resource, sys
from pathlib import Path
from linkbert.corpora.reader import Skipped, load_reader
from linkbert.corpora.sources import find_reader, read_source
path, skipped = Path(sys.argv[1]), Skipped()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = [document.id for document in read_source(find_reader(path), path, None, skipped)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, found, dict(skipped), sep="; ")
"""


def measure(path):
    """Read a source in a process of its own, which may have 5 GB: its memory in MB, ids, causes."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))  # noqa: E731
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert not done.returncode, done.stderr[-500:]
    grown, found, skipped = done.stdout.strip().split("; ")
    return int(grown) >> 10, found, skipped


@pytest.mark.slow
@pytest.mark.parametrize("suffix", BOMBS)
def test_a_line_and_3_gb_of_spaces_take_little_memory(tmp_path, suffix):
    (path := tmp_path / f"a.jsonl{suffix}").write_bytes(BOMBS[suffix](3 << 30))
    grown, found, skipped = measure(path)
    assert grown < 64 + 300
    assert (found, skipped) == ("['a']", str({TOO_LARGE: 1}))


@pytest.mark.slow
def test_bombs_in_archives_and_three_large_texts_take_little_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        for suffix in (".bz2", ".zst"):
            archive.writestr(f"{suffix[1:]}.jsonl{suffix}", BOMBS[suffix](3 << 30))
        archive.writestr("b.jsonl", LINE)
    grown, found, skipped = measure(tmp_path / "nested.zip")
    assert grown < 64 + 300
    assert (found, skipped) == ("['a', 'a', 'a']", str({TOO_LARGE: 2}))
    with zipfile.ZipFile(tmp_path / "three.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(3):
            archive.writestr(f"{number}.txt", "much text " * 24_000_000)
        archive.writestr("small.txt", "A small text.")
    grown, found, skipped = measure(tmp_path / "three.zip")
    assert grown < 100
    assert (found, skipped) == ("['small']", str({"file too large (left out)": 3}))


@pytest.mark.slow
@pytest.mark.parametrize("nested", ["plain", "gz", "zst"])
def test_a_large_file_of_an_archive_is_held_once(tmp_path, nested):
    header, size = tarfile.TarInfo("a.jsonl" if nested == "plain" else f"a.jsonl.{nested}"), 250 << 20
    content = LINE if nested == "plain" else BOMBS[f".{nested}"](3 << 30)
    header.size = size if nested == "plain" else len(content)
    head = header.tobuf() + content + bytes(0 if nested == "plain" else -len(content) % 512 + 1024)
    packed = zstandard.compress(head) if nested != "plain" else spaces_zst(size + (1 << 18), head)
    (path := tmp_path / "a.tar.zst").write_bytes(packed)
    grown, found, skipped = measure(path)
    assert grown < 64 + 300
    assert (found, TOO_LARGE in skipped) == ("['a']", True)


def read(path):
    skipped = Skipped()
    records = read_source(find_reader(path), path, None, skipped)
    return sorted(each.id for each in records if isinstance(each, Document)), skipped


def test_a_header_of_any_size_is_refused_by_the_name_of_its_archive(tmp_path):
    header = tarfile.TarInfo("x")
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header.type, header.size = kind, 1 << 31
        (path := tmp_path / "a.tar.zst").write_bytes(spaces_zst(1 << 27, header.tobuf(tarfile.USTAR_FORMAT)))
        with pytest.raises(
            ValueError, match=r"a\.tar\.zst is not a whole archive \(a header of more than 1,048,576 bytes\)"
        ):
            read(path)
    assert LONGEST_HEADER < 1 << 21


def test_a_file_may_not_be_said_to_be_longer_than_its_archive_for_ever(tmp_path):
    header = tarfile.TarInfo("x.bin")
    header.size = 1 << 60
    (path := tmp_path / "a.tar").write_bytes(header.tobuf() + bytes(1024))
    with pytest.raises(ValueError, match="a file in it is longer than what there is"):
        read(path)


def add(archive, name, data=b"<p>text", **fields):
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for key, value in fields.items():
        setattr(header, key, value)
    archive.addfile(header, io.BytesIO(data))


SPARSE = {
    "size": {"GNU.sparse.size": "many"},
    "map": {"GNU.sparse.map": "0,x", "GNU.sparse.size": "9"},
    "numbers": {"GNU.sparse.offset": "?", "GNU.sparse.size": "?"},
    "no map": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99"},
    "realsize": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "-"},
}


@pytest.mark.parametrize("kind", SPARSE)
def test_a_damaged_header_of_a_tar_costs_its_file(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "a.html")
        add(archive, "b.html", pax_headers=SPARSE[kind])
        add(archive, "c.html")
    found, skipped = read(tmp_path / "a.tar")
    assert (found, skipped) == (["a.html", "c.html"], {CUT: 1})
    assert "a.tar is not a whole archive (b.html: " in skipped.examples[0]


def test_a_map_of_holes_has_an_end(tmp_path):
    hole = tarfile.TarInfo("b.html")
    hole.type, hole.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(hole.tobuf(tarfile.GNU_FORMAT))
    block[482], block[483:495] = 1, b"00000001000\0"  # a block of its map follows
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (path := tmp_path / "a.tar.zst").write_bytes(zstandard.compress(bytes(block) + b"1" * (3 << 20)))
    with pytest.raises(ValueError, match=r"a\.tar\.zst is not a whole archive \(a header of more than 1,048,576 bytes"):
        read(path)


def test_a_header_that_is_none_is_no_end(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("a.html", "b.html", "c.html"):
            add(archive, name)
    whole = (tmp_path / "a.tar").read_bytes()
    for number, rest in enumerate((["b.html", "c.html"], ["a.html", "c.html"], ["a.html", "b.html"])):
        data = bytearray(whole)
        data[1024 * number + 150] ^= 1
        (tmp_path / "a.tar").write_bytes(data)
        found, skipped = read(tmp_path / "a.tar")
        assert (found, skipped) == (rest, {CUT: 1})
        assert "bad checksum" in skipped.examples[0]


@pytest.mark.parametrize("stop", [512 * 3 + 100, 512 * 3, 512 * 2 + 5])
def test_a_tar_that_is_cut_is_counted_once(tmp_path, stop):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("a.html", "b.html", "c.html"):
            add(archive, name, b"<p>text " * 30)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:stop])
    assert read(tmp_path / "a.tar") == (["a.html"], {CUT: 1})


def test_shards_of_an_archive_have_an_end_where_its_files_have_no_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MANY", 10)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(99):
            add(archive, f"{number}.html", b"")
            add(archive, f"../{number}.html", b"")
    shards = [*sources.plan_source("html", tmp_path / "a.tar", load_reader("html").options())]
    assert max(len(shard.extra or ()) + len(shard.faults) for shard in shards) <= 20


def test_a_compressed_table_has_a_limit_as_it_is_held_whole(tmp_path, monkeypatch):
    table = pa.table({"id": ["a"], "text": ["some text " * 500]})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert read(tmp_path / "b.parquet.gz")[0] == ["a"]
    monkeypatch.setattr(sources, "LARGEST", 4_000)
    with pytest.raises(ValueError, match=r"b\.parquet\.gz has more than 4,000 bytes: decompress it"):
        read(tmp_path / "b.parquet.gz")
    assert read(tmp_path) == (["a"], {sources.TOO_LARGE: 1})


def directory_entry(data, name):
    at = data.rindex(name)
    return data.rindex(b"PK\1\2", 0, at)


def damage_data(data, at):
    start = data.index(b"b.html") + 12
    data[start : start + 9] = b"\xff" * 9


def damage_version(data, at):
    data[at + 6] = 99


def damage_method(data, at):
    data[at + 10 : at + 12] = b"\x61\0"


def damage_link(data, at):
    data[at + 38 : at + 42] = struct.pack("<I", 0o120777 << 16)
    damage_data(data, at)


DAMAGES = [
    (damage_data, zipfile.ZIP_LZMA),
    (damage_data, zipfile.ZIP_BZIP2),
    (damage_data, zipfile.ZIP_DEFLATED),
    (damage_link, zipfile.ZIP_BZIP2),
    (damage_method, zipfile.ZIP_DEFLATED),
]


def make_zip(path, kind, names=("a.html", "b.html", "c.html")):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name in names:
            archive.writestr(name, "<title>A page</title><p>" + "many words " * 99)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_a_damaged_file_of_a_zip_costs_itself(tmp_path, damage, kind):
    data = make_zip(path := tmp_path / "a.zip", kind)
    damage(data, directory_entry(data, b"b.html"))
    path.write_bytes(data)
    found, skipped = read(path)
    assert (found, skipped) == (["a.html", "c.html"], {CUT: 1})
    assert "a.zip: b.html (" in skipped.examples[0]


def test_a_later_version_of_zip_is_asked_of_one_file_only(tmp_path):
    data = make_zip(path := tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    damage_version(data, directory_entry(data, b"b.html"))
    path.write_bytes(data)
    assert read(path) == (["a.html", "b.html", "c.html"], {}), "its data is what zipfile can read"


def test_a_damaged_field_of_a_zip_costs_what_it_says(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        for name in ("a.html", "b.html"):
            (member := zipfile.ZipInfo(name)).extra = b"\x55\x54\5\0\0\0\0\0\0"
            archive.writestr(member, "<p>text")
    data = bytearray(path.read_bytes())
    at = directory_entry(data, b"b.html")
    data[at + 46 + 6 + 2] = 99
    path.write_bytes(data)
    assert read(path) == (["a.html", "b.html"], {})


def test_a_file_of_a_zip_that_is_larger_than_it_says_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.html", "<p>text")
        archive.writestr("b.html", " " * 1_000_000)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = directory_entry(data, b"b.html")
    data[at + 24 : at + 28] = struct.pack("<I", 9)
    (tmp_path / "a.zip").write_bytes(data)
    assert read(tmp_path / "a.zip") == (["a.html"], {CUT: 1})


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path):
    data = make_zip(path := tmp_path / "a.zip", zipfile.ZIP_STORED, ("a.html", "b\u00e9.html"))
    path.write_bytes(data.replace(b"b\xc3\xa9.html", b"b\xe9\xe9.html"))
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "a.html")
        add(archive, "b\udce9\udce9.html")
    (folder := tmp_path / "a").mkdir()
    (folder / "a.html").write_text("<p>text")
    (folder / "b\udce9\udce9.html").write_text("<p>text")
    (folder / "c\udce9.html").symlink_to("a.html")
    (folder / "\udcff.html").symlink_to("/nowhere")
    for place in (path, tmp_path / "a.tar", folder):
        found, skipped = read(place)
        assert found[:2] == ["a.html", r"b\xe9\xe9.html"], place
        assert all(text.isprintable() and text.encode() for text in (*found, *skipped.examples))
    records = list(read_source("html", folder))
    assert r"c\xe9.html" in [each.source for each in records if isinstance(each, Redirect)]


def test_a_source_whose_name_is_not_utf8_makes_a_store(tmp_path):
    from linkbert.corpora.build import build_documents
    from linkbert.corpora.store import Store

    (path := tmp_path / "caf\udce9.jsonl").write_bytes(LINE + b"[]\n")
    store = build_documents([path], tmp_path / "store")
    assert (len(store), store.manifest["skipped"]) == (1, {"not an object": 1})
    assert Store.open(tmp_path / "store").manifest["sources"][0]["path"] == str(path)
    assert len(build_documents([path], tmp_path / "store")) == 1, "it is the same source"


@pytest.mark.parametrize("depth", [600, 2_000, 100_000])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_links_nested_around_half_of_a_surrogate_pair_cost_their_line(tmp_path, name, depth):
    links = "[" * depth + '"\\ud800"' + "]" * depth
    if name == "a.jsonl":
        (tmp_path / name).write_text(f'{{"id": "a", "text": "A", "links": {links}}}\n{{"id": "b", "text": "B"}}\n')
    else:
        table = {"id": ["a", "b"], "text": ["A", "B"], "links": [links, ""]}
        pq.write_table(pa.table(table), tmp_path / name)
    found, skipped = read(tmp_path / name)
    assert found[-1] == "b"
    assert skipped.total()


def test_files_that_include_each_other_many_times_are_one_page_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(rst, "LARGEST", 100_000)
    (tmp_path / "index.rst").write_text("Index\n=====\n\nWords.\n\n.. include:: 1.rst\n")
    for number in range(1, 8):
        (tmp_path / f"{number}.rst").write_text(f"More words.\n\n.. include:: {number + 1}.rst\n" * 40)
    (tmp_path / "8.rst").write_text("Words at the end.\n")
    (tmp_path / "other.rst").write_text("Other\n=====\n\nWords.\n")
    found, skipped = read(tmp_path)
    assert found == ["other"]
    assert skipped[sources.TOO_LARGE] == 1


def test_substitutions_in_each_other_have_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(rst, "SUBSTITUTIONS", 1_000)
    defined = "".join(f".. |{number}| replace:: {f'|{number + 1}| ' * 20}\n" for number in range(9))
    (tmp_path / "a.rst").write_text(f"A\n=\n\nWords |0| and more.\n\n{defined}.. |9| replace:: end\n")
    found, skipped = read(tmp_path)
    assert found == ["a"]
    assert skipped[rst.NESTED] > 0


MACROS = {
    "many calls": "".join(f"\\define d{n}(x) {f'<<d{n + 1} $x$>> ' * 40}\n" for n in range(9)) + "\nWords <<d0 a>>.",
    "long values": "".join(f"\\define d{n}(x) <<d{n + 1} '{'$x$' * 400}'>>\n" for n in range(9))
    + "\nWords <<d0 aaaa>>.",
    "itself": '\\define d(x: "{{{ [d[a]] }}}") $x$\n\nWords <<d>>.',
    "itself, by default": "\\define d(x, y:{{{[d[a]]}}}) $x$$y$$y$\n\nWords <<d a>>.",
}


@pytest.mark.parametrize("kind", MACROS)
def test_macros_in_each_other_have_an_end(tmp_path, kind):
    (tmp_path / "a.tid").write_text(f"title: a\n\n{MACROS[kind]}")
    (tmp_path / "b.tid").write_text("title: b\n\nWords.")
    found, skipped = read(tmp_path)
    assert found == ["a", "b"]
    assert (skipped[wikis.TOO_MANY] > 0) == (kind != "itself")  # which is a text


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_a_column_whose_name_is_not_utf8_costs_its_file(tmp_path, name):
    table = pa.table({"id": ["a"], "text": ["A."], "number": [1]})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_stream(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"number", b"n\xffmber"))
    pq.write_table(table, tmp_path / "b.parquet")
    found, skipped = read(tmp_path)
    assert (found, skipped.total()) == (["a"], 1)
    assert name in skipped.examples[0]


def shared_values(kind, value, rows):
    """Make rows that have one value among them."""
    if kind == "views":
        view = struct.pack("<i4sii", len(value), value[:4].encode(), 0, 0)
        buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(value.encode())]
        return pa.Array.from_buffers(pa.string_view(), rows, buffers)
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


@pytest.mark.parametrize("kind", ["a.parquet", "a.arrow", "views", "lists"])
def test_rows_that_share_a_value_are_held_a_few_at_a_time(tmp_path, monkeypatch, kind):
    sizes, check = [], parquet._check
    monkeypatch.setattr(parquet, "LARGEST", 100_000)
    monkeypatch.setattr(parquet, "_check", lambda column: sizes.append(check(column).nbytes) or check(column))
    texts, ids = shared_values(kind, "word " * 6_000, 100), [str(number) for number in range(100)]
    table = {"id": ids, "text": texts}
    if kind == "lists":
        table = {"id": ["a", "b"], "text": ["A.", "B."], "links": pa.ListArray.from_arrays([0, 99, 100], texts)}
    table, path = pa.table(table), tmp_path / ("a.parquet" if kind == "a.parquet" else "a.arrow")
    if kind == "a.parquet":
        pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 20)
    else:
        with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    found, skipped = read(path)
    assert (found, skipped) == ((["b"], {TOO_LARGE: 1}) if kind == "lists" else (sorted(ids), {}))
    assert max(sizes) <= 100_000


@pytest.mark.slow
def test_four_kilobytes_of_a_table_take_little_memory(tmp_path):
    texts = shared_values("", "a" * 42_000_000, 100)
    table = pa.table({"id": [str(number) for number in range(100)], "text": texts})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=1 << 30)
    with pa.ipc.new_file(
        tmp_path / "a.arrow", table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        writer.write_table(table)
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 4_300
        grown, found, skipped = measure(path)
        assert grown < 64 + 400  # MB
        assert (found.count(","), skipped) == (99, "{}")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_few_bytes_that_should_become_many_are_not_allocated(tmp_path, monkeypatch, name):
    table, path = pa.table({"id": ["a"], "text": ["a" * 5_000_000]}), tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path, compression="zstd", use_dictionary=False)
    else:
        with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    assert read(path)[0] == ["a"]
    monkeypatch.setattr(parquet, "BOMB", 1_000_000)
    pq.write_table(table.set_column(1, "text", [["B."]]), tmp_path / "b.parquet")
    found, skipped = read(tmp_path)
    assert (found, skipped.total()) == (["a"], 1)
    assert "bytes that should become 5,0" in skipped.examples[0]


def test_a_file_of_a_tar_that_is_holes_costs_itself(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "a.html")
        for number in range(9):
            add(archive, f"{number}.html", pax_headers={"GNU.sparse.map": "0,8", "GNU.sparse.size": str(60 << 20)})
    found, skipped = read(tmp_path / "a.tar")
    assert (found, skipped) == (["a.html"], {CUT: 9})
    assert "0.html: holes of more than 1,048,576 bytes" in skipped.examples[0]


def test_each_page_of_a_table_is_looked_at_not_the_first_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BOMB", 1 << 20)
    monkeypatch.setattr(parquet, "RATIO", 1 << 40)  # as where the footer lies about the sum of its pages
    table, pages = pa.table({"id": ["a", "b", "c"], "text": ["A.", "B.", "C" * (3 << 20)]}), {"use_dictionary": False}
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", data_page_size=1, write_batch_size=1, **pages)
    found, skipped = read(tmp_path / "a.parquet")
    assert (found, dict(skipped)) == ([], {CUT: 1})
    assert "bytes that should become 3,145," in skipped.examples[0]
    pq.write_table(table.slice(0, 2), tmp_path / "a.parquet", data_page_size=1, write_page_checksum=True, **pages)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    assert read(tmp_path / "a.parquet") == (["a", "b"], {})
    data[4] = 0x1F  # a kind of field that there is none of, in the first header
    (tmp_path / "a.parquet").write_bytes(data)
    assert read(tmp_path / "a.parquet")[1].examples[0].count("row group 0 has no page at byte 4") == 1


def test_what_is_looked_up_has_a_longest_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_ID", 99)
    long = "n" * 100
    lines = [{"id": "a", "text": "A.", "links": [long, "b"]}, {"id": long, "text": "B."}, {"id": "b", "text": long}]
    lines += [{"redirect": long, "target": "a"}, {"redirect": "r", "target": long}, {"redirect": "r", "target": "a"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, skipped = read(tmp_path / "a.jsonl")
    assert (found, skipped) == (["a", "b"], {TOO_LONG: 3, "link to a name too long (left out)": 1})
    assert max(map(len, skipped.examples)) < 300
    [document, _, redirect] = read_source("jsonl", tmp_path / "a.jsonl")
    assert ([link.target for link in document.links], redirect.source) == (["b"], "r")


def test_names_in_an_archive_are_paths(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a.html", "n" * 900_000 + ".html", "n" * 900_000, f"{'n/' * 2_000}b.html"):
            add(archive, name)
    found, skipped = read(tmp_path / "a.tar")
    assert (found, skipped) == (["a.html", f"{'n/' * 2_000}b.html"], {TOO_LONG: 1, f"{OTHER}no suffix": 1})
    assert max(map(len, skipped.examples)) < 1_200


def test_a_record_may_have_so_many_values(tmp_path, monkeypatch):
    for module in (jsonl, files):
        monkeypatch.setattr(module, "MANY", 9)
    more = [",".join(["[]"] * 11), "[" * 9 + "]" * 9]
    lines = [f'{{"id": "a", "text": "A.", "more": [{each}]}}' for each in more]
    lines += ['{"id": "b", "text": "B.", "links": ["a"]}']
    lines += [
        json.dumps({"id": f"c{n}", "text": "C.", "links": mark.join("abcdefghijkl")}) for n, mark in enumerate(";|")
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    found, skipped = read(tmp_path / "a.jsonl")
    assert (found, skipped) == (["b", "c0", "c1"], {TOO_LARGE: 2, "links too many (left out)": 2})


def test_examples_of_what_is_left_out_are_short():
    (skipped := Skipped()).note("left out", "x" * 10_000_000)
    assert len(skipped.examples[0]) < 1_100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "runs"])
def test_rows_of_no_bytes_are_not_read(tmp_path, name):
    table = pa.table({"id": pa.nulls(2_000_000_000), "text": pa.nulls(2_000_000_000)})
    if name == "a.parquet":
        nulls = pa.nulls(100_000, pa.string())
        pq.write_table(pa.table({"id": nulls, "text": nulls}), tmp_path / name)
    else:
        runs = pa.RunEndEncodedArray.from_arrays(pa.array([1_000_000_000], pa.int32()), pa.array(["a"]))
        table = pa.table({"id": runs, "text": runs}) if name == "runs" else table
        with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(ValueError, match=r"000 rows in [0-9,]+ bytes"):
        read(next(tmp_path.iterdir()))


def test_a_link_to_itself_and_a_path_of_any_length_cost_themselves(tmp_path, monkeypatch):
    (tree := tmp_path / "t".ljust(160 - len(str(tmp_path)), "t")).mkdir()  # how many folders fit hangs on its length
    (tree / "a.html").write_text("<p>text")
    (tree / "b.html").symlink_to("b.html")
    (tree / "c").symlink_to("d")
    (tree / "d").symlink_to("c")
    monkeypatch.chdir(tree)
    for _ in range(25):
        (folder := Path("n" * 200)).mkdir()
        folder.joinpath("e.html").write_text("<p>text")
        monkeypatch.chdir(folder)
    found, skipped = read(tree)
    assert found[0] == "a.html"
    assert (len(found), skipped[TOO_LONG]) == (20, 1)
    assert max(map(len, skipped.examples)) < 1_200


PAGES = {
    "html": ".html",
    "rst": ".rst",
    "dokuwiki": ".txt",
    "tiddlywiki": ".tid",
    "wikitext": ".wiki",
    "zimwiki": ".txt",
    "jats": ".nxml",
    "feed": ".xml",
}
POST = '<rss xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:wp="http://wordpress.org/export/1.2/"><channel>'
POST += "<item><wp:post_type>post</wp:post_type><content:encoded><![CDATA["
CITED = (
    "<article><body><p><xref ref-type='bibr' rid='a'>",
    "1",
    "!</xref></p></body><back><ref-list><ref id='a'/></ref-list></back></article>",
)
RST = "A\n=\n\n"
ENDLESS = {  # what stands before, again and again, and behind
    "html": [("", "<", ""), ("", "<title", "")],
    "rst": [(RST, f" {mark}a", "\n") for mark in ("*", "**", "``", "|", "`", "_`", ":term:`")]
    + [(RST, "-a", "\n"), (f"{RST}.. c:function:: ", "a", "!\n"), (f"{RST}:ref:`a", " ", "b`\n")]
    + [(RST, ".. _a: b\n\n", "")],
    "dokuwiki": [("a", "=", "b"), ("~~", "a", ""), ("{{page>", "a", ""), ("", "<code>", "")],
    "tiddlywiki": [("title: a\n\n", mark, "") for mark in ("[img[", "```a\n", "\\define a()\n", "<style>")]
    + [("title: a\n\n{{", "a", ""), ("title: a\ntags: ", "[[a ", "\n\nText.")],
    "wikitext": [("#redirect", " ", "a"), ("", "[[/", ""), ("[[", "../", "a"), ("", "[[/a#", "")],
    "zimwiki": [("", "{{{a:", ""), ("", "'''\n", ""), ("", "[[a|", ""), ("", "_{", ""), ("", "\t", "* a")],
    "jats": [CITED],
    "feed": [
        (POST, mark, "]]></content:encoded></item></channel></rss>")
        for mark in ("<pre", "[a ", "\n ", "[a a=1", "<pre>\n")
    ]
    + [("<rss>", "&a", ""), ("<rss>", "<item>", "")],
}


@pytest.mark.slow
@pytest.mark.parametrize(("reader", "page"), [(reader, page) for reader, pages in ENDLESS.items() for page in pages])
def test_marks_that_never_end_hold_no_build(tmp_path, reader, page):
    before, mark, behind = page
    (tree := tmp_path / "tree").mkdir()
    text = before + mark * (100_000 // len(mark)) + behind
    (tree / f"a{PAGES[reader]}").write_text("\n".join(text[at : at + 90_000] for at in range(0, len(text), 90_000)))
    (tree / "conf.py").write_text("extensions = ['sphinx.ext.autosectionlabel']")
    began = time.process_time()
    list(read_source(reader, tree, None, Skipped()))
    assert time.process_time() - began < 8  # measured: 0.1 to 2; before: from half a minute to days


SLOW = {"a.md": "- - - - a\n", "a.rst": " **a b\n", "a.txt": "[[a|b]] **c** ", "a.wiki": "[[a|''b'']] "}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_page_that_takes_long_costs_itself(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sources, "PATIENCE", 0.3)
    (tree := tmp_path / "tree").mkdir()
    reader = {".md": "markdown", ".rst": "rst", ".txt": "dokuwiki", ".wiki": "wikitext"}[Path(name).suffix]
    for each in ("0", "z"):
        (tree / name.replace("a", each)).write_text("A small page.\n")
    (tree / name).write_text(SLOW[name] * (2_000_000 // len(SLOW[name])))
    began, before, skipped = time.process_time(), signal.getsignal(signal.SIGVTALRM), Skipped()
    found = [record.text for record in read_source(reader, tree, None, skipped) if isinstance(record, Document)]
    assert (found, skipped) == (["A small page."] * 2, {TOO_SLOW: 1})
    assert skipped.examples == [f"{tree / name}: {TOO_SLOW}"]
    assert time.process_time() - began < 10
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_time_is_that_of_the_thread_that_reads(tmp_path, monkeypatch):
    """Others in the process may be at work, and what is no main thread has no limit: no signal comes there."""

    def read_for(seconds):
        start = time.thread_time()
        while time.thread_time() < start + seconds:
            sum(range(1_000))
        yield "read"

    ends, found = threading.Event(), []
    busy = threading.Thread(target=lambda: [sum(range(1_000)) for _ in iter(ends.is_set, True)])
    monkeypatch.setattr(sources, "PATIENCE", 0.8)
    busy.start()
    try:
        assert sources._in_time(lambda: read_for(0.6)) == ["read"]
        assert sources._in_time(lambda: read_for(60)) is None
        monkeypatch.setattr(sources, "PATIENCE", 0.05)
        (elsewhere := threading.Thread(target=lambda: found.extend(sources._in_time(lambda: read_for(0.1))))).start()
        elsewhere.join()
        assert found == ["read"]
    finally:
        ends.set()
        busy.join()
