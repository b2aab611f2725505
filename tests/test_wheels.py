import hashlib
import subprocess
import zipfile

import pytest

from linkbert import cli, demo
from linkbert.demo import Wheel, fetch

CONTENT = b"a small file"
THING = Wheel("thing==1.0", "thing", "thing", {"a.txt": hashlib.sha256(CONTENT).hexdigest()})


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Calls of a pip that "downloads" a wheel of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def pip(command, **_):
        calls.append(command)
        with zipfile.ZipFile(command[command.index("--dest") + 1] + "/thing-1.0.whl", "w") as wheel:
            wheel.writestr("thing/a.txt", CONTENT)
            wheel.writestr("thing/other.txt", b"not wanted")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo.subprocess, "run", pip)
    return calls


def test_only_the_wanted_file_is_kept_and_the_second_time_nothing_is_fetched(calls):
    folder = fetch(cli.make_console(), THING)
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert fetch(cli.make_console(), THING) == folder
    assert len(calls) == 1
    assert "--no-deps" in calls[0]


def test_a_damaged_cache_is_fetched_again(calls):
    (fetch(cli.make_console(), THING) / "a.txt").write_text("damaged")
    assert (fetch(cli.make_console(), THING) / "a.txt").read_bytes() == CONTENT
    assert len(calls) == 2


def test_a_wheel_with_another_content_is_refused_and_nothing_stays(calls, tmp_path):
    other = Wheel("thing==1.0", "thing", "thing", {"a.txt": "0" * 64})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        fetch(cli.make_console(), other)
    assert not (tmp_path / "cache" / "linkbert" / "thing").exists()


def test_without_a_network_the_demo_gives_pips_own_word_and_says_how_to_continue(calls, tmp_path, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: failed)
    assert cli.main(["demo", "--to", str(tmp_path / "demo")]) == 1
    err = capsys.readouterr().err
    assert "gensim==4.4.0 could not be fetched from PyPI (No matching distribution found)" in err
    assert "--source" in err
    assert err.count("\n") == 1
