"""The command line: a function for each command, its options declared at its parameters.

Libraries are imported inside each command, so that `linkbert --help` is instant. Exit status: 0, 1 (bad input: one line
that says what, where and the remedy), 2 (usage: one line that names the nearest command or option), 130 (interrupted).
"""
# ruff: noqa: A002, B008 - options are defaults, as typer has them, and some have the name of a builtin

import errno
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from resource import RLIMIT_AS, getrlimit
from typing import Any, Literal

import typer
from typer import Argument, Option
from typer.core import TyperCommand, TyperGroup

import linkbert
from linkbert.config import STORE_SETTINGS, Settings, choose_config, make_config, meant, nearest, presets
from linkbert.files import REMEDIES, find_encoder, locked, one_line, read_manifest, replacing
from linkbert.instances.parts import choose_stores
from linkbert.progress import (
    HEARD,
    LogLine,
    interruptible,
    make_console,
    report_stages,
    report_training,
    reporting,
    say,
    say_json,
    screened,
)
from linkbert.tasks.settings import FineTuneConfig

EXAMPLES = """Pretrain BERT-like encoders on documents and the links between them.

\b
  linkbert demo                                 see in minutes what it does
  linkbert build my-docs --to store             read documents and links
  linkbert pretrain store --to run budget=10m   train an encoder on them
"""


class Grouped(TyperGroup):
    """The commands under their headings, a line each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the commands as options are listed."""
        commands: Any = self.commands.values()
        for heading in dict.fromkeys(each.rich_help_panel for each in commands):
            own = [each for each in commands if each.rich_help_panel == heading]
            with formatter.section(heading):
                formatter.write_dl([(each.name, each.get_short_help_str(66)) for each in own])


HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
# Without markup: brackets in our texts are none.
app = typer.Typer(cls=Grouped, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=HELP)


@screened()
@interruptible()
def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    home = partial(re.sub, r"^([\w.-]+=)?~(?=/\S*$|$)", rf"\1{Path.home()}")  # no shell sees it behind a "="
    words = [home(word) for word in (sys.argv[1:] if words is None else words)]
    name = " ".join(["linkbert", *(word for word in words if not word.startswith("-"))][:2])
    if 0 <= (room := getrlimit(RLIMIT_AS)[0]) < LEAST:  # OpenBLAS would wait for more, others crash
        have = f"{room >> 10:,} kB of memory may be mapped (ulimit -v), and libraries alone take {LEAST >> 10:,}"
        say(f"{name}: not enough memory: {have}; raise that limit", stderr=True)
        return 1
    if "study" in words[:1] or any(re.search(r"(^|=)([A-Za-z_][\w.]*:[A-Za-z_]\w*|.+\.toml)$", each) for each in words):
        sys.path.append(os.getcwd())  # for a module:name of the user's own; worker processes take over the path
    if "OMP_WAIT_POLICY" not in os.environ:  # a thread that waits gives its core away soon (docs/log/training.md)
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        if "build" in words[:2]:
            declare_reader_options(words)
        status = typer.main.get_command(app).main(words, "linkbert", standalone_mode=False) or 0
        text = "interrupted" if status == 130 else ""
    except KeyboardInterrupt:  # while readers are imported
        text, status = "interrupted", 130
    except typer.TyperException as error:
        name = getattr(getattr(error, "ctx", None), "command_path", name)
        text, status = explain_usage(error, words, name), 2
    except Exception as error:
        text, status = one_line(error), 1
        if HEARD.is_set():  # while a class is made, Python and pydantic raise another error of it
            text, status = "interrupted", 130
        elif isinstance(error, MemoryError) or (not isinstance(error, ValueError) and re.search(NO_MEMORY, text)):
            remedy = "; training needs less with a smaller micro_batch_size, or with gradient_checkpointing=true"
            trains = name.rpartition(" ")[2] in ("pretrain", "finetune", "study", "score")
            text = f"not enough memory ({text}){remedy * trains}"
        elif text.endswith("disk is full"):  # SQLite's own error, where a table of links is joined
            text = f"{text}: {REMEDIES[errno.ENOSPC]}"
        elif not isinstance(error, ValueError | OSError | FloatingPointError):
            raise
        logging.debug("in full", exc_info=True)
    if text:
        say(f"{name}: {text}", stderr=True)
    return status


class WithSettings(TyperCommand):
    """A command whose help ends with its settings."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the settings, and the presets of pretraining, as options are listed."""
        sizes = {"Presets": [(name, SIZE.format(make_config(name))) for name in presets()]}
        shown = (sizes if self.name == "pretrain" else {}) | settings_of(self.name).describe()
        for heading, rows in shown.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def settings_of(command: str | None) -> Settings:
    """Return the settings that a command takes, as they are where none is given."""
    return FineTuneConfig() if command in ("finetune", "evaluate") else make_config("tiny")


