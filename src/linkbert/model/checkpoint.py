"""Encoders on disk: Hugging Face folders, read and written; and the model a run starts from.

In: a folder (ours, or of a released encoder) or a hub name. Out: a PretrainingModel, or a folder that `AutoModel`,
`AutoModelForMaskedLM`, of a BERT also `BertForPreTraining`, and `AutoTokenizer` open. Weights are safetensors only (a
pytorch_model.bin is a pickle, and a pickle can run code), in fp32 whatever the arithmetic of the run.
"""

import json
import logging
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.bert.modeling_bert import BertForPreTrainingOutput

from linkbert.config import Config
from linkbert.files import UMASK, VOCABULARY_FILES, WEIGHTS, find_encoder, model_files, read_json, write_json
from linkbert.instances.vocabulary import SWITCHES, Vocabulary, load_vocabulary, no_panic
from linkbert.model.attention import dropout_keys
from linkbert.model.fast_bert import LinkBertForPreTraining
from linkbert.model.heads import EXACT, Inputs, PretrainingModel, find_objective
from linkbert.model.hf_encoder import ARCHITECTURES, HFEncoder, longest, new_config, spec_of
from linkbert.model.weights import CODE, SIZES, check_weights, guarded, plain_names, read_config, read_weights
from linkbert.records import IGNORED, LINKED
from linkbert.registry import references

log = logging.getLogger(__name__)

RELATION_HEADS = ("cls.seq_relationship.weight", "linkbert.relation.weight")  # of a BERT, of another
LINKED_ROW = "cls.linked_relationship.weight"
RELATION_PARTS = {"pooler": r"\.pooler\.", "relation head": r"seq_relationship|linkbert\.relation"}
RELATION_PARTS |= {"row for linked pairs": "linked_relationship"}
TOKENS = {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3}  # where a trained vocabulary of ours has them
CLASSES: dict[str, Any] = {"bert": LinkBertForPreTraining}  # by the type of a configuration; HFEncoder for any other

SCORE = 12.0  # of the place looked at, before the softmax; by words alone others have up to about 8 among 512
SPREAD = 1.25  # 1 would space frequencies evenly, and places 2 * hidden / heads apart would look alike


def start_model(
    config: Config, vocabulary_size: int, *, counts: np.ndarray | None = None, tokens: Mapping[str, int] = TOKENS
) -> PretrainingModel:
    """Make the model a run starts from, as `config.init` says: random (by `config.weight_init`), or one that exists.

    An encoder from a folder keeps its own sizes; the caller has checked that its vocabulary is the store's (its matrix
    may have rows to spare). `counts` (V,) int64 are how often the corpus has each token: their logarithms are the bias
    of a new masked-token head, which need not learn how common words are. `tokens` are the ids of special tokens.
    """
    weights: dict[str, Tensor] = {}
    if config.init == "none":
        sizes = {"vocab_size": vocabulary_size} | {name: getattr(config, name) for name in SIZES}
        own = new_config(config.architecture, sizes, tokens, longest=max(config.sequence_length, 512))
    else:
        own, weights = read_encoder(find_encoder(config.init), config.sequence_length)
        if own.vocab_size < vocabulary_size:
            has = f"{own.vocab_size} tokens by its config.json, the store {vocabulary_size}"
            raise ValueError(f"{config.init} has {has}: its config.json and its vocabulary do not belong together")
    own.initializer_range = config.initializer_range
    set_dropout(own, config)
    model = make_model(own, weights, objective=config.objective, seed=config.seed)
    if isinstance(model, LinkBertForPreTraining):
        model.use_modules(config.bert_modules)
        if config.init == "none" and config.weight_init == "positional":
            init_positional(model.bert)
    if isinstance(model, HFEncoder) and model.segments < 2:
        log.info("%s has no segment ids: only [SEP] separates A and B", own.model_type)
    spec = spec_of(own)
    lacking = " ".join(model.state_dict().keys() - weights.keys())
    parts = {"masked-token head": f"{spec.dense}."} | (RELATION_PARTS if model.objective.relations else {})
    if (absent := [part for part, name in parts.items() if re.search(name, lacking)]) and config.init != "none":
        log.warning("%s has no %s: trained from scratch here", config.init, ", no ".join(absent))
    if counts is not None and f"{spec.dense}.weight" not in weights:
        shares = functional.pad(torch.from_numpy(counts + 1.0), (0, own.vocab_size - len(counts)), value=1.0)
        model.get_parameter(f"{spec.bias}.bias").data.copy_((shares / shares.sum()).log())
    return model


