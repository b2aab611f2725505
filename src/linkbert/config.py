"""Every knob of a pretraining run and of fine-tuning, its default and its meaning, in one place.

A run is `preset`, then `key=value` words of the command line, then nothing: the resulting Config is written to
RUN/run.json and decides, with the store, every batch and every update. A run on several stores has a Part for each: its
weight, and the settings in which it differs from the run's (`wiki.scope=document`).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

SHORT = 32  # tokens: a compiled step has room for the [CLS]s of rows full of such pairs


def knob(default: Any, meaning: str, choices: tuple[str, ...] = (), *, of_store: bool = False) -> Any:
    """Declare a field of Config: its default, its meaning for the documentation, and the words it may be.

    `of_store`: in a run on several stores, each may have a value of its own.
    """
    return field(default=default, metadata={"meaning": meaning, "choices": choices, "of_store": of_store})


@dataclass(frozen=True)
class Config:
    """What a pretraining run does; see `describe` for the table that the documentation prints."""

    # What the run learns from
    graph: str = knob("hyperlink", "the graph of the store that linked pairs follow", of_store=True)
    scope: str = knob(
        "segment",
        "linked from what: links standing in A (segment), or any link of A's document (document)",
        ("segment", "document"),
        of_store=True,
    )
    alpha: float = knob(
        1.0, "a linked document is drawn in proportion to in-degree^-alpha; 0 is 'no diversity'", of_store=True
    )
    shares: tuple[float, float, float] = knob(
        (1 / 3, 1 / 3, 1 / 3), "asked shares of contiguous, random, linked", of_store=True
    )
    objective: str = knob(
        "drp",
        "drp: masked tokens and three relations; nsp: masked tokens and two (BERT); none: masked tokens alone",
        ("drp", "nsp", "none"),
    )
    anchors: str = knob(
        "all",
        "which places become A: all, or (usable) only those where all three relations are possible, in exact shares",
        ("all", "usable"),
        of_store=True,
    )
    linked_segment: str = knob(
        "random",
        "which segment of the linked document: any, its lead, or the section that the link names",
        ("random", "lead", "section"),
        of_store=True,
    )
    held_out: float = knob(0.01, "share of documents kept from training, by a hash of their id", of_store=True)
    mask_rate: float = knob(0.15, "share of tokens to predict")
    mask_rate_end: float = knob(0.0, "the share at the end of the run, reached in a line from mask_rate; 0: the same")
    masking: str = knob(
        "token",
        "what is masked: single WordPieces (token), whole words (word), or spans of up to 10 words (span, SpanBERT)",
        ("token", "word", "span"),
    )
    sequence_length: int = knob(512, "tokens of an instance: [CLS] A [SEP] B [SEP] and padding")

    # The encoder
    init: str = knob("none", "start: none (random), a Hugging Face folder or a hub name")
    architecture: str = knob(
        "bert",
        "kind of encoder of a random start (ignored with init)",
        ("bert", "roberta", "electra", "deberta", "deberta-v2", "modernbert"),
    )
    layers: int = knob(2, "transformer layers (ignored with init)")
    hidden: int = knob(128, "width (ignored with init)")
    heads: int = knob(2, "attention heads (ignored with init)")
    feed_forward: int = knob(512, "width of the feed-forward layer (ignored with init)")
    initializer_range: float = knob(0.02, "standard deviation of random weights")
    start: str = knob(
        "random",
        "random weights as BERT's, or such that the first layer begins by looking at neighbours (ignored with init)",
        ("random", "neighbours"),
    )
    dropout: float = knob(0.1, "dropout on hidden states and heads")
    attention_dropout: float = knob(0.0, "dropout on attention weights; leaves the fast kernel on a CPU")

    # The optimiser
    steps: int = knob(10_000, "updates of the weights; with a budget, of the schedule that is stretched to fill it")
    budget: str = knob("none", "time of training instead of steps, such as 90s, 40m or 2h; evaluations are not counted")
    pace: str = knob("none", "a run with a budget whose journal says how many steps the time had, to repeat it exactly")
    batch_size: int = knob(2_048, "pairs an update, over all processes")
    micro_batch: int = knob(32, "rows of sequence_length tokens, each with as many pairs as fit, of one forward pass")
    learning_rate: float = knob(5e-3, "peak learning rate")
    schedule: str = knob(
        "linear",
        "after warm-up: down a line to 0 (linear, the paper), level (constant), or level and then down (wsd)",
        ("linear", "constant", "wsd"),
    )
    decay: float = knob(0.2, "share of the steps, at the end, in which wsd comes down")
    warmup: float = knob(5_000, "steps of linear warm-up; below 1, a share of the steps")
    beta1: float = knob(0.9, "AdamW beta 1")
    beta2: float = knob(0.98, "AdamW beta 2")
    epsilon: float = knob(1e-6, "AdamW epsilon")
    weight_decay: float = knob(0.01, "AdamW weight decay; none on biases and norms")
    clip: float = knob(1.0, "largest norm of the gradient; 0 is no clipping")
    spike: float = knob(0.0, "a gradient norm above so many times its running median is a spike; 0: there are none")
    on_spike: str = knob("stop", "at a spike, or a loss that is not a number", ("stop", "skip"))
    seed: int = knob(0, "decides weights, pairs, masks and dropout")

    # How the run goes
    device: str = knob("auto", "auto, cpu, cuda or cuda:N")
    precision: str = knob(
        "auto",
        "arithmetic of the forward and backward pass: bf16, or fp32 where a run finds that quicker (auto); fp16 scales "
        "its losses",
        ("auto", "bf16", "fp32", "fp16"),
    )
    recompute: bool = knob(
        False,
        "keep only what enters each layer and compute it again for the gradients: less memory, more time",
    )
    compile: str = knob("auto", "torch.compile: auto is on where it pays back", ("auto", "on", "off"))
    sharding: str = knob(
        "none",
        "of many processes: each has the whole model (none), its rows alone (full), or its rows among those of a "
        "machine (hybrid)",
        ("none", "full", "hybrid"),
    )
    threads: int = knob(0, "CPU threads of one process; 0 leaves it to torch")
    log_every: int = knob(10, "steps between lines of the journal")
    checkpoint_every: int = knob(1_000, "steps between checkpoints; the last step always has one")
    keep: int = knob(2, "checkpoints kept; 0 keeps all")
    keep_best: bool = knob(True, "keep also the checkpoint with the lowest masked-token loss on held-out documents")
    stop_before: float = knob(120, "seconds before the end of a Slurm job at which a run saves and stops")
    evaluate_every: int = knob(1_000, "steps between evaluations on held-out documents; 0 is only at the end")
    evaluate_pairs: int = knob(1_024, "held-out pairs an evaluation scores, of all stores together")

    def __post_init__(self) -> None:
        require = _requirer(self)
        for key in ("steps", "batch_size", "micro_batch", "layers", "hidden", "heads", "feed_forward", "log_every",
                    "checkpoint_every", "evaluate_pairs"):  # fmt: skip
            require(getattr(self, key) >= 1, key, "1 or more")
        for key in ("alpha", "warmup", "weight_decay", "clip", "spike", "seed", "threads", "keep", "stop_before",
                    "evaluate_every"):  # fmt: skip
            require(getattr(self, key) >= 0, key, "0 or more")
        for key in ("dropout", "attention_dropout", "held_out", "mask_rate_end"):
            require(0 <= getattr(self, key) < 1, key, "at least 0 and below 1")
        for key in ("mask_rate", "decay", "beta1", "beta2"):
            require(0 < getattr(self, key) < 1, key, "between 0 and 1")
        for key in ("learning_rate", "epsilon", "initializer_range"):
            require(getattr(self, key) > 0, key, "above 0")
        require(self.seed < 2**63, "seed", "below 2^63")
        require(self.steps * self.batch_size < 2**63, "steps", f"below 2^63 / {self.batch_size} (batch_size)")
        require(self.spike == 0 or self.spike > 1, "spike", "0, or above 1")
        require(self.threads <= 512, "threads", "at most 512")
        require(16 <= self.sequence_length <= 65_536, "sequence_length", "between 16 and 65536")
        require(self.hidden % self.heads == 0, "heads", f"a divisor of hidden={self.hidden}")
        shares_fit = min(self.shares) >= 0 and abs(sum(self.shares) - 1) < 1e-6
        require(shares_fit, "shares", "three shares that sum to 1, such as 1/3,1/3,1/3 (contiguous, random, linked)")
        require(self.budget == "none" or self.budget_seconds > 0, "budget", "none, or a time such as 90s, 40m or 2h")
        if self.budget == "none":
            require(self.pace == "none", "pace", "none where there is no budget")
        else:
            require(self.mask_rate_end == 0, "mask_rate_end", "0 with a budget: masks follow from steps, not from time")
        if self.objective == "nsp":
            require(self.shares[2] == 0, "shares", "without a linked share where objective=nsp, such as 1/2,1/2,0")

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds: 2h -> 7200.0; none, or what is no time, -> 0.0."""
        return in_seconds(self.budget)

    @property
    def highest_mask_rate(self) -> float:
        """The largest share of tokens that is masked at any time of the run."""
        return max(self.mask_rate, self.mask_rate_end)

    @property
    def read_share(self) -> float:
        """The share of places that a compiled step has room to read: the masked ones, and a [CLS] each SHORT."""
        return self.highest_mask_rate + 1 / SHORT


