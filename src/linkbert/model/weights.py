"""What others have written: a config.json and weights of a Hugging Face folder, read without trust.

In: a folder. Out: a configuration, and tensors under the names of its masked-LM class, of the shapes that it asks for.
safetensors come first; a pytorch_model.bin is read by torch's reader for plain weights, which runs no code of it.
Nothing is allocated by what config.json says before the weights that are there have been compared with it.
"""

import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.activations import ACT2FN
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from linkbert.config import check_content
from linkbert.files import choose_weights, one_line, read_json, refuse_pointer
from linkbert.model.hf_encoder import ARCHITECTURES

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
NESTED = ("state_dict", "model_state_dict", "model", "module", "state")  # where a training program puts the weights
DEEPEST = 8  # of dictionaries in one another
WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
EMBEDDINGS = re.compile(r"^(.*?)embeddings\.(?:word_embeddings|tok_embeddings|LayerNorm|norm)\.(?:weight|gamma)$")
CODE = ("auto_map", "custom_pipelines")  # names of it, for programs that load it
UNASKED = re.compile(  # kernels, maybe of the hub; files elsewhere; what a caller of the model asks for
    r"_?(attn|experts)_implementation.*|transformers_weights|(use_)?return_dict|output_\w+"
)
NOT_KEPT = (*CODE, "quantization_config", "linkbert_dropout")  # also another form of the weights, a run's own
FOREIGN = {"bert", "roberta", "electra", "deberta", "distilbert", "albert", "longformer", "mpnet", "xlm"}
ENCODERS = {*MODEL_FOR_MASKED_LM_MAPPING_NAMES, "xlnet"}
MOST, DEEPEST_ENCODER = 10_000_000, 1_000  # of any size in a config.json; layers
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]

log = logging.getLogger(__name__)


class Known(BaseModel):
    """What a config.json must say, where it says it; the rest is Hugging Face's business."""

    model_type: str = ""
    architectures: list[str] | None = None
    vocab_size: Count = 1
    hidden_size: Count = 1
    num_hidden_layers: Count = 1
    num_attention_heads: Count = 1
    intermediate_size: Count = 1
    max_position_embeddings: Count = 1
    type_vocab_size: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 0
    pad_token_id: Annotated[int, Field(strict=True, ge=0)] | None = None
    num_labels: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    hidden_act: Literal[*ACT2FN] = "gelu"  # type: ignore[valid-type]
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0
    layer_norm_eps: Annotated[float, Field(strict=True, gt=0, lt=1)] = 1e-12


def read_config(folder: Path, *, others: bool = False) -> PretrainedConfig:
    """Read a config.json; one line says what is not as it must be. Without a model_type, BERT's keys make a BERT.

    `others`: also one of an architecture that transformers knows, and linkbert can only fine-tune.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a Hugging Face folder: it has no config.json")
    settings = read_json(path)
    known = check_content(Known, settings, path)
    name = known.model_type
    for architecture in () if name else known.architectures or ():
        fits = [each for each in ARCHITECTURES if architecture.lower().startswith(each.replace("-", ""))]
        name = name or max(fits, key=len, default="")
    if not name and settings.keys() >= {*SIZES}:
        name = "bert"
    if not name:
        raise ValueError(f'{path} lacks "model_type", such as "model_type": "bert"; add the one of its encoder')
    if name not in (CONFIG_MAPPING if others else ARCHITECTURES):
        raise ValueError(f"{path} names a model of type {name!r}; linkbert continues {', '.join(ARCHITECTURES)}")
    if settings.get("position_embedding_type", "absolute") != "absolute" or settings.get("is_decoder"):
        raise ValueError(f"{path} is not of a plain encoder (relative positions added to a {name}, or a decoder)")
    kept = {key: value for key, value in settings.items() if key not in NOT_KEPT and not UNASKED.fullmatch(key)}
    kept["model_type"] = name
    for key, usual in CONFIG_MAPPING[name]().to_dict().items():
        kind, value = type(usual), kept.get(key)
        if value is None or kind not in (bool, int, float) or key.endswith("_token_id"):
            continue
        each = value if value and isinstance(value, list) else [value]  # Longformer has a window for each layer
        if any(type(one) not in (kind, int if kind is float else kind) or not abs(one) <= MOST for one in each):
            remedy = f"write one such as {usual!r}, or fetch the config.json of the encoder again"
            raise ValueError(f"{path}: {key} is {value!r:.60}, no {type(usual).__name__} that can be: {remedy}")
    found = guarded(path, lambda: CONFIG_MAPPING[name].from_dict(kept))
    if found.is_encoder_decoder or (name in DECODERS and name not in ENCODERS):
        what = "an encoder and a decoder" if found.is_encoder_decoder else "a decoder"
        raise ValueError(f"{path} is of a {name}, {what}: linkbert trains encoders, such as a BERT")
    if (layers := getattr(found, "num_hidden_layers", 0)) > DEEPEST_ENCODER and name not in ARCHITECTURES:
        raise ValueError(f"{path} asks for {layers} layers: write how many the weights have, or fetch both again")
    return found


def guarded(path: Path, call: Callable[[], Any]) -> Any:
    """Call what Hugging Face makes of a config.json; whatever it does not stand is one line that names the file."""
    try:
        return call()
    except Exception as error:  # each class has its own
        raise ValueError(f"{path} describes no model that transformers can make ({one_line(error)[:200]})") from None


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a folder as they are stored, of one file or of all shards that its index names."""
    place = folder / choose_weights({path.name for path in folder.iterdir() if path.is_file()}, folder)
    index = read_json(place) if place.suffix == ".json" else {"weight_map": {"": place.name}}
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(file, str) for file in shards.values()):
        raise ValueError(f'{place} must hold "weight_map", the file of each weight by its name')
    stored: dict[str, Tensor] = {}
    for file in sorted({folder / Path(name).name for name in shards.values()}):
        form = "pickle of plain weights" if file.suffix == ".bin" else "safetensors"
        try:
            if not file.is_file():  # a pipe would be waited for
                raise ValueError("no regular file has this name")
            refuse_pointer(file)
            stored |= read_pickle(file) if file.suffix == ".bin" else load_file(file)
        except Exception as error:  # of torch's, what follows the first sentence tells to load it unsafely
            asked = re.search(r"GLOBAL ([\w.]+)", text := one_line(error))
            cause = f"it asks for {asked[1]}, code and not weights" if asked else text.split(". ")[0][:200]
            raise ValueError(f"{file} cannot be read as {form} ({cause}); fetch or write it again") from None
    if place.suffix == ".json" and (other := shards.keys() ^ stored.keys()):
        raise ValueError(f"the shards of {folder} do not hold what their index says ({min(other)}); fetch it again")
    found = {name: value for name, value in stored.items() if value.is_floating_point()}
    if packed := next((name for name in stored.keys() - found.keys() if name.endswith("weight")), ""):
        kind = str(stored[packed].dtype).removeprefix("torch.")
        raise ValueError(f"{folder}: {packed:.100} is of {kind}: it is quantised; take the model in floating point")
    if wrong := next((name for name, value in found.items() if not value.float().isfinite().all()), ""):
        raise ValueError(f"{folder}: {wrong:.100} holds NaN or infinity: it is damaged, fetch or train it again")
    return found


