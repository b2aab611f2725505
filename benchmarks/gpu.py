"""Check one GPU in ten minutes: whether training is right on it, and how fast it is.

    python benchmarks/gpu.py STORE --out DIR
    python benchmarks/gpu.py STORE --out DIR --device cpu --toy

STORE is a built store. Each stage (for `speed`, each size) is a process of its own. It asks the most valuable first,
and leaves out what its time does not suffice for (a first compile on a card takes 20 to 90 s); if it hangs it is
killed. Results are lines of JSON in DIR/results.jsonl, as they come; a table ends the output. The exit status is 1
where a check failed or a stage ended badly; a bar that is missed is listed, and is no error. It needs torch,
transformers, numpy, numba, scipy and pydantic: not what reads corpora, nor the command line. docs/gpu.md has the rest.
"""

import argparse
import contextlib
import json
import logging
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from functools import partial
from pathlib import Path

STAGES = {"sanity": 60, "correct": 170, "speed": 100, "loop": 100, "cards": 150, "evidence": 150}  # seconds; of a size
RESERVED = 60  # seconds that are kept for evidence: no size but the first is measured in them
GRACE = 20  # seconds after a stage's time until it is killed
COMPILES, PLAIN = 35, 8  # seconds that are wanted for what compiles, and for what does not
PASS, FAIL, NOTE, MET, MISSED = "pass", "FAIL", "note", "met", "MISSED"
SHAPE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
SIZES = {  # SHAPE, and rows of 512 tokens of a step: few, and as many as suit a card of 80 GB
    "tiny": ((2, 128, 2, 512), (32, 512)),
    "minilm": ((6, 384, 12, 1536), (32, 256)),
    "base": ((12, 768, 12, 3072), (32, 128)),
    "large": ((24, 1024, 16, 4096), (16, 64)),
}
NEAR = {"fp32": (1e-4, 3e-3), "bf16": (1e-2, 1e-1)}  # of fp32 on the CPU, at most: loss, gradients
TOY = {"tiny": ((2, 32, 2, 64), (4,))}
SHARES = {"tiny": 0.15, "minilm": 0.35, "base": 0.50, "large": 0.55}  # bars: of the measured product's rate
RATIOS = {"HF gathered": 1.3, "HF plain": 3.0}  # bars: base, times as fast
HOST = 0.9  # bar: tiny and MiniLM, the host's time by the update's: beyond, the card waits for the host
LOOP, LOADER = 0.97, 0.01  # bars: the loop's speed by the bare step's; time that waits for batches


class NoTimeError(Exception):
    """What is asked next takes longer than what is left."""


class Report:
    """Writes what a stage finds: a line to read, and one of JSON in DIR/results.jsonl; it may end at `until`."""

    def __init__(self, folder, stage, until=math.inf):
        self.folder, self.stage, self.until = Path(folder), stage, until
        self.bad = FAIL  # what an error is; NOTE while something is tried out that need not work
        self.doing = ""  # the part that runs
        self.path = self.folder / "results.jsonl"

    def write(self, verdict, name, text, **values):
        """Write one result."""
        print(f"{verdict:6} {self.stage} {name}: {text}", flush=True)
        line = {"stage": self.stage, "name": name, "verdict": verdict, "text": text, **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def check(self, name, good, text, **values):
        """Write whether something is as it must be."""
        self.write(PASS if good else self.bad, name, text, **values)

    def warned(self, text):
        """Take a warning of the package's: that it goes on uncompiled must not pass for the compiled speed."""
        if "compiling failed" in text:
            self.check(f"compiling, {self.doing}", False, text[:250])

    def read(self):
        """Read all results so far, of all stages."""
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()] if self.path.is_file() else []

    def find(self, key, default=math.nan, **wanted):
        """Return the last value `key` of a result that has the `wanted` values."""
        found = [each[key] for each in self.read() if key in each and wanted.items() <= each.items()]
        return found[-1] if found else default

    def want(self, seconds):
        """Have the part that asks left out, where fewer seconds are left."""
        if (left := self.until - time.time()) < seconds:
            raise NoTimeError(f"{max(left, 0):.0f} s are left, and it wants {seconds}")

    @contextlib.contextmanager
    def part(self, name, bad=FAIL):
        """Run a part of a stage; what it raises is a failed check, and the next part runs."""
        self.bad, self.doing = bad, name
        try:
            yield
        except NoTimeError as error:
            self.write(NOTE, name, f"left out: {error}")
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # of a smaller card than the sizes are made for
                self.bad = NOTE
            where = [each for each in traceback.extract_tb(error.__traceback__) if "linkbert" in each.filename]
            place = f" at {Path(where[-1].filename).name}:{where[-1].lineno}" if where else ""
            self.check(name, False, f"{type(error).__name__}{place}: {' '.join(str(error).split())[:250]}")
            traceback.print_exc()
        finally:
            self.bad = FAIL