@dataclass(frozen=True)
class FineTune:
    """How an encoder is fine-tuned on a task: the authors' settings where the paper's grids say no other."""

    # The optimiser
    learning_rate: float = knob(3e-5, "peak learning rate; a small encoder wants more, 1e-4 or 3e-4")
    batch_size: int = knob(32, "examples an update; of questions, windows")
    epochs: float = knob(3, "times that the training set is gone through")
    budget: str = knob("none", "time after which training ends, such as 20m; the schedule comes down in that time")
    warmup: float = knob(0.0, "steps of linear warm-up; below 1, a share of the steps; then down a line to 0")
    weight_decay: float = knob(0.0, "AdamW weight decay; none on biases and norms")
    beta2: float = knob(0.999, "AdamW beta 2")
    epsilon: float = knob(1e-8, "AdamW epsilon")
    clip: float = knob(1.0, "largest norm of the gradient; 0 is no clipping")
    dropout: float = knob(0.1, "dropout on hidden states and heads")
    attention_dropout: float = knob(0.0, "dropout on attention weights; leaves the fast kernel on a CPU")
    early_stop: int = knob(0, "epochs without gain on dev after which the best one is taken; 0: the last, as the paper")
    seed: int = knob(0, "decides new heads, the order of examples and dropout")

    # What is read
    max_length: int = knob(384, "tokens of a row, longer ones are cut, or (questions) read in windows")
    stride: int = knob(128, "tokens that two windows of a context share")
    fraction: float = knob(1.0, "share of the training set, drawn by a hash of the ids (few-shot)")
    distract: str = knob("0", "other articles' paragraphs before or after each context, such as 1..2 (questions)")
    distract_in: str = knob("all", "where: in training and scoring, or in scoring alone", ("all", "eval"))
    dev_split: str = knob("none", "a file that says which dev items are dev and test: none is by a hash (MRQA)")

    # How the run goes
    micro_batch: int = knob(
        0,
        "tokens, padding included, of one forward pass, which cuts larger batches; 0: 16,384 on a GPU, 1,024 on a CPU",
    )
    precision: str = knob(
        "auto", "arithmetic: bf16, or fp32 where a run finds that quicker (auto)", ("auto", "bf16", "fp32", "fp16")
    )
    device: str = knob("auto", "auto, cpu, cuda or cuda:N")
    threads: int = knob(0, "CPU threads of one run; 0 leaves it to torch")

    def __post_init__(self) -> None:
        require = _requirer(self)
        require(self.batch_size >= 1, "batch_size", "1 or more")
        for key in ("warmup", "weight_decay", "clip", "early_stop", "seed", "stride", "micro_batch", "threads"):
            require(getattr(self, key) >= 0, key, "0 or more")
        for key in ("learning_rate", "epsilon", "epochs"):
            require(getattr(self, key) > 0, key, "above 0")
        for key in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, key) < 1, key, "at least 0 and below 1")
        require(0 < self.beta2 < 1, "beta2", "between 0 and 1")
        require(0 < self.fraction <= 1, "fraction", "above 0 and at most 1")
        require(self.seed < 2**63, "seed", "below 2^63")
        require(8 <= self.max_length <= 65_536, "max_length", "between 8 and 65536")
        require(self.budget == "none" or self.budget_seconds > 0, "budget", "none, or a time such as 90s, 40m or 2h")

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds, 0 for none."""
        return in_seconds(self.budget)


def _requirer(settings: Any) -> Callable[[bool, str, str], None]:
    """Check numbers and choices of settings, and give the function that checks the rest.

    Whole numbers of floats become floats: 3 and 3.0 epochs are one run.
    """

    def require(condition: bool, key: str, wanted: str) -> None:
        if not condition:
            raise ValueError(f"{key}={show_value(getattr(settings, key))} does not make sense: it must be {wanted}")

    for item in dataclasses.fields(settings):
        choices = item.metadata["choices"]
        if item.type == "float":
            object.__setattr__(settings, item.name, float(getattr(settings, item.name)))
            require(math.isfinite(getattr(settings, item.name)), item.name, "a finite number")
        if choices:
            require(getattr(settings, item.name) in choices, item.name, "one of " + ", ".join(choices))
    return require


def in_seconds(text: str) -> float:
    """Read a time: 2h -> 7200.0; what is none -> 0.0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]] if found else 0.0


