"""The drawing side of training alone: the instances a second that processes make, and what eight GPUs ask of them.

    python benchmarks/drawing.py STORE [--length 512] [--tokens 1e6] [--rounds 7]

A process is given what rank 0 of 8 draws: its share of steps of 2,048 pairs, drawn, packed, counted and written in
micro-batches of one shape, as `pretrain` has it in its loader's thread. One process, then two at once; CPU time, as
other programs may run. `--tokens` are what a GPU trains on a second: from them follows how much of a core its loader
keeps busy, and so how long the thread that launches kernels waits for Python's lock at most: for what is not in the
compiled kernels, which hold none.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

from numba.core.dispatcher import Dispatcher

RANKS = 8


def time_kernels(spent):
    """Have the compiled kernels of the package, which hold no lock, add their CPU seconds to spent[0]."""

    def timed(kernel):
        def call(*arguments):
            start = time.process_time()
            try:
                return kernel(*arguments)
            finally:
                spent[0] += time.process_time() - start

        return call

    for name, module in [*sys.modules.items()]:
        for key, value in [*vars(module).items()] if name.startswith("linkbert.instances.") else ():
            if isinstance(value, Dispatcher):
                setattr(module, key, timed(value))


def draw(store, length, rounds, told):
    """Make the shares of 10 steps in each round; tell instances, tokens and CPU seconds."""
    from linkbert.config import Config
    from linkbert.instances.batches import Batches
    from linkbert.instances.sampler import Sampler

    config = Config(sequence_length=length, batch_size=2_048, micro_batch_size=64, scope="document")
    batches = Batches(Sampler.open(store, config), fixed=True, gather=lambda own: [own] * RANKS)
    step, spent = 0, [0.0]
    for number in range(rounds + 1):
        if number == 1:  # the first one has compiled them
            time_kernels(spent)
        start, made, tokens, spent[0] = time.process_time(), 0, 0, 0.0
        for step in range(step, step + 10):  # noqa: B020 - goes on where the round before ended
            drawn = batches.draw(step, 0, RANKS)
            passes, counts = batches.agree(drawn)
            made, tokens = made + len(drawn.numbers), tokens + counts.tokens // RANKS
            for part in range(passes):
                batches.write(drawn, part)
        step += 1
        if number:  # the first one compiles
            told.send((made, tokens, time.process_time() - start, spent[0]))
    told.close()


def main():
    """Measure one process and two, and print what follows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--tokens", type=float, default=1e6, help="tokens a second of a GPU")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for count in (1, 2):
        pipes, processes = [], []
        for _ in range(count):
            heard, told = context.Pipe(duplex=False)
            words = (options.store, options.length, options.rounds, told)
            processes.append(context.Process(target=draw, args=words))
            processes[-1].start()
            told.close()
            pipes.append(heard)
        found = [[heard.recv() for _ in range(options.rounds)] for heard in pipes]
        for process in processes:
            process.join()
        rates = [statistics.median(made / seconds for made, _, seconds, _ in each) for each in found]
        print(f"{count} process(es): {sum(rates):,.0f} instances/s of {count} core(s), as each makes "
              + " and ".join(f"{rate:,.0f}" for rate in rates))  # fmt: skip
        if count == 1:
            per = statistics.median(tokens / made for made, tokens, *_ in found[0])
            rate, kernels = rates[0], statistics.median(spent / seconds for *_, seconds, spent in found[0])
    wanted = options.tokens / per
    text = f"{per:.0f} tokens an instance; {RANKS} GPUs at {options.tokens:,.0f} tokens/s want"
    print(f"{text} {RANKS * wanted:,.0f} instances/s, {RANKS * wanted / rate:.2f} cores;")
    busy = wanted / rate
    print(f"each process {wanted:,.0f}, which keep {busy:.2%} of a core busy, {kernels:.0%} of it in kernels that")
    print(f"hold no lock: the thread that launches waits for Python's at most {busy * (1 - kernels):.2%} of the time")


if __name__ == "__main__":
    main()
