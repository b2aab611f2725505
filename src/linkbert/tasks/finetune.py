"""Fine-tuning, one loop for every kind of task: read `fine_tune` from top to bottom.

In: a task, its examples, a Hugging Face folder and settings. Out: the fine-tuned model, its Predictions of dev and of
test, and what a reader of the scores should know. Every choice (the best epoch, the threshold of "no answer") is made
on dev; the test set is turned into tokens and read after the last of them.

The losses are those of Hugging Face's own classes. A batch holds rows of about one length: rows are shuffled, sorted
within pools of POOL batches, and cut into batches that are shuffled again; all of it follows from (seed, epoch). A
batch of more tokens than a forward pass takes is cut, each part weighing as many examples (of tags, words) as it has;
of questions the loss is over padding, too, so that the width of a part has a little to do with it.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from linkbert.config import in_seconds
from linkbert.model.checkpoint import open_tokenizer, read_encoder
from linkbert.model.device import DTYPES, choose_device, choose_precision, deterministic
from linkbert.model.hf_encoder import ARCHITECTURES, longest
from linkbert.model.optimizer import clip_gradients, learning_rate, make_optimizer
from linkbert.model.weights import guarded, read_config, read_weights
from linkbert.records import IGNORED
from linkbert.tasks.examples import Prediction, Splits
from linkbert.tasks.features import MULTIPLE, Rows
from linkbert.tasks.kinds import Kind, RowForm, kind_of
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.table import Task

POOL = 50  # batches whose rows are sorted by length together
SPARE = 128  # rows of the word embeddings beyond the vocabulary, or one in a hundred: padding for fast kernels
DROPOUTS = ("hidden_dropout_prob", "classifier_dropout", "hidden_dropout", "embedding_dropout", "mlp_dropout")
ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")
Progress = Callable[[str, int, int, float], None]  # what is done; steps or rows done, of how many; seconds in them


@dataclass
class FineTuned:
    """A model that was fine-tuned, and its answers."""

    model: nn.Module
    tokenizer: Any
    labels: tuple[str, ...]
    notes: list[str]
    predictions: dict[str, Sequence[Prediction]] = field(default_factory=dict)  # of dev, of test
    counts: dict[str, int] = field(default_factory=dict)
    epochs: list[dict[str, float]] = field(default_factory=list)  # loss of each; its score on dev with early_stop
    steps: int = 0
    threshold: float | None = None  # of having no answer, chosen on dev
    seconds: float = 0.0  # of training, without evaluations


def fine_tune(
    task: Task,
    splits: Splits,
    folder: Path,
    settings: FineTuneConfig,
    *,
    trained: bool = False,
    progress: Progress = lambda *_: None,
) -> FineTuned:
    """Fine-tune the encoder in a folder on a task and predict dev, then test.

    `trained`: the folder is a fine-tuned model already, and is only asked. The same settings, threads and machine give
    the same predictions, unless there is a budget. ValueError: a folder without a tokenizer or with another one's, rows
    that cannot be, a loss that is not a number.
    """
    device = choose_device(settings.device)
    if settings.early_stop and not splits.dev:
        raise ValueError(f"early_stop={settings.early_stop} needs a dev set; {task.title} has none here")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    micro_batch = settings.micro_batch_size or (16_384 if device.type == "cuda" else 1_024)  # docs/log/tasks.md
    settings = settings.replace(precision=choose_precision(settings.precision, device), micro_batch_size=micro_batch)
    torch.manual_seed(settings.seed)
    kind, (tokenizer, config) = kind_of(task), open_folder(folder)
    labels = kind.labels(splits.train)
    if trained and not kind.outputs:
        known = kind.labels([*splits.train, *splits.dev, *splits.test])
        labels = () if config.problem_type == "regression" else answers_of(folder, [*config.id2label.values()], known)
    model, notes = load_model(kind, folder, config, labels, settings, trained=trained)
    notes.append(f"computed in {settings.precision}")
    model.to(device)
    length = min(settings.max_length, getattr(tokenizer, "model_max_length", settings.max_length))
    if length < settings.max_length:
        notes.append(f"rows of at most {length} tokens: the encoder reads no more")
    result = FineTuned(model, tokenizer, labels, notes)

    def tokenise(split: str, *, training: bool = False) -> Rows:
        form = RowForm(tokenizer, length, settings.stride, labels)
        rows = kind.rows(getattr(splits, split), form, training=training)
        result.counts |= {f"{split}: {name}": count for name, count in rows.counts.items()}
        return rows

    def answer(split: str, rows: Rows) -> list[Prediction]:
        outputs = predict(model, rows, settings, partial(progress, split))
        return kind.decode(rows, outputs) if outputs else []

    def score_on_dev() -> float:
        predictions = answer("dev", dev)
        decided = kind.decide(splits.dev, predictions)
        scored = decided[0](predictions) if decided else predictions
        return kind.score(splits.dev, scored, task.metrics[:1])[task.metrics[0]]

    with deterministic(device):
        train = None if trained else tokenise("train", training=True)
        dev = tokenise("dev")
        if train:
            evaluate = score_on_dev if settings.early_stop else None
            found = train_model(model, train, settings, evaluate=evaluate, progress=progress)
            result.steps, result.seconds, result.epochs = found
            if evaluate:
                best = int(np.argmax([each["dev"] for each in result.epochs])) + 1
                notes.append(f"the model of epoch {best} of {len(result.epochs)}, the best on dev")
        if splits.dev:
            result.predictions["dev"] = answer("dev", dev)
        if splits.test:
            result.predictions["test"] = answer("test", tokenise("test"))
    if splits.dev and (decided := kind.decide(splits.dev, result.predictions["dev"])):
        notes.append(decided[1])
        result.threshold = getattr(decided[0], "keywords", {}).get("threshold")
        result.predictions = {name: decided[0](each) for name, each in result.predictions.items()}
    return result


def open_folder(folder: Path) -> tuple[Any, Any]:
    """Open a folder's tokenizer and configuration; one that does not fit the other is a ValueError."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config, tokenizer = read_config(folder, others=True), open_tokenizer(folder)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{folder}: its tokenizer names no token for padding: tokenizer_config.json has pad_token")
    rows = config.vocab_size
    if not len(tokenizer) <= rows <= max(len(tokenizer) + SPARE, 1.01 * len(tokenizer)):
        sizes = f"a tokenizer of {len(tokenizer)} tokens and an encoder of {rows}"
        raise ValueError(f"{folder} has {sizes}, not of one model: put the encoder's own tokenizer there")
    most = longest(config) if config.model_type in ARCHITECTURES else getattr(config, "max_position_embeddings", None)
    tokenizer.model_max_length = most or tokenizer.model_max_length
    if getattr(config, "type_vocab_size", 2 * (config.model_type == "xlnet")) < 2:  # a second text has no type
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return tokenizer, config