def read_pickle(file: Path) -> dict[str, Tensor]:
    """Read a pytorch_model.bin, mapped where it is a zip file, as those of torch 1.6 and later are."""
    if not torch.__version__ >= "2.10":  # known holes
        raise ValueError(f"torch {torch.__version__} does not read pickles safely: install torch >= 2.10")
    if is_zip := zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(member.compress_type for member in archive.infolist()):  # one of a megabyte takes three gigabytes
                raise ValueError("its parts are compressed, as torch writes none")
    with warnings.catch_warnings(action="ignore"):  # a pickle of another protocol is refused by itself
        found: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    for _ in range(DEEPEST):  # one may hold itself
        inner = [found[key] for key in NESTED if isinstance(found.get(key), dict)] if isinstance(found, dict) else []
        found = inner[0] if inner else found
    if isinstance(found, dict) and any(isinstance(found.get(key), dict) for key in NESTED):
        raise ValueError(f"its weights lie more than {DEEPEST} dictionaries deep")
    if not isinstance(found, dict) or not any(isinstance(value, Tensor) for value in found.values()):
        holds = ", ".join(map(str, found))[:100] if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"it holds {holds}, not weights by their names: save model.state_dict() alone")
    found = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    for name, value in found.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
        if not plain or value.untyped_storage().nbytes() < value.numel() * value.itemsize:
            raise ValueError(f"{name!r:.100} is no plain tensor with a number for each of its places")
    return found


def plain_names(weights: dict[str, Tensor], encoder: str, heads: Collection[str], folder: Path) -> dict[str, Tensor]:
    """Bring names to those of the masked-LM class: older norms are gamma and beta, bare encoders have no 'bert.'.

    Whatever a training program wrapped around the model goes, found by the name of the embeddings:
    'model.module.bert.embeddings.LayerNorm.gamma' -> 'bert.embeddings.LayerNorm.weight'.
    """
    weights = {WRAPPERS.sub("", name): value for name, value in weights.items()}
    places = sorted({found[1] for name in weights if (found := EMBEDDINGS.match(name))})
    if len(places) > 1:
        have = f"{len(places)} encoders ({', '.join(places)})"
        raise ValueError(f"{folder}: the weights hold {have}: write one of them alone")
    place = places[0] if places else ""
    last = place.split(".")[-2] if place else ""
    if last in FOREIGN and last != encoder:
        raise ValueError(f"{folder}: the weights are of a {last} by their names, and config.json is of another")
    wrapper = place.removesuffix(f"{encoder}.")
    plain: dict[str, Tensor] = {}
    for name, value in weights.items():
        own = re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name.removeprefix(wrapper)))
        bare = wrapper == place and name.startswith(place) and own.split(".")[0] not in heads
        plain[f"{encoder}.{own}" if bare else own] = value
    return plain


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], prefix: str, tied: set[str], folder: Path) -> None:
    """Refuse weights that are not of a model (on torch's meta device): of other shapes, or an encoder with holes."""
    own = model.state_dict()
    for name in sorted(own.keys() & weights.keys()):
        if own[name].shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} where config.json asks for {tuple(own[name].shape)}"
            raise ValueError(f"{folder}: {name} has shape {shapes}; config.json and weights do not belong together")
    missing, unknown = (
        sorted(name for name in names if name.startswith(f"{prefix}.") and ".pooler." not in name)
        for names in (own.keys() - weights.keys() - tied, weights.keys() - own.keys())
    )
    if missing:
        has = f", and has {unknown[0]}, which is none of its kind" if unknown else ""
        raise ValueError(f"the encoder of {folder} lacks {len(missing)} weights, {missing[0]} first{has}: fetch all")
    if unknown:
        log.warning("%s: %d weights of the encoder are not used, %s first", folder, len(unknown), unknown[0])