def explain_usage(error: Any, words: Sequence[str], name: str) -> str:
    """Write what is wrong with a command's words: an option that is a setting is written as one."""
    text, context, param = error.format_message().removesuffix("."), error.ctx, getattr(error, "param", None)
    text = text.replace("Value error, ", "")  # pydantic's words
    if words[0] in NO_COMMANDS:
        return f"there is no command {words[0]}: write {NO_COMMANDS[words[0]]}"
    if long := next((word for word in words if re.fullmatch(r"-[a-z][a-z-]+", word)), ""):
        return f"there is no {long}: write -{long}; see `{name} --help`"
    models = (word for word in words if any(Path(word, file).is_file() for file in ("run.json", "config.json")))
    if param and param.opts[0] == "--model" and (model := next(models, "")):
        return f"{text}: write --model {model}; see `{name} --help`"
    takes = {each.name for each in context.command.params} if context else set()
    sets = "" if "settings" in takes else "--set " if "set_" in takes else None
    option = getattr(error, "option_name", "")
    found = re.search(rf"(?<!\S){re.escape(option)}[= ](\S+)", " ".join(words))
    value = found[1] if found else "..."
    if "to" in takes and option.strip("-") in OUTPUT:
        return f"there is no {option}: write --to {value}"
    if sets is not None and (key := meant(option.lstrip("-"), dict(settings_of(context.command.name)))):
        return f"{option} is a setting: write {sets}{key}={value}; see `linkbert settings {key}`"
    if found := re.search(r"extra argument\(s\) \((.*)\)", text):
        text += f": write --set {found[1]}" if sets and "=" in found[1] else '; words that belong together take "..."'
    elif param and param.help:
        text += f" ({param.help})"
    return f"{text}; see `{name} --help`".replace("?; ", "? ")


def find_store(context: typer.Context, store: Path | None) -> Path | None:
    """Check a STORE; a setting in its place is written as one."""
    if store and re.match(r"[a-z_]+=", str(store)) and not store.exists():
        sets = "set_" in {each.name for each in context.command.params}
        raise ValueError(f"{store} is a setting: write " + (f"--set {store}" if sets else "STORE first"))
    if store:
        read_manifest(store)
    return store


def check_model(name: str) -> str:
    """Refuse a MODEL that cannot be one; nothing heavy is imported for that."""
    from linkbert.tasks.table import tasks

    if name in tasks() and not Path(name).exists():
        raise ValueError(f"{name} is a task: write MODEL first, then TASK, as in `linkbert finetune RUN {name}`")
    find_encoder(name)
    return name


SIZE = (
    "{0.num_hidden_layers} layers of {0.hidden_size}, {0.max_steps:,} steps of {0.batch_size:,} pairs of "
    "{0.sequence_length} tokens"
)
# What torch and Python raise without memory, and who loads a library of C.
NO_MEMORY = "(out of|allocate) memory|create a primitive|start new thread|map segment|find/load shared object"
LEAST = 3 << 29  # bytes that may be mapped
NO_COMMANDS = {"help": "`linkbert COMMAND --help`", "presets": "`linkbert pretrain --help`, which lists them"}
OUTPUT = ("o", "out", "output", "output-dir", "output_dir", "out-dir", "out_dir", "save", "dest")  # meant: --to
MODEL_HELP = "a RUN, a checkpoint, a Hugging Face folder or a hub name"
ENCODER: Any = Argument(metavar="MODEL", callback=check_model, help=MODEL_HELP)
MODEL: Any = Option(metavar="MODEL", callback=check_model, help=MODEL_HELP)
STORE: Any = Argument(metavar="STORE", callback=find_store, help="a folder made by `linkbert build`")
OWN = "a store; a run names its own"
OPTIONAL_STORE: Any = Argument(None, metavar="[STORE]", callback=find_store, help=OWN)
WORDS: Any = Argument([], metavar="[key=value]...", help="settings, see below")
JSON: Any = Option(False, "--json", help="print JSON, for programs")
PRESET: Any = Option(None, metavar="P", help="the preset whose settings decide how pairs are drawn")
SET: Any = Option([], "--set", metavar="key=value", help="one of these settings; may be repeated")
TOP: Any = Option(10, min=0, metavar="N", help="how many are shown; --json has all")
MIX = f"for each store of a mixture; NAME.key=value is a setting of one store: {', '.join(STORE_SETTINGS)}"
GRAPH_OPTIONS = "of tfidf: k=5 exact=false memory=4GB; of random: seed=0 source=hyperlink; of hyperlink: memory=4GB"
PER_CORE = "worker processes; 0: one per core"
WORKERS: Any = Option(0, metavar="N", min=0, callback=lambda count: count or os.cpu_count() or 1, help=PER_CORE)
DASK: Any = Option(None, metavar="ADDRESS", help="a Dask scheduler to send the work to: tcp://host:8786")
DATA: Any = Option(metavar="DIR", help="the data files, or a dataset of the hub such as nyu-mll/glue")
FINE_TUNING: dict[str, tuple[Any, Any]] = {  # options of finetune and evaluate
    "settings": (list[str], WORDS),
    "data": (Path | None, Option(None, *DATA.param_decls, metavar=DATA.metavar, help=DATA.help)),
    "to": (Path, Option(metavar="DIR", help="folder of the results; finished ones there are not repeated")),
    "seeds": (int, Option(1, metavar="N", help="runs with different seeds, from seed= upwards")),
    "grid": (str | None, Option(None, metavar="G", help='paper, or "learning_rate=..,..;...": the best on dev counts')),
    "parallel": (int, Option(1, metavar="N", help="runs at the same time; they share the CPU's threads")),
    "score_only": (bool, Option(False, "--score-only", help="MODEL is fine-tuned already: score it as it is")),
    "keep_model": (bool, Option(False, "--keep-model", help="keep the fine-tuned models, as Hugging Face folders")),
}


