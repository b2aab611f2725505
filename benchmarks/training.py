"""Training speed in tokens a second, against Hugging Face's BertForPreTraining.

    python benchmarks/training.py tiny base
    python benchmarks/training.py tiny --ablation bf16

One update is forward, backward and AdamW. The reference is fp32 with logits over all tokens, as `BertForPreTraining`
computes them; ours is what `step_function` gives. All get the same batch, the same dropout (none on attention weights,
which favours the reference on a CPU) and the same threads. Each runs in a process of its own, because `step_function`
sets the C library's allocator; they take turns, and a ratio is the median of the ratios of the rounds. 'reference kept'
is the reference with that allocator setting too. The peak is that of a 4096 x 4096 x 4096 product, measured in every
round, in bf16, or in fp32 where no contender computes in bf16 (some processors have no such product: choose contenders
of fp32 there). Operations are the model's, by `operations_a_token`: what is computed for nothing does not count.

'gathered' is what one writes who knows transformers and torch well: `BertModel`, its head at the masked places alone,
bf16 autocast (none for 'gathered fp32'), torch.compile, fused AdamW. The memory is what a process holds at most in an
update beyond what it held before its model was built (weights, moments, activations; the compiler's own is in it).
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

SIZES = {  # preset, pairs of a step, length
    "tiny": ("tiny", 32, 512),
    "base": ("base", 8, 512),
    "minilm": ("demo", 16, 512),
    "demo": ("demo", 16, 128),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CONTENDERS = {  # precision and compile of ours; the reference has none
    "reference": None,
    "reference kept": None,
    "gathered": None,
    "gathered fp32": None,
    "compiled bf16": ("bf16", "on"),
    "compiled fp32": ("fp32", "on"),
    "plain bf16": ("bf16", "off"),
    "plain fp32": ("fp32", "off"),
}
ABLATION = ("reference", "gathered eager", "plain", "compiled", *(f"compiled, {each}" for each in (
    "logits kept", "all places", "torch's attention", "memory given back", "AdamW by loops")))  # fmt: skip


def make_batch(pairs, length, mask_rate, *, vocabulary=30_522, filled=1.0):
    """Draw random tokens; `filled` is the share of a row's places that hold any, on average."""
    import torch

    random = torch.Generator().manual_seed(0)
    lengths = torch.full((pairs,), length)
    if filled < 1:
        lengths = torch.randint(int(length * (2 * filled - 1)), length + 1, (pairs,), generator=random)
    rows = [
        torch.randperm(int(n), generator=random)[: int(n * mask_rate)].sort().values + row * length
        for row, n in enumerate(lengths)
    ]
    positions, real = torch.cat(rows), torch.arange(length) < lengths[:, None]
    return SimpleNamespace(
        input_ids=torch.randint(1000, vocabulary, (pairs, length), generator=random),
        token_type_ids=(torch.arange(length) >= length // 2).long().expand(pairs, length).contiguous(),
        positions=torch.where(real, torch.arange(length), 0),
        pairs=torch.where(real, torch.arange(pairs)[:, None], -1),
        first=torch.arange(pairs) * length,
        masked_positions=positions,
        masked_labels=torch.randint(1000, vocabulary, positions.shape, generator=random),
        relations=torch.randint(2, (pairs,), generator=random),
    )


def reference_update(bert_config, batch):
    """Give a function that makes one update of Hugging Face's model."""
    import torch
    from transformers import BertForPreTraining

    model = BertForPreTraining(bert_config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.masked_positions] = batch.masked_labels
    labels = labels.view_as(batch.input_ids)
    attended = (batch.pairs >= 0).long()

    def update():
        output = model(
            batch.input_ids, attended, batch.token_type_ids, labels=labels, next_sentence_label=batch.relations
        )
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def gathered_update(bert_config, batch, *, bf16=True, compiled=True):
    """Give a function that makes one update of Hugging Face's encoder with its head at the masked places, compiled."""
    import torch
    from torch.nn import functional
    from transformers import BertForPreTraining

    model = BertForPreTraining(bert_config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    attended = (batch.pairs >= 0).long()

    def losses(input_ids, attended, token_type_ids, positions, labels, relations):
        output = model.bert(input_ids, attended, token_type_ids)
        states = output.last_hidden_state.flatten(0, 1)[positions]
        mlm = functional.cross_entropy(model.cls.predictions(states).float(), labels)
        return mlm + functional.cross_entropy(model.cls.seq_relationship(output.pooler_output).float(), relations)

    compute = torch.compile(losses, dynamic=False) if compiled else losses
    tensors = (batch.input_ids, attended, batch.token_type_ids)
    asked = (batch.masked_positions, batch.masked_labels, batch.relations)

    def update():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = compute(*tensors, *asked)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def our_update(bert_config, batch, config, without=""):
    """Give a function that makes one update of ours, without one of its parts."""
    import torch

    from linkbert.model import step
    from linkbert.model.fast_bert import LinkBertForPreTraining
    from linkbert.model.heads import ForwardOptions, PretrainingModel

    changes = {
        "logits kept": (LinkBertForPreTraining, "masked_loss", PretrainingModel.masked_loss),
        "all places": (step, "query_slots", lambda *_, **__: 0),
        "torch's attention": (
            step,
            "ForwardOptions",
            lambda *given, **more: ForwardOptions(*given, **more)._replace(written_out=False),
        ),
        "memory given back": (step, "keep_memory", lambda: None),
    }
    if without in changes:
        setattr(*changes[without])
    model = LinkBertForPreTraining(bert_config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=without != "AdamW by loops")
    step = step.step_function(model, config)
    masked, pairs = len(batch.masked_labels), len(batch.relations)

    def update():
        output = step(batch)
        (output["mlm_loss"][0] / masked + output["relation_loss"][0].sum() / pairs).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def peak_rate(clock, dtype, size=4096):
    """Measure operations a second of a matrix product."""
    import torch

    a, b = (torch.randn(size, size, dtype=getattr(torch, dtype)) for _ in range(2))
    a @ b
    times = []
    for _ in range(3):
        begin = clock()
        a @ b
        times.append(clock() - begin)
    return 2 * size**3 / min(times)


def peak_type(arguments):
    """Name the type of numbers whose product is the peak."""
    if arguments.ablation:
        return {"bf16": "bfloat16", "fp32": "float32"}[arguments.ablation]
    in_bf16 = any(name == "gathered" or name.endswith("bf16") for name in arguments.contenders.split(","))
    return "bfloat16" if in_bf16 else "float32"


def ablated(name, arguments):
    """Give precision and compile of a line of the ablation table; None of a peer."""
    compiled = {"plain": "off", "compiled": "on"}.get(name.partition(",")[0])
    return (arguments.ablation, compiled) if compiled else None


def setting(size, arguments, words=()):
    """Give config, BertConfig and batch of a size."""
    from transformers import BertConfig

    from linkbert.config import make_config

    preset, pairs, length = SIZES[size]
    config = make_config(preset, [f"sequence_length={length}", *words])
    bert_config = BertConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        attention_probs_dropout_prob=0.0,
    )
    return (
        config,
        bert_config,
        make_batch(arguments.pairs or pairs, length, config.mlm_probability, filled=arguments.filled),
    )


def contend(name, size, arguments, pipe):
    """Answer every 'go' with the seconds of an update; '.peak' with operations a second instead."""
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    clock = CLOCKS[arguments.clock]
    if name == ".peak":
        act = partial(peak_rate, clock, peak_type(arguments))
    else:
        ours = CONTENDERS.get(name) or ablated(name, arguments)
        words = [f"precision={ours[0]}", f"compile={ours[1]}"] if ours else []
        config, bert_config, batch = setting(size, arguments, words)
        if name == "reference kept":
            from linkbert.model.device import keep_memory

            keep_memory()
        before = resident()
        peers = {
            "gathered": gathered_update,
            "gathered fp32": partial(gathered_update, bf16=False),
            "gathered eager": partial(gathered_update, bf16=arguments.ablation == "bf16", compiled=False),
        }
        if ours:
            update = our_update(bert_config, batch, config, name.partition(", ")[2])
        else:
            update = peers.get(name, reference_update)(bert_config, batch)

        def act():
            begin = clock()
            for _ in range(arguments.repeat):
                update()
            return (clock() - begin) / arguments.repeat

    while (asked := pipe.recv()) != "end":
        pipe.send(act() if asked == "go" else resident(most=True) - before)


def resident(*, most=False):
    """Read how many bytes of memory this process holds, or held at `most`; Linux."""
    wanted = "VmHWM" if most else "VmRSS"
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(wanted))
    return int(line.split()[1]) * 1024


