"""What a study's file asks: stores, arms, seeds, a budget, probes, tasks; checked before anything is run.

In: TOML. Out: a Study, which gives the settings of every arm's runs. With one seed, two arms share initial weights and
dropout, because these follow from the seed alone; along one graph, or with anchors=all, also the order of places for
segment A and each A; where both drew the same relation (LinkBERT and BERT: half of the pairs), B and the masks, too.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from linkbert import registry
from linkbert.config import (
    STORE_SETTINGS,
    Config,
    Seconds,
    Seed,
    check_content,
    make_config,
    nearest,
    rename,
    show_value,
)
from linkbert.files import read_toml
from linkbert.instances.parts import Part
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.splits import models_of
from linkbert.tasks.suite import read_grid
from linkbert.tasks.table import Task, find_tasks

ARMS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {  # name: in sentences, in the paper's rows, and its settings
    "linkbert": ("LinkBERT", "LinkBERT-{}", {}),
    "bert": ("BERT", "BERT-{}", {"baseline": "bert"}),
    "no-drp": ("LinkBERT without DRP", "LinkBERT-{}, no DRP", {"objective": "none"}),
    "no-diversity": ("LinkBERT without diversity", "LinkBERT-{}, no diversity", {"alpha": 0}),
    "tfidf": ("LinkBERT on TF-IDF links", "LinkBERT-{}, TF-IDF links", {"graph": "tfidf"}),
    "random-links": ("LinkBERT on random links", "LinkBERT-{}, random links", {"graph": "random"}),
}
PROBE, TASK = ("name", "title", "store"), ("name", "title", "data", "seeds", "grid")  # keys that are no settings
ARM = ("title", "like", "seeds", "against", "paper", "budget")
HELD_OUT = ("held_out", "held_out_links")
SAVING = {"save_total_limit": 1, "keep_best": False}  # the last checkpoint of a run alone, unless told otherwise


Name = Annotated[str, Field(min_length=1)]


def _once_each(seeds: list[int]) -> list[int]:
    if twice := [seed for seed, times in Counter(seeds).items() if times > 1]:
        raise ValueError(f"seed {twice[0]} is named twice")
    return seeds


Seeds = Annotated[list[Seed], AfterValidator(_once_each)]


class Table(BaseModel, extra="forbid", frozen=True):
    """A table of the file."""


class StoreTable(Table):
    """A store, and how it is built where it is not there."""

    path: Annotated[Path, AfterValidator(Path.absolute)]
    build: list[str] = []  # the words of `linkbert build`, without --to
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)  # of several that are trained on; none: by tokens
    train: bool = True  # or only probed
    settings: dict[str, Any] = {}


class Budget(Table):
    """How long an arm is trained; none of these: max_steps of its settings."""

    steps: int | None = Field(None, ge=1)
    tokens: float | None = Field(None, gt=0, allow_inf_nan=False)
    time: Seconds = "none"  # as many tokens as the baseline sees in it on this machine, measured once

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.steps is not None) + (self.tokens is not None) + (self.time != "none") > 1:
            raise ValueError("give one of steps, tokens and time")
        return self


class Arm(Table):
    """What an arm's table may hold; any other key is a setting of pretraining."""

    title: str = ""  # in tables and sentences
    like: str = ""  # a predefined arm whose settings it starts from
    seeds: Seeds = []  # of pretraining; none: those of the study
    against: str = ""  # the arm it is compared with; none: the study's baseline
    paper: str = ""  # the row of the paper's tables that stands next to it
    budget: Budget | None = None  # of its own; none: the tokens of the arm it is compared with
    settings: dict[str, Any] = {}


