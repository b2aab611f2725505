"""Folders and tars of plain and Markdown files: the same documents from both, prose without marks."""

import io
import tarfile
import time
from pathlib import Path

import pytest

from linkbert.corpora import find_reader, text
from linkbert.corpora.reader import Options, Skipped
from linkbert.records import Document

MARKDOWN = """---
# The *Title* #

Some **bold** and _thin_ text, snake_case_name and 2*3*4, with a [link](http://x.org/a_b),
an ![image](x.png) and `code`. This line is as long as a wrapped one usually is, then
it goes on <b>here</b>.

## Part two
* item one
* item two, which is longer than forty-five characters and so goes
  on in the next line
1. third \\* item

> quoted [words][1]
***
[1]: http://example.org
```python
x = 1
```
"""
PROSE = """The Title
Some bold and thin text, snake_case_name and 234, with a link, an  and code.\
 This line is as long as a wrapped one usually is, then it goes on here.
Part two
item one
item two, which is longer than forty-five characters and so goes on in the next line
third * item
quoted words
x = 1"""


def read(path: Path) -> tuple[list[Document], Skipped]:
    skipped, found = Skipped(), []
    assert find_reader(path) == "text"
    for shard in text.plan(path, Options()):
        found += text.read(shard, Options(), skipped)
        if shard.cut:
            skipped.note("cut", shard.cut)
    return found, skipped


def make_folder(path: Path) -> Path:
    files = {
        "b/two.md": MARKDOWN.encode(),
        "a.txt": b"\xef\xbb\xbfA line.\r\n\r\n# Not a heading *here*",
        "c.txt": "Café".encode("latin-1"),
        "empty.txt": b" \n",
        "image.png": b"\x89PNG",
        ".hidden.txt": b"no",
    }
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_markdown_becomes_prose():
    assert text.to_prose(MARKDOWN, markdown=True) == ("The Title", PROSE)
    assert text.to_prose("# a *b*\n\nc", markdown=False) == ("", "# a *b*\nc")


def test_a_folder_and_a_tar_of_it_give_the_same_documents(tmp_path):
    folder = make_folder(tmp_path / "books")
    found, skipped = read(folder)
    assert [(document.id, document.title) for document in found] == [("a", "a"), ("b/two", "The Title"), ("c", "c")]
    assert [document.text for document in found[::2]] == ["A line.\n# Not a heading *here*", "Café"]
    assert skipped == {"not UTF-8 (read as Latin-1)": 1, "no text in the file": 1}
    for suffix in ("", ".gz", ".bz2", ".xz"):
        path = tmp_path / f"books.tar{suffix}"
        with tarfile.open(path, f"w:{suffix[1:]}") as archive:
            for file in sorted(folder.rglob("*")):
                archive.add(file, file.relative_to(folder), recursive=False)
        assert read(path) == (found, skipped)


def test_links_and_devices_of_a_tar_are_ignored_and_nothing_is_written(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("link.txt", tarfile.SYMTYPE),
            ("hard.txt", tarfile.LNKTYPE),
            ("device.txt", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("../../outside.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"words"))
    found, _ = read(path)
    assert [(document.id, document.text) for document in found] == [("../../outside", "words")]
    assert sorted(file.name for file in tmp_path.parent.parent.rglob("outside.txt")) == []
    folder = make_folder(tmp_path / "books")
    (folder / "link.txt").symlink_to("/etc/passwd")
    assert "link" not in [document.id for document in read(folder)[0]]


def test_a_cut_tar_keeps_its_whole_files(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for i in range(50):
            data = " ".join(str(j * 7919 % 10007 + i) for j in range(3000)).encode()
            member = tarfile.TarInfo(f"{i}.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, skipped = read(path)
    assert 15 < len(found) < 30
    assert all(len(document.text.split()) == 3000 for document in found)
    assert skipped["cut"] == 1


def test_what_holds_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no text: no file in it ends in \.txt"):
        read(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"this is no tar" * 100)
    with pytest.raises(ValueError, match="is not a whole tar file"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("unit", ["[", "*", "`", "<!--", "![a](", "_a ", "\\", "**a ", "[a][", "- ", "***"])
def test_time_is_linear_in_hostile_markdown(unit):
    started = time.perf_counter()
    text.to_prose(unit * (200_000 // len(unit)), markdown=True)
    assert time.perf_counter() - started < 5
