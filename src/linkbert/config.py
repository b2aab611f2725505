"""Every setting of a pretraining run, its default and its meaning; named as in Hugging Face where it has it.

A run is `preset`, then `key=value` words of the command line, then nothing: the resulting Config is written to
RUN/run.json and decides, with the store, every batch and every update. Names and values of before are read, too.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from importlib import resources
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

SHORT = 32  # tokens: a compiled step has room for the [CLS]s of rows full of such pairs
STORE_SETTINGS = (
    "graph",
    "scope",
    "alpha",
    "shares",
    "anchors",
    "linked_segment",
    "held_out",
)  # a store may have its own
OLD_NAMES = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "feed_forward": "intermediate_size", "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob", "start": "weight_init", "mask_rate": "mlm_probability",
    "mask_rate_end": "mlm_probability_end", "steps": "max_steps", "epochs": "num_train_epochs",
    "micro_batch": "micro_batch_size", "schedule": "lr_scheduler_type", "decay": "decay_ratio",
    "warmup": "warmup_steps", "beta1": "adam_beta1", "beta2": "adam_beta2", "epsilon": "adam_epsilon",
    "clip": "max_grad_norm", "recompute": "gradient_checkpointing", "log_every": "logging_steps",
    "checkpoint_every": "save_steps", "evaluate_every": "eval_steps", "evaluate_pairs": "eval_pairs",
    "keep": "save_total_limit",
}  # fmt: skip
OLD_VALUES = {
    ("weight_init", "neighbours"): "positional",
    ("lr_scheduler_type", "constant"): "constant_with_warmup",
    ("lr_scheduler_type", "wsd"): "warmup_stable_decay",
    ("objective", "mlm"): "none",
}


def number(value: Any) -> Any:
    """Read a number as the command line writes it: "1/3", "1e5", "2_048"; what is none is left to the type.

    >>> number("1/4"), number("1e3"), number("7"), number("many")
    (0.25, 1000.0, 7, 'many')
    """
    if not isinstance(value, str):
        return value
    try:
        if re.fullmatch(r"[+-]?\d[\d_]*", value):
            return int(value)
        return float(Fraction(value) if "/" in value else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        return value


def three_shares(value: Any) -> Any:
    """Read shares: "1/2,1/2" -> (0.5, 0.5, 0.0)."""
    parts = [number(part.strip()) for part in value.split(",")] if isinstance(value, str) else list(value)
    return (*parts, 0.0) if len(parts) == 2 else tuple(parts)


Int = Annotated[int, BeforeValidator(number)]
Float = Annotated[FiniteFloat, BeforeValidator(number)]
Count = Annotated[Int, Field(ge=1)]
Probability = Annotated[Float, Field(ge=0, lt=1)]
Seconds = Annotated[str, Field(pattern=r"^(none|\d+(\.\d+)?[smhd])$")]
Precision = Literal["auto", "bf16", "fp32", "fp16"]


class Settings(BaseModel):
    """Frozen settings with their meaning; what is wrong with them is a ValueError of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(say(error.errors()[0], type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        return migrate(values)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings."""
        return list(cls.model_fields)

    @classmethod
    def from_words(cls, words: Iterable[str], base: Mapping[str, Any] | None = None) -> Self:
        """Build settings from `key=value` words over those of `base`; the last word wins.

        An unknown key is a ValueError that names the nearest known one.
        """
        return cls(**{**migrate(base or {}), **migrate(split_words(words))})

    @classmethod
    def parse(cls, key: str, text: Any) -> Any:
        """Read one setting: ("learning_rate", "1e-3") -> 0.001."""
        return getattr(cls(**{key: text}), current_name(key))

    def replace(self, **changes: Any) -> Self:
        """Return these settings with some changed, checked again."""
        return type(self)(**{**self.model_dump(), **changes})

    @classmethod
    def describe(cls) -> list[tuple[str, str, str]]:
        """List every setting as (name, default as written on the command line, meaning)."""
        return [(key, show_value(item.default), item.description or "") for key, item in cls.model_fields.items()]


def split_words(words: Iterable[str]) -> dict[str, str]:
    """Split `key=value` words: ["max_steps=9"] -> {"max_steps": "9"}."""
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not a setting; settings are written key=value, such as seed=3")
        found[current_name(key)] = text
    return found


def say(error: Mapping[str, Any], of: type[Settings]) -> str:
    """Write what pydantic found wrong in one line: 'seed must be greater than or equal to 0, got -1'."""
    key, value = ".".join(str(part) for part in error["loc"][:1]), error["input"]
    if error["type"] == "extra_forbidden":
        return f"unknown setting {key!r}; {nearest(key, of.names(), OLD_NAMES)}"
    if error["type"] == "value_error":  # our own words
        return str(error["ctx"]["error"])
    if error["type"] == "string_pattern_mismatch":
        return f"{key} must be none, or a time such as 90s, 40m or 2h, got {show_value(value)}"
    kind = error["type"].partition("_")[0] if re.search("_(parsing|from_float|type)", error["type"]) else ""
    plain = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    wanted = plain.get(kind) or re.sub(r"^(Input|Tuple|Value) should (be|have)|'", "", error["msg"]).strip()
    return f"{key} must be {wanted}, got {show_value(value)}"


def migrate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Bring settings of an earlier version to today's names and values; today's stay as they are.

    >>> migrate({"layers": 2, "whole_word": True, "start": "neighbours"})
    {'num_hidden_layers': 2, 'masking': 'word', 'weight_init': 'positional'}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == "whole_word":
            key, value = "masking", "word" if value else "token"
        key = current_name(key)
        found[key] = OLD_VALUES.get((key, value), value) if isinstance(value, str) else value
    return found


def current_name(key: str) -> str:
    """Return today's name of a setting: "layers" -> "num_hidden_layers"."""
    return OLD_NAMES.get(key, key)


def nearest(word: str, known: Iterable[str], old_names: Mapping[str, str] | None = None) -> str:
    """Answer an unknown word: 'did you mean X?', or the list of what there is; `old_names` are understood, too."""
    names, old = sorted(known), {old: new for old, new in (old_names or {}).items() if new in set(known)}
    close = difflib.get_close_matches(word, [*names, *old], n=1, cutoff=0.5)
    return f"did you mean {old.get(close[0], close[0])!r}?" if close else "known are " + ", ".join(names)


def show_value(value: Any) -> str:
    """Write a setting as the command line takes it: (0.5, 0.5, 0.0) -> '1/2,1/2,0'."""
    if isinstance(value, tuple | list):
        return ",".join(
            part if isinstance(part, str) else str(Fraction(part).limit_denominator(1000)) for part in value
        )
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def in_seconds(text: str) -> float:
    """Read a time: 2h -> 7200.0; none -> 0.0."""
    return 0.0 if text == "none" else float(text[:-1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[text[-1]]


class Config(Settings):
    """What a pretraining run does."""

    # What the run learns from
    graph: str = Field("hyperlink", description="the graph of the store that linked pairs follow")
    scope: Literal["auto", "segment", "document"] = Field(
        "auto",
        description="linked from what: links standing in A (segment), any link of A's document (document), or segment "
        "where the links of the graph have places in the text, and document where they have none (auto)",
    )
    alpha: Float = Field(
        1.0, ge=0, description="a linked document is drawn in proportion to in-degree^-alpha; 0 is 'no diversity'"
    )
    shares: Annotated[tuple[Float, Float, Float], BeforeValidator(three_shares)] = Field(
        (1 / 3, 1 / 3, 1 / 3), description="asked shares of contiguous, random, linked"
    )
    objective: str = Field(
        "drp",
        description="drp: masked tokens and three relations; nsp: masked tokens and two (BERT); none: masked tokens",
    )
    anchors: Literal["all", "usable"] = Field(
        "all",
        description="which places become A: all, or (usable) those that can have all three relations, in exact shares",
    )
    linked_segment: Literal["random", "lead", "section"] = Field(
        "random", description="which segment of the linked document: any, its lead, or the section that the link names"
    )
    held_out: Probability = Field(0.01, description="share of documents kept from training, by a hash of their id")
    mlm_probability: Float = Field(0.15, gt=0, lt=1, description="share of tokens to predict")
    mlm_probability_end: Probability = Field(
        0.0, description="the share at the end of the run, reached linearly from mlm_probability; 0: the same"
    )
    masking: Literal["token", "word", "span"] = Field(
        "token",
        description="what is masked: single tokens, whole words, or spans of up to 10 words (span, as SpanBERT)",
    )
    sequence_length: Int = Field(
        512, ge=16, le=65_536, description="tokens of an instance: [CLS] A [SEP] B [SEP] and padding"
    )

    # The encoder
    init: str = Field("none", description="starting weights: none (random), a Hugging Face folder or a hub name")
    architecture: Literal["bert", "roberta", "electra", "deberta", "deberta-v2", "modernbert"] = Field(
        "bert", description="kind of encoder of a random start (ignored with init)"
    )
    num_hidden_layers: Count = Field(2, description="transformer layers (ignored with init)")
    hidden_size: Count = Field(128, description="width (ignored with init)")
    num_attention_heads: Count = Field(2, description="attention heads (ignored with init)")
    intermediate_size: Count = Field(512, description="width of the feed-forward layer (ignored with init)")
    initializer_range: Float = Field(0.02, gt=0, description="standard deviation of random weights")
    weight_init: Literal["random", "positional"] = Field(
        "random",
        description="random weights as BERT's, or such that the first layer attends to neighbours at the start "
        "(positional; ignored with init)",
    )
    hidden_dropout_prob: Probability = Field(0.1, description="dropout on hidden states and heads")
    attention_probs_dropout_prob: Probability = Field(
        0.0, description="dropout on attention weights; leaves the fast kernel on a CPU"
    )

    # The optimizer
    max_steps: Count = Field(
        10_000, description="updates of the weights; with a budget, of the schedule that is stretched to fill it"
    )
    budget: Seconds = Field(
        "none", description="time of training instead of max_steps, such as 90s, 40m or 2h; evaluations are not counted"
    )
    pace: str = Field(
        "none",
        description="a run with a budget whose journal says how many steps the time had, to repeat it exactly",
    )
    batch_size: Count = Field(2_048, description="pairs an update, over all processes")
    micro_batch_size: Count = Field(
        32, description="rows of sequence_length tokens, each with as many pairs as fit, of one forward pass"
    )
    learning_rate: Float = Field(5e-3, gt=0, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "constant_with_warmup", "warmup_stable_decay"] = Field(
        "linear",
        description="after warm-up: linear decay to 0 (the paper), constant, or constant and then linear decay",
    )
    decay_ratio: Float = Field(
        0.2, gt=0, lt=1, description="share of the steps, at the end, in which warmup_stable_decay decays"
    )
    warmup_steps: Float = Field(5_000.0, ge=0, description="steps of linear warm-up; below 1, a share of the steps")
    adam_beta1: Float = Field(0.9, gt=0, lt=1, description="AdamW beta 1")
    adam_beta2: Float = Field(0.98, gt=0, lt=1, description="AdamW beta 2")
    adam_epsilon: Float = Field(1e-6, gt=0, description="AdamW epsilon")
    weight_decay: Float = Field(0.01, ge=0, description="AdamW weight decay; none on biases and norms")
    max_grad_norm: Float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: they are not")
    spike: Float = Field(
        0.0, ge=0, description="a gradient norm above so many times its running median is a spike; 0: there are none"
    )
    on_spike: Literal["stop", "skip"] = Field("stop", description="at a spike, or a loss that is not a number")
    seed: Int = Field(0, ge=0, lt=2**63, description="decides weights, pairs, masks and dropout")

    # How the run goes
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Precision = Field(
        "auto",
        description="arithmetic of forward and backward pass: bf16, or fp32 where that is measured to be faster (auto)",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep only what enters each layer and compute it again for the gradients: less memory, more time",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile: auto is on where it saves more time than it costs"
    )
    sharding: Literal["none", "full", "hybrid"] = Field(
        "none",
        description="of several processes: each has the whole model (none), its part of the weights (full), or its "
        "part among the processes of a machine (hybrid)",
    )
    threads: Int = Field(0, ge=0, le=512, description="CPU threads of one process; 0 leaves it to torch")
    logging_steps: Count = Field(10, description="steps between lines of the journal")
    save_steps: Count = Field(1_000, description="steps between checkpoints; the last step always has one")
    save_total_limit: Int = Field(2, ge=0, description="checkpoints kept; 0 keeps all")
    keep_best: bool = Field(
        True, description="keep also the checkpoint with the lowest masked-token loss on held-out documents"
    )
    stop_before: Float = Field(
        120.0, ge=0, description="seconds before the end of a Slurm job at which a run saves and stops"
    )
    eval_steps: Int = Field(
        1_000, ge=0, description="steps between evaluations on held-out documents; 0 is only at the end"
    )
    eval_pairs: Count = Field(1_024, description="held-out pairs an evaluation scores, of all stores together")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        def require(condition: bool, key: str, wanted: str) -> None:
            if not condition:
                raise ValueError(f"{key} must be {wanted}, got {show_value(getattr(self, key))}")

        require(self.max_steps * self.batch_size < 2**63, "max_steps", f"below 2^63 / {self.batch_size} (batch_size)")
        require(self.spike == 0 or self.spike > 1, "spike", "0, or above 1")
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "num_attention_heads",
            f"a divisor of hidden_size={self.hidden_size}",
        )
        shares_fit = min(self.shares) >= 0 and abs(sum(self.shares) - 1) < 1e-6
        require(shares_fit, "shares", "three shares that sum to 1, such as 1/3,1/3,1/3 (contiguous, random, linked)")
        require(self.budget == "none" or self.budget_seconds > 0, "budget", "none, or a time such as 90s, 40m or 2h")
        require(self.budget != "none" or self.pace == "none", "pace", "none where there is no budget")
        linear = self.mlm_probability_end == 0 or self.budget == "none"
        require(linear, "mlm_probability_end", "0 with a budget: masks follow from steps, not from time")
        if self.objective == "nsp":
            require(self.shares[2] == 0, "shares", "without a linked share where objective=nsp, such as 1/2,1/2,0")
        return self

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds: 2h -> 7200.0; none -> 0.0."""
        return in_seconds(self.budget)

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

    `base` are settings to start from: those of a run that is resumed.
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
    expanded: list[str] = []
    for word in words:
        key, _, text = word.partition("=")
        if key == "baseline" and text != "bert":
            raise ValueError(f"baseline={text} is not known; the one baseline is baseline=bert")
        if key == "recipe" and (text != "paper" or preset is None):
            raise ValueError(f"{word} is not known; there is recipe=paper, together with --preset")
        short = {"baseline": ["objective=nsp", "shares=1/2,1/2,0"], "recipe": []}
        expanded += short.get(key, [word])
    return Config.from_words(expanded, settings)


def choose_config(preset: str | None, words: Iterable[str], before: Mapping[str, Any]) -> tuple[Config, str]:
    """Return the settings of a run and the preset that run.json is to name; `before` is the run.json of a resumed run.

    The run's own settings win: the preset that it started with adds nothing, whatever words it was given then. Another
    preset counts as settings of its own.
    """
    words = list(words)
    named = before["config"].get("objective", "") if before else ""
    if ":" in named and not any(word.startswith("objective=") for word in words):  # a file must not choose what is run
        raise ValueError(f"the run was trained with code of your own: give objective={named} again to import it")
    asked = [preset, *(word for word in words if word.startswith("recipe="))] if preset else []
    own = before.get("preset", "")
    if before and set(asked) <= set(own.split()):
        return make_config(None, [word for word in words if word not in asked], base=before["config"]), own
    return make_config(preset or "tiny", words), " ".join(asked or ["tiny"])


def to_dict(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON holds them; `Config(**...)` is the inverse."""
    return settings.model_dump(mode="json")
