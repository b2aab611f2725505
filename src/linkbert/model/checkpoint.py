"""Encoders on disk: Hugging Face folders, read and written; and the model a run starts from.

In: a folder (ours, or any BERT's) or a hub name. Out: a LinkBert, or a folder that `AutoModel`, `AutoModelForMaskedLM`,
`BertForPreTraining` and `AutoTokenizer` open. Weights are safetensors only: a pytorch_model.bin is a pickle, and a
pickle can run code. Every weight is kept in fp32, whatever the arithmetic of the run.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig

from linkbert.config import Config
from linkbert.files import read_json, replacing, write_json
from linkbert.model.linkbert import LinkBert

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
VOCABULARY_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
HUB_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json", *VOCABULARY_FILES)
MLM_HEAD = "cls.predictions.transform.dense.weight"
RELATION_HEAD = "cls.seq_relationship.weight"
LINKED_ROW = "cls.linked_relationship.weight"


def start_model(config: Config, vocabulary_size: int, *, counts: np.ndarray | None = None) -> LinkBert:
    """Make the model a run starts from, as `config.init` says: random, or an encoder that exists.

    An encoder from a folder keeps its own sizes; whoever calls has seen that its vocabulary is the store's. What it
    lacks starts anew: a masked-token head as identity over the tied decoder, a pooler and a relation head at random; of
    a two-row relation head the rows stay, and the linked row starts at zero. `counts` (V,) int64 are how often the
    corpus has each token: a masked-token head that starts anew has their logarithms as its bias, and so need not spend
    its first steps on learning how common words are.
    """
    if config.init == "none":
        bert_config = BertConfig(
            vocab_size=vocabulary_size,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feed_forward,
            max_position_embeddings=max(config.sequence_length, 512),
        )
        weights: dict[str, Tensor] = {}
    else:
        folder = find_encoder(config.init)
        bert_config, weights = read_encoder(folder)
        if bert_config.vocab_size != vocabulary_size:
            raise ValueError(
                f"{config.init} has {bert_config.vocab_size} tokens by its config.json, the store {vocabulary_size}: "
                "its config.json and its vocabulary do not belong together"
            )
        if bert_config.max_position_embeddings < config.sequence_length:
            raise ValueError(
                f"{config.init} has {bert_config.max_position_embeddings} positions, fewer than "
                f"sequence_length={config.sequence_length}; set sequence_length={bert_config.max_position_embeddings}"
            )
    bert_config.initializer_range = config.initializer_range
    bert_config.hidden_dropout_prob = config.dropout
    bert_config.attention_probs_dropout_prob = config.attention_dropout
    model = make_model(bert_config, weights, objective=config.objective, seed=config.seed)
    if counts is not None and MLM_HEAD not in weights:
        shares = torch.from_numpy(counts + 1.0)
        with torch.no_grad():
            model.cls.predictions.bias.copy_((shares / shares.sum()).log())
    return model


def make_model(bert_config: BertConfig, weights: dict[str, Tensor], *, objective: str, seed: int = 0) -> LinkBert:
    """Build a LinkBert from weights under BertForPreTraining's names; what they lack starts as `start_model` says.

    No weights at all is a random start. Weights of another shape, or an encoder with holes, are a ValueError.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LinkBert(bert_config, objective=objective)
    if not weights:
        return model
    own = model.state_dict()
    missing = [name for name in own if name not in weights and not name.startswith("cls.predictions.decoder.")]
    holes = [name for name in missing if not name.startswith(("cls.", "bert.pooler."))]
    if holes:
        raise ValueError(f"the encoder lacks {len(holes)} weights, {holes[0]} first; it is not a whole BERT")
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} where config.json asks for {tuple(own[name].shape)}"
            raise ValueError(f"the encoder's {name} has shape {shapes}; config.json and weights do not belong together")
    model.load_state_dict({name: value for name, value in weights.items() if name in own}, strict=False)
    with torch.no_grad():
        if MLM_HEAD in missing:
            transform = model.cls.predictions.transform
            transform.dense.weight.copy_(torch.eye(bert_config.hidden_size))
            log.info("no masked-token head: it starts as identity over the tied decoder")
        linked = model.cls.linked_relationship
        if linked is not None and LINKED_ROW in missing and RELATION_HEAD in weights:
            linked.weight.zero_()
            log.info("a two-class relation head: its rows stay contiguous and random, the linked row starts at zero")
    return model