class Question(Table):
    """What every model is asked, a probe or a task; any other key is a setting of the probe, or of fine-tuning."""

    label: str
    kind: str
    name: str  # of the probe or task; none: the table's
    title: str = ""
    store: str = ""  # of a probe; none: the first
    data: str = ""  # of a task: a folder or a hub's dataset
    seeds: int = Field(1, ge=1)  # of fine-tuning
    grid: str | None = None
    settings: dict[str, Any] = {}

    @property
    def task(self) -> Task:
        """Return the dataset of a task."""
        found = find_tasks(self.name)
        if len(found) != 1:
            raise ValueError(f"task {self.label}: name one dataset, got {self.name}")
        return found[0]


class Study(Table):
    """The tables of a study's file."""

    title: str
    stores: dict[Name, StoreTable] = Field(min_length=1)
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    baseline: str = ""  # the arm that others are compared with; none: bert, or the first
    seeds: Seeds = Field([0], min_length=1)  # of pretraining
    budget: Budget = Budget()
    settings: dict[str, Any] = {}  # of pretraining, of all arms
    probes: dict[str, dict[str, Any]] = {"score": {}}
    tasks: dict[str, dict[str, Any]] = {}
    finetuning: dict[str, Any] = {}  # what all tasks' tables have in common: data, seeds, settings
    compare: list[list[str]] = []  # [ARM, ARM] or [ARM, ARM, LABEL]: what a sentence is asked for; none: all
    paper: Literal["", "tiny", "base", "large"] = ""  # the size of the encoder, where the paper has one
    note: str = ""

    @cached_property
    def read_arms(self) -> dict[str, Arm]:
        """Return the arms, by name."""
        return {name: read_arm(name, table, self.paper) for name, table in self.arms.items()}

    def against(self, name: str) -> str:
        """Return the arm that one is compared with; itself for a baseline."""
        usual = "bert" if "bert" in self.arms else next(iter(self.arms))
        return self.read_arms[name].against or self.baseline or usual

    def config(self, arm: Arm, seed: int = 0, **more: Any) -> tuple[Config, str]:
        """Return the settings and the preset of an arm's run."""
        own = {} if len(self.trained) != 1 else next(iter(self.trained.values())).settings
        common = {key: value for key, value in {**self.settings, **own}.items() if key not in arm.settings}
        table = {**SAVING, **common, **arm.settings, **more, "seed": seed}  # an arm's word is the last
        preset = str(table.pop("preset", "tiny"))
        named = f"{preset} recipe={table['recipe']}" if "recipe" in table else preset
        return make_config(preset, [f"{key}={show_value(value)}" for key, value in table.items()]), named

    @property
    def parts(self) -> list[Part]:
        """Return the stores that are trained on."""
        several = len(self.trained) > 1  # settings of one are those of its runs
        return [Part(name, each.path, each.weight, each.settings) if several else Part("", each.path)
                for name, each in self.trained.items()]  # fmt: skip

    @cached_property
    def trained(self) -> dict[str, StoreTable]:
        """Return the stores that are trained on, by name."""
        return {name: each for name, each in self.stores.items() if each.train}

    @cached_property
    def questions(self) -> list[Question]:
        """Return what every model is asked: probes, then tasks."""
        kinds = {"probe": (self.probes, {}, PROBE), "task": (self.tasks, self.finetuning, TASK)}
        return [read_table(f"{kind} {label}", Question, {**common, **table}, keys, label=label, kind=kind, name=label)
                for kind, (tables, common, keys) in kinds.items() for label, table in tables.items()]  # fmt: skip


