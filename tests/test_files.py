"""Files as every stage writes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from linkbert.files import locked, replacing


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