STORE_KNOBS = tuple(item.name for item in dataclasses.fields(Config) if item.metadata["of_store"])


@dataclass(frozen=True)
class Part:
    """One store of a run: its name among several, and how it differs from the run's Config."""

    name: str  # empty where there is but one
    path: Path
    weight: float | None = None  # None: its number of tokens
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, config: Config) -> Config:
        """Give the run's Config with this store's own settings."""
        try:
            return dataclasses.replace(config, **self.settings)
        except ValueError as error:
            raise ValueError(f"{self.name}.{error}") from None


def read_mix(
    words: Iterable[str], settings: Iterable[str], *, before: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Part], list[str]]:
    """Read the words of --mix, `NAME=STORE` or `NAME=STORE:WEIGHT`, and settings of the form `NAME.key=value`.

    Gives the Parts, and the settings that name no store. `before` are the stores of a run that goes on, as run.json has
    them: what is not said is as it was. Bad words are a ValueError.

    >>> read_mix(["wiki=./w:0.8", "books=./b:1/5"], ["steps=9", "books.scope=document"])[0][1]
    Part(name='books', path=PosixPath('b'), weight=0.2, settings={'scope': 'document'})
    """
    before, parts, rest = before or {}, {}, []
    for word in words:
        name, _, store = word.partition("=")
        if not store or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
            raise ValueError(
                f"--mix {word} cannot be read: it takes NAME=STORE or NAME=STORE:WEIGHT, as wiki=./wiki:0.8"
            )
        if name in parts:
            raise ValueError(f"--mix names two stores {name!r}; give each a name of its own")
        weight = before.get(name, {}).get("weight")
        path, _, text = store.rpartition(":")
        try:
            if path:
                weight, store = float(Fraction(text)), path
        except ValueError:
            pass  # the colon is the path's
        except (ZeroDivisionError, OverflowError):
            weight = math.inf
        if weight is not None and not 0 < weight < math.inf:
            raise ValueError(f"--mix {word}: a weight is a number above 0, such as 0.8")
        parts[name] = Part(name, Path(store), weight, _tuples(before.get(name, {}).get("settings", {})))
    for word in settings:
        key, _, text = word.partition("=")
        name, dot, own = key.partition(".")
        if not parts or not dot or key == word:
            rest.append(word)
        elif name not in parts:
            raise ValueError(f"unknown setting {key!r}: no store of --mix is called {name!r}; {nearest(name, parts)}")
        elif own not in STORE_KNOBS:
            raise ValueError(f"unknown setting {key!r}, not one that a store can have; {nearest(own, STORE_KNOBS)}")
        else:
            try:
                own_settings = {**parts[name].settings, own: parse_value(own, text)}
            except ValueError as error:
                raise ValueError(f"{name}.{error}") from None
            parts[name] = dataclasses.replace(parts[name], settings=own_settings)
    return list(parts.values()), rest


