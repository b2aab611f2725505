"""The drawing side of training alone: the instances a second that processes make, and what eight GPUs ask of them.

    python benchmarks/drawing.py STORE [--length 512] [--tokens 1e6] [--rounds 7]

A process is given what rank 0 of 8 draws: its share of steps of 2,048 pairs, drawn, packed, counted and written in
micro-batches of one shape, as `pretrain` has it in its loader's thread. One process, then two at once; CPU time, as
other programs may run. `--tokens` are what a GPU trains on a second: from them follows how much of a core its loader
keeps busy, and so how long the thread that launches kernels could wait for Python's lock at most, if all of the loader
were Python (its kernels hold no lock).
"""

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

RANKS = 8


def draw(store, length, rounds, told):
    """Make the shares of 10 steps in each round; tell instances, tokens and CPU seconds."""
    from linkbert.config import Config
    from linkbert.instances.batches import Batches
    from linkbert.instances.sampler import Sampler

    config = Config(sequence_length=length, batch_size=2_048, micro_batch_size=64, scope="document")
    batches = Batches(Sampler.open(store, config), fixed=True, gather=lambda own: [own] * RANKS)
    step = 0
    for number in range(rounds + 1):
        start, made, tokens = time.process_time(), 0, 0
        for step in range(step, step + 10):  # noqa: B020 - goes on where the round before ended
            drawn = batches.draw(step, 0, RANKS)
            passes, counts = batches.agree(drawn)
            made, tokens = made + len(drawn.numbers), tokens + counts.tokens // RANKS
            for part in range(passes):
                batches.write(drawn, part)
        step += 1
        if number:  # the first one compiles
            told.send((made, tokens, time.process_time() - start))
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
        rates = [statistics.median(made / seconds for made, _, seconds in each) for each in found]
        print(f"{count} process(es): {sum(rates):,.0f} instances/s of {count} core(s), as each makes "
              + " and ".join(f"{rate:,.0f}" for rate in rates))  # fmt: skip
        if count == 1:
            per = statistics.median(tokens / made for made, tokens, _ in found[0])
            rate = rates[0]
    wanted = options.tokens / per
    text = f"{per:.0f} tokens an instance; {RANKS} GPUs at {options.tokens:,.0f} tokens/s want"
    print(f"{text} {RANKS * wanted:,.0f} instances/s, {RANKS * wanted / rate:.2f} cores;")
    print(f"each of {RANKS} processes {wanted:,.0f}, which keep {wanted / rate:.2%} of a core busy")


if __name__ == "__main__":
    main()