@app.callback(invoke_without_command=True, help=EXAMPLES)
def choose_command(
    context: typer.Context,
    verbose: bool = Option(False, "--verbose", "-v", help="log more, and errors with their traceback"),
    version: bool = Option(False, "--version", help="print the version"),
) -> None:
    """Set up logging, and print the help where no command is named."""
    # This handler looks sys.stderr up at each line, so that the line stands above a bar that is shown.
    if handler := logging.lastResort:
        handler.setLevel(logging.NOTSET)
        handler.setFormatter(LogLine("linkbert: %(message)s"))
        logging.basicConfig(handlers=[handler])
    logging.getLogger().setLevel(logging.DEBUG if verbose else logging.WARNING)
    if version:
        print(f"linkbert {linkbert.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command(epilog="settings, such as max_steps=300: see `linkbert pretrain --help`", rich_help_panel="Look")
def demo(
    settings: list[str] = WORDS,
    to: Path = Option(Path("linkbert-demo"), metavar="DIR", help="folder for all that the demo makes"),
    source: str = Option("cmake", metavar="SOURCE", help="cmake (a manual), wikipedia (an excerpt), or your own path"),
    init: str = Option("bert-tiny", metavar="MODEL", help="encoder to continue: bert-tiny, minilm, none, or a folder"),
    minutes: float = Option(10.0, min=0.1, metavar="M", help="minutes of training at most"),
) -> int:
    """Train a small encoder in minutes, and see what links add."""
    console = make_console()
    console.print("An encoder that learns from documents and their links: about four minutes on two idle cores.")
    console.print(f"On a busy machine training ends after {minutes:g}, and what is around it may take as long again.\n")
    from linkbert.demo import demo as run

    return run(console, to, source=source, init=init, minutes=minutes, settings=settings)


@app.command(rich_help_panel="Build")
def build(
    source: list[str] = Argument(metavar="SOURCE...", help="paths, globs or addresses (https://, s3://), in order"),
    to: Path = Option(metavar="STORE", help="the store's folder"),
    format: str | None = Option(None, metavar="F", help="the reader, or package.module:name  [default: by the files]"),
    links: Path | None = Option(None, metavar="FILE.tsv", help="a table of source and target: links besides"),
    vocab: str = Option("train:30522", metavar="V", help="a vocab.txt, a tokenizer folder, a hub name, or train:SIZE"),
    cased: bool = Option(False, "--cased", help="keep capitals (with train:SIZE or a vocab.txt; others decide it)"),
    graph: Literal["hyperlink", "none"] = Option("hyperlink", help="the graph to build"),
    workers: int = WORKERS,
    keep_going: bool = Option(False, "--keep-going", help="exit status 0 even if a source is cut off or damaged"),
    dask: str | None = DASK,
    **options: Any,
) -> None:
    """Build a store of documents and links; again, to finish one."""
    from linkbert.api import describe_build
    from linkbert.corpora.reader import DAMAGE
    from linkbert.views.stats import statistics_lines, store_statistics

    given = {name: value for name, value in options.items() if value is not None}
    how = dict[str, Any](format=format, options=given, links_table=links, graph=graph == "hyperlink", dask=dask)
    how |= {"vocabulary": vocab, "lowercase": False if cased else None, "workers": workers}
    with report_stages() as progress:
        store = linkbert.build_store(source, to, **how, progress=progress)
    say(*describe_build(store), *statistics_lines(store_statistics(store.path)))
    damaged = sum(count for cause, count in store.manifest["skipped"].items() if cause in DAMAGE)
    if damaged and not keep_going:
        found = f"sources are cut off or damaged ({damaged:,}, see above); what is whole is in {store.path}"
        raise ValueError(f"{found}. Fetch the source again for the rest, or take it as it is with --keep-going")


def declare_reader_options(words: Sequence[str]) -> None:
    """Declare the options of all readers, and of one that is named `--format module:name`, as options of `build`."""
    from linkbert.corpora.reader import list_options

    rows = list_options() + list_options(re.findall(r"--format[ =](\S+:\S+)", " ".join(words)))
    options: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        takers = ", ".join(each.reader for each in rows if each.name == row.name)
        kind: Any = row.type
        options[row.name] = kind | None, Option(None, f"--{row.name.replace('_', '-')}", help=f"{takers}: {row.help}")
    declare(build, options)


def declare(command: Any, options: Mapping[str, tuple[Any, Any]]) -> None:
    """Add options, name -> (type, default), to those of a command that takes them as **options."""
    found = [*inspect.signature(command).parameters.values()]
    kind = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(name, kind, default=default, annotation=of) for name, (of, default) in options.items()]
    command.__signature__ = inspect.Signature([each for each in found if each.kind < kind] + more)