def read_table(where: str, model: Any, table: Mapping[str, Any], keys: Collection[str], **usual: Any) -> Any:
    """Read a table, in which any other key than `keys` is a setting; errors begin with `where`."""
    own = {key: value for key, value in table.items() if key in keys}
    settings = {key: value for key, value in table.items() if key not in own}
    return check_content(model, {**usual, **own, "settings": settings}, where)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Say where in a study's file is what an error is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def read_arm(name: str, table: Mapping[str, Any], size: str = "") -> Arm:
    """Read an arm's table; the name of a predefined arm is enough. `size` is the paper's, such as tiny.

    >>> read_arm("bert", {}, "tiny").paper, read_arm("deep", {"num_hidden_layers": 6}).settings
    ('BERT-tiny', {'num_hidden_layers': 6})
    """
    like = table.get("like", name if name in ARMS else "")
    if like and like not in [*ARMS]:
        raise ValueError(f"arm {name} is like {like!r}; {nearest(str(like), ARMS)}")
    if not like and not table:
        raise ValueError(f"arm {name} has no settings, and is none of the predefined; {nearest(name, ARMS)}")
    title, row, settings = ARMS.get(like, ("", "", {}))
    usual = {"title": title, "paper": row.format(size) if size else ""} if name in ARMS else {"title": name}
    return read_table(f"arm {name}", Arm, {**settings, **table}, ARM, **usual)  # type: ignore[no-any-return]


def read_study(path: Path) -> Study:
    """Read a study's file; with `like = "FILE"` it is that one but for what it holds, and `NAME = false` takes away."""
    tables = _read_file(path)
    if isinstance(tasks := tables.get("tasks"), dict):
        tables["tasks"] = {label: {"name": label, **table} if ".toml" in label and isinstance(table, dict) else table
                           for label, table in tasks.items()}  # fmt: skip
    study = check_study(_absolute(tables), path)
    for name, arm in study.read_arms.items():
        wanted = {**study.settings, **arm.settings}.get("objective")
        if wanted in ("none", "mlm") and study.config(arm)[0].objective != "none":
            remedy = f"say it in [arms.{name}], after any baseline"
            raise ValueError(f"{path}: arm {name} has baseline=bert, which overrules objective={wanted}: {remedy}")
    return study


def _absolute(table: dict[str, Any]) -> dict[str, Any]:
    """Make the places that a table names absolute; what is not there is a hub's name."""
    return {key: _absolute(value) if isinstance(value, dict) else _place(key, value) for key, value in table.items()}


def _place(key: str, value: Any) -> Any:
    file = re.match(r".+\.toml(?=:|$)", str(value)) if key == "name" else None
    there = Path(file[0] if file else str(value)).expanduser()
    return str(Path(value).expanduser().absolute()) if (file or key in ("data", "init")) and there.exists() else value


def _read_file(path: Path, *others: Path) -> dict[str, Any]:
    if path.resolve() in others:
        raise ValueError(f"{path} is like itself: `like` names another file")
    tables = read_toml(path)
    like = tables.pop("like", "")
    return _merged(_read_file(path.parent / str(like), path.resolve(), *others), tables) if like else tables


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], new[key]) for key in new
            if isinstance(new[key], dict) and isinstance(old.get(key), dict)
            and (key != "budget" or False in new[key].values())}  # of which there is one  # fmt: skip
    gone = {key for key in new if new[key] is False and key in old and not isinstance(old[key], bool)}
    return {key: value for key, value in {**old, **new, **both}.items() if key not in gone}


