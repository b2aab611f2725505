"""The share of a training step that is spent waiting for its batches, as the journal's loader_share says (bar: 2 %).

    python benchmarks/loader.py STORE... [--steps 6]

Trains a few steps of tiny (length 512, here 256 pairs a step for 2,048: both sides of the ratio shrink alike) and of
demo's sizes (length 128, 16 pairs), from random weights, and prints the median over the steps; the first, which
compiles kernels, is left out. Several stores are mixed in equal parts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from linkbert.config import make_config
from linkbert.instances.parts import Part
from linkbert.pretraining.journal import read_journal
from linkbert.pretraining.run import pretrain

SETTINGS = {"tiny": ["batch_size=256"], "demo": []}


def main() -> None:
    """Train, read the journal, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    parts = [Part(str(i), path, 1) for i, path in enumerate(arguments.store)]
    for preset, words in SETTINGS.items():
        config = make_config(preset, [*words, "logging_steps=1", "warmup_steps=0.1", "eval_pairs=16"])
        config = config.replace(max_steps=arguments.steps + 1)
        with tempfile.TemporaryDirectory() as folder:
            pretrain(parts, Path(folder) / "run", config)
            lines = [line for line in read_journal(Path(folder) / "run" / "journal.jsonl") if "loader_share" in line]
        share, speed = (
            statistics.median(line[key] for line in lines[1:]) for key in ("loader_share", "tokens_per_second")
        )
        print(
            f"{preset}: {share:.3%} of a step waits for its batches, at {speed:,.0f} tokens/s ({len(lines) - 1} steps)"
        )


if __name__ == "__main__":
    main()
