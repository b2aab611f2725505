"""Every setting of a pretraining run, its default and its meaning; named as in Hugging Face where it has it.

A run is a preset, then `key=value` words: the resulting Config is written to RUN/run.json and decides, with the store,
every batch and every update. Names and values of earlier versions are read, too.
"""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat, TypeAdapter, ValidationError, model_validator

SHORT = 32  # tokens: a compiled step has room for the [CLS]s of rows full of such pairs
STORE_SETTINGS = ("graph", "scope", "alpha", "shares", "anchors", "linked_segment", "held_out",  # may differ by store
                  "held_out_links")  # fmt: skip
PREFIXES = "Value error,|(Input|Tuple|Value) should (be|have)|Unable to parse input string as"  # pydantic's words
SHORT_WORDS = {"baseline=bert": ["objective=nsp", "shares=1/2,1/2,0"]}
OLD_NAMES = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "feed_forward": "intermediate_size", "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob", "start": "weight_init", "mask_rate": "mlm_probability",
    "mask_rate_end": "mlm_probability_end", "steps": "max_steps", "epochs": "num_train_epochs",
    "micro_batch": "micro_batch_size", "schedule": "lr_scheduler_type", "decay": "decay_ratio",
    "warmup": "warmup_steps", "beta1": "adam_beta1", "beta2": "adam_beta2", "epsilon": "adam_epsilon",
    "clip": "max_grad_norm", "recompute": "gradient_checkpointing", "log_every": "logging_steps",
    "checkpoint_every": "save_steps", "evaluate_every": "eval_steps", "evaluate_pairs": "eval_pairs",
    "keep": "save_total_limit", "whole_word": "masking", "lr": "learning_rate", "length": "sequence_length",
}  # fmt: skip
MOST_USED = ("budget", "max_steps", "num_train_epochs", "batch_size", "learning_rate", "sequence_length", "max_length",
             "init", "held_out", "fraction", "device", "threads", "seed")  # fmt: skip
REMOVED = ("pace", "stop_before")  # of earlier runs
OLD_VALUES = {
    ("weight_init", "neighbours"): "positional", ("lr_scheduler_type", "constant"): "constant_with_warmup",
    ("lr_scheduler_type", "wsd"): "warmup_stable_decay", ("objective", "mlm"): "none",
    ("masking", "True"): "word", ("masking", "False"): "token",
}  # fmt: skip


def number(value: Any) -> Any:
    """Read a number as the command line writes it: "1/4" -> 0.25, "15%" -> 0.15; others are left to the type."""
    if isinstance(value, str) and re.search("[/eE%]", value) and not re.search(r"[eE][+-]?\d{5}", value):
        with suppress(ValueError, ZeroDivisionError, OverflowError):
            return float(Fraction(value.removesuffix("%")) / (100 if value.endswith("%") else 1))
    return value


