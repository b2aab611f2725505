"""Windows of a question set: ours next to a plain Python loop over a fast tokenizer's overflowing rows.

    python benchmarks/questions.py squad-v1.1.json.xz VOCAB_FOLDER [--threads 1] [--repeat 3]

The plain loop is the way of transformers' question answering example: 1,000 questions at a time, padded to 384, the
offsets walked token by token for the answer in training, offsets and ids kept in evaluation. Both sides make the same
rows, which is checked. Seconds are CPU time (every thread) and by the clock; the best of `--repeat`.
"""

from __future__ import annotations

import argparse
import lzma
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any


def plain(examples: list[Any], tokenizer: Any, *, training: bool) -> dict[str, list[Any]]:
    """Make rows as lists."""
    made: dict[str, list[Any]] = {}
    for at in range(0, len(examples), 1000):
        part = examples[at : at + 1000]
        rows = tokenizer(
            [e.question for e in part],
            [e.context for e in part],
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        source, offsets = rows.pop("overflow_to_sample_mapping"), rows.pop("offset_mapping")
        if training:
            rows["start_positions"], rows["end_positions"] = [], []
            for i, places in enumerate(offsets):
                cls = rows["input_ids"][i].index(tokenizer.cls_token_id)
                sides, start, end = rows.sequence_ids(i), cls, cls
                if part[source[i]].spans:
                    begin, stop = part[source[i]].spans[0]
                    first, last = 0, len(sides) - 1
                    while sides[first] != 1:
                        first += 1
                    while sides[last] != 1:
                        last -= 1
                    if places[first][0] <= begin and places[last][1] >= stop:
                        start, end = first, last
                        while start < len(places) and places[start][0] <= begin:
                            start += 1
                        while places[end][1] >= stop:
                            end -= 1
                        start, end = start - 1, end + 1
                rows["start_positions"].append(start)
                rows["end_positions"].append(end)
        else:
            rows["example_id"] = [part[i].id for i in source]
            rows["offset_mapping"] = [
                [place if side == 1 else None for place, side in zip(places, rows.sequence_ids(i), strict=True)]
                for i, places in enumerate(offsets)
            ]
        for name, values in rows.items():
            made.setdefault(name, []).extend(values)
    return made


def measure(work: Callable[[], Any], repeat: int) -> tuple[Any, float, float]:
    """Give the result, and the least CPU time and time by the clock."""
    times = []
    for _ in range(repeat):
        cpu, clock = time.process_time(), time.perf_counter()
        result = work()
        times.append((time.process_time() - cpu, time.perf_counter() - clock))
    return result, *min(times)


def main() -> None:
    """Make the rows both ways, compare and time them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("tokenizer")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = arguments.threads
    from transformers import AutoTokenizer

    from linkbert.tasks.features import RowForm, windows
    from linkbert.tasks.formats import Source, read_squad

    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    with lzma.open(arguments.file, "rt") as stream:
        examples = list(read_squad([Source(str(arguments.file), stream)], {}, Counter()))
    for training in (True, False):
        theirs, slow, slow_clock = measure(lambda t=training: plain(examples, tokenizer, training=t), arguments.repeat)

        def ours(training: bool = training) -> Any:
            features = windows(examples, RowForm(tokenizer, 384, 128), training=training)
            rows = len(features.sizes)
            return features, [features.batch(range(i, min(i + 32, rows))) for i in range(0, rows, 32)]

        (_, batches), fast, fast_clock = measure(ours, arguments.repeat)
        place = 0
        for batch in batches:
            for i, row in enumerate(batch["input_ids"]):
                assert theirs["input_ids"][place][: len(row)] == row.tolist(), place
                for name in ("start_positions", "end_positions") if training else ():
                    assert theirs[name][place] == batch[name][i], (name, place)
                place += 1
        assert place == len(theirs["input_ids"])
        print(
            f"{'training' if training else 'scoring'}: {len(examples)} questions, {place} windows; plain loop "
            f"{slow:.2f} s of CPU ({slow_clock:.2f} by the clock), ours {fast:.2f} ({fast_clock:.2f}): "
            f"{slow / fast:.1f}x"
        )


if __name__ == "__main__":
    main()
