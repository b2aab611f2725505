"""The command line: every command's words, and the little that stands between them and the stages.

Libraries are imported inside each command, so that `linkbert --help` is instant. Exit status: 0, 1 (bad input: one line
that says what, where and the remedy) or 2 (usage).
"""

from __future__ import annotations

import argparse
import glob
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import linkbert
from linkbert.config import STORE_SETTINGS, Config, make_config, presets
from linkbert.tasks.settings import FineTuneConfig

if TYPE_CHECKING:
    from rich.console import Console

    from linkbert.instances.mixture import Part


GRAPH_OPTIONS = {  # what `graph` takes with each method
    "hyperlink": ("workers", "memory", "dask"),
    "random": ("seed",),
    "tfidf": ("k", "exact", "workers", "memory", "dask"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = make_parser()
    arguments, others = parser.parse_known_args(words)
    # argparse takes words without a dash only in one place; settings may stand among the options.
    if others and ("settings" not in arguments or any(word.startswith("-") for word in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        arguments.settings = [*arguments.settings, *others]
    if arguments.command is None:
        parser.print_help()
        return 2
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="linkbert: %(message)s")
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        print("linkbert: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        if arguments.verbose:
            logging.exception("the whole story")
        print(f"linkbert {arguments.command}: {one_line(error)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeErrors
        if not isinstance(error, MemoryError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        remedy = "a training takes less with a smaller micro_batch_size, or with gradient_checkpointing=true"
        print(f"linkbert {arguments.command}: not enough memory ({one_line(error)}); {remedy}", file=sys.stderr)
        return 1


def one_line(error: Exception) -> str:
    """Say an error in one line: what, where and the remedy."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is not there; check the path"
    if isinstance(error, OSError) and error.errno == 28:
        where = f" ({error.filename})" if error.filename else ""
        return f"no space left on the device{where}; free some and run again: finished parts stay"
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"{error.filename} cannot be a folder: it, or what it would lie in, is a file; name another path"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; check the path and who may read and write there"
    return " ".join(str(error).split()) or type(error).__name__


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="linkbert", description="Pretrain BERT-like encoders on documents and the links between them."
    )
    parser.add_argument("--version", action="version", version=f"linkbert {linkbert.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more of what goes on, and whole errors")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def begin(name: str, run: Callable[..., int], help: str, *, usual: str = "", **more: Any) -> Callable[..., Any]:  # noqa: A002
        """Begin a command; `usual` is the preset whose settings it looks with. Gives what adds an argument."""
        command = commands.add_parser(name, help=help, **more)
        command.set_defaults(run=run, usual=usual)
        if usual:
            command.add_argument("--preset", help=f"the settings that the pairs follow ({usual})")
            command.add_argument(
                "--set", action="append", default=[], metavar="key=value", help="one of them, otherwise"
            )
        return command.add_argument

    add = begin("demo", run_demo, "from nothing to a small trained encoder and its scores")
    add("--to", type=Path, default=Path("linkbert-demo"), help="folder for all it makes (linkbert-demo)")
    add("--source", type=Path, help="your own dump, jsonl or folder instead of the Wikipedia excerpt")
    add("--init", default="minilm", help="minilm, none, a Hugging Face folder or a hub name")
    add(
        "--minutes",
        type=float,
        default=3.2,
        help="minutes of training; the steps follow from the machine's speed (3.2)",
    )
    add("settings", nargs="*", metavar="key=value", help="settings of the run, such as max_steps=300")

    add = begin("build", run_build, "a dump or a tree of documents -> a store")
    add(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a path, a glob or an address (https://, s3://, gs://); several are read in order",
    )
    add("--to", type=Path, required=True, metavar="STORE", help="the store's folder")
    add(
        "--format",
        help="html, jats, jsonl, markdown, mediawiki, parquet, pubmed, text or zim; found by itself where it can be",
    )
    add("--links", type=Path, metavar="FILE.tsv", help="a table of source and target, added to the documents' links")
    add(
        "--vocab",
        default="train:30522",
        metavar="V",
        help="a vocab.txt, a tokenizer folder, a hub name, or train:SIZE (train:30522)",
    )
    add("--cased", action="store_true", help="keep capitals (a trained vocabulary; others know by themselves)")
    add("--body", metavar="SELECTOR", help="where a page's main text is, in CSS (html, zim)")
    add("--drop", metavar="SELECTOR", help="what to leave out of it, in CSS (html, zim)")
    add("--before", metavar="YEAR-MONTH", help="only what was published before (pubmed)")
    add("--min-words", type=int, help="only abstracts of so many words or more (pubmed)")
    add(
        "--columns",
        metavar="id=NAME,...",
        help="which columns are id, text, title and links, where they have other names (parquet)",
    )
    add("--comments", action="store_true", default=None, help="comments and errata are links too (pubmed)")
    add("--graph", choices=("hyperlink", "none"), default="hyperlink", help="the graph to build (hyperlink)")
    add("--workers", type=int, default=0, help="processes; 0 is one per core (0)")
    add("--keep-going", action="store_true", help="status 0 also where a source is cut off or damaged")
    add("--dask", metavar="ADDRESS", help="a Dask scheduler to send the work to, such as tcp://host:8786")

    add = begin("graph", run_graph, "add a graph to a store")
    add("store", type=Path, metavar="STORE")
    add("--method", choices=tuple(GRAPH_OPTIONS), required=True)
    add("--name", help="the graph's name in the store (the method's)")
    add("--seed", type=int, help="decides the graph (random; 0)")
    add("--k", type=int, help="neighbours of a document (tfidf; 5)")
    add("--exact", action="store_true", default=None, help="look up frequent terms, too (tfidf)")
    add(
        "--memory",
        type=size_in_bytes,
        metavar="SIZE",
        help="of all processes together, with --dask of each (tfidf, hyperlink; 4GB)",
    )
    add("--workers", type=int, help="processes; 0 is one per core (tfidf, hyperlink; 0)")
    add("--dask", metavar="ADDRESS", help="a Dask scheduler to send the work to")

    add = begin("show", run_show, "look: a document and its links, or decoded training instances", usual="demo")
    add("store", type=Path, nargs="?", metavar="STORE", help="not needed with --run")
    add("document", nargs="?", metavar="DOCUMENT", help="an id (a title, for Wikipedia)")
    add("--instances", type=int, metavar="N", help="decoded instances to show (3, where no DOCUMENT is named)")
    add("--at", metavar="NUMBER", help="the first one: its number, or EPOCH:INDEX")
    add("--run", type=Path, dest="of", metavar="RUN", help="take settings and stores from a run")
    add("--step", type=int, metavar="S", help="begin with the instances of a step of RUN")
    add("--seed", type=int, help="(0, or RUN's)")

    add = begin("stats", run_stats, "counts of a store, its links, graphs and relation shares", usual="tiny")
    add("store", type=Path, metavar="STORE")
    add("--json", action="store_true", help="for programs")
    add("--plots", type=Path, metavar="FOLDER", help="draw degrees and coverage into PNG files")

    add = begin(
        "report",
        run_report,
        "stores, runs and results of fine-tuning side by side, beside the paper's, on one page",
        usual="tiny",
    )
    add("folders", type=Path, nargs="+", metavar="STORE|RUN|RESULTS")
    add("--to", type=Path, metavar="REPORT.html|.md", help="without it: as text, on the terminal")

    add = begin("compare", run_compare, "where two fine-tuned models differ, with a paired test")
    for name in "ab":
        add(name, metavar=f"{name.upper()}[:MODEL]", help="a folder of results, and one of its models")
    add("--task", metavar="T", help="only this one (all that both have)")
    add("--store", type=Path, help="show its linked documents that join a question with the answer")
    add("--top", type=int, default=10, metavar="N", help="examples shown (10); --json has all")
    add("--json", action="store_true", help="for programs")

    add = begin("overlap", run_overlap, "which test contexts of a task stand in a store")
    add("store", type=Path, metavar="STORE")
    add("--task", required=True, metavar="T", help="a name of `linkbert tasks`")
    add("--data", type=Path, required=True, metavar="DIR", help="where its files are, or a dataset of the hub")
    add("--top", type=int, default=10, metavar="N", help="contexts shown (10)")
    add("--json", action="store_true", help="for programs")

    add = begin("check", run_check, "verify every promise on what is on disk")
    add("store", type=Path, metavar="STORE")
    add("--json", action="store_true", help="for programs")

    add = begin(
        "pretrain",
        run_pretrain,
        "train an encoder on a store",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="settings (key=value), with their defaults:\n"
        + "\n".join(f"  {name + '=' + value:<28} {meaning}" for name, value, meaning in Config.describe())
        + "\n  baseline=bert                short for objective=nsp shares=1/2,1/2,0"
        + "\n  recipe=paper                 a preset's settings as the paper has them, without what we found better"
        + "\n\nof one store of --mix (NAME.key=value): "
        + ", ".join(STORE_SETTINGS),
    )
    add(
        "--mix",
        action="append",
        default=[],
        metavar="NAME=STORE[:WEIGHT]",
        help="instead of STORE, once for each of several: their pairs are mixed by weight (their numbers of tokens)",
    )
    add("--to", type=Path, required=True, metavar="RUN", help="the run's folder")
    add("--preset", metavar="P", help=", ".join(presets()) + " (tiny)")
    add(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in RUN with its own settings; from step 0 where there is none",
    )
    add(
        "settings", nargs="*", metavar="STORE key=value", help="a store, and settings; with --resume, those of RUN hold"
    )

    add = begin("tasks", run_tasks, "the datasets that finetune and evaluate know")
    add("--data", type=Path, metavar="DIR", help="say which have their files there, or in that dataset of the hub")
    add("--json", action="store_true", help="for programs")

    fine_tuning: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "epilog": "settings (key=value), with their defaults, which a task's own go before:\n"
        + "\n".join(f"  {name + '=' + value:<24} {meaning}" for name, value, meaning in FineTuneConfig.describe()),
    }
    for name, help in (  # noqa: A001
        ("finetune", "fine-tune an encoder on a dataset and score it"),
        ("evaluate", "fine-tune and score an encoder on every dataset of a suite"),
    ):
        add = begin(name, run_finetune, help, **fine_tuning)
        add("model", metavar="MODEL", help="a RUN, a checkpoint, a Hugging Face folder or a hub name")
        if name == "finetune":
            add("tasks", metavar="TASK", help="see linkbert tasks; or your own table, FILE.toml or FILE.toml:NAME")
        else:
            add("--suite", help="mrqa, glue, blurb, medqa, mmlu or further")
            add("--tasks", metavar="A,B", help="datasets by name; one of the two is needed")
        add(
            "--data",
            type=Path,
            required=True,
            metavar="DIR",
            help="their files, or a dataset of Hugging Face's hub such as nyu-mll/glue; see docs/tasks.md",
        )
        add("--to", type=Path, required=True, metavar="DIR", help="results; what is finished there is not done again")
        add("--seeds", type=int, default=1, metavar="N", help="runs with other seeds, from seed= on (1)")
        add(
            "--grid",
            metavar="G",
            help='settings to choose from on dev: paper, or "learning_rate=..,..;..."',
        )
        add("--parallel", type=int, default=1, metavar="N", help="runs at a time; they share the CPU's threads (1)")
        add("--keep-model", action="store_true", help="keep the fine-tuned models, as Hugging Face folders")
        add("--json", action="store_true", help="for programs: the records of results.jsonl")
        add("settings", nargs="*", metavar="key=value", help="settings for all its datasets")

    add = begin(
        "score",
        run_score,
        "how well a model guesses tokens and relations of held-out documents, and what links give it",
        usual="tiny",
    )
    add("model", metavar="MODEL", help="a RUN, a checkpoint, a Hugging Face folder or a hub name")
    add("store", type=Path, nargs="?", metavar="STORE", help="not needed where MODEL is of a run")
    add("--pairs", type=int, metavar="N", help="scored as in training, and as many for gains (1024)")
    add("--json", action="store_true", help="for programs")

    add = begin("fill", run_fill, "fill the [MASK] of a sentence")
    add("text", metavar="TEXT", help='such as "The [MASK] of France is Paris."')
    add("--model", required=True, help="a RUN, or any Hugging Face folder with a masked-token head")
    add("--top", type=int, default=5, help="words a mask (5)")
    add("--json", action="store_true", help="for programs")

    add = begin("relate", run_relate, "the relation of two texts: contiguous, random or linked")
    add("a", type=Path, metavar="A.txt")
    add("b", type=Path, metavar="B.txt")
    add("--model", required=True, help="a RUN, or a Hugging Face folder with a relation head")
    add("--json", action="store_true", help="for programs")
    return parser


def size_in_bytes(text: str) -> int:
    """Read a size: "4GB" -> 4000000000."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])B?", text.upper())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4GB or 800MB")
    return int(float(found[1]) * {"M": 10**6, "G": 10**9}[found[2]])


def make_console() -> Console:
    """Make the console that commands print to: colours on a terminal, none elsewhere, text as it is, never wrapped."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo; see demo.py."""
    from linkbert.demo import demo

    demo(make_console(), arguments.to, source=arguments.source, init=arguments.init, minutes=arguments.minutes,
         settings=arguments.settings)  # fmt: skip
    return 0


def expand(sources: Sequence[str]) -> list[Path]:
    """Turn SOURCE words into paths: a glob gives its matches in order, else it has an address or must be there."""
    from linkbert.files import source_path

    paths: list[Path] = []
    for source in sources:
        if not source:
            raise ValueError("a SOURCE is empty; name a dump, a file of JSON lines, a folder or a tar")
        if "://" in source:
            path = source_path(source)
            wild = glob.has_magic(path.name) and not source.startswith(("http://", "https://"))  # "?" is theirs
            found = sorted(path.parent.glob(path.name), key=str) if wild else [path]
            if not found:
                raise ValueError(f"{source} matches no file")
            paths += found
            continue
        matches = sorted(glob.glob(source)) if glob.has_magic(source) and not Path(source).exists() else [source]
        if not matches:
            raise ValueError(f"{source} matches no file")
        for match in matches:
            if not Path(match).exists():
                raise ValueError(f"{match} is not there; check the path")
            paths.append(Path(match))
    return paths


def run_build(arguments: argparse.Namespace) -> int:
    """Documents, then vocabulary and tokens, then the graph; each stage goes on where an interrupted one stopped."""
    from linkbert.build import build_store
    from linkbert.corpora.reader import DAMAGE
    from linkbert.progress import LiveLine, stage_progress
    from linkbert.views.stats import statistics_table, store_statistics

    names = ("body", "drop", "before", "min_words", "columns", "comments")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    workers = arguments.workers or os.cpu_count() or 1
    with LiveLine() as line:
        store = build_store(
            expand(arguments.source),
            arguments.to,
            format=arguments.format,
            options=options,
            links_table=arguments.links,
            vocabulary=arguments.vocab,
            lowercase=False if arguments.cased else None,
            graph=arguments.graph == "hyperlink",
            workers=workers,
            dask=arguments.dask,
            progress=stage_progress(line),
        )
    print(*statistics_table(store_statistics(store.path)), sep="\n")
    damaged = sum(count for cause, count in store.manifest["skipped"].items() if cause in DAMAGE)
    if damaged and not arguments.keep_going:
        raise ValueError(
            f"{damaged} times a source is cut off or damaged (see above). What is whole is in {store.path}, ready for "
            "use; fetch the source again for the rest, or take it as it is with --keep-going"
        )
    return 0


def run_graph(arguments: argparse.Namespace) -> int:
    """Add a graph to a store; one that is there stays as it is, since runs may rest on it."""
    from linkbert.corpora.store import Store
    from linkbert.files import locked
    from linkbert.graph.links import add_graph, graph_folder, graph_options, is_whole
    from linkbert.progress import LiveLine, stage_progress
    from linkbert.workers import make_executor

    store = Store.open(arguments.store)
    method = arguments.method
    name = arguments.name or method
    for option in ("seed", *GRAPH_OPTIONS["tfidf"]):
        if option not in GRAPH_OPTIONS[method] and getattr(arguments, option) is not None:
            takes = ", ".join(f"--{key}" for key in GRAPH_OPTIONS[method])
            raise ValueError(f"--{option} says nothing to --method {method}, which takes {takes}: leave it out")
    options = {key: getattr(arguments, key, None) for key in graph_options(method)}
    options = {key: value for key, value in options.items() if value is not None}
    there = graph_folder(store.path, name)
    whole = is_whole(store.path, name)
    workers = arguments.workers or os.cpu_count() or 1
    with locked(store.path), LiveLine() as line, make_executor(workers, arguments.dask) as executor:
        meta = add_graph(store, name, method, options, executor=executor, progress=stage_progress(line))
    if whole:
        print(f"{there} is made already")
    recall = f", {meta['recall']:.1%} of the exact ones" if "recall" in meta else ""
    print(f"{there}: {meta['edges']:,} edges among {meta['documents']:,} documents{recall}")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show a document with its links, or instances as the model gets them."""
    from linkbert.corpora.store import Store
    from linkbert.instances.mixture import make_sampler, open_parts
    from linkbert.views.show import one_of_each, show_document, show_instances

    console = make_console()
    if arguments.instances is not None and arguments.instances < 1:
        raise ValueError(f"--instances {arguments.instances} does not make sense: it must be 1 or more")
    if arguments.document is not None:
        show_document(console, Store.open(arguments.store), arguments.document)
    if not arguments.instances and arguments.document is not None:
        return 0
    words = [*arguments.set, *([] if arguments.seed is None else [f"seed={arguments.seed}"])]
    parts, config = stores_and_settings(arguments, arguments.of, words)
    sampler = make_sampler(open_parts(parts, config), config)
    count, numbers = arguments.instances or 3, None
    if arguments.step is not None:
        if arguments.of is None or arguments.step < 1 or arguments.at is not None:
            raise ValueError("--step takes a step from 1 on, --run RUN beside it, and no --at")
        if config.budget == "none" and arguments.step > config.max_steps:
            raise ValueError(f"--step {arguments.step}: {arguments.of} has {config.max_steps} steps")
        start = (arguments.step - 1) * config.batch_size
        numbers = range(start, start + min(count, config.batch_size))
        for named in sampler.name(start, start + config.batch_size):
            console.print(show_named(arguments.step, named))
    elif arguments.at is not None:
        start = instance_number(arguments.at, sampler)
        numbers = range(start, start + count)
    show_instances(console, sampler, numbers or one_of_each(sampler, count))
    return 0


def show_named(step: int, named: dict[str, Any]) -> str:
    """Say which instances of a store a step has."""
    (epoch, index), (last_epoch, last) = named["from"], named["to"]
    to = f"epoch {last_epoch}, index {last:,}" if last_epoch != epoch else f"{last:,}"
    numbers = f"instances {named['first']:,} to {named['last']:,} of {named['store']}"
    return f"step {step:,}: {numbers} (epoch {epoch}, index {index:,} to {to})"


def instance_number(text: str, sampler: Any) -> int:
    """Read an instance: its number, or EPOCH:INDEX of a single store."""
    found = re.fullmatch(r"(?:(\d+):)?(\d+)", text)
    if not found or (found[1] and not hasattr(sampler, "plan")):
        raise ValueError(f"--at {text} is no instance: it is a number, or EPOCH:INDEX where there is one store")
    epoch, index = int(found[1] or 0), int(found[2])
    if found[1] and index >= len(sampler):
        raise ValueError(f"--at {text}: an epoch of {sampler.store.path} has {len(sampler):,} instances")
    number = epoch * len(sampler) + index if found[1] else index
    if number >= 2**62:
        raise ValueError(f"--at {text} is too large")
    return number


def stores_and_settings(
    arguments: argparse.Namespace, run: Path | None, words: Sequence[str]
) -> tuple[list[Part], Config]:
    """Find what to read and how: as RUN/run.json says, where there is a run; STORE and the words go before it."""
    from linkbert.instances.mixture import Part
    from linkbert.pretraining.journal import read_record

    record = read_record(run) if run is not None else {}
    if arguments.store is not None:
        parts = [Part("", arguments.store)]
    elif record:
        stores, _ = choose_stores([], [], record)
        parts = [Part("", stores)] if isinstance(stores, Path) else stores
    else:
        raise ValueError("there is no store to look at: name a STORE, or a run that has one")
    if record and arguments.preset is None:
        return parts, make_config(None, words, base=record["config"])
    return parts, make_config(arguments.preset or arguments.usual, words)


def run_stats(arguments: argparse.Namespace) -> int:
    """Print a store's counts."""
    from linkbert.views.stats import statistics_table, store_statistics, write_plots

    statistics = store_statistics(arguments.store, make_config(arguments.preset or arguments.usual, arguments.set))
    plots = write_plots(statistics, arguments.plots) if arguments.plots else []
    if arguments.json:
        print(json.dumps(statistics, indent=1, ensure_ascii=False))
        return 0
    for line in [*statistics_table(statistics), *(f"wrote {path}" for path in plots)]:
        print(line)
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """Write counts of stores, how runs compare, and results beside the paper's into one page, or print its text."""
    import tempfile

    from linkbert.views.page import Section, text_lines, write_report
    from linkbert.views.plots import plot_runs
    from linkbert.views.runs import read_runs, run_curves, run_lines, runs_table
    from linkbert.views.stats import statistics_table, store_statistics, write_plots

    config = make_config(arguments.preset or arguments.usual, arguments.set)
    if arguments.to and arguments.to.suffix not in (".html", ".md"):
        raise ValueError(f"--to {arguments.to}: a report is HTML or Markdown; give a name that ends in .html or .md")
    of_runs = [folder for folder in arguments.folders if (folder / "run.json").is_file()]
    of_results = [folder for folder in arguments.folders if (folder / "results.jsonl").is_file()]
    stores = [folder for folder in arguments.folders if folder not in [*of_runs, *of_results]]
    for folder in stores:
        if not any((folder / name).is_file() for name in ("store.json", "plan.json")):
            files = "store.json, run.json or results.jsonl"
            raise ValueError(f"{folder} is neither a STORE, a RUN nor RESULTS (it has no {files}); check the path")
    runs, sections = read_runs(of_runs), []
    with tempfile.TemporaryDirectory() as folder:
        for number, store in enumerate(stores):
            statistics = store_statistics(store, config)
            drawn = arguments.to and statistics["graphs"]
            plots = write_plots(statistics, Path(folder, str(number))) if drawn else []
            sections.append(Section(store.resolve().name, list(statistics_table(statistics)), plots))
        if runs:
            curves = [Path(folder, "runs.png")] if arguments.to else []
            for path in curves:
                plot_runs({run.name: run_curves(run) for run in runs}, path)
            sections.append(Section("Runs", list(runs_table(runs)), curves))
            sections += [Section(run.name, run_lines(run), []) for run in runs if arguments.to]
        if of_results:
            from linkbert.tasks.results import read_folders
            from linkbert.views.tables import results_sections

            sections += results_sections(read_folders(of_results), Path(folder) if arguments.to else None)
        if arguments.to:
            write_report(sections, arguments.to)
            print(f"wrote {arguments.to}")
    for section in [] if arguments.to else sections:
        print("\n".join(text_lines(section)))
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare two models on every task that both have a score of."""
    from linkbert.tasks.compare import compare, comparison_lines, find_bridges, question_of
    from linkbert.tasks.results import scores_of
    from linkbert.tasks.table import find_task

    if arguments.top < 0:
        raise ValueError(f"--top {arguments.top} does not make sense: it must be 0 or more")
    if arguments.task:
        find_task(arguments.task)  # says what is near
    scores = [scores_of(word, arguments.task) for word in (arguments.a, arguments.b)]
    columns = [column for column in scores[0] if column in scores[1]]
    if not columns:
        raise ValueError(f"{arguments.a} and {arguments.b} have no task in common: name two with results of the same")
    found = [compare(scores[0][column], scores[1][column]) for column in columns]
    if arguments.store:
        from linkbert.corpora.store import Store
        from linkbert.graph.links import LinkGraph

        store, graph = Store.open(arguments.store), LinkGraph.open(arguments.store)
        shown = [(c, each) for c, one in zip(columns, found, strict=True) for each in one["examples"][: arguments.top]]
        for (_, each), its in zip(
            shown, find_bridges(store, graph, [question_of(*pair) for pair in shown]), strict=True
        ):
            each["bridges"] = its
    if arguments.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for comparison in found:
        print("\n".join(comparison_lines(comparison, arguments.top)))
    return 0


def run_overlap(arguments: argparse.Namespace) -> int:
    """Look for a task's test contexts in a store; on dev where there is no test set."""
    from linkbert.corpora.store import Store
    from linkbert.progress import LiveLine, count_text
    from linkbert.tasks.overlap import find_overlap, overlap_lines
    from linkbert.tasks.splits import find_data, read_splits
    from linkbert.tasks.table import find_task

    if arguments.top < 0:
        raise ValueError(f"--top {arguments.top} does not make sense: it must be 0 or more")
    store, task = Store.open(arguments.store), find_task(arguments.task)
    splits = read_splits(task, find_data(str(arguments.data), [task]))
    split = "test" if splits.test else "dev"
    contexts = {example.id: example.passage for example in splits.test or splits.dev}
    with LiveLine() as line:
        found = find_overlap(store, contexts, worst=arguments.top, progress=lambda done, total: line.update(
            f"  {count_text(done)} of {count_text(total)} documents"))  # fmt: skip
    if arguments.json:
        print(json.dumps({"task": task.name, "split": split, **found}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(overlap_lines(task.title, split, found)))
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Verify a store; the status is 1 where a promise is broken."""
    from linkbert.views.check import check

    results = []
    for promise, ok, detail in check(arguments.store):
        results.append({"promise": promise, "ok": ok, "detail": detail})
        if not arguments.json:
            print(f"{'ok    ' if ok else 'BROKEN'} {promise}" + (f": {detail}" if detail else ""), flush=True)
    broken = sum(not result["ok"] for result in results)
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        print(
            f"{broken} of {len(results)} checks failed: see BROKEN above"
            if broken
            else f"the store is consistent ({len(results)} checks); it says nothing on whether links were understood"
        )
    return 1 if broken else 0


def choose_stores(
    mix: Sequence[str], words: Sequence[str], before: dict[str, Any]
) -> tuple[Path | list[Part], list[str]]:
    """Find the stores to train on in what --mix and the words without an option say; give the settings that remain.

    `before` is the run.json of a run that goes on: its stores are those where none are named.
    """
    named = [word for word in words if "=" not in word or Path(word).exists()][:1]
    if mix and named:
        raise ValueError(f"{named[0]} and --mix are both given: name one STORE, or every store with --mix")
    if not mix and not named:
        if "store" in before:
            return Path(before["store"]["path"]), list(words)
        mix = [f"{name}={store['path']}:{store['weight']}" for name, store in before.get("stores", {}).items()]
    if mix:
        from linkbert.instances.mixture import read_mix

        return read_mix(mix, words, before=before.get("stores"))
    if not named:
        raise ValueError("there is no store to train on: name a STORE, or several with --mix NAME=STORE")
    settings = list(words)
    settings.remove(named[0])
    return Path(named[0]), settings


def run_pretrain(arguments: argparse.Namespace) -> int:
    """Train, with a live line, and print the scores on held-out documents."""
    from linkbert.pretraining.journal import read_record
    from linkbert.pretraining.run import pretrain_store
    from linkbert.progress import LiveLine, training_progress
    from linkbert.views.show import show_result

    before = read_record(arguments.to) if arguments.resume and (arguments.to / "run.json").is_file() else {}
    stores, settings = choose_stores(arguments.mix, arguments.settings, before)
    if before and arguments.preset is None:
        config = make_config(None, settings, base=before["config"])
    else:
        config = make_config(arguments.preset or "tiny", settings)
    with LiveLine() as line:
        result = pretrain_store(
            stores, arguments.to, config, resume=arguments.resume, progress=training_progress(line), report=print
        )
    if result.is_main_process:  # of several processes, one prints
        show_result(make_console(), result)
    return 0 if result.finished else 130


def run_tasks(arguments: argparse.Namespace) -> int:
    """List the datasets."""
    from linkbert.tasks.suite import at_hand
    from linkbert.tasks.table import tasks

    data, found = arguments.data, list(tasks().values())
    if data:
        named = [task for task in found if task.hub == str(data)]
        found = named if named and not data.is_dir() else at_hand(found, data)[0]
    listed: list[dict[str, Any]] = []
    for task in tasks().values():
        each = {
            key: getattr(task, key) for key in ("name", "title", "suite", "kind", "metrics", "where", "hub", "licence")
        }
        listed.append(each | ({"files": task in found} if data else {}))
    if arguments.json:
        print(json.dumps(listed, indent=1, ensure_ascii=False))
        return 0
    there = {True: "there", False: "not there", None: ""}
    rows = [[each["name"], each["suite"], each["kind"], ", ".join(each["metrics"]), there[each.get("files")],
             each["title"], each["hub"]] for each in listed]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def run_finetune(arguments: argparse.Namespace) -> int:
    """Fine-tune an encoder on one dataset or several, and print the scores."""
    from linkbert.progress import LiveLine, seconds_text
    from linkbert.tasks import suite, table
    from linkbert.tasks.splits import find_data

    if bool(arguments.tasks) == bool(getattr(arguments, "suite", None)):
        raise ValueError("say what to evaluate on, one of --suite S and --tasks A,B; linkbert tasks lists them")
    if arguments.tasks:
        tasks, data = table.find_tasks(arguments.tasks), arguments.data
    else:
        tasks = table.suite(arguments.suite)
        tasks = [task for task in tasks if task.hub == str(arguments.data)] or tasks  # others have files of those names
        data = find_data(str(arguments.data), tasks)
        tasks, lacking = suite.at_hand(tasks, data)
        print(*(f"left out: {line}" for line in lacking), sep="\n", end="\n" * bool(lacking), file=sys.stderr)
        if not tasks:
            raise ValueError(f"no dataset of {arguments.suite} is at hand in {arguments.data}: see linkbert tasks")
    with LiveLine() as line:
        records = suite.finetune(
            arguments.model,
            tasks,
            data=data,
            to=arguments.to,
            settings=arguments.settings,
            seeds=arguments.seeds,
            grid=arguments.grid,
            parallel=arguments.parallel,
            keep_model=arguments.keep_model,
            progress=lambda text, left: line.update(f"{text}, {seconds_text(left)} left"),
        )
    print(json.dumps(records, indent=1, ensure_ascii=False) if arguments.json else "\n".join(suite.summary(records)))
    return 0


def run_score(arguments: argparse.Namespace) -> int:
    """Score a model on held-out documents."""
    from linkbert.model.checkpoint import find_encoder
    from linkbert.pretraining.checkpoint import find_model
    from linkbert.pretraining.evaluation import score_model
    from linkbert.pretraining.scores import to_json
    from linkbert.views.show import show_scores

    path = Path(arguments.model)
    folder = find_model(path) if path.exists() else find_encoder(arguments.model)
    run = next((each for each in (path, *path.resolve().parents[:2]) if (each / "run.json").is_file()), None)
    words = [*arguments.set, *([] if arguments.pairs is None else [f"eval_pairs={arguments.pairs}"])]
    scores = score_model(folder, *stores_and_settings(arguments, run, words))
    if arguments.json:
        print(json.dumps(to_json(scores), indent=1))
    else:
        show_scores(make_console(), scores)
    return 0


def run_fill(arguments: argparse.Namespace) -> int:
    """Fill the masks of a sentence."""
    from linkbert.model.fill import fill_mask
    from linkbert.pretraining.checkpoint import find_model

    if arguments.top < 1:
        raise ValueError(f"--top {arguments.top} does not make sense: it must be 1 or more")
    masks = fill_mask(find_model(Path(arguments.model)), arguments.text, top=arguments.top)
    if arguments.json:
        print(json.dumps([[{"word": word, "probability": p} for word, p in mask] for mask in masks], indent=1))
        return 0
    for number, mask in enumerate(masks, 1):
        words = "   ".join(f"{word} {probability:.1%}" for word, probability in mask)
        print(f"mask {number}: {words}" if len(masks) > 1 else words)
    return 0


def run_relate(arguments: argparse.Namespace) -> int:
    """Say how likely each relation of two texts is."""
    from linkbert.model.fill import relate
    from linkbert.pretraining.checkpoint import find_model

    texts = []
    for path in (arguments.a, arguments.b):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text; convert it first") from None
    probabilities = relate(find_model(Path(arguments.model)), *texts)
    if arguments.json:
        print(json.dumps(probabilities, indent=1))
    else:
        for relation, probability in probabilities.items():
            print(f"{relation:<11} {probability:6.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