@app.command(rich_help_panel="Build")
def graph(
    store: Path = STORE,
    options: list[str] = Argument([], metavar="[option=value]...", help=GRAPH_OPTIONS),
    method: str = Option(metavar="M", help="hyperlink, random, tfidf or package.module:name"),
    name: str | None = Option(None, metavar="NAME", help="the graph's name in the store  [default: METHOD]"),
    workers: int = WORKERS,
    dask: str | None = DASK,
) -> None:
    """Add a graph to a store: other links that a run can follow."""
    from linkbert.graph.links import add_graph, graph_folder, graph_options
    from linkbert.workers import make_executor

    store = store.resolve() if dask else store  # workers may be in other folders
    opened, name = linkbert.Store.open(store), name or method.rpartition(":")[2]
    chosen = graph_options(method).from_words(options).model_dump()
    with locked(store), report_stages() as progress, make_executor(workers, dask) as executor:
        meta = add_graph(opened, name, method, chosen, executor=executor, progress=progress)
    recall = f", {meta['recall']:.1%} of the exact ones" if "recall" in meta else ""
    say(f"{graph_folder(store, name)}: {meta['edges']:,} edges among {meta['documents']:,} documents{recall}")


@app.command(rich_help_panel="Look")
def show(
    context: typer.Context,
    store: Path | None = Argument(None, metavar="[STORE]", help=OWN),
    document: list[str] = Argument([], metavar="[DOCUMENT]", help="an id or a title"),
    instances: int | None = Option(None, min=1, metavar="N", help="decoded instances to show; 3 without a DOCUMENT"),
    at: int | None = Option(None, min=0, max=10**15, metavar="N", help="the number of the first instance"),
    run: Path | None = Option(None, metavar="RUN", help="take settings and stores from this run"),
    step: int | None = Option(None, min=1, metavar="S", help="start with the instances of a step of RUN"),
    preset: str | None = PRESET,
    set_: list[str] = SET,
) -> None:
    """Show a document with its links, or pairs as the model gets them."""
    if store and not store.exists() and document and Path(last := document[-1], "store.json").is_file():
        right = " ".join([last, str(store), *document[:-1]])
        raise ValueError(f"{last} is a store: write it first, as in `linkbert show {right}`")
    find_store(context, store)
    from linkbert.instances.mixture import make_sampler, open_parts
    from linkbert.pretraining.journal import stores_and_settings
    from linkbert.views.show import choose_instances, show_document, show_instances

    console = make_console()
    if document and store is not None:
        show_document(console, linkbert.Store.open(store), " ".join(document))
        if instances is None:
            return
    if step is not None and (run is None or at is not None):
        raise ValueError("--step is a step of a run: add --run RUN, without --at")
    parts, config = stores_and_settings(store, run, preset, "demo", set_)
    sampler = make_sampler(open_parts(parts, config), config)
    show_instances(console, sampler, choose_instances(sampler, config, instances or 3, at=at, step=step))