def show_value(value: Any) -> str:
    """Write a setting as the command line takes it: (0.5, 0.5, 0.0) -> '1/2,1/2,0'."""
    if isinstance(value, tuple | list):
        return ",".join(str(Fraction(part).limit_denominator(1000)) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def parse_value(key: str, text: str, of: type = Config) -> Any:
    """Read one setting: '1e-3' -> 0.001 for a float, 'on' -> True, '1/2,1/2,0' -> (0.5, 0.5, 0.0) for shares."""
    kind = {item.name: str(item.type) for item in dataclasses.fields(of)}[key]
    try:
        match kind:
            case "int":
                if re.fullmatch(r"[+-]?\d+", text):
                    return int(text)
                number = float(text.replace("_", ""))
                if number != int(number):
                    raise ValueError("not a whole number")
                return int(number)
            case "float":
                return float(Fraction(text) if "/" in text else text)
            case "str":
                return text
            case "bool":
                return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}[text.lower()]
            case _:
                parts = [float(Fraction(part.strip())) for part in text.split(",")]
                if len(parts) == 2:
                    parts.append(0.0)
                if len(parts) != 3:
                    raise ValueError("not three shares")
                return tuple(parts)
    except (KeyError, ValueError, OverflowError, ZeroDivisionError):
        example = {"int": "7", "float": "0.5", "bool": "true"}.get(kind, "1/3,1/3,1/3")
        raise ValueError(f"{key}={text} cannot be read: {key} takes a value such as {example}") from None


