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
    total = done.stdout.rstrip().splitlines()[-1].strip("| ").replace(" ", "").split("|")[2:]
    tries, _, equal, *wrong = map(int, total)
    assert (tries, equal, wrong[:4]) == (40, 40, [0] * 4), (
        done.stdout + done.stderr
    )  # Ctrl-C at once may show a traceback
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {*rows} == {"command", *COMMANDS, "all"}