def set_dropout(own: PretrainedConfig, config: Config) -> None:
    """Train with the rates of a run; a config.json that is written keeps those that the encoder came with."""
    modern = own.model_type == "modernbert"
    names = ("embedding_dropout", "mlp_dropout") if modern else ("hidden_dropout_prob",)
    rates = dict.fromkeys(names, config.hidden_dropout_prob)
    rates["attention_dropout" if modern else "attention_probs_dropout_prob"] = config.attention_probs_dropout_prob
    if config.init != "none":
        own.linkbert_dropout = {name: getattr(own, name) for name in rates}
    own.update(rates)


def make_model(
    config: PretrainedConfig, weights: dict[str, Tensor], *, objective: str, seed: int = 0
) -> PretrainingModel:
    """Build a model from weights under the names of its masked-LM class; no weights at all is a random start.

    What they lack is initialised: a masked-token head as identity over the tied decoder, a pooler and a relation head
    at random; of a BERT's two-row relation head the rows stay, and the linked row starts at zero.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PretrainingModel = CLASSES.get(config.model_type, HFEncoder)(config, objective=objective)
    if not weights:
        return model
    missing = model.state_dict().keys() - weights.keys() - tied_names(model)
    model.load_state_dict(weights, strict=False)
    dense = f"{spec_of(config).dense}.weight"
    if dense in missing and (matrix := model.get_parameter(dense)).shape[0] == matrix.shape[1]:
        nn.init.eye_(matrix)
    if LINKED_ROW in missing and RELATION_HEADS[0] in weights:
        nn.init.zeros_(model.get_parameter(LINKED_ROW))
    return model


def tied_names(model: nn.Module) -> set[str]:
    """Name the weights that are others under a second name: the decoder, where it is the word embeddings."""
    names = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    first = {value: name for name, value in reversed(names.items())}
    return names.keys() - first.values()


def read_encoder(folder: Path, sequence_length: int = 0) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """Read a config.json and weights, names brought to those of the masked-LM class, values to fp32.

    'embeddings.LayerNorm.gamma' -> 'bert.embeddings.LayerNorm.weight'. A decoder that is the word embeddings is left
    out, else `tie_word_embeddings` is False. An unknown architecture, too few positions, weights that are not those of
    config.json or an encoder with holes are a ValueError, before anything of the size of config.json is allocated.
    """
    config: Any = read_config(folder)
    if (most := guarded(folder / "config.json", lambda: longest(config))) < sequence_length:
        wanted = f"fewer than sequence_length={sequence_length}; set sequence_length={most}"
        raise ValueError(f"{folder} has {most} positions, {wanted}")
    kind: Any = transformers.MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    prefix, heads = kind.base_model_prefix, {name for spec in ARCHITECTURES.values() for name in spec.heads}
    weights = plain_names(read_weights(folder), prefix, heads | {"linkbert", "objective_head"}, folder)
    if config.model_type.startswith("deberta"):
        config.legacy = "cls.predictions.bias" in weights
    layers = [int(found[1]) + 1 for name in weights if (found := re.search(r"\.layers?\.(\d{1,6})\.", name))]
    if (said := config.num_hidden_layers) != (has := max(layers, default=0)):  # a deep model takes minutes to describe
        ends = f"end at layer.{has - 1}: write {has}, or" if has else f"are only {', '.join(weights):.100}:"
        raise ValueError(f"{folder}/config.json says num_hidden_layers={said}, the weights {ends} fetch those of it")
    spec = spec_of(config)
    decoder = spec.decoder or spec.bias
    if spec.decoder and (own := weights.pop(f"{decoder}.bias", None)) is not None:
        weights |= {} if config.tie_word_embeddings and f"{spec.bias}.bias" in weights else {f"{spec.bias}.bias": own}
    words = f"{prefix}.embeddings.{'tok' if config.model_type == 'modernbert' else 'word'}_embeddings.weight"
    if words not in weights and config.tie_word_embeddings and f"{decoder}.weight" in weights:
        weights[words] = weights[f"{decoder}.weight"]  # safetensors keeps one of two names
    with torch.device("meta"):
        model = guarded(folder / "config.json", lambda: make_model(config, {}, objective="none"))
    check_weights(model, weights, prefix, tied_names(model), folder)
    untied = weights.get(f"{decoder}.weight")
    config.tie_word_embeddings = untied is None or torch.equal(untied, weights[words])
    if config.tie_word_embeddings:
        weights.pop(f"{decoder}.weight", None)
    return config, {name: value.float() for name, value in weights.items()}


def load_model(
    folder: Path, objective: str | None = None, *, sequence_length: int = 0, head: str = ""
) -> PretrainingModel:
    """Open a checkpoint with its relation head: (B, 2) where the objective has two relations, as a stock BERT's has.

    `head`, "masked-token" or "relation", must be trained, else a ValueError: an untrained one would answer, but noise.
    """
    config, weights = read_encoder(folder, sequence_length)
    answers = objective_of(config, weights)
    related = find_objective(answers).relations and not weights.keys().isdisjoint(RELATION_HEADS)
    if head and not (related if head == "relation" else f"{spec_of(config).dense}.weight" in weights):
        raise ValueError(f"{folder} has no trained {head} head; first: linkbert pretrain STORE --to RUN init={folder}")
    return make_model(config, weights, objective=objective or answers)


def check_room(model: PretrainingModel, tokens: int, folder: str | Path) -> None:
    """Refuse a vocabulary of more tokens than a model has embeddings: the last ones would lead nowhere."""
    if tokens > model.config.vocab_size:
        has = f"{tokens} tokens, its config.json {model.config.vocab_size}"
        raise ValueError(f"the vocabulary of {folder} has {has}: they do not belong together")


@no_panic("the tokenizer.json")
def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a folder, as transformers has it, for the vocabulary that `load_vocabulary` reads there."""
    vocabulary = load_vocabulary(folder)
    told = describe_tokenizer(vocabulary)
    told.pop("tokenizer_class", None)
    if not vocabulary.definition:
        return transformers.BertTokenizer(vocab=vocabulary.ids, **told)
    if json.loads(vocabulary.definition)["model"]["type"] != "WordPiece":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        for key in CODE:
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.add_special_tokens({key: token for key, token in told.items() if getattr(tokenizer, key) is None})
        return tokenizer
    return transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(vocabulary.definition), **told)


