"""Short pairs, packed and padded: how full rows are, what packing costs the loader, and useful tokens a second.

    python benchmarks/packing.py STORE... [--length 128 512] [--batch 2048] [--memory]
    python benchmarks/packing.py STORE --length 512 --train tiny [--rounds 5] [--compile]

The first form counts: the share of places that hold a token where a compiled step takes micro-batches of one shape, in
rows as wide as a pair may be, and as wide as a GPU takes them; and the pairs a second that the loader draws, packs and
writes, beside those of rows of one pair. The second trains, on the same pairs: packed; padded, a row for each pair; and
padded to the longest pair of each micro-batch, of as many pairs as hold the same number of places. They take turns in
one process, in CPU time; tokens of padding do not count. Not compiled, so that none pays for its shapes; with --compile
those of one shape are, and the third, which has many, is left out.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from linkbert.config import make_config
from linkbert.instances.batches import Batch, Batches
from linkbert.instances.sampler import Instances, Sampler


def main() -> None:
    """Count, or train, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="+")
    parser.add_argument("--length", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--batch", type=int, nargs="+", default=[2048])
    parser.add_argument("--memory", action="store_true", help="only go through two steps and print the peak of memory")
    parser.add_argument("--train", help="a preset, whose sizes are trained")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for store in arguments.store:
        for length in arguments.length:
            for batch in arguments.batch:
                words = [f"sequence_length={length}", f"batch_size={batch}", "scope=document"]
                words.append(f"compile={'on' if arguments.compile else 'off'}")
                config = make_config(arguments.train or "tiny", words)
                print(f"{store.name}, length {length}, {batch} pairs a step:", flush=True)
                sampler = Sampler.open(store, config)
                if arguments.memory:
                    go_through(sampler)
                elif arguments.train:
                    train(sampler, config, arguments.rounds)
                else:
                    count(sampler)


def count(sampler) -> None:
    """Print utilisation and the loader's rates."""
    steps = max(1, 8192 // sampler.config.batch_size)
    for name, row_cost in (("rows of the length", None), ("rows as wide as on a GPU", 0.0)):
        for fixed in (True, False):
            batches = Batches(sampler, fixed=fixed, row_cost=row_cost)
            agreed = [batches.agree(batches.draw(step)) for step in range(1, steps + 1)]
            passes, counts = statistics.mean(each for each, _ in agreed), [each for _, each in agreed]
            share = sum(each.tokens for each in counts) / sum(each.places for each in counts)
            shape = batches.shape()
            slots = f", {shape.pairs} pairs and {shape.masks} masks" if fixed else ", as many rows as are needed"
            print(f"  {name}, {shape.rows} x {shape.width}{slots}: {share:.1%} full, {passes:.1f} micro-batches a step")
    batches, rates = Batches(sampler, fixed=True), {"packed": [], "one a row": []}
    for step in range(1, 6):
        begin = time.process_time()
        for _ in batches.one_by_one(step):
            pass
        rates["packed"].append(time.process_time() - begin)
        begin = time.process_time()
        for start in range(0, sampler.config.batch_size, 32):
            to_batch(sampler.fill(step * sampler.config.batch_size + np.arange(start, start + 32)))
        rates["one a row"].append(time.process_time() - begin)
    told = (f"{name} {sampler.config.batch_size / statistics.median(each):,.0f}" for name, each in rates.items())
    print(f"  pairs a second of CPU time: {', '.join(told)}", flush=True)


def go_through(sampler) -> None:
    """Take every micro-batch of two steps and print what memory that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batches = Batches(sampler, fixed=True)
    for step in range(2):
        places = sum(batch.input_ids.numel() for batch in batches.micro_batches(step))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  peak {before / 1024:,.0f} MB before, {after / 1024:,.0f} MB after; a step of {places:,} places at once "
          f"would be {4 * 8 * places / 2**20:,.0f} MB", flush=True)  # fmt: skip


def to_batch(made: Instances, *, trim: bool = False) -> Batch:
    """Make a batch of a row for each pair, as wide as the longest of them with `trim`."""
    width = -(-int(made.lengths.max()) // 8) * 8 if trim else made.input_ids.shape[1]
    rows, columns = np.divmod(made.masked_positions, made.input_ids.shape[1])
    real, pairs = np.arange(width) < made.lengths[:, None], np.arange(len(made.lengths))
    arrays = (
        *(np.ascontiguousarray(each[:, :width]) for each in (made.input_ids, made.token_type_ids)),
        *(np.where(real, np.arange(width), 0), np.where(real, pairs[:, None], -1)),
        *(
            pairs * width,
            rows * width + columns,
            made.masked_labels,
            made.relations,
            np.ascontiguousarray(made.pairs[:, 0]),
            made.numbers,
        ),
    )
    return Batch(*map(torch.from_numpy, arrays))


def tokens_of(batch: Batch) -> int:
    """How many places hold a real token."""
    return int((batch.pairs >= 0).sum())


def train(sampler, config, rounds: int) -> None:
    """Train a few micro-batches each way, in turns, and print useful tokens a second."""
    from linkbert.model.checkpoint import start_model
    from linkbert.model.step import row_cost, step_function

    model = start_model(config, len(sampler.store.vocabulary)).train()
    step = step_function(model, config)
    room = config.micro_batch_size * config.sequence_length
    made = [sampler.fill(turn * 4096 + np.arange(config.micro_batch_size)) for turn in range(rounds + 1)]
    trimmed = []
    for turn in range(rounds + 1):
        numbers = turn * 4096 + np.arange(4 * config.micro_batch_size)
        wide = np.maximum.accumulate(sampler.fill(numbers).lengths) * np.arange(1, len(numbers) + 1)
        trimmed.append(to_batch(sampler.fill(numbers[: max(1, int((wide <= room).sum()))]), trim=True))
    packed = Batches(sampler, fixed=True, row_cost=row_cost(model, config))
    contenders = {
        "padded": [to_batch(each) for each in made],
        "padded, trimmed": trimmed,
        "packed": [next(packed.one_by_one(turn)) for turn in range(rounds + 1)],
    }
    if config.compile == "on":
        del contenders["padded, trimmed"]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, batches in contenders.items():
            begin = time.process_time()
            output = step(batches[turn])
            (output["mlm_loss"][0] + output["relation_loss"][0].sum()).backward()
            if turn:  # the first one warms up
                rates[name].append(tokens_of(batches[turn]) / (time.process_time() - begin))
    for name, each in rates.items():
        batch, ratios = contenders[name][1], [a / b for a, b in zip(each, rates["padded"], strict=True)]
        print(f"  {name:16} {tuple(batch.input_ids.shape)!s:12} {tokens_of(batch) / batch.input_ids.numel():6.1%} full "
              f"{statistics.median(each):9,.0f} tokens/s {statistics.median(ratios):6.2f} x "
              f"({min(ratios):.2f} to {max(ratios):.2f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
