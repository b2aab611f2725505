"""Commands that are killed or fill a disk, and are run again: the bytes of unbroken ones, and nothing left over."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "faults.py"
COMMANDS = ["build", "build-2", "build-dask", "hyperlink", "tfidf", "random", "export", "pretrain", "score", "finetune",
            "evaluate", "report"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_command_that_is_broken_and_run_again_gives_the_bytes_of_an_unbroken_one(tmp_path):
    command = [sys.executable, PROGRAM, *COMMANDS, "--tries", "5", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    _, _, table = done.stdout.partition("\n| command ")
    lines = [line.strip("| ").replace(" ", "").split("|") for line in f"| command {table}".splitlines()]
    head, *rows = [line for line in lines if line[0] and not line[0].startswith("---")]
    assert head[2:] == ["tries", "late", "equal", "different", "leftover", "unnamed", "claimed", "traceback", "hangs"]
    assert {row[0] for row in rows} == {*COMMANDS, "all"}
    assert not done.returncode
    # `score` writes nothing, so a full disk is none to it.
    tries, _, equal, *wrong = map(int, rows[-1][2:])
    assert (tries, equal, wrong) == (59, 59, [0] * 6), done.stdout + done.stderr