def three_shares(value: Any) -> Any:
    """Read shares: "1/2,1/2" -> ("1/2", "1/2", 0.0), whose parts are read as numbers."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 2:
        raise ValueError("contiguous, random and linked, such as 1/2,1/2,0")
    return (*parts, *[0.0] * (3 - len(parts))) if isinstance(parts, list | tuple) else parts


def in_seconds(text: str) -> float:
    """Read a time: 2h -> 7200.0; none -> 0.0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if text != "none" and not (found and float(found[1])):
        raise ValueError("none, or a time such as 90s, 40m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]] if found else 0.0


Int = Annotated[int, BeforeValidator(number)]
Float = Annotated[FiniteFloat, BeforeValidator(number)]
Count = Annotated[Int, Field(ge=1)]
CountOrNone = Annotated[Int, Field(ge=0)]
Natural = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
Amount = Annotated[Float, Field(ge=0)]
Positive = Annotated[Float, Field(gt=0)]
Probability = Annotated[Float, Field(ge=0, lt=1)]
Share = Annotated[Float, Field(gt=0, lt=1)]
Shares = Annotated[tuple[Float, Float, Float], BeforeValidator(three_shares)]
Length = Annotated[Int, Field(ge=16, le=65_536)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
Seconds = Annotated[str, BeforeValidator(lambda value: in_seconds(str(value)) >= 0 and str(value))]
Precision = Literal["auto", "bf16", "fp32", "fp16"]


def setting(default: Any, meaning: str) -> Any:
    """Declare a setting by its default and its meaning; its type says what it may be."""
    return Field(default, description=meaning)


class Settings(BaseModel, frozen=True, extra="forbid", defer_build=True):
    """Frozen settings with their meaning; what is wrong with them is a ValueError of one line."""

    headings: ClassVar[Mapping[str, str]] = {}  # by the first setting that stands under each

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**rename(values, type(self).model_fields))
        except ValidationError as error:
            raise ValueError(explain(error.errors()[0], type(self).model_fields)) from None

    @classmethod
    def from_words(cls, words: Iterable[str], base: Mapping[str, Any] | None = None) -> Self:
        """Build settings from `key=value` words over those of `base`; the last word wins.

        An unknown key is a ValueError that names the nearest known one.
        """
        values = migrate(base or {})
        for setting_ in (each for word in words for each in SHORT_WORDS.get(word, [word])):
            key, equals, text = setting_.partition("=")
            if not equals:
                raise ValueError(f"{setting_!r} is not a setting; settings are written key=value, such as seed=3")
            values |= rename({key: text}, cls.model_fields)
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """Return these settings with some changed, checked again."""
        return type(self)(**{**self.model_dump(), **changes})

    def describe(self) -> dict[str, list[tuple[str, str]]]:
        """List the settings by heading, those that people change first, as ("name=value", "meaning [type]")."""
        types, heading, rows = self.model_json_schema()["properties"], "", dict[str, tuple[str, str]]()
        words = {"boolean": "true|false", "array": "three numbers", "string": "text"}
        for name, value in self:
            kind = "|".join(types[name].get("enum", [])) or types[name]["type"]
            rows[name] = f"{name}={show_value(value)}", f"{types[name]['description']} [{words.get(kind, kind)}]"
        found = {"Settings that people change first (key=value)": [rows[name] for name in MOST_USED if name in rows]}
        for name in rows:
            heading = self.headings.get(name, heading)
            if name not in MOST_USED:
                found.setdefault(heading, []).append(rows[name])
        return found


def explain(error: Mapping[str, Any], known: Collection[str]) -> str:
    """Write what pydantic found wrong in one line: 'seed must be greater than or equal to 0, got -1'."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        names = [*known, *(SHORT_WORDS if "objective" in known else ())]
        return f"unknown setting {key!r}; {nearest(meant(key, known) or key, names)}"
    if error["type"] == "less_than" and error["ctx"]["lt"] == 1 < (given := float(error["input"])) < 100:
        return f"{key} must be less than 1, got {given:g}; {given:g} % is {given / 100:g}"
    wanted = re.sub(r"'|, (unable|got|exceeded) .*$", "", re.sub(f"^({PREFIXES}) ", "must be ", error["msg"]))
    return f"{key} {wanted}, got {' '.join(show_value(error['input']).split()):.80}"


def check_content(kind: Any, value: Any, path: Path | str, more: str = "") -> Any:
    """Return what a file holds as a type says; a ValueError names the file, the key, what was expected, and `more`."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where, words = ".".join(map(str, first["loc"])) or "its content", first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {where} is {first['input']!r:.60}. {words:.120}{more}") from None


def meant(word: str, known: Collection[str]) -> str:
    """Return the known setting that a word such as steps, learning-rate or stepz means, or ""."""
    names = {name: name for name in known} | {old: new for old, new in OLD_NAMES.items() if new in known}
    close = difflib.get_close_matches(word.replace("-", "_"), names, n=1, cutoff=0.75)
    return names[close[0]] if close else ""


def migrate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Bring settings of an earlier version's run to today's names and values, without those that are gone."""
    return {key: value for key, value in rename(values).items() if key not in REMOVED}


def rename(values: Mapping[str, Any], known: Collection[str] = ()) -> dict[str, Any]:
    """Bring settings to today's names and values; today's, and names that are `known`, stay as they are."""
    found = {key if key in known else OLD_NAMES.get(key, key): value for key, value in values.items()}
    return {key: OLD_VALUES.get((key, str(value)), value) for key, value in found.items()}


def nearest(word: str, known: Iterable[str]) -> str:
    """Answer an unknown word: 'did you mean X?', or the list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(names)


def show_value(value: Any) -> str:
    """Write a setting as the command line takes it: (0.5, 0.5, 0.0) -> '1/2,1/2,0'."""
    if isinstance(value, tuple | list):
        parts = [Fraction(n).limit_denominator(1000) if type(n) in (int, float) and isfinite(n) else n for n in value]
        return ",".join(map(str, parts))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