def presets() -> dict[str, dict[str, Any]]:
    """Read the presets: what each sets apart from the defaults."""
    return tomllib.loads(resources.files("linkbert").joinpath("presets.toml").read_text(encoding="utf-8"))


def make_config(
    preset: str | None = None, words: Iterable[str] = (), *, base: Mapping[str, Any] | None = None
) -> Config:
    """Build a Config from a preset and `key=value` words; the last word wins.

    `base` are settings to begin with: those of a run that goes on.
    `baseline=bert` is short for `objective=nsp shares=1/2,1/2,0`; `recipe=paper` takes a preset as the paper has it,
    without what we found better. An unknown preset or key is a ValueError that names the nearest known one.
    """
    settings: dict[str, Any] = dict(base or {})
    words = list(words)
    if preset is not None:
        table = presets()
        if preset not in table:
            raise ValueError(f"unknown preset {preset!r}; {nearest(preset, table)}")
        paper = table[preset].pop("paper", {})
        settings |= table[preset] | (paper if "recipe=paper" in words else {})
    known = {item.name for item in dataclasses.fields(Config)}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not a setting; settings are written key=value, such as steps=100")
        if key == "baseline":
            if text != "bert":
                raise ValueError(f"baseline={text} is not known; the one baseline is baseline=bert")
            settings |= {"objective": "nsp", "shares": (0.5, 0.5, 0.0)}
        elif key == "recipe":
            if text != "paper" or preset is None:
                raise ValueError(f"{word} is not known; there is recipe=paper, beside a preset")
        elif key not in known:
            raise ValueError(f"unknown setting {key!r}; {nearest(key, [*known, 'baseline', 'recipe'])}")
        else:
            settings[key] = parse_value(key, text)
    return from_dict(settings)


def make_fine_tune(words: Iterable[str] = (), *, base: Mapping[str, Any] | None = None) -> FineTune:
    """Build the settings of fine-tuning from a task's table (`base`) and `key=value` words; the last word wins."""
    settings = dict(base or {})
    known = {item.name: item for item in dataclasses.fields(FineTune)}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not a setting; settings are written key=value, such as epochs=3")
        settings[key] = parse_value(key, text, FineTune) if key in known else text
    for key in settings:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}; {nearest(key, known)}")
    return FineTune(**settings)


def nearest(word: str, known: Iterable[str]) -> str:
    """Answer an unknown word: 'did you mean X?', or the list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(names)


def from_dict(settings: Mapping[str, Any]) -> Config:
    """Rebuild a Config from a preset's table or from RUN/run.json."""
    settings = modern(settings)
    known = {item.name: item for item in dataclasses.fields(Config)}
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; {nearest(unknown[0], known)}")
    return Config(**_tuples(settings))


def modern(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Bring settings of an earlier version's run.json to today's words; today's stay as they are.

    >>> modern({"objective": "mlm", "whole_word": True})
    {'objective': 'none', 'masking': 'word'}
    """
    settings = dict(settings)
    if settings.get("objective") == "mlm":
        settings["objective"] = "none"
    if "whole_word" in settings:
        settings["masking"] = "word" if settings.pop("whole_word") else "token"
    return settings


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def to_dict(config: Config) -> dict[str, Any]:
    """Turn a Config into what JSON holds; `from_dict` is its inverse."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def describe(of: type = Config) -> list[tuple[str, str, str]]:
    """List every knob as (name, default as written on the command line, meaning)."""
    return [(f.name, show_value(f.default), f.metadata["meaning"]) for f in dataclasses.fields(of)]