class PairModel(PreTrainedModel):
    """A PretrainingModel behind the interface of transformers: pairs in, logits and a loss out; Trainer saves it.

    Its weights have the names that they have in a Hugging Face folder, tied ones once.
    """

    supports_gradient_checkpointing = _supports_sdpa = True

    def __init__(self, folder: Path, objective: str | None = None) -> None:
        config, weights = read_encoder(folder)
        model = make_model(config, weights, objective=objective or named_objective(config) or "drp")
        super().__init__(model.config)
        self.model, self.folder, self.gradient_checkpointing = model, folder, False
        own = {name: value for name, value in model.state_dict().items() if re.search(r"\.\w*relation\w*\.", name)}
        rows = find_objective(objective_of(config, weights)).relations  # that were trained
        self.fresh = {name: value.clone() for name, value in own.items() if not rows or name not in weights}
        self.third = own[RELATION_HEADS[1]][2:].clone() if rows == 2 and RELATION_HEADS[1] in own else None
        absent = [] if f"{spec_of(config).dense}.weight" in weights else ["masked-token head"]
        absent += ["row for linked pairs" if rows else "relation head"] * (model.objective.relations > rows)
        if absent:
            log.warning("%s has no %s: it must be trained before it says anything", folder, ", no ".join(absent))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        position_ids: Tensor | None = None,
        cls_positions: Tensor | None = None,
    ) -> BertForPreTrainingOutput:
        """Score tokens and relations of a batch as PairCollator makes it: int64 (B, T), or packed, with cls_positions.

        -> prediction_logits (B, T, V), seq_relationship_logits (P, 2 or 3) of the P pairs, and the loss of what has
        labels: the mean over masked tokens, and that over pairs where the objective has relations (`labels`,
        `next_sentence_label` (P,)). Dropout by torch's seed.
        """
        options = EXACT._replace(recompute=self.gradient_checkpointing and self.training)
        if self.training:
            seed = torch.randint(-(2**31), 2**31, (), dtype=torch.int32, device=input_ids.device)
            options = options._replace(keys=dropout_keys(seed, 3 * len(self.model.layers) + 1))
        if (position_ids is None) != (cls_positions is None):
            raise ValueError("packed rows need both position_ids and cls_positions, padded ones neither of them")
        inputs = Inputs.padded(input_ids, token_type_ids, attention_mask if cls_positions is None else None)
        if cls_positions is not None and position_ids is not None:
            inputs = inputs.packed(position_ids, cls_positions)
        _, first, every = self.model.encode(inputs, mode=options, every=True)
        tokens = self.model.token_logits(every).view(*input_ids.shape, -1)
        relations, losses = self.model.relation_logits(first), []
        two = self.model.objective.relations == 2
        if two and next_sentence_label is not None and (next_sentence_label == LINKED).any():
            remedy = 'open it with load_model(..., objective="drp"), or draw pairs with shares="1/2,1/2,0"'
            raise ValueError(f"linked pairs, but this model was trained with two relations (nsp): {remedy}")
        for logits, true in ((tokens.flatten(0, 1), labels), (relations, next_sentence_label)):
            if true is not None and (logits is not relations or self.model.objective.relations):
                summed = functional.cross_entropy(logits.float(), true.flatten(), ignore_index=IGNORED, reduction="sum")
                losses.append(summed / (true != IGNORED).sum().clamp_min(1))
        loss = torch.stack(losses).sum() if losses else None
        return BertForPreTrainingOutput(loss=loss, prediction_logits=tokens, seq_relationship_logits=relations)

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings, (V, H)."""
        return self.model.get_submodule(self.model.prefix).get_input_embeddings()  # type: ignore[operator, no-any-return]

    def resize_token_embeddings(self, *_: Any, **__: Any) -> Any:
        """Refuse to: a head of pairs belongs to the vocabulary of its store."""
        remedy = f"AutoModelForMaskedLM.from_pretrained({str(self.folder)!r}) can, without the relation head"
        raise ValueError(f"this model keeps its {self.config.vocab_size} tokens; {remedy}")

    def state_dict(self, *_: Any, prefix: str = "", **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the weights under the names of a Hugging Face folder, tied ones once."""
        again = {prefix + name for name in tied_names(self.model)}
        found = self.model.state_dict(prefix=prefix, **options)
        return {name: value for name, value in found.items() if name not in again}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take weights as `state_dict` gives them."""
        own = self.model.state_dict()
        tied = {name: own[name] for name in tied_names(self.model)}  # the same memory as those they are tied to
        return self.model.load_state_dict(tied | dict(state_dict), strict, assign)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        state_dict: Mapping[str, Any] | None = None,
        push_to_hub: bool = False,
        **_: Any,
    ) -> None:
        """Write a Hugging Face folder, with the vocabulary of the one that was opened; other files there stay.

        `state_dict` are the weights where they are not the model's own, as averages. Rows of the relation head that
        are as they started are left out: nothing is to take them for trained ones.
        """
        if push_to_hub:
            raise ValueError("nothing is pushed from here: `linkbert push FOLDER REPOSITORY` does it")
        if not is_main_process:
            return
        folder, again = Path(save_directory), tied_names(self.model)
        found = self.state_dict() if state_dict is None else {k: v for k, v in state_dict.items() if k not in again}
        weights = {name: value.float().cpu() for name, value in found.items()}
        weights = {name: value for name, value in weights.items()
                   if name not in self.fresh or not torch.equal(value, self.fresh[name])}  # fmt: skip
        named = self.model.config.linkbert_objective
        if self.third is not None and torch.equal(weights[RELATION_HEADS[1]][2:], self.third):
            named = "nsp" if named == "drp" else named
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".") as part:
            write_model(self.model, Path(part), vocabulary=self.folder, weights=weights, objective=named)
            for path in Path(part).iterdir():
                path.chmod(0o666 & ~UMASK)  # the library of safetensors writes for the owner alone
                path.replace(folder / path.name)


def named_objective(config: PretrainedConfig) -> str:
    """Return the objective that a config.json names ("": none); "none" where it is not installed."""
    named = str(getattr(config, "linkbert_objective", None) or "")
    if named and named not in references("objectives"):  # a folder must not choose what is imported
        log.warning("the objective %s is not installed: only masked tokens are scored", named)
        return "none"
    return named


def objective_of(config: PretrainedConfig, weights: Mapping[str, Tensor]) -> str:
    """Return what a checkpoint can answer: what its config.json names, as far as the rows of its relation head go."""
    named = named_objective(config)
    if named not in ("", "drp", "nsp"):
        return named
    pooled = any(".pooler." in name for name in weights)
    if weights.keys().isdisjoint(RELATION_HEADS) or not pooled:  # nothing that was not trained is asked
        return "none"
    return "drp" if LINKED_ROW in weights or (named == "drp" and RELATION_HEADS[1] in weights) else "nsp"


def describe_tokenizer(vocabulary: Vocabulary, model_type: str = "") -> dict[str, Any]:
    """Return what a tokenizer_config.json must say for AutoTokenizer to read a vocabulary as we do."""
    if not vocabulary.definition:
        rules = vocabulary.lowercase, vocabulary.strip_accents, vocabulary.chinese_characters
        return {"tokenizer_class": "BertTokenizer"} | dict(zip(SWITCHES, rules, strict=True))
    names = {f"{name[1:-1].lower()}_token": vocabulary.tokens[i] for name, i in vocabulary.special_ids.items()}
    if json.loads(vocabulary.definition)["model"]["type"] == "WordPiece":
        return {"tokenizer_class": "BertTokenizer"} | names
    return names if model_type != "bert" else names | {"tokenizer_class": "PreTrainedTokenizerFast"}


def write_model(
    model: PretrainingModel,
    folder: Path,
    *,
    vocabulary: Path,
    card: str = "",
    weights: dict[str, Tensor] | None = None,
    objective: str = "",
) -> None:
    """Write config.json, weights, the files of a `vocabulary` folder and README.md (`card`) into a folder.

    config.json names the model's objective, or `objective`, of fewer rows.
    `weights` are a copy of the model's without the tied ones, where the model itself learns on meanwhile: a thread must
    not ask a sharded model for its state, which would take the gathered weights away from a forward pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(model.config.to_json_string())
    settings |= settings.pop("linkbert_dropout", {}) | {"dtype": "float32"}
    settings |= {"linkbert_objective": objective} if objective else {}
    write_json(folder / "config.json", dict(sorted(settings.items())))  # also of a resumed run, in the same order
    if weights is None:
        again = tied_names(model)  # Hugging Face ties them when it loads
        weights = {name: value.float().cpu() for name, value in model.state_dict().items() if name not in again}
    if (spec := spec_of(model.config)).decoder and not model.config.tie_word_embeddings:  # then it ties neither
        weights = weights | {f"{spec.decoder}.bias": weights[f"{spec.bias}.bias"].clone()}
    save_file(weights, folder / WEIGHTS[0], metadata={"format": "pt"})
    for path in model_files(vocabulary, VOCABULARY_FILES):
        shutil.copyfile(path, folder / path.name)
    if (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file():  # other programs read that alone
        open_tokenizer(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))  # type: ignore[attr-defined]
    path = folder / "tokenizer_config.json"
    there = any(
        (vocabulary / name).is_file() for name in VOCABULARY_FILES[:2]
    )  # a RoBERTa's config.json says which it is
    options = describe_tokenizer(load_vocabulary(vocabulary), model.config.model_type) if there else {}
    options |= read_json(path) if path.is_file() else {}
    options = {key: value for key, value in options.items() if key not in CODE}
    write_json(path, options | {"model_max_length": longest(model.config)})
    if card:
        (folder / "README.md").write_text(card, encoding="utf-8")