class Config(Settings):
    """What a pretraining run does."""

    headings: ClassVar = {"graph": "What the run learns from", "init": "The encoder", "max_steps": "The optimizer",
                "device": "How the run goes"}  # fmt: skip

    graph: str = setting("hyperlink", "the graph of the store that linked pairs follow")
    scope: Literal["auto", "segment", "document"] = setting(
        "auto", "segment: only links whose anchor text stands in segment A; document: any link of A's document; "
        "auto: segment where the graph's links have places in the text, else document",
    )  # fmt: skip
    alpha: Amount = setting(1.0, "a linked document is drawn in proportion to in-degree^-alpha; 0: no diversity")
    shares: Shares = setting((1 / 3, 1 / 3, 1 / 3), "asked shares of contiguous, random, linked")
    objective: str = setting(
        "drp", "drp: masked tokens and three relations; nsp: two (BERT's: baseline=bert); none: no relations"
    )
    anchors: Literal["all", "usable"] = setting(
        "all", "which places become A: all, or those that can have all three relations, in exact shares (usable)"
    )
    linked_segment: Literal["random", "lead", "section"] = setting(
        "random", "segment of the linked document: any, its lead, or the section that the link names"
    )
    held_out: Probability = setting(0.01, "share of documents kept from training, by a hash of their id")
    held_out_links: Probability = setting(
        0.0, "share of links that no training pair follows, by a hash of both ids: to ask what following links taught"
    )
    mlm_probability: Share = setting(0.15, "share of tokens to predict")
    mlm_probability_end: Probability = setting(0.0, "that share at the end of the run, reached linearly; 0: the same")
    masking: Literal["token", "word", "span"] = setting("token", "what is masked: tokens, words, or spans of words")
    sequence_length: Length = setting(512, "tokens of an instance: [CLS] A [SEP] B [SEP] and padding")

    # The encoder
    init: str = setting("none", "starting weights: none (random), a Hugging Face folder or a hub name")
    architecture: Literal["bert", "roberta", "electra", "deberta", "deberta-v2", "modernbert"] = setting(
        "bert", "kind of encoder of a random start (ignored with init)"
    )
    num_hidden_layers: Count = setting(2, "transformer layers (ignored with init)")
    hidden_size: Count = setting(128, "width (ignored with init)")
    num_attention_heads: Count = setting(2, "attention heads (ignored with init)")
    intermediate_size: Count = setting(512, "width of the feed-forward layer (ignored with init)")
    initializer_range: Positive = setting(0.02, "standard deviation of random weights")
    weight_init: Literal["random", "positional"] = setting(
        "random", "random weights as BERT's, or such that the first layer attends to neighbours (ignored with init)"
    )
    hidden_dropout_prob: Probability = setting(0.1, "dropout on hidden states and heads")
    attention_probs_dropout_prob: Probability = setting(0.0, "dropout on attention weights; slow on a CPU")

    # The optimizer
    max_steps: Count = setting(10_000, "updates of the weights; with a budget, of the schedule that is stretched to it")
    budget: Seconds = setting("none", "time of training instead of max_steps, such as 90s, 40m or 2h")
    max_time: Seconds = setting(
        "none", "time of training at most: where max_steps take longer, the schedule is shorter"
    )
    batch_size: Count = setting(2_048, "pairs an update, over all processes")
    micro_batch_size: Count = setting(32, "rows of sequence_length tokens, each full of pairs, of one forward pass")
    learning_rate: Positive = setting(5e-3, "peak learning rate")
    lr_scheduler_type: Literal["linear", "constant_with_warmup", "warmup_stable_decay"] = setting(
        "linear", "after warm-up: linear decay to 0 (the paper), constant, or constant and then a decay of 1 - sqrt"
    )
    decay_ratio: Share = setting(0.2, "share of the steps, at the end, in which warmup_stable_decay decays")
    warmup_steps: Amount = setting(5_000.0, "steps of linear warm-up; below 1, a share of the steps")
    adam_beta1: Share = setting(0.9, "AdamW beta 1")
    adam_beta2: Share = setting(0.98, "AdamW beta 2")
    adam_epsilon: Positive = setting(1e-6, "AdamW epsilon")
    weight_decay: Amount = setting(0.01, "AdamW weight decay; none on biases and norms")
    max_grad_norm: Amount = setting(1.0, "gradients are clipped to this norm; 0: they are not")
    spike: Amount = setting(0.0, "a gradient norm above so many times its running median is a spike; 0: there are none")
    on_spike: Literal["stop", "skip"] = setting("stop", "at a spike, or a loss that is not a number")
    seed: Seed = setting(0, "decides weights, pairs, masks and dropout")

    # How the run goes
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    precision: Precision = setting("auto", "arithmetic: bf16, or fp32 where that is measured to be faster (auto)")
    gradient_checkpointing: bool = setting(False, "compute activations again for the gradients: less memory, more time")
    compile: Literal["auto", "on", "off"] = setting("auto", "torch.compile; auto: where it saves more than it costs")
    bert_modules: Literal["linkbert", "transformers"] = setting(
        "linkbert", "whose layers compute a BERT: ours, or transformers', with the same weights, attention and loss"
    )
    sharding: Literal["none", "full", "hybrid"] = setting(
        "none", "each process has all weights, its part (full), or its part of those of its machine (hybrid)"
    )
    threads: Annotated[Int, Field(ge=0, le=512)] = setting(0, "CPU threads of one process; 0 leaves it to torch")
    logging_steps: Count = setting(10, "steps between lines of the journal")
    save_steps: Count = setting(1_000, "steps between checkpoints; the last step always has one")
    save_total_limit: CountOrNone = setting(2, "checkpoints kept; 0 keeps all")
    keep_best: bool = setting(True, "keep also the checkpoint with the lowest held-out masked-token loss")
    eval_steps: CountOrNone = setting(1_000, "steps between evaluations on held-out documents; 0 is only at the end")
    eval_pairs: Count = setting(1_024, "held-out pairs an evaluation scores, of all stores together")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        def require(condition: bool, key: str, wanted: str) -> None:
            if not condition:
                raise ValueError(f"{key} must be {wanted}, got {show_value(getattr(self, key))}")

        shares_fit = min(self.shares) >= 0 and abs(sum(self.shares) - 1) < 1e-6
        divides = self.hidden_size % self.num_attention_heads == 0
        linear = self.mlm_probability_end == 0 or self.budget == self.max_time == "none"
        one_clock = "none" in (self.budget, self.max_time)
        require(self.max_steps * self.batch_size < 2**63, "max_steps", f"below 2^63 / {self.batch_size} (batch_size)")
        require(self.spike == 0 or self.spike > 1, "spike", "0, or above 1")
        require(divides, "num_attention_heads", f"a divisor of hidden_size={self.hidden_size}")
        require(shares_fit, "shares", "three shares that sum to 1, such as 1/3,1/3,1/3 (contiguous, random, linked)")
        theirs = self.bert_modules == "linkbert" or self.attention_probs_dropout_prob == 0
        require(theirs, "attention_probs_dropout_prob", "0 with bert_modules=transformers")
        require(linear, "mlm_probability_end", "0 with a budget or max_time: masks follow from steps, not from time")
        require(one_clock, "max_time", "none with a budget, which is all the time that there is")
        unlinked = self.objective != "nsp" or self.shares[2] == 0
        require(unlinked, "shares", "without a linked share where objective=nsp, such as 1/2,1/2,0")
        return self

    @property
    def highest_mlm_probability(self) -> float:
        """The largest share of tokens that is masked at any time of the run."""
        return max(self.mlm_probability, self.mlm_probability_end)

    @property
    def read_share(self) -> float:
        """The share of places that a compiled step has room to read: the masked ones, and a [CLS] each SHORT."""
        return self.highest_mlm_probability + 1 / SHORT