class Machine:
    """What the stages need to know of the device."""

    def __init__(self, options):
        import torch

        self.device, self.toy = torch.device(options.device), options.toy
        self.cuda = self.device.type == "cuda"
        self.precision = "bf16" if self.cuda else "fp32"
        self.compile = "off" if options.toy else "on"
        self.sizes = TOY if options.toy else SIZES
        if options.toy:
            torch.set_num_threads(1)  # tensors too small to share
        self.length, self.vocabulary = (64, 500) if options.toy else (512, 30_522)

    def wait(self):
        """Wait until the device has done all it was given."""
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def settings(self, size, **changes):
        """Make the Config of a size."""
        from linkbert.config import Config

        own = dict(zip(SHAPE, self.sizes[size][0], strict=True)) | {"sequence_length": self.length}
        own |= {"device": str(self.device), "precision": self.precision, "compile": self.compile}
        own |= {"threads": 1} if self.toy else {}
        return Config(**(own | changes))

    def time(self, call, seconds):
        """Return the median seconds of a call, and those until it returns (all is queued), after two that warm up."""
        call()
        call()
        self.wait()
        wall, host, until = [], [], time.perf_counter() + seconds
        while len(wall) < 3 or (time.perf_counter() < until and len(wall) < 200):
            start = time.perf_counter()
            call()
            host.append(time.perf_counter() - start)
            self.wait()  # it may burn the core that it waits on, so that CPU time would tell nothing
            wall.append(time.perf_counter() - start)
        return statistics.median(wall), statistics.median(host)

    def product(self):
        """Measure the operations a second of a large matrix product."""
        import torch

        side, dtype = 256 if self.toy else 8192, torch.bfloat16 if self.cuda else torch.float32
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        return 2 * side**3 / self.time(lambda: a @ b, 0.2 if self.toy else 1.0)[0]


def distance(found, wanted):
    """Return the norm of the difference by the norm of what is wanted; infinite where there is no number."""
    found, wanted = (each.detach().double().cpu() for each in (found, wanted))
    apart = float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
    return apart if math.isfinite(apart) else math.inf