@torch.no_grad()
def init_positional(bert: transformers.BertModel) -> None:
    """Set the position embeddings to waves and the first layer's heads to shifts of them, in place.

    A place p has sin(w p) and cos(w p) for hidden / 2 frequencies w between 0 and pi, so close to evenly spread that
    two places are nearly orthogonal. To look a step on is to turn each wave by its w: a rotation, which a query can
    make. Waves are twice as large as the words that they are added to, so they are half of the normed input's square.
    """
    config, table = bert.config, bert.get_parameter("embeddings.position_embeddings.weight")  # (P, H)
    waves, size = config.hidden_size // 2, config.hidden_size // config.num_attention_heads
    frequencies = math.pi * ((torch.arange(waves) + 0.5) / waves) ** SPREAD
    angles = torch.arange(len(table))[:, None] * frequencies  # (P, waves)
    table[:, : 2 * waves] = 2 * config.initializer_range * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    query, key = (
        bert.get_parameter(f"encoder.layer.0.attention.self.{name}.weight").view(-1, size, config.hidden_size)
        for name in ("query", "key")
    )
    gain = math.sqrt(2 * SCORE / math.sqrt(size))  # in queries and in keys alike
    for head in range(config.num_attention_heads):
        shift = head // 2 + 1 if head % 2 else -(head // 2 + 1)
        mine = torch.arange(head, waves, config.num_attention_heads)[: size // 2]  # waves of all lengths for each head
        sine, cosine, first = 2 * mine, 2 * mine + 1, 2 * torch.arange(len(mine))  # two columns, a row
        turn = frequencies[mine] * shift
        query[head], key[head] = 0, 0
        key[head, first, sine] = key[head, first + 1, cosine] = gain
        query[head, first, sine] = query[head, first + 1, cosine] = gain * turn.cos()
        query[head, first, cosine], query[head, first + 1, sine] = gain * turn.sin(), -gain * turn.sin()
