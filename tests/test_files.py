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

from linkbert import files
from linkbert.cli import main
from linkbert.corpora.store import Store
from linkbert.files import (
    DEEPEST,
    SCRATCH,
    Member,
    find_encoder,
    hub_names,
    locked,
    one_line,
    read_json,
    remove,
    replacing,
    scratch,  # fmt: skip
)


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
    assert (
        one_line(OSError(errno.ENOSPC, "No space"))
        == "no space; make room, and run the same command again (pretrain with --resume)"
    )


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


def test_a_lock_that_cannot_be_made_is_no_other_process():
    with pytest.raises(OSError), locked(Path("/proc/nothing")):
        pass


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


DEEP = {
    "many lists": "a = " + "[" * 100_000,
    "many tables": "[" * 100_000,
    "a long key": ".".join("a" * 200_000) + " = 1",
    "a long key inside": "a = {" + " . ".join("b" * 200_000) + " = 1}",
}
DEEP |= {"a long heading": f"[{'.'.join('a' * 200_000)}]", "a long number": "a = " + "9" * 5_000}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("command", ["study", "finetune"])
def test_a_file_of_settings_of_any_form_is_one_line(tmp_path, capsys, kind, command):
    (tmp_path / "a.toml").write_text(DEEP[kind])
    words = {"study": ["--plan"], "finetune": ["--data", str(tmp_path), "--to", str(tmp_path / "to")]}[command]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    model = [str(tmp_path / "model")] * (command == "finetune")
    assert main([command, *model, str(tmp_path / "a.toml"), *words]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'a.toml'} is not a TOML file (" in said
    assert said.count("\n") == 1


ENDLESS = """
import resource, sys
from linkbert.cli import main
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["like", "itself", "pipe"])
def test_a_device_or_a_pipe_is_no_file_of_settings(tmp_path, place):
    path = Path("/dev/zero")
    if place == "pipe":
        os.mkfifo(path := tmp_path / "pipe")
    if place == "itself":
        (path := tmp_path / "a.toml").symlink_to("/dev/zero")
    else:
        (tmp_path / "a.toml").write_text(f'like = "{path}"')
    command = [sys.executable, "-c", ENDLESS, "study", str(tmp_path / "a.toml"), "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{path} is no regular file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_of_settings_has_a_largest_size(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text('"more than ten bytes"')
    assert read_json(tmp_path / "a.json") == "more than ten bytes"
    monkeypatch.setattr(files, "LARGEST_SETTINGS", 10)
    with pytest.raises(ValueError, match=r"a\.json has more than 10 bytes"):
        read_json(tmp_path / "a.json")


WORDS = ['"a word of a vocabulary"'] * 2_000


def test_json_may_have_so_many_values_for_its_size(tmp_path, monkeypatch):
    """A list in two bytes takes 88 when it is read."""
    monkeypatch.setattr(files, "MANY", 100)
    for name, text in (("flat", "[" + "[], " * 200 + "0]"), ("deep", f"[{', '.join(['[' * 40 + ']' * 40] * 9)}]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"{name} is not valid JSON \(more than 100 values"):
            read_json(tmp_path / name)
    (tmp_path / "large").write_text(f"[{', '.join(WORDS)}]")
    assert len(read_json(tmp_path / "large")) == 2_000


def test_json_may_be_so_deep(tmp_path):
    for depth, fits in ((DEEPEST, True), (DEEPEST + 2, False)):
        (tmp_path / "a.json").write_text(
            '{"a": ' * (depth // 2) + "[" * (depth // 2) + "]" * (depth // 2) + "}" * (depth // 2)
        )
        if fits:
            assert read_json(tmp_path / "a.json")
        else:
            with pytest.raises(ValueError, match=rf"a\.json is not valid JSON \(more than {DEEPEST} tables or lists"):
                read_json(tmp_path / "a.json")


FORKED = """
import os, sys, time
from pathlib import Path
from linkbert.files import locked, replacing
with locked(Path(sys.argv[1]) / "store"), replacing(Path(sys.argv[1]) / "a"):
    if not os.fork():
        print("forked", flush=True)
        time.sleep(60)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.timeout(30)
def test_what_was_forked_by_a_killed_process_keeps_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", FORKED, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    ) as it:
        assert it.stdout.readline() == b"forked\n"
        assert it.wait() == -9
        with locked(tmp_path / "store"), replacing(tmp_path / "a") as part:
            part.write_text("whole")
        os.killpg(it.pid, 9)


def test_nothing_is_written_through_a_link(tmp_path):
    for name in ("outside", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "own").mkdir()
    (tmp_path / "run" / "inside").symlink_to("own")
    (tmp_path / "link").symlink_to("run")
    with locked(tmp_path / "link"):
        pass
    for name, to in (
        ("checkpoints", tmp_path / "outside"),
        ("own/journal.jsonl", tmp_path / "gone"),
    ):
        (tmp_path / "run" / name).symlink_to(to)
        with pytest.raises(ValueError, match=f"{name} leads out of"), locked(tmp_path / "run"):
            pass
        (tmp_path / "run" / name).unlink()
    assert not [*tmp_path.glob("*.lock")]


def test_what_a_library_quotes_in_an_error_is_cut_and_soon_written():
    text = one_line(ValueError("invalid: " + "x/" * 5_000_000 + " at line 1"))
    assert len(text) < 2_100
    assert text.startswith("invalid: x/x/")
    assert text.endswith("x/ at line 1")
    assert len(hub_names("x/" * 500_000)) == 1_000_000, "one look at each run of characters, not one at each of them"
