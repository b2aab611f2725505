"""The command line: a function for each command, its options declared at its parameters.

Libraries are imported inside each command, so that `linkbert --help` is instant. Exit status: 0, 1 (bad input: one line
that says what, where and the remedy), 2 (usage: one line that names the nearest command or option), 130 (interrupted).
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

import linkbert
from linkbert.config import STORE_SETTINGS, Config, choose_config, make_config, presets
from linkbert.tasks.settings import FineTuneConfig

if TYPE_CHECKING:
    from rich.console import Console

    from linkbert.instances.mixture import Part

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,  # brackets in our texts are not markup
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    words = list(sys.argv[1:] if words is None else words)
    name = "linkbert"
    if any(re.search(r"(^|=)([A-Za-z_][\w.]*:[A-Za-z_]\w*|.+\.toml)$", word) for word in words):
        sys.path.append(os.getcwd())  # for a module:name of the user's own; worker processes take over the path
    try:
        if "build" in words[:2]:
            declare_reader_options(words)
        command = typer.main.get_command(app)
        with command.make_context("linkbert", words) as context:
            try:
                return command.invoke(context) or 0
            finally:
                name = " ".join(filter(None, ["linkbert", context.invoked_subcommand]))
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        text = error.format_message()
        print(f"{name}: {text}{'' if text.endswith(('.', '?', ')')) else '.'} See `{name} --help`.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        logging.debug("in full", exc_info=True)
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeErrors
        if not isinstance(error, MemoryError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        remedy = "training needs less with a smaller micro_batch_size, or with gradient_checkpointing=true"
        print(f"{name}: not enough memory ({one_line(error)}); {remedy}", file=sys.stderr)
        return 1


def one_line(error: Exception) -> str:
    """Write an error in one line: what, where and the remedy."""
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


def list_settings(rows: Iterable[tuple[str, str]], title: str) -> str:
    """Write names and meanings under a title, as they stand below a command's options."""
    width, rows = min(shutil.get_terminal_size().columns, 120) - 2, list(rows)
    left = min(max(len(name) for name, _ in rows), 30) + 2
    lines = [title]
    for name, meaning in rows:
        indent = " " * (left + 2)
        lines.append(
            textwrap.fill(f"  {name:<{left}}{meaning}", width, subsequent_indent=indent, break_long_words=False)
        )
    return "\b\n" + "\n".join(lines)  # \b: as it stands, not filled again


def settings_help(of: type[Config] | type[FineTuneConfig], title: str, *more: tuple[str, str]) -> str:
    """List the settings of a command with their defaults."""
    rows = [(f"{name}={value}", meaning) for name, value, meaning in of.describe()]
    return list_settings([*rows, *more], title)


def preset_help() -> str:
    """Name the presets with the size of their encoder and the length of their training."""
    named = []
    for name, table in presets().items():
        config = make_config(name)
        steps, pairs = config.max_steps, config.batch_size
        tokens = steps * pairs * config.sequence_length / 1e9
        size = f"{config.num_hidden_layers} layers of {config.hidden_size}"
        named.append((name, f"{size}, {steps:,} steps of {pairs:,} pairs, {tokens:.3g} G tokens at most"))
        if "paper" in table:
            paper = make_config(name, ["recipe=paper"])
            named.append((f"{name} recipe=paper", f"{paper.max_steps:,} steps of {paper.batch_size:,} pairs"))
    return list_settings(named, "presets:")


Json = Annotated[bool, Option("--json", help="print JSON, for programs")]
StorePath = Annotated[Path, Argument(metavar="STORE", help="a folder made by `linkbert build`")]
OptionalStore = Annotated[Path | None, Argument(metavar="[STORE]", help="a store; a run names its own")]
Encoder = Annotated[str, Argument(metavar="MODEL", help="a RUN, a checkpoint, a Hugging Face folder or a hub name")]
Preset = Annotated[str | None, Option(metavar="P", help="the preset whose settings decide how pairs are drawn")]
Set = Annotated[list[str], Option("--set", metavar="key=value", help="one of these settings; may be repeated")]
Words = Annotated[list[str] | None, Argument(metavar="[key=value]...", help="settings, see below")]
Top = Annotated[int, Option(min=0, metavar="N", help="how many are shown; --json has all")]
Workers = Annotated[int, Option(metavar="N", min=0, help="worker processes; 0: one per core")]
Dask = Annotated[str | None, Option(metavar="ADDRESS", help="a Dask scheduler to send the work to: tcp://host:8786")]
DataFolder = Annotated[
    Path, Option(metavar="DIR", help="the data files, or a dataset of the hub such as nyu-mll/glue; see docs/tasks.md")
]