def random_batch(pairs, length, vocabulary, *, in_a_row=1, full=True):
    """Make a Batch of random tokens: `in_a_row` pairs a row, each of `length` tokens or (not full) of 40 % on."""
    import torch

    from linkbert.instances.batches import Batch

    draw = torch.Generator().manual_seed(0)
    rows, width = -(-pairs // in_a_row), in_a_row * length
    ids, types, places = (torch.zeros(rows * width, dtype=torch.int64) for _ in range(3))
    owners, first, masked = torch.full_like(ids, -1), [], []
    for pair in range(pairs):
        tokens = length if full else int(torch.randint(2 * length // 5, length + 1, (), generator=draw))
        start = pair * length
        stop = start + tokens
        ids[start:stop] = torch.randint(5, vocabulary, (tokens,), generator=draw)
        types[start + tokens // 2 : stop] = 1
        places[start:stop] = torch.arange(tokens)
        owners[start:stop] = pair
        first.append(start)
        chosen = torch.randperm(tokens, generator=draw)[: max(1, 3 * tokens // 20)]
        masked.append(start + chosen.sort().values)
    grid, positions, numbers = (rows, width), torch.cat(masked), torch.arange(pairs)
    labels = torch.randint(5, vocabulary, positions.shape, generator=draw)
    relations = torch.randint(3, (pairs,), generator=draw)
    grids = (each.view(grid) for each in (ids, types, places, owners))
    return Batch(*grids, torch.tensor(first), positions, labels, relations, numbers, numbers)


# ------------------------------------------------------------------------------------------------- the stages


def sanity(report, machine, _):
    """Measure two ceilings, and compare attention, dropout and loss with plain formulas in fp64 on the CPU."""
    import torch
    import transformers

    from linkbert.model.attention import drop, find_sequences, make_attention_mask, packed_attention
    from linkbert.model.device import has_varlen
    from linkbert.model.loss import masked_token_loss

    device, toy = machine.device, machine.toy
    name = torch.cuda.get_device_name() if machine.cuda else "CPU"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {sys.version.split()[0]}"
    report.write(NOTE, "machine", f"{name}, {os.cpu_count()} cores, {versions}", card=name)
    with report.part("ceilings"):
        rate = machine.product()
        source = torch.empty(1 << (20 if toy else 30), dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        copied = 2 * len(source) / machine.time(lambda: target.copy_(source), 0.2 if toy else 1.0)[0]
        text = f"{rate / 1e12:.2f} TFLOP/s ({machine.precision}), {copied / 1e12:.3f} TB/s copied"
        report.write(NOTE, "ceilings", text, product=rate, copy=copied)
    for how in ("eager", "compiled"):
        with report.part(f"dropout, {how}"):
            key, x = torch.tensor(123_456_789, dtype=torch.int32), torch.randn(8 if toy else 16_384, 96)
            call = torch.compile(drop, fullgraph=True, dynamic=False) if how == "compiled" else drop
            same = torch.equal(call(x.to(device), 0.1, key.to(device)).cpu(), drop(x, 0.1, key))
            report.check(f"dropout, {how}", same, "the CPU's, bit for bit" if same else "other bits than the CPU's")
    shapes = [(2, 16, 128, 0)] if toy else [(12, 64, 512, 0), (12, 32, 512, 0), (12, 64, 512, 96), (12, 64, 4096, 752)]
    for heads, width, length, queries in shapes:
        label = f"attention, {heads} heads of {width}, {queries or length} of {length}"
        with report.part(label):
            draw = torch.Generator().manual_seed(1)
            owners = torch.stack([torch.arange(length) // 100, torch.arange(length) // 173])
            owners[0, -30:] = -1
            asking = owners[:, :: length // queries][:, :queries] if queries else owners
            sizes = (asking.shape[1], length, length)
            inputs = [torch.randn(2, heads, n, width, generator=draw, dtype=torch.float64) for n in sizes]
            query, key, value = (each.requires_grad_() for each in inputs)
            mask = make_attention_mask(asking, owners)
            scores = (query @ key.transpose(-1, -2) / math.sqrt(width)).masked_fill(~mask, -math.inf)
            wanted = scores.softmax(-1) @ value
            gradient = torch.randn(wanted.shape, generator=draw, dtype=torch.float64)
            wanted.backward(gradient)
            for dtype, bound in ((torch.float32, 1e-3), (torch.bfloat16, 2e-2)):
                own = [each.detach().to(device, dtype).requires_grad_() for each in (query, key, value)]
                seen = make_attention_mask(asking.to(device), owners.to(device))
                ways = {"mask": seen}
                if has_varlen(device, dtype, width) and not queries:
                    ways["sequences"] = find_sequences(owners.to(device), 2 * (length // 100 + 2))
                for way, given in ways.items():
                    for each in own:
                        each.grad = None
                    found = packed_attention(*own, given)
                    found.backward(gradient.to(device, dtype))
                    rows = [(found, wanted), *((a.grad, b.grad) for a, b in zip(own, (query, key, value), strict=True))]
                    apart = max(distance(*row) for row in rows)
                    taken = machine.time(partial(packed_attention, *own, given), 0.1 if toy else 0.3)[0]
                    text = f"{apart:.1e} from fp64 (at most {bound:g}), forward {taken * 1e6:.0f} us"
                    report.check(f"{label}, {str(dtype)[6:]}, {way}", apart < bound, text)
    with report.part("loss"):
        places, words, hidden = (40, 1_000, 32) if toy else (2_000, 30_522, 256)
        plain = [torch.randn(shape, dtype=torch.float64) for shape in ((places, hidden), (words, hidden), (words,))]
        plain = [(each * size).requires_grad_() for each, size in zip(plain, (0.5, 0.1, 0.1), strict=True)]
        labels = torch.randint(words, (places,))
        labels[::7] = -100
        logits = plain[0] @ plain[1].t() + plain[2]
        wanted = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        wanted.backward()
        for dtype, bound in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
            kinds = (dtype, torch.float32, torch.float32)
            own = [a.detach().to(device, kind).requires_grad_() for a, kind in zip(plain, kinds, strict=True)]
            loss = masked_token_loss(*own, labels.to(device))[0]
            loss.backward()
            apart = max(distance(loss, wanted), *(distance(a.grad, b.grad) for a, b in zip(own, plain, strict=True)))
            report.check(f"loss, {str(dtype)[6:]}", apart < bound, f"{apart:.1e} from fp64 (at most {bound:g})")


def correct(report, machine, options):
    """Compare losses, gradients and whole runs with those of the CPU, with themselves, and with a resumed run."""
    import torch

    from linkbert.model.checkpoint import start_model
    from linkbert.model.device import deterministic, send_batch
    from linkbert.model.heads import Inputs
    from linkbert.model.step import step_function

    def gradients(config, batch):
        """Return the two losses of a batch and the gradients of all weights, (N,)."""
        torch.manual_seed(7)
        model = start_model(config, machine.vocabulary).to(config.device).train()
        with deterministic(torch.device(config.device)):
            found = step_function(model, config)(batch)
            sums = found["mlm_loss"][0], found["relation_loss"][0].sum()
            (sums[0] / len(batch.masked_labels) + sums[1] / len(batch.relations)).backward()
        flat = [each.grad.flatten().float().cpu() for each in model.parameters() if each.grad is not None]
        return torch.stack([each.detach().double().cpu() for each in sums]), torch.cat(flat)

    steps = 8 if machine.toy else 200
    common = {"held_out": 0, "max_steps": steps, "save_steps": steps // 2, "logging_steps": 1, "save_total_limit": 0,
              "batch_size": 16, "micro_batch_size": 8, "sequence_length": 64 if machine.toy else 128,
              "learning_rate": 1e-3, "warmup_steps": 0.1, "hidden_dropout_prob": 0.1}  # fmt: skip
    tiny, scratch = machine.settings("tiny", **common), report.folder / "scratch"
    batch, wanted = random_batch(8, machine.length, machine.vocabulary, in_a_row=2, full=False), {}
    shutil.rmtree(scratch, ignore_errors=True)  # of a check that was killed

    def repeat(how):
        """Train twice, and once more from half-way."""
        with report.part(f"twice and resumed, compile={how}"):
            report.want(COMPILES + 25 if how == "on" else 25)
            config = tiny.replace(compile=how)
            first, second = (train(options.store, scratch / f"{name}-{how}", config) for name in "ab")
            same = weights(first.model) == weights(second.model)
            report.check(f"run twice, compile={how}", same, "the same bits" if same else "other bits")
            half(second.run)
            third = train(options.store, second.run, config, resume=True)
            same = weights(first.model) == weights(third.model)
            text = "the bits of the unbroken run" if same else "other bits than the unbroken run"
            report.check(f"resumed, compile={how}", same, text)

    def compare(size, precision, how):
        """Compare an update with that of the CPU, which is asked once a size."""
        label = f"{size}, {precision}, compile={how}"
        with report.part(label):
            report.want(PLAIN if how == "off" else COMPILES)
            layers = min(machine.sizes[size][0][0], 6)  # a deep one takes the CPU too long, and its layers are equal
            plain = machine.settings(size, device="cpu", precision="fp32", compile="off", num_hidden_layers=layers)
            if size not in wanted:
                wanted[size] = gradients(plain, batch)
            torch._dynamo.reset()
            start = time.time()
            own = plain.replace(device=str(machine.device), precision=precision, compile=how)
            apart = [*map(distance, gradients(own, batch), wanted[size])]
            text = f"loss {apart[0]:.1e}, gradients {apart[1]:.1e} from the CPU's ({time.time() - start:.0f} s)"
            report.check(label, apart[0] < NEAR[precision][0] and apart[1] < NEAR[precision][1], text)

    repeat("off")
    for size in machine.sizes:
        for precision in ("fp32", "bf16")[: 2 if machine.cuda else 1]:
            compare(size, precision, "off")
    with report.part("packed = padded"):
        config = machine.settings("tiny", precision="fp32")
        model = start_model(config, machine.vocabulary).to(machine.device).eval()
        found = []
        for each in (batch, random_batch(8, machine.length, machine.vocabulary, full=False)):
            moved = send_batch(each, machine.device)
            found.append(model.predict(Inputs.of(moved), moved.masked_labels))
        apart = max(distance(a, b) for a, b in zip(*(each[1:] for each in found), strict=True))
        report.check("packed = padded", apart < 1e-4, f"{apart:.1e} apart (at most 1e-4)")
    with report.part("curves"):
        report.want(45)
        there = {"device": "cpu", "precision": "fp32", "compile": "off"}
        train(options.store, scratch / "cpu", tiny.replace(**there))
        curves = [losses(scratch / name) for name in ("a-off", "cpu")]
        last = [statistics.mean(curve[-max(steps // 10, 3) :]) for curve in curves]
        text = f"mean loss of the last tenth of {steps} steps: {last[0]:.4f}, on the CPU {last[1]:.4f}"
        report.check("curves", abs(last[0] - last[1]) < 0.02 * last[1], text, curves=curves)
        for name, where in (("a-off", there), ("cpu", {"device": str(machine.device), "precision": machine.precision})):
            half(scratch / name)
            result = train(options.store, scratch / name, tiny.replace(**({"compile": "off"} | where)), resume=True)
            end = statistics.mean(losses(scratch / name)[-max(steps // 10, 3) :])
            text = f"from {name} to {where['device']}: step {result.step}, mean loss {end:.4f}"
            report.check(f"resumed on {where['device']}", abs(end - last[1]) < 0.02 * last[1], text)
    if machine.compile == "on":
        compare("base", machine.precision, "on")
        repeat("on")
        for size in ("tiny", "minilm", "large"):
            compare(size, machine.precision, "on")
    shutil.rmtree(scratch, ignore_errors=True)


def train(store, run, config, *, resume=False):
    """Pretrain as `linkbert pretrain` does."""
    from linkbert.pretraining.run import pretrain

    return pretrain(store, run, config, resume=resume)


def half(run):
    """Take a run back to its checkpoint at half of the steps, as if it had been stopped there."""
    shutil.rmtree(run / "model")
    shutil.rmtree(max((run / "checkpoints").iterdir()))


def weights(model):
    """Read the bytes of a model's weights."""
    return (model / "model.safetensors").read_bytes()


def journal(run):
    """Read the lines of a run's journal that are of training."""
    lines = map(json.loads, (run / "journal.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if "tokens_per_second" in line]


def losses(run):
    """Read a run's losses of masked tokens, one a line of its journal."""
    return [line["mlm_loss"] for line in journal(run)]


def speed(report, machine, options):
    """Measure an update of one size: ours, and Hugging Face's modules, plain, and gathered and compiled."""
    import torch

    from linkbert.model import loss as of_words
    from linkbert.model.checkpoint import start_model
    from linkbert.model.device import deterministic
    from linkbert.model.step import operations_a_token

    size, length = options.size, machine.length
    config = machine.settings(size)
    model = start_model(config, machine.vocabulary)
    operations, encoder = operations_a_token(model, config), model.config
    if math.isnan(product := report.find("product")):
        product = machine.product()
    few, most = machine.sizes[size][1][0], machine.sizes[size][1][-1]

    def measure(name, rows, make, wanted=0, bad=FAIL):
        """Measure an update; return what it came to."""
        label, values = f"{size}, {name}, {rows} rows", {}
        with report.part(label, bad):
            report.want(wanted)
            torch._dynamo.reset()
            if machine.cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            update = make(rows)
            update()
            machine.wait()
            first = time.perf_counter() - start
            waits = count_waits(update) if machine.cuda else math.nan
            wall, host = machine.time(update, 0.3 if machine.toy else 2.5)
            memory = torch.cuda.max_memory_allocated() if machine.cuda else 0
            rate = rows * length / wall
            share = operations * rate / product
            text = (
                f"{rate:,.0f} tokens/s, {share:.1%} of the product's rate, host {host * 1e3:.1f} of {wall * 1e3:.1f} ms"
            )
            text += f", {memory / 2**30:.1f} GiB, {waits:g} waits, first update {first:.0f} s"
            values = {"tokens_per_second": rate, "share": share, "host": host, "wall": wall,
                      "memory": memory, "waits": waits, "first": first}  # fmt: skip
            report.write(NOTE, label, text, size=size, contender=name, rows=rows, **values)
            if machine.cuda and name.startswith("ours"):
                report.check(f"{label}, waits", waits == 0, f"the host waits {waits:g} times in an update")
        return values

    def ours(rows, **changes):
        own, batch = config.replace(**changes), random_batch(rows, length, machine.vocabulary)
        return our_update(start_model(own, machine.vocabulary).to(machine.device), own, batch)

    def theirs(rows, gathered):
        batch = random_batch(rows, length, machine.vocabulary)
        return hf_update(encoder, batch, machine.device, gathered=gathered, compiled=machine.compile == "on")

    def bar(name, value, least, text):
        if machine.cuda and not machine.toy:
            report.write(MET if value >= least else MISSED, f"{size}, {name}", text)

    def by_them(name, rows, other):
        mine = report.find(key, size=size, contender="ours", rows=most)
        mine = report.find(key, mine, size=size, contender="ours", rows=rows)  # where there was time for as many rows
        if other and size == "base" and not math.isnan(mine):
            ratio = mine / other[key]
            bar(f"by {name}", ratio, RATIOS[name], f"{ratio:.2f} times, of {RATIOS[name]:g}")

    key, compiles = "tokens_per_second", COMPILES if machine.compile == "on" else 0
    with deterministic(machine.device):
        if own := measure("ours", most, ours):
            bar("share", own["share"], SHARES[size], f"{own['share']:.1%} of {SHARES[size]:.0%}")
            if size in ("tiny", "minilm"):
                text = f"{own['host'] / own['wall']:.1%} of an update, at most {HOST:.0%}"
                bar("host", -own["host"] / own["wall"], -HOST, text)
    by_them("HF gathered", most, measure("HF gathered", most, partial(theirs, gathered=True), compiles, NOTE))
    with deterministic(machine.device):
        if machine.compile == "on":
            measure("ours, not compiled", most, partial(ours, compile="off"), PLAIN)
        if few < most:
            measure("ours", few, ours, compiles)
    by_them("HF plain", few, measure("HF plain", few, partial(theirs, gathered=False), PLAIN, NOTE))
    with deterministic(machine.device):
        measure("ours, HF's layers", most, partial(ours, bert_modules="transformers"), compiles)
        if machine.cuda and size in ("tiny", "minilm"):  # whether it would pay: no run does so
            # The loss compiles a part of itself: no graph within one that is being recorded.
            part = torch.compile(of_words.powers_of, fullgraph=True, options={"triton.cudagraphs": False})
            of_words.compiled_powers_of = lambda: part
            with torch._inductor.config.patch("triton.cudagraphs", True):
                measure("ours, CUDA graphs", few, ours, COMPILES, NOTE)
            skips = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
            report.write(NOTE, f"{size}, CUDA graphs", f"{skips} graphs were not recorded")


def our_update(model, config, batch):
    """Return a function that makes one update as `pretrain` does, up to where it reads what that came to."""
    from linkbert.model.optimizer import clip_gradients, make_optimizer, update_unless
    from linkbert.model.step import step_function

    optimizer = make_optimizer(model.train(), config)
    forward = step_function(model, config)
    masked, pairs = len(batch.masked_labels), len(batch.relations)

    def update():
        found = forward(batch)
        (found["mlm_loss"][0] / masked + found["relation_loss"][0].sum() / pairs).backward()
        update_unless(optimizer, ~clip_gradients(model, 1.0).isfinite())

    return update


def hf_update(encoder, batch, device, *, gathered, compiled):
    """Return an update of Hugging Face's BERT, one pair a row: logits of all tokens, or of the masked ones alone."""
    import torch
    from torch.nn import functional
    from transformers import BertForPreTraining

    from linkbert.model.device import send_batch
    from linkbert.model.fast_bert import as_a_whole

    model = BertForPreTraining(encoder).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    inputs = send_batch(batch, device)
    relations = inputs.relations % 2
    every = torch.full((batch.input_ids.numel(),), -100)
    every[batch.masked_positions] = batch.masked_labels
    every = every.view_as(batch.input_ids).to(device)

    def few(ids, types, positions, labels, relations):
        found = model.bert(ids, token_type_ids=types)
        states = found.last_hidden_state.flatten(0, 1)[positions]
        tokens = functional.cross_entropy(model.cls.predictions(states).float(), labels)
        return tokens + functional.cross_entropy(model.cls.seq_relationship(found.pooler_output).float(), relations)

    call, layers = few, model.bert.encoder.layer
    if compiled and not as_a_whole(encoder, device.type):  # as ours: the time to compile a whole grows with its layers
        for part in (model.bert.embeddings, *layers, model.cls.predictions.transform):
            part.compile(dynamic=False)
    elif compiled:
        call = torch.compile(few, dynamic=False)

    def update():
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            ids, types = inputs.input_ids, inputs.token_type_ids
            if gathered:
                loss = call(ids, types, inputs.masked_positions, inputs.masked_labels, relations)
            else:
                loss = model(ids, token_type_ids=types, labels=every, next_sentence_label=relations).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def count_waits(update):
    """Count the calls of an update in which the host waits for the GPU."""
    import torch

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            update()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    # Not the notice, once a process, that this mode "does not yet detect all synchronizing operations".
    return sum("called a synchronizing" in str(each.message) for each in found)


def loop(report, machine, options):
    """Pretrain on the store, with loader, journal, checkpoint and evaluation, and compare with the bare step."""
    size = "tiny" if machine.toy else "base"
    rows = machine.sizes[size][1][-1]
    with report.part(size):
        batch, steps = (16, 6) if machine.toy else (1_024, 12)
        changes = {"batch_size": batch, "max_steps": steps, "logging_steps": steps // 3, "micro_batch_size": rows}
        changes |= {"held_out": 0.2 if machine.toy else 0.02, "eval_pairs": 16 if machine.toy else 256, "eval_steps": 0}
        config = machine.settings(size, warmup_steps=0.1, save_total_limit=1, **changes)
        run = report.folder / "scratch-loop"
        shutil.rmtree(run, ignore_errors=True)
        train(options.store, run, config)
        last = journal(run)[-1]
        places = last["tokens_per_second"] / last["utilisation"]
        ratio = places / report.find("tokens_per_second", size=size, contender="ours", rows=rows)
        wait = last["loader_share"]
        text = f"{last['tokens_per_second']:,.0f} tokens/s, {last['utilisation']:.1%} of the places filled, {ratio:.1%}"
        text += f" of the bare step's places, {wait:.2%} waits for batches, {last['memory'] / 2**30:.1f} GiB"
        report.write(NOTE, size, text, ratio=ratio, loader_share=wait, loop=last["tokens_per_second"])
        if machine.cuda and not machine.toy and not math.isnan(ratio):
            report.write(MET if ratio >= LOOP else MISSED, f"{size}, by the bare step", f"{ratio:.1%} of {LOOP:.0%}")
            report.write(MET if wait <= LOADER else MISSED, f"{size}, loader", f"{wait:.2%}, at most {LOADER:.0%}")
        shutil.rmtree(run)


def evidence(report, machine, options):
    """Train a tiny LinkBERT and a tiny BERT on equally many tokens, and score both on held-out documents."""
    from dataclasses import asdict

    arms = {"LinkBERT": {}, "BERT": {"objective": "nsp", "shares": (0.5, 0.5, 0.0)}}
    common = {"batch_size": 16 if machine.toy else 512, "micro_batch_size": machine.sizes["tiny"][1][-1],
              "held_out": 0.2 if machine.toy else 0.02, "eval_steps": 0, "eval_pairs": 32 if machine.toy else 3_072,
              "warmup_steps": 0.1, "learning_rate": 2e-3, "hidden_dropout_prob": 0.0,
              "weight_init": "positional"}  # fmt: skip
    run, seen, tokens = report.folder / "scratch-evidence", {}, 0
    with report.part("pace"):  # it also compiles, so that neither arm pays for that
        for name, own in arms.items():
            config = machine.settings("tiny", max_steps=4, logging_steps=1, **common, **own)
            config = config.replace(held_out=0.0)
            shutil.rmtree(run, ignore_errors=True)
            result = train(options.store, run, config)
            seen[name] = result.tokens / result.step
            if not tokens:
                pace = statistics.median(line["tokens_per_second"] for line in journal(run)[1:])
                tokens = max(pace * min(options.evidence, (report.until - time.time()) / 4), 8 * seen[name])
    for name, own in arms.items() if tokens else ():
        with report.part(name):
            report.want(15)
            config = machine.settings("tiny", max_steps=max(1, round(tokens / seen[name])), **common, **own)
            shutil.rmtree(run, ignore_errors=True)
            result = train(options.store, run, config)
            scores = asdict(result.scores)
            shown = {key: scores[key] for key in ("mlm_loss", "mlm_accuracy", "link_gain", "context_gain")}
            text = "; ".join(f"{key} {show(value)}" for key, value in shown.items())
            values = {"tokens": result.tokens, "steps": result.step, "scores": shown}
            report.write(NOTE, name, f"{result.tokens:,} tokens in {result.step} steps: {text}", **values)
    with report.part("equal tokens"):
        amounts = [report.find("tokens", stage="evidence", name=name) for name in arms]
        if any(map(math.isnan, amounts)):
            report.want(math.inf)
        equal = abs(amounts[0] - amounts[1]) < 0.05 * amounts[0]
        report.check("equal tokens", equal, " and ".join(f"{amount:,}" for amount in amounts))
    shutil.rmtree(run, ignore_errors=True)


def cards(report, machine, options):
    """Train on 1, 2, 4 and 8 cards with the same global batches, and on all of them sharded: losses, and speed."""
    import torch

    most, speeds, curves = torch.cuda.device_count() if machine.cuda else 2, {}, {}
    for count in (1, 2, 4, 8, most):
        sharding = "full" if count in speeds else "none"
        with report.part(f"{count} cards, sharding={sharding}"):
            if not 1 < most >= count:
                continue
            report.want(COMPILES if machine.cuda else 0)
            shutil.rmtree(run := report.folder / "scratch-cards", ignore_errors=True)
            words = [options.store, "--out", report.folder, "--device", machine.device.type, *["--toy"] * machine.toy]
            command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, __file__, *words]
            command = [sys.executable, *command, "--stage", "rank", "--sharding", sharding]
            subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
            speed, curve = journal(run)[-1]["tokens_per_second"], losses(run)
            first = speeds.setdefault(1, speed), curves.setdefault(1, curve)
            speeds.setdefault(count, speed)
            apart = max(abs(a / b - 1) for a, b in zip(curve, first[1], strict=True))
            text = (
                f"{speed:,.0f} tokens/s, {speed / first[0] / count:.1%} of {count} times one; losses {apart:.1e} apart"
            )
            report.check(f"{count} cards, sharding={sharding}", apart < 0.02, text, cards=count, speed=speed)
    if most < 2:
        report.write(NOTE, "cards", "there is one alone")
    shutil.rmtree(report.folder / "scratch-cards", ignore_errors=True)


def rank(report, machine, options):
    """Train as one process of several, for `cards`; without dropout, whose seed is the process's own."""
    size = "tiny" if machine.toy else "base"
    changes = {"batch_size": 16 if machine.toy else 1_024, "micro_batch_size": machine.sizes[size][1][0],
               "max_steps": 9, "logging_steps": 3, "held_out": 0, "warmup_steps": 0.1, "hidden_dropout_prob": 0.0,
               "sharding": options.sharding}  # fmt: skip
    train(options.store, report.folder / "scratch-cards", machine.settings(size, **changes))


def warm(_, machine, options):
    """Draw a step, while the card is asked other things: numba's kernels are compiled when `correct` wants them."""
    from linkbert.instances.batches import Batches
    from linkbert.instances.sampler import Sampler

    config = machine.settings("tiny", held_out=0, batch_size=16, micro_batch_size=4)
    list(Batches(Sampler.open(options.store, config), fixed=machine.compile == "on", row_cost=1e-3).one_by_one(0))


def show(value):
    """Write a score: a number, or a value with its interval."""
    if isinstance(value, dict):
        return f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
    return "none" if value is None else f"{value:.4f}"


# ------------------------------------------------------------------------------------------------- the command


def run_stage(report, stage, limit, words):
    """Run a stage in a process of its own; kill it and all that it started soon after its limit."""
    start = time.time()
    command = [sys.executable, "-u", __file__, *words, "--stage", stage, "--until", str(start + limit)]
    process = subprocess.Popen(command, start_new_session=True, stderr=(report.folder / f"{stage}.err").open("a"))
    try:
        status = process.wait(limit + GRACE)
        if status:
            report.check("process", False, f"ended with status {status}; its errors are in {stage}.err")
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        report.check("process", False, f"killed {GRACE} s after its limit of {limit:.0f} s")
    report.write(NOTE, "time", f"{time.time() - start:.0f} s", seconds=time.time() - start)


def table(report):
    """Print failures and missed bars, then the speeds and the scores."""
    found = report.read()
    for each in found:
        if each["verdict"] in (FAIL, MISSED):
            print(f"{each['verdict']:6} {each['stage']} {each['name']}: {each['text']}")
    names = ("of product", 12), ("host ms", 9), ("wall ms", 9), ("waits", 6)
    print(
        f"\n{'size':8}{'contender':22}{'rows':>5}{'tokens/s':>14}", *(name.rjust(size) for name, size in names), sep=""
    )
    for each in found:
        if "contender" in each:
            row = f"{each['size']:8}{each['contender']:22}{each['rows']:5}{each['tokens_per_second']:14,.0f}"
            print(f"{row}{each['share']:12.1%}{each['host'] * 1e3:9.1f}{each['wall'] * 1e3:9.1f}{each['waits']:6g}")
    for each in found:
        if "scores" in each or "loop" in each:
            print(f"{each['stage']} {each['name']}: {each['text']}")
    counts = [sum(each["verdict"] == verdict for each in found) for verdict in (PASS, FAIL, MET, MISSED)]
    print("\n{} passed, {} failed; {} bars met, {} missed".format(*counts))
    return int(counts[1] > 0)


def main():
    """Run the stages one after another, or (`--stage`) one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="a built store")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--toy", action="store_true", help="toy sizes, hardly compiled: whether the check itself runs")
    parser.add_argument("--seconds", type=float, default=560, help="for all stages together")
    parser.add_argument("--evidence", type=float, help="seconds of training of an arm  [default: 45; toy: 1]")
    parser.add_argument("--stages", default=",".join(STAGES), help="those to run")
    parser.add_argument("--sizes", help="those whose speed is measured  [default: all]")
    parser.add_argument("--stage", choices=[*STAGES, "rank", "warm"], help=argparse.SUPPRESS)
    parser.add_argument("--sharding", default="none", help=argparse.SUPPRESS)
    parser.add_argument("--size", default="tiny", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=math.inf, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.evidence = options.evidence or (1 if options.toy else 45)
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ModuleNotFoundError):
        import linkbert  # noqa: F401 - installed
    if "linkbert" not in sys.modules:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    if options.stage:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # of deterministic sums; read when CUDA starts
        report = Report(options.out, options.stage, options.until)
        logging.getLogger("linkbert").addHandler(handler := logging.Handler(logging.WARNING))
        handler.emit = lambda record: report.warned(record.getMessage())
        globals()[options.stage](report, Machine(options), options)
        return 0

    Report(options.out, "").path.unlink(missing_ok=True)
    until, words = time.time() + options.seconds, sys.argv[1:]
    warming = subprocess.Popen([sys.executable, __file__, *words, "--stage", "warm"], stderr=subprocess.DEVNULL)
    every = [*(TOY if options.toy else ("base", "large", "minilm", "tiny"))]
    first, *others = options.sizes.split(",") if options.sizes else every
    asked = options.stages.split(",")
    turns = [(stage, first) for stage in ("sanity", "correct", "speed", "loop", "cards")]  # the most valuable first
    turns += [("speed", size) for size in others] + [("evidence", first)]
    for stage, size in turns:
        if stage not in asked:
            continue
        report = Report(options.out, stage)
        left = until - time.time() - (RESERVED if stage == "speed" and size != first and "evidence" in asked else 0)
        if left < 25:
            report.write(NOTE, "time", f"left out ({size}): no time")
            continue
        run_stage(report, stage, min(left, STAGES[stage] * (20 if options.toy else 1)), [*words, "--size", size])
    warming.kill()
    warming.wait()
    return table(Report(options.out, ""))


if __name__ == "__main__":
    sys.exit(main())