def check_study(tables: Any, path: Path) -> Study:
    """Make a Study of tables; whatever is wrong with one is a ValueError of one line."""
    if not isinstance(tables, dict):
        raise ValueError(f"{path} holds no tables of a study: run `linkbert study FILE.toml --to DIR` again")
    if unknown := [key for key in tables if key not in Study.model_fields]:
        raise ValueError(f"{path} has an unknown key {unknown[0]!r}; {nearest(unknown[0], Study.model_fields)}")
    study = check_content(Study, tables, path)
    with naming(str(path)):
        if not study.trained:
            raise ValueError("no store is trained on: leave train = false out of one")
        check_settings(study)
        for name in study.arms:
            if (other := study.against(name)) not in study.arms or study.against(other) != other:
                raise ValueError(f"arm {name} is compared with {other}, which is no baseline of the study")
            check_seeds(study, name, other)
        for name, store in study.stores.items():
            Part(f"stores.{name}", store.path, None, store.settings).config(study.config(Arm())[0])
            if own := [key for key in store.settings if key not in STORE_SETTINGS]:
                remedy = nearest(own[0], STORE_SETTINGS)
                raise ValueError(f"stores.{name}: {own[0]} is no setting of one store; {remedy}")
        for each in study.questions:
            with naming(f"{each.kind} {each.label}"):
                if each.kind == "probe":
                    check_probe(each, study)
                else:
                    FineTuneConfig(**{**each.task.settings, **each.settings})
                    read_grid(each.grid, (models_of(each.task) or [each.task])[0], 768, {*each.settings})
            if each.store and each.store not in study.stores:
                raise ValueError(f"{each.label}: {each.store} is no store of it; {nearest(each.store, study.stores)}")
        labels = [each.label for each in study.questions]
        for words in study.compare:
            for word, known in zip(words, [study.arms, study.arms, labels], strict=False):
                if word not in known:
                    raise ValueError(f"compare: {word!r} is not in the study; {nearest(word, known)}")
            if not 2 <= len(words) <= 3:
                raise ValueError(f"compare: {words} is neither [ARM, ARM] nor [ARM, ARM, LABEL]")
            if words[0] == words[1]:
                raise ValueError(f"compare: {words[0]} is compared with itself")
            check_seeds(study, *words[:2])
    return study


def check_settings(study: Study) -> None:
    """Refuse settings of pretraining that the study decides itself, or that would ask an arm other questions."""
    arms, common = study.read_arms, study.config(Arm())[0]
    titles = Counter(arm.title or name for name, arm in arms.items())
    for name, settings in {"settings": study.settings, **{name: arm.settings for name, arm in arms.items()}}.items():
        taken = {"seed": "seeds", "budget": "budget.time", "max_time": "budget.time"}
        taken |= {"max_steps": "budget.steps"} if name in arms or study.budget != Budget() else {}
        if lost := [key for key in rename(settings) if key in taken]:
            raise ValueError(f"{name}: {lost[0]} is not for a study: it takes {taken[lost[0]]} instead")
    for name, arm in arms.items():
        with naming(f"arm {name}"):
            config = study.config(arm)[0]
        if titles[arm.title or name] > 1:
            raise ValueError(f"arm {name} has the title of another, {arm.title!r}: give it a title of its own")
        if study.probes and (own := [key for key in HELD_OUT if getattr(config, key) != getattr(common, key)]):
            raise ValueError(f"arm {name} has {own[0]} of its own: probes ask all arms alike, so set it for all")


def check_probe(question: Question, study: Study) -> None:
    """Refuse an unknown probe, or a setting that one of ours does not have, or that asks of what was trained on."""
    asked, usual = question.settings, study.config(Arm())[0]
    lost = [key for key in HELD_OUT if key in asked and asked[key] != getattr(usual, key)]
    if lost and ":" not in question.name and (not question.store or question.store in study.trained):
        raise ValueError(f"{lost[0]} is that of the training, {getattr(usual, lost[0])}: leave it out")
    if question.name == "score":  # no torch is needed
        Config(**question.settings)
        return
    registry.find("probes", question.name)
    if ":" in question.name:
        return
    from linkbert.trials.probes import READING, ProbeConfig

    if question.name != "reading":
        ProbeConfig(**question.settings)
    elif "data" not in question.settings:
        raise ValueError("give data = FOLDER, where its datasets are")
    else:
        FineTuneConfig(**{key: each for key, each in question.settings.items() if key not in READING})


def check_seeds(study: Study, a: str, b: str) -> None:
    """Refuse to compare arms that have no seed in common: differences are paired."""
    ours, theirs = (study.read_arms[name].seeds or study.seeds for name in (a, b))
    if not {*ours} & {*theirs}:
        none = f"arms {a} and {b} have no seed in common, {ours} and {theirs}"
        raise ValueError(f"{none}: differences are paired by seed")
