"""Commands that are killed or fill a disk, and are run again: the bytes of unbroken ones, and nothing left over."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "faults.py"
COMMANDS = ["build", "build-2", "hyperlink", "export", "pretrain", "finetune", "evaluate", "report"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_command_that_is_broken_and_run_again_gives_the_bytes_of_an_unbroken_one(tmp_path):
    command = [sys.executable, PROGRAM, *COMMANDS, "--tries", "5", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {*rows} == {"command", *COMMANDS, "all"}