@app.callback(invoke_without_command=True)
def choose_command(
    context: typer.Context,
    verbose: Annotated[bool, Option("--verbose", "-v", help="log more, and errors with their traceback")] = False,
    version: Annotated[bool, Option("--version", help="print the version")] = False,
) -> None:
    """Pretrain BERT-like encoders on documents and the links between them."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="linkbert: %(message)s")
    logging.getLogger().setLevel(logging.DEBUG if verbose else logging.WARNING)
    if version:
        print(f"linkbert {linkbert.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command(epilog="settings of the run (key=value), such as max_steps=300: see `linkbert pretrain --help`")
def demo(
    settings: Words = None,
    to: Annotated[Path, Option(metavar="DIR", help="folder for all that the demo makes")] = Path("linkbert-demo"),
    source: Annotated[
        Path | None, Option(metavar="SOURCE", help="your own dump, jsonl or folder in place of the Wikipedia excerpt")
    ] = None,
    init: Annotated[
        str, Option(metavar="MODEL", help="encoder to continue: minilm, none, a Hugging Face folder or a hub name")
    ] = "minilm",
    minutes: Annotated[
        float, Option(metavar="M", help="minutes of training; the number of steps follows from the machine's speed")
    ] = 3.2,
) -> None:
    """Train a small encoder on real Wikipedia in minutes, from nothing to its scores."""
    from linkbert.demo import demo as run

    run(make_console(), to, source=source, init=init, minutes=minutes, settings=settings or [])


def expand(sources: Sequence[str]) -> list[Path]:
    """Turn SOURCE words into paths: a glob gives its matches in order; any other word must have an address or exist."""
    import glob

    from linkbert.files import source_path

    paths: list[Path] = []
    for source in sources:
        if not source:
            raise ValueError("a SOURCE is empty; name a dump, a file of JSON lines, a folder or a tar")
        if "://" in source:
            path = source_path(source)
            wild = glob.has_magic(path.name) and not source.startswith(("http://", "https://"))  # "?" is theirs
            matches = sorted(path.parent.glob(path.name), key=str) if wild else [path]
        else:
            wild = glob.has_magic(source) and not Path(source).exists()
            matches = [Path(match) for match in sorted(glob.glob(source))] if wild else [Path(source)]
            if not all(path.exists() for path in matches):
                raise ValueError(f"{source} is not there; check the path")
        if not matches:
            raise ValueError(f"{source} matches no file")
        paths += matches
    return paths


@app.command()
def build(
    source: Annotated[
        list[str], Argument(metavar="SOURCE...", help="paths, globs or addresses (https://, s3://), read in order")
    ],
    to: Annotated[Path, Option(metavar="STORE", help="the store's folder")],
    format: Annotated[  # noqa: A002 - the option's name
        str | None, Option(metavar="F", help="the reader, or package.module:name; found by the files where it can be")
    ] = None,
    links: Annotated[
        Path | None, Option(metavar="FILE.tsv", help="a table of source and target, added to the documents' links")
    ] = None,
    vocab: Annotated[
        str, Option(metavar="V", help="a vocab.txt, a tokenizer folder, a hub name, or train:SIZE")
    ] = "train:30522",
    cased: Annotated[
        bool, Option("--cased", help="keep capitals (train:SIZE only; others decide it themselves)")
    ] = False,
    graph: Annotated[Literal["hyperlink", "none"], Option(help="the graph to build")] = "hyperlink",
    workers: Workers = 0,
    keep_going: Annotated[
        bool, Option("--keep-going", help="exit status 0 even if a source is cut off or damaged")
    ] = False,
    dask: Dask = None,
    **options: Any,
) -> None:
    """Build a store from a dump or a tree of documents; run it again to finish what was interrupted."""
    from linkbert.build import build_store, describe_build
    from linkbert.corpora.reader import DAMAGE
    from linkbert.progress import report_stages
    from linkbert.views.stats import statistics_lines, store_statistics

    with report_stages() as progress:
        store = build_store(
            expand(source),
            to,
            format=format,
            options={name: value for name, value in options.items() if value is not None},
            links_table=links,
            vocabulary=vocab,
            lowercase=False if cased else None,
            graph=graph == "hyperlink",
            workers=workers or os.cpu_count() or 1,
            dask=dask,
            progress=progress,
        )
    print(*describe_build(store), *statistics_lines(store_statistics(store.path)), sep="\n")
    damaged = sum(count for cause, count in store.manifest["skipped"].items() if cause in DAMAGE)
    if damaged and not keep_going:
        raise ValueError(
            f"{damaged} times a source is cut off or damaged (see above). What is whole is in {store.path}, ready for "
            "use; fetch the source again for the rest, or take it as it is with --keep-going"
        )


def declare_reader_options(words: Sequence[str]) -> None:
    """Declare the options of all readers as options of `build`, where a word is none of its own.

    Readers are imported only then. `--format module:name` adds the options of a reader that is not registered.
    """
    own = [
        each
        for each in inspect.signature(build, eval_str=True).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    found: dict[str, inspect.Parameter] = {}
    if any(word.startswith("-") and word.partition("=")[0] not in map(flag, own) for word in words):
        from linkbert.corpora.reader import list_options
        from linkbert.registry import references

        named = re.findall(r"--format[ =](\S+:\S+)", " ".join(words))
        rows = list_options([*sorted(references("readers")), *named])
        command = next(each for each in app.registered_commands if each.callback is build)
        command.epilog = list_settings(
            [(f"{row.reader}  {flag(row)}", row.help) for row in rows], "options of readers:"
        )
        for row in rows:
            kind: Any = Annotated[row.type | None, Option(flag(row), hidden=True)]  # type: ignore[name-defined]
            found[row.name] = inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
    build.__signature__ = inspect.Signature([*own, *found.values()])  # type: ignore[attr-defined]


def flag(named: Any) -> str:
    """Write the name of a parameter as an option: min_words -> --min-words."""
    return f"--{named.name.replace('_', '-')}"


@app.command()
def graph(
    store: StorePath,
    options: Annotated[list[str] | None, Argument(metavar="[option=value]...", help="of the method, see below")] = None,
    *,
    method: Annotated[str, Option(metavar="M", help="hyperlink, random, tfidf or package.module:name")],
    name: Annotated[str | None, Option(metavar="NAME", help="the graph's name in the store  [default: METHOD]")] = None,
    workers: Workers = 0,
    dask: Dask = None,
) -> None:
    """Add a graph to a store: other links that a run can follow."""
    from linkbert.corpora.store import Store
    from linkbert.files import locked
    from linkbert.graph.links import add_graph, graph_folder
    from linkbert.progress import report_stages
    from linkbert.workers import make_executor

    opened, name = Store.open(store), name or method.rpartition(":")[2]
    words = read_graph_options(method, options or [])
    count = workers or os.cpu_count() or 1
    with locked(store), report_stages() as progress, make_executor(count, dask) as executor:
        meta = add_graph(opened, name, method, words, executor=executor, progress=progress)
    there = graph_folder(store, name)
    recall = f", {meta['recall']:.1%} of the exact ones" if "recall" in meta else ""
    print(f"{there}: {meta['edges']:,} edges among {meta['documents']:,} documents{recall}")


def read_graph_options(method: str, words: Sequence[str]) -> dict[str, Any]:
    """Read `option=value` words by the types in the method's signature: ["k=3"] -> {"k": 3}; memory=2GB is in bytes."""
    from pydantic import TypeAdapter, ValidationError

    from linkbert.config import number
    from linkbert.graph.links import graph_options

    known, found = graph_options(method), dict[str, Any]()
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not an option; options of a graph are written option=value, such as k=5")
        kind = known[key][0] if key in known else Any
        try:
            found[key] = TypeAdapter(kind).validate_python(size_in_bytes(text) if key == "memory" else number(text))
        except ValidationError:
            raise ValueError(f"{key} must be {getattr(kind, '__name__', kind)}, got {text!r}") from None
    return found