@app.command(rich_help_panel="Look")
def stats(
    store: Path = STORE,
    json_: bool = JSON,
    plots: Path | None = Option(None, metavar="FOLDER", help="draw degrees and the spread of targets as PNG files"),
    preset: str | None = PRESET,
    set_: list[str] = SET,
    links: bool = Option(False, "--links", help="only what links lead to, and where most lost ones do"),
) -> None:
    """Count documents, links by outcome, graphs and relation shares."""
    from linkbert.views.plots import write_plots
    from linkbert.views.stats import statistics_lines, store_statistics

    statistics = store_statistics(store, make_config(preset or "tiny", set_))
    written = write_plots(statistics, plots) if plots else []
    print_result(json_, statistics, [*statistics_lines(statistics, links), *(f"wrote {path}" for path in written)])


@app.command(rich_help_panel="Look")
def check(store: Path = STORE, json_: bool = JSON) -> int:
    """Check that a store is consistent; exit status 1 if it is not."""
    from linkbert.views.check import check as run

    rows = []
    for promise, ok, detail in run(store):
        rows.append({"promise": promise, "ok": ok, "detail": detail})
        if not json_:
            say(f"{'ok    ' if ok else 'BROKEN'} {promise}" + (f": {detail}" if detail else ""))
    broken = sum(not row["ok"] for row in rows)
    print_result(json_, rows, [f"{len(rows)} checks, {broken} failed; none says whether all links were understood"])
    return int(broken > 0)