def plain(label: str) -> str:
    """Return what labels are compared by: LABEL_1 is transformers' name of 1, and case does not count."""
    return label.casefold().removeprefix("label_")


def answers_of(folder: Path, old: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that a fine-tuned model answers, written as the data's; ValueError: none is one of those."""
    written = {plain(label): label for label in known}
    labels = tuple(written.get(plain(label), label) for label in old)
    if known and set(labels).isdisjoint(known):
        bare = " (names of a model that was never fine-tuned)" * all(plain(each).isdecimal() for each in old)
        raise ValueError(f"{folder} answers {', '.join(labels)}{bare}; the labels of the data are {', '.join(known)}")
    return labels


def fit_head(model: nn.Module, weights: dict[str, Any], old: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Move the rows of a trained head in `weights` to the order of `labels`, by name; drop one of others; say so."""
    shapes = {name: each.shape for name, each in model.state_dict().items() if name in weights}
    own = [name for name in shapes if not name.startswith(f"{model.base_model_prefix}.")]
    before, after = [plain(each) for each in old], [plain(each) for each in labels]
    if before == after or not own or not (labels or any(weights[name].shape != shapes[name] for name in own)):
        return []
    if sorted(before) != sorted(after):
        for name in own:
            del weights[name]
        return [f"a new head of {len(labels) or 1} outputs: that of the model was trained on {', '.join(old)}"]
    for name in (name for name in own if len(weights[name]) == len(old)):
        weights[name] = weights[name][[before.index(each) for each in after]]
    return ["the rows of the head are moved to the order of the labels, by name"]


def load_model(
    kind: Kind, folder: Path, config: Any, labels: Sequence[str], settings: FineTuneConfig, *, trained: bool = False
) -> tuple[nn.Module, list[str]]:
    """Load an encoder under the head of a kind of task; return it, and notes on what else of it is initialised."""
    old = list(config.id2label.values())
    config.id2label = dict(enumerate(labels or [f"LABEL_{i}" for i in range(max(kind.outputs, 1))]))
    config.label2id = {label: i for i, label in config.id2label.items()}
    config.problem_type = kind.problem(labels)
    rates = dict.fromkeys(DROPOUTS, settings.hidden_dropout_prob)
    for name, rate in (rates | dict.fromkeys(ATTENTION_DROPOUTS, settings.attention_probs_dropout_prob)).items():
        if hasattr(config, name):
            setattr(config, name, rate)
    weights = read_encoder(folder)[1] if config.model_type in ARCHITECTURES else read_weights(folder)
    heads = getattr(transformers, kind.head)._model_mapping  # the Auto classes take no weights
    if type(config) not in heads:
        raise ValueError(f"{folder} is of a {config.model_type}, for which transformers has no {kind.head}")
    head = heads[type(config)]
    with torch.device("meta"):
        bare = guarded(folder / "config.json", lambda: head(config))
    asked, held = (sum(each.numel() for each in some.values()) for some in (bare.base_model.state_dict(), weights))
    if asked > 2 * held:  # it would be allocated
        raise ValueError(f"{folder}/config.json asks for an encoder of {asked:,} numbers, the weights have {held:,}")
    tuned = not config.architectures or any(re.search("For(Seq|Token|Multi|Quest)", of) for of in config.architectures)
    notes = fit_head(bare, weights, old, labels) if tuned else []  # a head is kept where its labels are these
    how = {"dtype": torch.float32, "output_loading_info": True}
    model, found = head.from_pretrained(None, config=config, state_dict=weights, **how)
    missing = [name for name in found["missing_keys"] if name.startswith(f"{model.base_model_prefix}.")]
    pooler = [name for name in missing if ".pooler." in name]
    if len(missing) > len(pooler):
        raise ValueError(f"{folder} lacks weights of its encoder, such as {min(set(missing) - set(pooler))}")
    if trained and (lacking := set(found["missing_keys"]) - set(missing)):
        kept = f"it lacks {min(lacking)}; fine-tune it first"
        raise ValueError(f"{folder} is not fine-tuned for a task of this kind: {kept}")
    return model, notes + ["the pooler starts from scratch: the encoder has none"] * bool(pooler)


def batches_of_epoch(lengths: np.ndarray, size: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Cut an epoch's rows into batches of about one length, each row once, by (seed, epoch); the last may be short."""
    rng = np.random.default_rng([seed, epoch])
    order, pool = rng.permutation(len(lengths)), POOL * size
    batches = []
    for begin in range(0, len(order), pool):
        rows = order[begin : begin + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[i : i + size] for i in range(0, len(rows), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def cut(rows: np.ndarray, lengths: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Cut rows, the longest first, into parts of at most `most` tokens with padding, and of a row at least."""
    begin = 0
    while begin < len(rows):
        width = -(-int(lengths[rows[begin]]) // MULTIPLE) * MULTIPLE
        end = begin + max(1, most // width)
        yield rows[begin:end]
        begin = end


def parts_of(rows: np.ndarray, features: Rows, most: int) -> Iterator[np.ndarray]:
    """Cut rows likewise, those of each number of options by themselves: a batch is of one."""
    counts = np.ones(len(rows)) if features.options is None else features.options[rows]
    for each in np.unique(counts):
        yield from cut(rows[counts == each], features.sizes, most)


def train_model(
    model: Any,
    features: Rows,
    settings: FineTuneConfig,
    *,
    evaluate: Callable[[], float] | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[int, float, list[dict[str, float]]]:
    """Train a model in place; return the steps, the seconds in them, and each epoch's rows, loss and dev score."""
    lengths = features.lengths
    if not len(lengths):
        raise ValueError("no example can be trained on: train has none, or none whose answer stands in its context")
    per_epoch = math.ceil(len(lengths) / settings.batch_size)
    steps = max(1, round(settings.num_train_epochs * per_epoch))
    budget = in_seconds(settings.budget)
    optimizer = make_optimizer(model, settings)
    scaler = torch.amp.GradScaler(model.device.type, enabled=settings.precision == "fp16")
    best: tuple[float, int, dict[str, torch.Tensor]] = (-math.inf, 0, {})
    step, place, seconds = 0, 0.0, 0.0
    epochs: list[dict[str, float]] = []
    while place < steps:
        model.train()
        start, before, trained = time.perf_counter(), seconds, 0
        total = torch.zeros((), dtype=torch.float64, device=model.device)  # read once an epoch
        for batch in batches_of_epoch(lengths, settings.batch_size, seed=settings.seed, epoch=len(epochs)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, place, steps)
            parts = [features.batch(rows) for rows in parts_of(batch, features, settings.micro_batch_size)]
            weights = [weight(part) for part in parts]
            for part, share in zip(parts, weights, strict=True):
                if not share:  # tags of words that no token stands for: their loss is no number
                    continue
                loss = forward(model, part, settings).loss * (share / sum(weights))
                scaler.scale(loss).backward()
                total += loss.detach().double() * len(batch)
            scaler.unscale_(optimizer)
            norm = float(clip_gradients(model, settings.max_grad_norm))
            if not math.isfinite(norm) and not scaler.is_enabled():
                remedy = "take a lower learning_rate, or precision=fp32"
                raise ValueError(f"the gradient of step {step + 1} is not a number; {remedy}")
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            step, trained, seconds = step + 1, trained + len(batch), before + time.perf_counter() - start
            # With a budget the schedule ends with its time, if that is over sooner.
            place = max(step, steps * seconds / budget) if budget else step
            progress("training", step, steps if place <= step else math.ceil(steps * step / place), seconds)
            if place >= steps:
                break
        epochs.append({"rows": trained, "loss": float(total) / trained})
        if evaluate:
            epochs[-1]["dev"] = value = evaluate()
            if value > best[0]:
                best = value, len(epochs), {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif len(epochs) - best[1] >= settings.early_stop:
                break
    if evaluate:
        model.load_state_dict(best[2])
    return step, seconds, epochs


def weight(batch: Mapping[str, np.ndarray]) -> int:
    """Count what a loss is averaged over: labelled words of tags, else rows."""
    labels = batch.get("labels")
    if labels is None or labels.dtype != np.int64:
        return len(batch["input_ids"])
    return int((labels != IGNORED).sum())


def predict(
    model: Any, features: Rows, settings: FineTuneConfig, progress: Callable[[int, int, float], None] = lambda *_: None
) -> list[np.ndarray]:
    """Return the model's output of every row, float32, as `Kind.decode` takes it; rows of one length go together."""
    lengths = features.lengths
    outputs: list[Any] = [None] * len(lengths)
    order = np.argsort(-lengths, kind="stable")
    start, done = time.perf_counter(), 0
    model.eval()
    with torch.inference_mode():
        for rows in parts_of(order, features, settings.micro_batch_size):
            output = forward(model, features.batch(rows), settings)
            spans = "start_logits" in output
            logits = torch.stack([output.start_logits, output.end_logits], dim=-1) if spans else output.logits
            found = logits.float().cpu().numpy()  # (B, C) or (B, T, C)
            if not np.isfinite(found).all():
                remedy = "are its weights whole? else precision=fp32"
                raise ValueError(f"the model answers with what is not a number: {remedy}")
            for row, one in zip(rows, found, strict=True):
                read = one[: lengths[row]] if found.ndim == 3 else one
                outputs[row] = read.T if spans else read
            done += len(rows)
            progress(done, len(lengths), time.perf_counter() - start)
    return outputs


def forward(model: Any, batch: Mapping[str, np.ndarray], settings: FineTuneConfig) -> Any:
    """Run a model on a batch, in the precision asked for."""
    with torch.autocast(model.device.type, DTYPES[settings.precision], enabled=settings.precision != "fp32"):
        return model(**{name: torch.from_numpy(each).to(model.device) for name, each in batch.items()})