def size_in_bytes(text: str) -> int:
    """Read a size: "4GB" -> 4000000000."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])B?", text.upper())
    if not found:
        raise ValueError(f"{text!r} is not a size such as 4GB or 800MB")
    return int(float(found[1]) * {"M": 10**6, "G": 10**9}[found[2]])


@app.command()
def show(
    store: OptionalStore = None,
    document: Annotated[str | None, Argument(metavar="[DOCUMENT]", help="an id (a title, for Wikipedia)")] = None,
    instances: Annotated[
        int | None, Option(min=1, metavar="N", help="decoded instances to show  [default: 3 if no DOCUMENT is named]")
    ] = None,
    at: Annotated[int | None, Option(min=0, max=10**15, metavar="N", help="the number of the first instance")] = None,
    run: Annotated[Path | None, Option(metavar="RUN", help="take settings and stores from this run")] = None,
    step: Annotated[int | None, Option(min=1, metavar="S", help="start with the instances of a step of RUN")] = None,
    seed: Annotated[int | None, Option(metavar="N", help="seed of the instances  [default: 0, or RUN's]")] = None,
    preset: Preset = None,
    set_: Set = [],  # noqa: B006 - typer makes a new one
) -> None:
    """Show a document with its links, or training instances as the model gets them."""
    from linkbert.corpora.store import Store
    from linkbert.instances.mixture import make_sampler, open_parts
    from linkbert.views.show import choose_instances, show_document, show_instances

    console = make_console()
    if document is not None and store is not None:
        show_document(console, Store.open(store), document)
        if instances is None:
            return
    words = [*set_, *([] if seed is None else [f"seed={seed}"])]
    parts, config = stores_and_settings(store, run, preset or ("" if run else "demo"), words)
    sampler = make_sampler(open_parts(parts, config), config)
    if step is not None and (run is None or at is not None):
        raise ValueError("--step is a step of a run: add --run RUN, without --at")
    show_instances(console, sampler, choose_instances(sampler, config, instances or 3, at=at, step=step))


def stores_and_settings(
    store: Path | None, run: Path | None, preset: str, words: Sequence[str]
) -> tuple[list[Part], Config]:
    """Find what to read and how: STORE and a preset are used where given, else those of RUN/run.json."""
    from linkbert.instances.mixture import Part
    from linkbert.pretraining.journal import read_record

    record = read_record(run) if run is not None else {}
    if store is not None:
        parts = [Part("", store)]
    elif record:
        stores, _ = choose_stores([], [], record)
        parts = [Part("", stores)] if isinstance(stores, Path) else stores
    else:
        raise ValueError("there is no store to look at: name a STORE, or a run that has one")
    return parts, make_config(preset or None, words, base=None if preset else record["config"])


@app.command()
def stats(
    store: StorePath,
    json_: Json = False,
    plots: Annotated[
        Path | None, Option(metavar="FOLDER", help="draw degrees and the spread of targets as PNG files")
    ] = None,
    preset: Preset = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Count the documents, links by outcome, graphs and relation shares of a store."""
    from linkbert.views.plots import write_plots
    from linkbert.views.stats import statistics_lines, store_statistics

    statistics = store_statistics(store, make_config(preset or "tiny", set_))
    written = write_plots(statistics, plots) if plots else []
    lines = [*statistics_lines(statistics), *(f"wrote {path}" for path in written)]
    print_json(statistics) if json_ else print(*lines, sep="\n")