def presets() -> dict[str, dict[str, Any]]:
    """Read the presets: what each sets apart from the defaults."""
    return tomllib.loads(resources.files("linkbert").joinpath("presets.toml").read_text(encoding="utf-8"))


def make_config(
    preset: str | None = None, words: Iterable[str] = (), *, base: Mapping[str, Any] | None = None
) -> Config:
    """Build a Config from a preset and `key=value` words; the last word wins.

    `base` are the settings of a run that is resumed; `recipe=paper` takes a preset as the paper has it. An unknown
    preset or key is a ValueError that names the nearest known one.
    """
    words, settings, table = list(words), dict(base or {}), presets()
    recipes = {word for word in words if word.startswith("recipe=")}
    if recipes - {"recipe=paper"} or (recipes and preset is None):
        raise ValueError(f"{max(recipes)} is not known; there is recipe=paper, together with --preset")
    if preset is not None:
        if preset not in table:
            raise ValueError(f"unknown preset {preset!r}; {nearest(preset, table)}")
        paper = table[preset].pop("paper", {})
        settings |= table[preset] | (paper if recipes else {})
    return Config.from_words([word for word in words if word not in recipes], settings)


def choose_config(preset: str | None, words: Iterable[str], before: Mapping[str, Any]) -> tuple[Config, str]:
    """Return the settings of a run and the preset it is to name; those of a resumed run, `before`, win over that."""
    words = list(words)
    named = before["config"].get("objective", "") if before else ""
    if ":" in named and not any(word.startswith("objective=") for word in words):  # a file must not choose what is run
        raise ValueError(f"the run was trained with code of your own: give objective={named} again to import it")
    recipes = [word for word in words if word.startswith("recipe=")]
    own = before.get("preset", "")
    if before and {preset, *recipes} - {None} <= set(own.split()):
        return make_config(None, [word for word in words if word not in recipes], base=before["config"]), own
    return make_config(preset or "tiny", words), " ".join([preset or "tiny", *recipes])
