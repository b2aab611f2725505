"""Folders, tars and zips of plain files: the same documents from each; what leads out of them is refused."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import text
from linkbert.corpora.sources import LINK, OUTSIDE, find_reader, read_source
from linkbert.records import Document


def read(path: Path) -> tuple[list[Document], Skipped]:
    skipped = Skipped()
    assert find_reader(path) == "text"
    return list(read_source("text", path, None, skipped)), skipped


def make_folder(path: Path) -> Path:
    files = {
        "b/two.txt": b"Two",
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


def test_wrapped_lines_are_joined():
    wrapped = "A line that was broken because it is as long as lines\r\nare.\r\n\r\n  A verse,\n  another.\f* One"
    assert text.join_lines(wrapped) == (
        "A line that was broken because it is as long as lines are.\nA verse,\nanother.\n* One"
    )


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_installed_packages_are_left_out_and_counted(tmp_path, kind):
    folder = tmp_path / "site"
    for name in ("a.txt", "b/node_modules/x/README.txt", "vendor/bundle/gem.txt", "vendor/own.txt", "node_modules.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("Words.")
    source = folder if kind == "folder" else Path(shutil.make_archive(str(folder), kind, folder))
    found, skipped = read(source)
    assert sorted(document.id for document in found) == ["a", "node_modules", "vendor/own"]
    assert skipped == {"folder of installed packages (left out)": 2}


def test_a_folder_and_a_tar_of_it_give_the_same_documents(tmp_path):
    folder = make_folder(tmp_path / "books")
    found, skipped = read(folder)
    assert [(document.id, document.title) for document in found] == [("a", "a"), ("c", "c"), ("b/two", "two")]
    assert [document.text for document in found[:2]] == ["A line.\n# Not a heading *here*", "Café"]
    assert skipped == {
        "not UTF-8 (read as Latin-1)": 1,
        "no text in the file": 1,
        "file of another kind: .png": 1,
    }
    for suffix in ("", ".gz", ".bz2", ".xz"):
        path = tmp_path / f"books.tar{suffix}"
        with tarfile.open(path, f"w:{suffix[1:]}") as archive:
            for file in sorted(folder.rglob("*")):
                archive.add(file, file.relative_to(folder), recursive=False)
        in_order = sorted(found, key=lambda document: document.id)
        assert read(path) == (in_order, skipped)
    short = (tmp_path / "books.tar.gz").rename(tmp_path / "books.tgz")
    assert read(short) == (in_order, skipped)
    path = tmp_path / "books.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    assert read(path) == (found, skipped)


def test_what_leads_out_of_a_tree_is_refused_and_nothing_is_written(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    with tarfile.open(tree / "a.tar", "w") as archive:
        for name, kind, leads_to in (
            ("link.txt", tarfile.SYMTYPE, "/etc/passwd"),
            ("deep/link.txt", tarfile.SYMTYPE, "../a.txt"),
            ("hard.txt", tarfile.LNKTYPE, "../../etc/passwd"),
            ("device.txt", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, leads_to
            archive.addfile(member)
        for name in ("../../outside.txt", "/a.txt", ".git/b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"words"))
    with zipfile.ZipFile(tree / "a.zip", "w") as archive:
        for name in ("../../outside.txt", "a.txt", ".git/b.txt"):
            archive.writestr(name, b"words")
    for name, faults in (("a.tar", {OUTSIDE: 3, LINK: 1}), ("a.zip", {OUTSIDE: 1})):
        found, skipped = read(tree / name)
        assert [(document.id, document.text) for document in found] == [("a", "words")]
        assert skipped == faults
    assert not (tmp_path.parent / "outside.txt").exists()
    assert not list(tmp_path.rglob("outside.txt"))
    folder = make_folder(tmp_path / "books")
    (folder / "link.txt").symlink_to("/etc/passwd")
    (folder / "other.txt").symlink_to("a.txt")
    (folder / "up").symlink_to("..")
    found, skipped = read(folder)
    assert [document.id for document in found] == ["a", "c", "b/two"]
    assert (skipped[OUTSIDE], skipped[LINK]) == (2, 1)


def test_a_damaged_file_of_a_zip_costs_itself(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.txt", f"words {i} {(i + 2) ** 999}")
    data = bytearray(path.read_bytes())
    at = data.index(b"1.txt") + 40
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    found, skipped = read(path)
    assert [document.id for document in found] == ["0", "2"]
    assert skipped == {CUT: 1}
    path.write_bytes(data[:100])
    with pytest.raises(ValueError, match="is not a whole zip file"):
        read(path)


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
    assert skipped[CUT] == 1


def test_what_holds_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds nothing that is known here \(.*\.txt.*\): it holds no file"):
        read(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"this is no tar" * 100)
    with pytest.raises(ValueError, match="is not a whole archive"):
        read(tmp_path / "a.tar")