def read_encoder(folder: Path) -> tuple[BertConfig, dict[str, Tensor]]:
    """Read a BERT's config.json and safetensors, names brought to those of BertForPreTraining, values to fp32.

    'embeddings.LayerNorm.gamma' -> 'bert.embeddings.LayerNorm.weight'. Anything but a BERT is a ValueError.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a Hugging Face folder: it has no config.json")
    settings = read_json(folder / "config.json")
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind != "bert":
        raise ValueError(f"{folder} holds a model of type {kind!r}; linkbert continues models of type 'bert' only")
    if settings.get("position_embedding_type", "absolute") != "absolute" or settings.get("is_decoder"):
        raise ValueError(f"{folder} is not a plain BERT encoder (relative positions, or a decoder)")
    weights: dict[str, Tensor] = {}
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        pickled = (folder / "pytorch_model.bin").exists()
        raise ValueError(
            f"{folder} has its weights only as pytorch_model.bin, a pickle, which linkbert never opens; "
            "save it once with safetensors: AutoModelForPreTraining.from_pretrained(DIR).save_pretrained(DIR)"
            if pickled
            else f"{folder} has no {WEIGHTS}"
        )
    for file in files:
        try:
            stored = load_file(file)
        except Exception as error:
            raise ValueError(f"{file} cannot be read as safetensors ({error}); fetch or write it again") from None
        weights |= {plain_name(name): value.float() for name, value in stored.items() if value.is_floating_point()}
    bias = weights.pop("cls.predictions.decoder.bias", None)
    if bias is not None:
        weights.setdefault("cls.predictions.bias", bias)
    decoder = weights.pop("cls.predictions.decoder.weight", None)
    words = weights.get("bert.embeddings.word_embeddings.weight")
    if decoder is not None and words is not None and not torch.equal(decoder, words):
        raise ValueError(f"{folder} has a decoder that is not tied to its word embeddings; linkbert ties them, as BERT")
    bert_config = BertConfig.from_dict(settings)
    bert_config.tie_word_embeddings = True
    return bert_config, weights


def plain_name(name: str) -> str:
    """Bring a weight's name to BertForPreTraining's: older norms are gamma and beta, bare encoders have no 'bert.'."""
    name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def load_model(folder: Path) -> LinkBert:
    """Open a checkpoint with its linked row; a folder without one is opened with BERT's two relations."""
    bert_config, weights = read_encoder(folder)
    return make_model(bert_config, weights, objective=objective_of(bert_config, weights))


def objective_of(bert_config: BertConfig, weights: dict[str, Tensor]) -> str:
    """Tell what a checkpoint was trained for: as its config.json says, else by the rows of its relation head."""
    named = getattr(bert_config, "linkbert_objective", None) or ("drp" if LINKED_ROW in weights else "nsp")
    return "none" if named == "mlm" else named  # as an earlier version called it


def write_model(
    model: LinkBert,
    folder: Path,
    *,
    vocabulary_folder: Path,
    card: str | None = None,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write config.json, weights, the vocabulary's files and README.md (`card`) into a folder that is there.

    `weights` are a copy of the model's, where the model itself learns on meanwhile.
    """
    write_json(folder / "config.json", json.loads(model.config.to_json_string()) | {"dtype": "float32"})
    weights = {
        name: value.detach().to("cpu", torch.float32).contiguous()
        for name, value in (weights or model.state_dict()).items()
        if not name.startswith("cls.predictions.decoder.")  # tied: Hugging Face ties them again when it loads
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    for name in VOCABULARY_FILES:
        if (vocabulary_folder / name).is_file():
            shutil.copyfile(vocabulary_folder / name, folder / name)
    options = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    options = {"tokenizer_class": "BertTokenizer"} | options
    write_json(folder / "tokenizer_config.json", options | {"model_max_length": model.config.max_position_embeddings})
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")


def save_model(model: LinkBert, folder: Path, *, vocabulary_folder: Path, card: str | None = None) -> None:
    """Write a Hugging Face folder under a temporary name and rename it: it is whole or it is not there."""
    with replacing(folder) as part:
        part.mkdir()
        write_model(model, part, vocabulary_folder=vocabulary_folder, card=card)


def model_folder(path: Path) -> Path | None:
    """Give the Hugging Face folder that a path means: itself, or RUN/model; None where there is neither."""
    return next((folder for folder in (path, path / "model") if (folder / "config.json").is_file()), None)


def find_encoder(name: str) -> Path:
    """Find the folder of an encoder: a path as it is, or a hub name fetched into Hugging Face's own cache."""
    if Path(name).is_dir():
        return model_folder(Path(name)) or Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"init={name}: there is no such folder")
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # many kinds: no network, no such name, gated, offline mode
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"init={name}: no such folder, and the hub did not give it ({cause[:200]}); "
            "fetch config.json, model.safetensors and vocab.txt elsewhere and give their folder"
        ) from None
