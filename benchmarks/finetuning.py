"""SQuAD fine-tuning next to transformers' own example: Trainer, fp32, rows padded to 384, the same windows and steps.

    python benchmarks/finetuning.py ENCODER DATA [--steps 8] [--rounds 3] [--batch 16] [--threads 1]
    python benchmarks/finetuning.py ENCODER DATA --steps 400 --rounds 1 --score

DATA has the file of the task squad1, whose articles are parted into train, dev and test. Both take turns in a process,
from the same weights, in CPU time (on one thread that is what a quiet machine's clock would say); windows a second.
`--score` adds F1 and exact match on dev, of both models by our decoding. Needs accelerate, for Trainer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, Trainer, TrainingArguments

from linkbert.model.device import choose_precision
from linkbert.tasks.finetune import load_model, open_folder, predict, train_model
from linkbert.tasks.kinds import RowForm, kind_of
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import read_splits
from linkbert.tasks.table import find_task


def main() -> None:
    """Train in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    for name, usual in (("steps", 8), ("rounds", 3), ("batch", 16), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--score", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    task = find_task("squad1")
    kind = kind_of(task)
    splits = read_splits(task, asked.data)
    tokenizer, _ = open_folder(asked.encoder)
    rows: Any = kind.rows(splits.train, RowForm(tokenizer, 384, 128), training=True)
    count = len(rows.lengths)
    precision = choose_precision("auto", torch.device("cpu"))
    epochs = asked.steps * asked.batch / count
    more: dict[str, Any] = {"micro_batch_size": 1_024, "precision": precision}  # what fine_tune chooses on a CPU
    settings = FineTuneConfig(batch_size=asked.batch, num_train_epochs=epochs, learning_rate=1e-4, **more)
    print(f"{count} windows of {np.mean(rows.lengths):.0f} tokens, {asked.steps} steps of {asked.batch}, {precision}")

    def ours(seed: int) -> Any:
        torch.manual_seed(seed)
        model, _ = load_model(kind, asked.encoder, open_folder(asked.encoder)[1], (), settings)
        train_model(model, rows, settings.replace(seed=seed))
        return model

    def theirs(seed: int) -> Any:
        torch.manual_seed(seed)
        model = AutoModelForQuestionAnswering.from_pretrained(asked.encoder)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingArguments(
                folder, max_steps=asked.steps, per_device_train_batch_size=asked.batch, learning_rate=1e-4, seed=seed,
                report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
            )  # fmt: skip
            Trainer(model, options, train_dataset=Padded(rows)).train()
        return model

    seconds: dict[str, list[float]] = {"ours": [], "Trainer": []}
    for seed in range(asked.rounds):
        for name, train in (("ours", ours), ("Trainer", theirs)):
            start = time.process_time()
            model = train(seed)
            seconds[name].append(time.process_time() - start)
            print(f"{name:<8} {asked.steps * asked.batch / seconds[name][-1]:7.2f} windows/s", flush=True)
            if asked.score:
                dev: Any = kind.rows(splits.dev, RowForm(tokenizer, 384, 128), training=False)
                answers = kind.decode(dev, predict(model, dev, settings))
                print(f"{name:<8} {kind.score(splits.dev, answers)}", flush=True)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["Trainer"], strict=True)]
    print(f"ours is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


class Padded(torch.utils.data.Dataset):
    """Windows padded to 384 tokens, as the example's tokenizer gives them."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows.lengths)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        found = {name: each[0] for name, each in self.rows.batch([row]).items()}
        wide = {name: np.pad(each, (0, 384 - len(each))) if np.ndim(each) else each for name, each in found.items()}
        return {name: torch.as_tensor(each) for name, each in wide.items()}


if __name__ == "__main__":
    main()
