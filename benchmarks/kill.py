"""Is a run that `kill -9` cut at random moments the unbroken one? On a store of your own.

    python benchmarks/kill.py STORE [--kills 10] [--processes 1] [--seed 0] [key=value ...]

A run of some hundred steps is made twice, with a checkpoint every 7 steps and an evaluation every 10: once unbroken,
once killed (all its processes at once) at moments drawn uniformly over the time that is left, and resumed each time.
Printed is what each kill met; then whether weights, moments and journal (timings aside) are equal bit for bit.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from linkbert.files import sha256
from linkbert.pretraining.journal import TIMINGS, read_journal

SETTINGS = ["max_steps=200", "batch_size=16", "micro_batch_size=16", "sequence_length=128", "warmup_steps=0.1",
            "scope=document", "learning_rate=1e-3", "save_steps=7", "eval_steps=10", "eval_pairs=64", "logging_steps=3",
            "held_out=0.1", "compile=off", "threads=1"]  # fmt: skip


def start(arguments: argparse.Namespace, run: Path) -> subprocess.Popen[bytes]:
    """Start a sitting of a run."""
    launcher = [sys.executable, "-m"]
    if arguments.processes > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={arguments.processes}", "-m"]
    command = [*launcher, "linkbert", "pretrain", arguments.store, "--to", run, "--resume", *SETTINGS]
    return subprocess.Popen([*command, *arguments.settings], stderr=subprocess.DEVNULL, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a run's processes: its own, or torchrun's and its children, which have sessions of their own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in (process.pid, *map(int, children)):
        os.kill(number, signal.SIGKILL)
    process.wait()


def step(run: Path) -> int:
    """Read the step of the journal's last whole line."""
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    return max((json.loads(line)["step"] for line in lines[:-1]), default=0)


def state(run: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Hash weights and moments of the last checkpoint, and read the journal."""
    folder = max((run / "checkpoints").glob("step-*[0-9]"))
    files = [folder / "model.safetensors", *sorted((folder / "training").glob("*.safetensors"))]
    lines = read_journal(run / "journal.jsonl")
    return [sha256(file) for file in files], [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


def main() -> None:
    """Run unbroken and broken, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        unbroken, broken = Path(folder, "unbroken"), Path(folder, "broken")
        began = time.monotonic()
        if start(arguments, unbroken).wait():
            sys.exit("the unbroken run failed; try the command by hand")
        print(f"unbroken: {time.monotonic() - began:.0f} s", flush=True)
        pace = read_journal(unbroken / "journal.jsonl")[-1]["elapsed"]
        for number in range(arguments.kills):
            process, reached = start(arguments, broken), step(broken)
            while process.poll() is None and step(broken) <= reached:
                time.sleep(0.01)
            time.sleep(draw.random() * 1.5 * pace / (arguments.kills + 1))
            if process.poll() is not None:
                sys.exit("the run ended before it was killed as often as asked; ask for more steps")
            end(process)
            open_files = [path.name for path in (broken / "checkpoints").glob("*.part")]
            print(
                f"kill {number + 1}: after step {step(broken)}" + (f", writing {open_files[0]}" if open_files else "")
            )
        if start(arguments, broken).wait():
            sys.exit("the last sitting failed")
        same = [a == b for a, b in zip(state(unbroken), state(broken), strict=True)]
        print(f"weights and moments equal: {same[0]}; journals equal: {same[1]}")
        sys.exit(not all(same))


if __name__ == "__main__":
    main()
