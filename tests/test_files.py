"""Files as every stage writes them."""

import errno
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from linkbert.corpora.store import Store
from linkbert.files import SCRATCH, Member, find_encoder, locked, one_line, remove, replacing, scratch


def test_a_file_is_whole_or_not_there(tmp_path):
    def fail():
        with replacing(tmp_path / "a") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with replacing(tmp_path / "a") as part:
        part.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("folder", [False, True])
def test_two_writers_of_one_thing_come_one_after_the_other(tmp_path, folder, caplog):
    """As two reports of a name, or a shard of a Dask client that was killed and run again at once."""

    def write(word, steps, ready=None):
        with replacing(tmp_path / "a", folder=folder) as part:
            for step in range(steps):
                (part / f"{step}" if folder else part).write_text(word * (step + 1))
                if ready:
                    ready.set()
                time.sleep(0.01)

    begun = threading.Event()
    first = threading.Thread(target=write, args=("first", 20, begun))
    first.start()
    begun.wait()
    write("second", 1)
    first.join()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    found = (
        [(tmp_path / "a" / "0").read_text(), *os.listdir(tmp_path / "a")] if folder else (tmp_path / "a").read_text()
    )
    assert found == (["second", "0"] if folder else "second")


def test_what_a_kill_left_is_written_over_whatever_it_is(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("text")
    for left in ("file", "folder", "link"):
        part = tmp_path / "a.part"
        {"file": Path.touch, "folder": Path.mkdir, "link": lambda at: at.symlink_to(precious)}[left](part)
        for folder in (False, True):
            with replacing(tmp_path / "a", folder=folder) as given:
                assert not given.is_symlink()
                assert given.is_dir() == folder
            remove(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert precious.read_text() == "text"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), RuntimeError("I/O error (os error 28)")])
def test_a_full_disk_names_the_file_and_the_remedy(tmp_path, error):
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a"):
        raise error
    assert one_line(caught.value).startswith(f"{tmp_path / 'a'}: no space left on device; make room")
    assert not any(tmp_path.iterdir())
    with pytest.raises(OSError, match="a'") as caught, replacing(tmp_path / "a"):
        raise RuntimeError("I/O error (os error 27)")  # as safetensors says it
    assert caught.value.errno == errno.EFBIG
    assert one_line(OSError(errno.ENOSPC, "No space")) == "no space; make room, and run the same command again"


def test_scratch_of_a_killed_process_is_removed_and_that_of_another_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{SCRATCH}left" / "query").mkdir(parents=True)
    (tmp_path / "linkbert-demo").mkdir()
    with scratch() as one, scratch() as other:
        assert {path.name for path in tmp_path.iterdir()} == {one.name, other.name, "linkbert-demo"}
    assert [path.name for path in tmp_path.iterdir()] == ["linkbert-demo"]


SCRIPT = """
import sys
from pathlib import Path
from linkbert.files import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_writes_a_folder(tmp_path, monkeypatch):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        (tmp_path / "store").mkdir()
        monkeypatch.chdir(tmp_path / "store")
        for name in (tmp_path / "store", Path()):
            with pytest.raises(ValueError, match="another process is writing"), locked(name):
                pass
        other.kill()
    with locked(tmp_path / "store"):  # a killed process holds nothing
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


def test_the_hub_is_asked_once_for_an_encoder(tmp_path, monkeypatch):
    """A command checks MODEL before anything heavy is imported, and opens it later."""
    asked = []
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda _, name, **__: asked.append(name))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path))
    assert find_encoder("some/encoder") == find_encoder(Path("some/encoder")) == tmp_path
    assert asked == ["some/encoder"]


def test_what_a_model_is_is_found_or_refused_alike(tmp_path):
    for name, inside in (("folder", "config.json"), ("run", "model/config.json"), ("store", "store.json"), ("a", "b")):
        path = tmp_path / name / inside
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    assert find_encoder(tmp_path / "folder") == tmp_path / "folder"
    assert find_encoder(tmp_path / "run") == tmp_path / "run" / "model"
    assert find_encoder(tmp_path / "begun") == tmp_path / "begun", "its last checkpoint is looked for by its readers"
    for name, said in (("store", "is a store, it holds no model"), ("a", "holds no model"), ("no", "no such folder")):
        with pytest.raises(ValueError, match=said):
            find_encoder(tmp_path / name)


def test_a_store_that_is_not_there_names_the_nearest_in_python_too(tmp_path):
    for name, file in (("wiki", "store.json"), ("half", "plan.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    for name, said in (("wika", "is not there; did you mean 'wiki'"), ("half", "is an unfinished build: run the same")):
        with pytest.raises(ValueError, match=said):
            Store.open(tmp_path / name)


def test_a_lock_follows_no_link_and_empties_no_file(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / "store.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "store"):
        pass
    assert (tmp_path / "precious").read_text() == "text"
    (tmp_path / "store.lock").unlink()
    (tmp_path / "store.lock").write_text("of another kind")
    with locked(tmp_path / "store"):
        assert (tmp_path / "store.lock").read_text() == "of another kind"


def test_a_file_of_an_archive_travels_to_a_worker():
    member = Member("a.zip/b/c.xml", b"<a/>")
    assert pickle.loads(pickle.dumps(member)) == member
    assert (member.parent.name, member.suffixes) == ("b", [".xml"])