def measure(size, contenders, arguments):
    """Time the contenders in turns and print a table."""
    import torch

    from linkbert.model.fast_bert import LinkBertForPreTraining
    from linkbert.model.step import operations_a_token

    config, bert_config, batch = setting(size, arguments)
    places, tokens = batch.input_ids.numel(), int((batch.pairs >= 0).sum())
    with torch.device("meta"):
        operations = operations_a_token(LinkBertForPreTraining(bert_config), config)
    print(
        f"\n{size}: {tuple(batch.input_ids.shape)} places, {tokens} tokens, {operations / 1e6:.1f} M operations a place"
    )

    context = multiprocessing.get_context("spawn")
    processes, pipes, times = [], {}, {name: [] for name in (".peak", *contenders)}
    for name in times:
        pipes[name], far = context.Pipe()
        processes.append(context.Process(target=contend, args=(name, size, arguments, far), daemon=True))
        processes[-1].start()

    def turn(name, asked="go"):
        pipes[name].send(asked)
        return pipes[name].recv()

    for name in contenders:
        print(f"  {name}: first update {turn(name):.1f} s, second {turn(name):.2f} s", flush=True)
    for _ in range(arguments.rounds):
        for name, taken in times.items():
            taken.append(turn(name))
    memory = {name: turn(name, "memory") for name in contenders}
    for pipe in pipes.values():
        pipe.send("end")
    for process in processes:
        process.join()
    peaks = times.pop(".peak")
    peak = f"{statistics.median(peaks) / 1e9:.0f} GFLOP/s"
    print(
        f"  {peak_type(arguments)} peak {peak}, {arguments.threads} threads, {arguments.clock} clock,"
        f" torch {torch.__version__}"
    )
    print(f"  {'':27} {'tokens/s':>9} {'ratio':>7} {'(of all rounds)':>17} {'share of peak':>14} {'memory':>9}")
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(times[contenders[0]], taken, strict=True)]
        shares = [operations * places / seconds / peak for seconds, peak in zip(taken, peaks, strict=True)]
        spread = f"{min(ratios):.1f} - {max(ratios):.1f}"
        rate = tokens / statistics.median(taken)
        print(
            f"  {name:27} {rate:9.0f} {statistics.median(ratios):7.2f} {spread:>17} {statistics.median(shares):13.1%}"
            f" {memory[name] / 1e6:6.0f} MB"
        )


def main():
    """Measure the sizes named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["tiny", "base"], help=", ".join(SIZES))
    parser.add_argument("--contenders", default="reference,compiled bf16", help=", ".join(CONTENDERS))
    parser.add_argument("--ablation", choices=("bf16", "fp32"), help="one part taken away at a time, instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1, help="updates of a turn")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of a step, instead of the size's")
    parser.add_argument("--filled", type=float, default=1.0, help="share of places that hold a token")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu, with one thread, on a busy machine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # so that the first update shows what compiling costs
        for size in arguments.sizes:
            measure(size, ABLATION if arguments.ablation else arguments.contenders.split(","), arguments)


if __name__ == "__main__":
    main()