@app.command(rich_help_panel="Build")
def export(
    store: Path = STORE,
    to: Path = Option(metavar="DIR", help="folder for the files; it must not exist"),
    format: Literal["jsonl", "parquet"] = Option("jsonl", help="the form of the files"),
) -> None:
    """Write documents, links and edges as files for other tools."""
    from linkbert.api import export_store

    with report_stages() as progress:
        counts = export_store(store, to, format=format, progress=progress)
    say(f"{to}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@app.command(rich_help_panel="Look")
def report(
    folders: list[Path] = Argument(metavar="STORE|RUN|RESULTS..."),
    to: Path | None = Option(None, metavar="FILE.html|.md", help="the file to write  [default: text on the terminal]"),
    preset: str | None = PRESET,
    set_: list[str] = SET,
) -> None:
    """Lay stores, runs and results side by side, and the paper."""
    from linkbert.views.page import text_lines, write_report
    from linkbert.views.tables import report_sections

    asked = make_config(preset or "tiny", set_) if preset or set_ else None
    if to and to.suffix not in (".html", ".md"):
        raise ValueError(f"--to {to}: a report is HTML or Markdown; give a name that ends in .html or .md")
    sections = report_sections(folders, asked)
    if to:
        write_report(sections, to)
    say(*([f"wrote {to}"] if to else (line for section in sections for line in text_lines(section))))


@app.command(cls=WithSettings, rich_help_panel="Train")
def pretrain(
    settings: list[str] = Argument([], metavar="[STORE] [key=value]...", help="a store, and settings, see below"),
    to: Path = Option(metavar="RUN", help="the run's folder"),
    preset: str | None = Option(
        None, metavar="P", help="see below; with recipe=paper as in the paper  [default: tiny]"
    ),
    resume: bool = Option(False, "--resume", help="resume from RUN's last checkpoint, with its settings and stores"),
    mix: list[str] = Option([], metavar="NAME=STORE[:WEIGHT]", help=MIX),
) -> int:
    """Train an encoder on a store, or resume a run."""
    from linkbert.graph.links import LinkGraph
    from linkbert.pretraining.journal import check_same_run, read_before
    from linkbert.registry import references

    before = read_before(to, resume=resume)
    stores, words = choose_stores(settings, before, mix)
    config, name = choose_config(preset, words, before)
    if before:
        check_same_run(to, before, before | {"config": config.model_dump(mode="json")})
    for part in stores:
        read_manifest(part.path)
        if (graph := part.config(config).graph) != "hyperlink":
            LinkGraph.open(part.path, graph, whole=False)  # is it there; its numbers are looked at where it is used
    if config.init != "none" and not before:
        check_model(config.init)
    if ":" not in config.objective and config.objective not in (known := references("objectives")):
        raise ValueError(f"unknown objective {config.objective!r}; {nearest(config.objective, known)}")
    from linkbert.views.runs import show_result  # not before: a wrong word above costs no import of torch

    with report_training() as progress:
        result = linkbert.pretrain(stores, to, config, preset=name, resume=resume, progress=progress, report=say)
    if result.is_main_process:  # of several processes, one prints
        show_result(make_console(), result)
    return 0 if result.finished else 130


@app.command("settings", rich_help_panel="Train")
def explain_settings(name: str | None = Argument(None, metavar="[NAME]", help="one of them, such as held_out")) -> None:
    """Explain a setting of pretrain and finetune, or all of them."""
    known = {command: settings_of(command) for command in ("pretrain", "finetune")}
    asked = meant(name or "", [key for each in known.values() for key, _ in each])
    if name and not asked:
        meant_by = nearest(name, {key for each in known.values() for key, _ in each} | presets().keys())
        near = f"{meant_by}; " * meant_by.startswith("did")
        what = f"{name} is a preset: --preset {name}" if name in presets() else f"unknown setting {name!r}"
        raise ValueError(f"{what}; {near}`linkbert settings` lists all settings".replace("?; ", "? "))
    for command, each in known.items():
        for heading, rows in each.describe().items():
            found = [f"  {word}  {meaning}" for word, meaning in rows if word.startswith(f"{asked}=" if name else "")]
            say(*([f"{command}: {heading}", *found] if found else []))


@app.command(rich_help_panel="Use")
def fill(
    text: str = Argument(metavar="TEXT", help='such as "The [MASK] of France is Paris."'),
    model: str = MODEL,
    top: int = Option(5, min=1, metavar="N", help="words for each mask"),
    json_: bool = JSON,
) -> None:
    """Fill the [MASK] of a sentence."""
    if not re.search(r"\[MASK\]|<mask>", text):
        raise ValueError("there is no [MASK] in the text: write it for the word that is asked for")
    with reporting() as show:
        show("fill", "opening the model ...")
        from linkbert.model.fill import fill_mask
        from linkbert.pretraining.checkpoint import find_model

        masks = fill_mask(find_model(model), text, top=top)
    value = [[{"word": word, "probability": p} for word, p in mask] for mask in masks]
    print_result(json_, value, ("   ".join(f"{word} {p:.1%}" for word, p in mask) for mask in masks))


@app.command(rich_help_panel="Use")
def relate(
    a: str = Argument(metavar="A.txt", help="a file of text, or with --store a document's id or title"),
    b: str = Argument(metavar="B.txt", help="the other"),
    model: str = MODEL,
    store: Path | None = Option(None, metavar="STORE", callback=find_store, help="of A and B"),
    json_: bool = JSON,
) -> None:
    """Print how likely two texts are contiguous, random or linked."""
    texts = [read_text(name, store) for name in (a, b)]
    with reporting() as show:
        show("relate", "opening the model ...")
        from linkbert.model.fill import relate as run
        from linkbert.pretraining.checkpoint import find_model
        from linkbert.views.runs import relations_known

        found = run(find_model(model), *texts)
    print_result(json_, found, [*(f"{name:<11} {p:6.1%}" for name, p in found.items()), *relations_known(Path(model))])


def read_text(name: str, store: Path | None) -> str:
    """Read a text to relate: of a file, or of a store's document."""
    if store:
        from linkbert.views.show import find_document

        return (opened := linkbert.Store.open(store)).document(find_document(opened, name)).text
    if not os.path.isfile(name):
        wanted = "relate takes two files of text, or with --store STORE the ids or titles of two documents"
        raise ValueError(f"{name:.60} is not a file: {wanted}")
    try:
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text; convert it first") from None


@app.command(rich_help_panel="Use")
def push(
    model: str = ENCODER,
    name: str = Argument(metavar="ORG/NAME", help="the repository on the hub; it is made where it is not there"),
    card: list[str] = Argument([], metavar="[key=value]...", help="for its card: language=en license=mit datasets=a,b"),
    private: bool = Option(False, "--private", help="for you and your organisation alone"),
) -> None:
    """Upload a model and its card to the Hugging Face hub."""
    from linkbert.pretraining.card import push_model
    from linkbert.pretraining.checkpoint import find_model

    words = dict(word.partition("=")[::2] for word in card)
    metadata = {key: text.split(",") if "," in text or key == "datasets" else text for key, text in words.items()}
    say(push_model(find_model(model), name, metadata, private=private))


@app.command(rich_help_panel="Score")
def score(
    model: str = ENCODER,
    store: Path | None = OPTIONAL_STORE,
    json_: bool = JSON,
    preset: str | None = PRESET,
    set_: list[str] = SET,
) -> None:
    """Score a model on held-out documents, and what links add."""
    with reporting() as show:
        scores = linkbert.score(model, store, set_, preset=preset, report=partial(show, "score"))
    from linkbert.views.runs import show_scores

    print_result(True, asdict(scores), ()) if json_ else show_scores(make_console(), scores)


@app.command(rich_help_panel="Score")
def tasks(
    data: Path | None = Option(None, metavar="DIR", help="show which have their files there, or in a hub's dataset"),
    json_: bool = JSON,
) -> None:
    """List the datasets that finetune and evaluate know."""
    from linkbert.views.tables import list_tasks, tasks_lines

    listed = list_tasks(data)
    print_result(json_, listed, tasks_lines(listed))


@app.command(cls=WithSettings, rich_help_panel="Score")
def finetune(
    model: str = ENCODER,
    task: str = Argument(metavar="TASK", help="a name of `linkbert tasks`, or your own: FILE.toml or FILE.toml:NAME"),
    text: str = Option("", metavar="COL[,COL]", help="of a file of your own: the column of the text, or two"),
    label: str = Option("", metavar="COL", help="and that of the label"),
    kind: str = Option("", metavar="K", help="classification, regression, multilabel, tags, choice or question"),
    dev: Path | None = Option(None, metavar="FILE", help="the dev set; else a tenth of the file"),
    test: Path | None = Option(None, metavar="FILE", help="the test set, likewise"),
    split_seed: int = Option(0, metavar="N", help="another seed divides the file otherwise"),
    tasks_file: Path | None = Option(None, metavar="FILE.toml", help="where TASK is a table of it, as FILE.toml:NAME"),
    json_: bool = JSON,
    **options: Any,
) -> None:
    """Fine-tune an encoder on a dataset, or on your own data; score it."""
    if tasks_file:
        evaluate(model, None, f"{tasks_file}:{task}", json_, **options)
    elif Path(task).suffix != ".toml" and (Path(task).is_file() or (Path(task).is_dir() and (text or label or kind))):
        from linkbert.tasks.own import own_task

        own, folder = own_task(Path(task), text, label, kind, dev, test, split_seed)
        evaluate(model, None, own, json_, **{**options, "data": folder, "keep_model": True})  # type: ignore[arg-type]
    elif text or label:
        raise ValueError(f"--text and --label are for a file of your own: there is no file or folder {task}")
    else:
        evaluate(model, None, task, json_, **options)


@app.command(cls=WithSettings, rich_help_panel="Score")
def evaluate(
    model: str = ENCODER,
    suite: str | None = Option(None, metavar="S", help="mrqa, glue, blurb, medqa, mmlu or further"),
    tasks: str | None = Option(None, "--tasks", "--tasks-file", metavar="A,B", help="datasets by name, or FILE.toml"),
    json_: bool = JSON,
    **options: Any,
) -> None:
    """Fine-tune and score an encoder on every dataset of a suite."""
    from linkbert.tasks import results, splits, table

    if options["data"] is None:
        raise ValueError("--data DIR is missing: the folder of the data files, or a dataset of the hub")
    if bool(tasks) == bool(suite):
        raise ValueError("name what to evaluate on by one of --suite S and --tasks A,B; `linkbert tasks` lists them")
    chosen = table.find_tasks(tasks) if tasks else table.suite(suite or "")
    if suite:
        data = str(options["data"])
        chosen = [task for task in chosen if task.hub == data] or chosen  # others have files of those names
        chosen, lacking = splits.at_hand(chosen, splits.find_data(data, chosen))
        say(*(f"left out: {line}" for line in lacking), stderr=True)
        if not chosen:
            raise ValueError(f"no dataset of {suite} has its files in {data}: see `linkbert tasks`")
    from linkbert.progress import seconds_text

    with reporting() as show:
        progress = lambda text, left: show("fine-tuning", f"{text}, {seconds_text(left)} left")  # noqa: E731
        records = linkbert.finetune(model, chosen, **options, progress=progress)
    print_result(json_, records, results.summary(records))


@app.command(rich_help_panel="Score")
def predict(
    model: Path = Argument(metavar="MODEL", help="a model that finetune kept, or its folder of results"),
    file: Path = Argument(metavar="FILE", help="new inputs, with the columns that the model was trained on"),
    to: Path | None = Option(None, metavar="FILE.jsonl", help="write the answers there"),
) -> None:
    """Answer new inputs with a fine-tuned model."""
    if to and to.exists() and to.samefile(file):
        raise ValueError(f"--to {to} is the file of the inputs: name another")
    answers = linkbert.predict(model, file)
    if not to:
        say_json(*answers, indent=None)
        return
    with replacing(to) as part:
        part.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")


@app.command("score-answers", rich_help_panel="Score")
def score_answers(
    predictions: Path = Argument(metavar="PREDICTIONS", help="{id: answer} in JSON, or rows of id and prediction"),
    task: str = Option(metavar="T", help="a name of `linkbert tasks`, or FILE.toml:NAME"),
    data: str = DATA,
    split: str | None = Option(None, metavar="S", help="dev or test  [default: test where its labels are known]"),
    dev_split: str = Option("none", metavar="PATH", help="a file or folder of halves of MRQA's dev sets"),
    json_: bool = JSON,
) -> None:
    """Score anybody's answers to a dataset."""
    found = linkbert.score_answers(predictions, task, data=data, split=split, dev_split=dev_split)
    head = f"{found['task']}, {found['split']}, " + ", ".join(f"{key} {n:,}" for key, n in found["counts"].items())
    print_result(json_, found, [head, *(f"  {key} {100 * value:.2f}" for key, value in found["scores"].items())])


declare(finetune, FINE_TUNING)
declare(evaluate, FINE_TUNING)


@app.command(rich_help_panel="Score")
def compare(
    a: str = Argument(metavar="A[:MODEL]", help="a folder of results, and one of its models"),
    b: str = Argument(metavar="B[:MODEL]", help="the other"),
    task: str | None = Option(None, metavar="T", help="only this dataset  [default: all that both have]"),
    top: int = TOP,
    json_: bool = JSON,
) -> None:
    """Show where two fine-tuned models differ, with a paired test."""
    from linkbert.tasks import compare as comparing
    from linkbert.tasks.results import scores_of

    ours, theirs = (scores_of(word, task) for word in (a, b))
    columns = [column for column in ours if column in theirs]
    if not columns:
        raise ValueError(f"{a} and {b} have no task in common: name two with results of the same")
    found = [comparing.compare(ours[column], theirs[column]) for column in columns]
    print_result(json_, found, (line for each in found for line in comparing.comparison_lines(each, top)))


@app.command(rich_help_panel="Score")
def study(
    file: Path = Argument(metavar="FILE.toml|DIR", help="a study (docs/studies.md), or its folder"),
    to: Path | None = Option(None, metavar="DIR", help="folder of all that it makes; done runs stay"),
    parallel: int = Option(1, min=1, metavar="N", help="runs at the same time, on a GPU each where there are several"),
    plan: bool = Option(False, "--plan", help="say how many runs there are, and about how long they take"),
    print_jobs: bool = Option(False, "--print-jobs", help="print a job array for Slurm: a task a run"),
    run: str = Option("", metavar="KEY", help="only this run of DIR"),
) -> None:
    """Compare ways of pretraining over seeds, with intervals."""
    if not to and file.suffix == ".toml" and not plan:
        raise ValueError(f"--to DIR is missing: the folder of what {file} makes")
    from linkbert.trials import arms
    from linkbert.trials import study as trials
    from linkbert.views import study as views

    folder = to or file
    asked = arms.read_study(file) if file.suffix == ".toml" else trials.open_study(file)[0].study
    if plan:
        say(*views.plan_lines(trials.plan(asked, folder, parallel=parallel)))
    elif print_jobs:
        say(*views.job_array(trials.prepare(asked, folder)))
    else:
        if run or file.suffix == ".toml":
            trials.run_study(asked, folder, parallel=parallel, only=run, report=say)
        say(*([] if run else views.write_study(folder)))


@app.command(rich_help_panel="Score")
def overlap(
    store: Path = STORE,
    task: str = Option(metavar="T", help="a name of `linkbert tasks`"),
    data: Path = DATA,
    top: int = TOP,
    json_: bool = JSON,
) -> None:
    """Find test contexts of a dataset that occur in a store."""
    from linkbert.tasks.overlap import find_overlap, overlap_lines
    from linkbert.tasks.splits import find_data, read_splits
    from linkbert.tasks.table import find_task

    opened, known = linkbert.Store.open(store), find_task(task)
    splits = read_splits(known, find_data(str(data), [known]))
    split = "test" if splits.test else "dev"
    contexts = {example.id: example.passage for example in splits.test or splits.dev}
    with report_stages() as progress:
        found = find_overlap(opened, contexts, worst=top, progress=lambda *done: progress("documents read", *done))
    value = {"task": known.name, "split": split, **found}
    print_result(json_, value, overlap_lines(known.title, split, found))


def print_result(json_: bool, value: Any, lines: Iterable[str]) -> None:
    """Print a value for programs, or its lines for people."""
    if json_:
        say_json(value)
    else:
        say(*lines)
