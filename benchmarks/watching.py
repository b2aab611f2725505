"""What watching a run costs: CPU seconds a step of all that is computed for a reader's eyes only, beside a step's own.

    python benchmarks/watching.py STORE [key=value ...]

A whole step is that of `linkbert pretrain` with these settings, from the run's journal. What is watched is timed alone,
because on a busy machine a difference of 1 % between whole runs cannot be seen: the losses by relation instead of their
sum (forward and backward), a Progress and its row, memory, and a line of journal and TensorBoard after every step.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

from linkbert.config import make_config
from linkbert.model.heads import find_objective
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.journal import Journal
from linkbert.pretraining.loop import Progress, journal_entry, peak_memory
from linkbert.pretraining.run import pretrain
from linkbert.progress import training_text
from linkbert.records import RELATIONS

CALLS = 2_000
OBJECTIVE = find_objective("drp")
WINDOW = [1, 1.5, 4_000, 4_096, *[1.0] * (2 * sum(OBJECTIVE.reports.values()))]  # steps, norm, tokens, places, sums


def seconds(call):
    """Time a call: CPU seconds, the mean of many."""
    call()
    begin = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - begin) / CALLS


def summed(scores, relations):
    """Give the relation loss as one sum, and its gradient."""
    functional.cross_entropy(scores, relations, reduction="sum").backward()


def by_relation(scores, relations):
    """Give it by relation, as the model does, and its gradient."""
    losses = functional.cross_entropy(scores, relations, reduction="none")
    true = relations[:, None] == torch.arange(len(RELATIONS))
    (losses[:, None] * true).sum(0).sum().backward()


def main():
    """Time, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    config = make_config("tiny", ["max_steps=12", "batch_size=32", "held_out=0", "compile=off", *arguments.settings])
    torch.set_num_threads(config.threads or 1)
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        pretrain(arguments.store, Path(folder, "run"), config, progress=lambda _: ends.append(time.process_time()))
        step = (ends[-2] - ends[1]) / (len(ends) - 3)  # the last one is of the checkpoint
        scores = torch.randn(config.micro_batch_size, 3, requires_grad=True)
        relations = torch.arange(config.micro_batch_size) % 3
        smooth: dict[str, float] = {}
        means = {"mlm_loss": 5.0, "relation_loss": 1.0, "relation_accuracy": 0.5}
        told = Progress("training", 7, 10_000, means=means, tokens_per_second=1e4, seconds_left=9e3)
        state = State(step=7, tokens=10**6, window=WINDOW)
        with Journal(Path(folder, "run"), step=0) as journal:
            costs = {
                "losses by relation": seconds(lambda: by_relation(scores, relations))
                - seconds(lambda: summed(scores, relations)),
                "row on the terminal": seconds(lambda: training_text(told, smooth)),
                "memory": seconds(lambda: peak_memory(torch.device("cpu"))),
                "line of the journal": seconds(lambda: journal.write(journal_entry(state, 1e-3, OBJECTIVE))),
            }
    print(f"step: {1e3 * step:.1f} ms of CPU")
    for name, cost in [*costs.items(), ("all of them", sum(costs.values()))]:
        print(f"  {name:<22}{1e6 * cost:8.0f} us {cost / step:8.2%}")


if __name__ == "__main__":
    main()