@app.command()
def check(store: StorePath, json_: Json = False) -> int:
    """Check that the files of a store are consistent; the exit status is 1 if they are not."""
    from linkbert.views.check import check as run

    results = []
    for promise, ok, detail in run(store):
        results.append({"promise": promise, "ok": ok, "detail": detail})
        if not json_:
            print(f"{'ok    ' if ok else 'BROKEN'} {promise}" + (f": {detail}" if detail else ""), flush=True)
    broken = sum(not result["ok"] for result in results)
    if json_:
        print_json(results)
    elif broken:
        print(f"the store is not consistent: {broken} of {len(results)} checks failed")
    else:
        print(f"the store is consistent ({len(results)} checks); it says nothing on whether links were understood")
    return 1 if broken else 0


@app.command()
def export(
    store: StorePath,
    to: Annotated[Path, Option(metavar="DIR", help="folder for the files; it must not exist")],
    format: Annotated[Literal["jsonl", "parquet"], Option(help="the form of the files")] = "jsonl",  # noqa: A002
) -> None:
    """Write documents, links with their outcomes, and edges as files that other tools read."""
    from linkbert.api import export_store
    from linkbert.progress import report_stages

    with report_stages() as progress:
        counts = export_store(store, to, format=format, progress=progress)
    print(f"{to}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@app.command()
def report(
    folders: Annotated[list[Path], Argument(metavar="STORE|RUN|RESULTS...")],
    to: Annotated[
        Path | None, Option(metavar="REPORT.html|.md", help="the file to write  [default: text on the terminal]")
    ] = None,
    preset: Preset = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Compare stores, runs and results of fine-tuning with each other and the paper, on one page."""
    import tempfile

    from linkbert.views.page import text_lines, write_report
    from linkbert.views.tables import report_sections

    if to and to.suffix not in (".html", ".md"):
        raise ValueError(f"--to {to}: a report is HTML or Markdown; give a name that ends in .html or .md")
    with tempfile.TemporaryDirectory() as plots:
        sections = report_sections(folders, make_config(preset or "tiny", set_), Path(plots) if to else None)
        if to:
            write_report(sections, to)
    print(f"wrote {to}" if to else "\n".join(line for section in sections for line in text_lines(section)))


@app.command(
    epilog=preset_help()
    + "\n\n"
    + settings_help(
        Config,
        "settings (key=value), with their defaults:",
        ("baseline=bert", "short for objective=nsp shares=1/2,1/2,0"),
        ("recipe=paper", "a preset's settings as in the paper, without what we found better"),
    )
    + "\n\nof one store of --mix (NAME.key=value): "
    + ", ".join(STORE_SETTINGS)
)
def pretrain(
    settings: Annotated[
        list[str] | None, Argument(metavar="[STORE] [key=value]...", help="a store, and settings, see below")
    ] = None,
    *,
    to: Annotated[Path, Option(metavar="RUN", help="the run's folder")],
    preset: Annotated[
        str | None, Option(metavar="P", help="settings to start from, see below  [default: tiny]")
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="resume from the last checkpoint in RUN, with its own settings and stores")
    ] = False,
    mix: Annotated[
        list[str],
        Option(metavar="NAME=STORE[:WEIGHT]", help="in place of STORE, for each store of a mixture"),
    ] = [],  # noqa: B006
) -> int:
    """Train an encoder on a store."""
    from linkbert.pretraining.journal import read_record

    before = read_record(to) if resume and (to / "run.json").is_file() else {}
    stores, words = choose_stores(mix, settings or [], before)
    config, name = choose_config(preset, words, before)
    # After the settings, so that a wrong word costs no import of torch.
    from linkbert.pretraining import run
    from linkbert.progress import report_training
    from linkbert.views.show import show_result

    with report_training() as progress:
        result = run.pretrain(stores, to, config, preset=name, resume=resume, progress=progress, report=print)
    if result.is_main_process:  # of several processes, one prints
        show_result(make_console(), result)
    return 0 if result.finished else 130


def choose_stores(
    mix: Sequence[str], words: Sequence[str], before: dict[str, Any]
) -> tuple[Path | list[Part], list[str]]:
    """Find the stores to train on in --mix and in the words without an option; return them and the words that remain.

    `before` is the run.json of a run that is resumed: its stores are used where none are named.
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


@app.command()
def score(
    model: Encoder,
    store: OptionalStore = None,
    pairs: Annotated[
        int | None, Option(metavar="N", help="held-out pairs to score, and as many for gains  [default: 1024]")
    ] = None,
    json_: Json = False,
    preset: Preset = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Score a model on held-out documents: masked tokens, relations, and what links add."""
    from linkbert.pretraining.checkpoint import find_model
    from linkbert.pretraining.evaluation import score_model
    from linkbert.pretraining.scores import to_json
    from linkbert.views.show import show_scores

    path = Path(model)
    folder = find_model(model)
    run = next((each for each in (path, *path.resolve().parents[:2]) if (each / "run.json").is_file()), None)
    words = [*set_, *([] if pairs is None else [f"eval_pairs={pairs}"])]
    scores = score_model(folder, *stores_and_settings(store, run, preset or ("" if run else "tiny"), words))
    print_json(to_json(scores)) if json_ else show_scores(make_console(), scores)


@app.command()
def fill(
    text: Annotated[str, Argument(metavar="TEXT", help='such as "The [MASK] of France is Paris."')],
    model: Annotated[str, Option(metavar="MODEL", help="a RUN, or a Hugging Face folder with a masked-token head")],
    top: Annotated[int, Option(min=1, metavar="N", help="words for each mask")] = 5,
    json_: Json = False,
) -> None:
    """Fill the [MASK] of a sentence."""
    from linkbert.model.fill import fill_mask
    from linkbert.pretraining.checkpoint import find_model

    masks = fill_mask(find_model(model), text, top=top)
    if json_:
        print_json([[{"word": word, "probability": p} for word, p in mask] for mask in masks])
        return
    for number, mask in enumerate(masks, 1):
        words = "   ".join(f"{word} {probability:.1%}" for word, probability in mask)
        print(f"mask {number}: {words}" if len(masks) > 1 else words)


@app.command()
def relate(
    a: Annotated[Path, Argument(metavar="A.txt")],
    b: Annotated[Path, Argument(metavar="B.txt")],
    model: Annotated[str, Option(metavar="MODEL", help="a RUN, or a Hugging Face folder with a relation head")],
    json_: Json = False,
) -> None:
    """Print how likely each relation of two texts is: contiguous, random or linked."""
    from linkbert.model.fill import relate as run
    from linkbert.pretraining.checkpoint import find_model

    texts = []
    for path in (a, b):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text; convert it first") from None
    probabilities = run(find_model(model), *texts)
    if json_:
        print_json(probabilities)
    else:
        print(*(f"{relation:<11} {probability:6.1%}" for relation, probability in probabilities.items()), sep="\n")


@app.command()
def tasks(
    data: Annotated[
        Path | None, Option(metavar="DIR", help="show which have their files there, or in that dataset of the hub")
    ] = None,
    json_: Json = False,
) -> None:
    """List the datasets that finetune and evaluate know."""
    from linkbert.views.tables import list_tasks, tasks_lines

    listed = list_tasks(data)
    print_json(listed) if json_ else print(*tasks_lines(listed), sep="\n")


Seeds = Annotated[int, Option(metavar="N", help="runs with different seeds, from seed= upwards")]
Grid = Annotated[
    str | None, Option(metavar="G", help='settings to choose from on dev: paper, or "learning_rate=..,..;..."')
]
Parallel = Annotated[int, Option(metavar="N", help="runs at the same time; they share the CPU's threads")]
KeepModel = Annotated[bool, Option("--keep-model", help="keep the fine-tuned models, as Hugging Face folders")]
Results = Annotated[Path, Option(metavar="DIR", help="folder of the results; finished ones there are not repeated")]
FINE_TUNING = settings_help(FineTuneConfig, "settings (key=value), with their defaults; a task's own come first:")


@app.command(epilog=FINE_TUNING)
def finetune(
    model: Encoder,
    task: Annotated[
        str, Argument(metavar="TASK", help="a name of `linkbert tasks`, or your own table: FILE.toml or FILE.toml:NAME")
    ],
    settings: Words = None,
    *,
    data: DataFolder,
    to: Results,
    seeds: Seeds = 1,
    grid: Grid = None,
    parallel: Parallel = 1,
    keep_model: KeepModel = False,
    json_: Json = False,
) -> None:
    """Fine-tune an encoder on a dataset and score it."""
    options = {"seeds": seeds, "grid": grid, "parallel": parallel, "keep_model": keep_model}
    run_tasks(model, settings, None, task, data, to, json_, **options)


@app.command(epilog=FINE_TUNING)
def evaluate(
    model: Encoder,
    settings: Words = None,
    *,
    suite: Annotated[str | None, Option(metavar="S", help="mrqa, glue, blurb, medqa, mmlu or further")] = None,
    tasks: Annotated[str | None, Option(metavar="A,B", help="datasets by name, in place of --suite")] = None,
    data: DataFolder,
    to: Results,
    seeds: Seeds = 1,
    grid: Grid = None,
    parallel: Parallel = 1,
    keep_model: KeepModel = False,
    json_: Json = False,
) -> None:
    """Fine-tune and score an encoder on every dataset of a suite."""
    run_tasks(
        model, settings, suite, tasks, data, to, json_, seeds=seeds, grid=grid, parallel=parallel, keep_model=keep_model
    )


def run_tasks(
    model: str,
    settings: Sequence[str] | None,
    of: str | None,
    names: str | None,
    data: Path,
    to: Path,
    json_: bool,
    **options: Any,
) -> None:
    """Fine-tune on the datasets of a suite, or on those named, and print the scores."""
    from linkbert.progress import report_text
    from linkbert.tasks import suite, table
    from linkbert.tasks.splits import find_data

    if bool(names) == bool(of):
        raise ValueError("name what to evaluate on by one of --suite S and --tasks A,B; `linkbert tasks` lists them")
    if names:
        chosen = table.find_tasks(names)
    else:
        chosen = table.suite(of or "")
        chosen = [task for task in chosen if task.hub == str(data)] or chosen  # others have files of those names
        chosen, lacking = suite.at_hand(chosen, find_data(str(data), chosen))
        print(*(f"left out: {line}" for line in lacking), sep="\n", end="\n" * bool(lacking), file=sys.stderr)
        if not chosen:
            raise ValueError(f"no dataset of {of} has its files in {data}: see `linkbert tasks`")
    with report_text() as progress:
        records = suite.finetune(model, chosen, data=data, to=to, settings=settings or [], progress=progress, **options)
    print_json(records) if json_ else print(*suite.summary(records), sep="\n")


@app.command()
def compare(
    a: Annotated[str, Argument(metavar="A[:MODEL]", help="a folder of results, and one of its models")],
    b: Annotated[str, Argument(metavar="B[:MODEL]", help="the other")],
    task: Annotated[str | None, Option(metavar="T", help="only this dataset  [default: all that both have]")] = None,
    store: Annotated[
        Path | None, Option(metavar="STORE", help="show its linked documents that join a question with the answer")
    ] = None,
    top: Top = 10,
    json_: Json = False,
) -> None:
    """Show where two fine-tuned models differ, with a paired test."""
    from linkbert.tasks.compare import compare as compare_scores
    from linkbert.tasks.compare import comparison_lines, find_bridges, question_of
    from linkbert.tasks.results import scores_of

    scores = [scores_of(word, task) for word in (a, b)]
    columns = [column for column in scores[0] if column in scores[1]]
    if not columns:
        raise ValueError(f"{a} and {b} have no task in common: name two with results of the same")
    found = [compare_scores(scores[0][column], scores[1][column]) for column in columns]
    if store:
        from linkbert.corpora.store import Store
        from linkbert.graph.links import LinkGraph

        shown = [(c, each) for c, one in zip(columns, found, strict=True) for each in one["examples"][:top]]
        bridges = find_bridges(Store.open(store), LinkGraph.open(store), [question_of(*pair) for pair in shown])
        for (_, each), own in zip(shown, bridges, strict=True):
            each["bridges"] = own
    print_json(found) if json_ else print(*(line for each in found for line in comparison_lines(each, top)), sep="\n")


@app.command()
def overlap(
    store: StorePath,
    task: Annotated[str, Option(metavar="T", help="a name of `linkbert tasks`")],
    data: DataFolder,
    top: Top = 10,
    json_: Json = False,
) -> None:
    """Find test contexts of a dataset that occur in a store."""
    from linkbert.corpora.store import Store
    from linkbert.progress import report_stages
    from linkbert.tasks.overlap import find_overlap, overlap_lines
    from linkbert.tasks.splits import find_data, read_splits
    from linkbert.tasks.table import find_task

    opened, found_task = Store.open(store), find_task(task)
    splits = read_splits(found_task, find_data(str(data), [found_task]))
    split = "test" if splits.test else "dev"
    contexts = {example.id: example.passage for example in splits.test or splits.dev}
    with report_stages() as progress:
        found = find_overlap(
            opened, contexts, worst=top, progress=lambda done, total: progress("documents read", done, total)
        )
    if json_:
        print_json({"task": found_task.name, "split": split, **found})
    else:
        print("\n".join(overlap_lines(found_task.title, split, found)))


def make_console() -> Console:
    """Make the console that commands print to: colours on a terminal, none elsewhere, text as it is, never wrapped."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
