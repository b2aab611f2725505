"""The model card: README.md of a checkpoint, written from the run so that nothing in it has to be remembered.

In: what run.json holds, the State, the settings and the opened stores; card.md is its template, with the sections of
the hub's own. Out: Markdown with the YAML head of model hubs.
"""

import inspect
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from transformers import PretrainedConfig

from linkbert.config import Config, nearest, show_value
from linkbert.files import choose_weights, find_encoder, model_files, one_line, read_manifest
from linkbert.instances.mixture import OpenPart
from linkbert.model.heads import find_objective
from linkbert.model.weights import SIZES
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.scores import describe, from_json
from linkbert.progress import printable
from linkbert.records import LINKED, RELATIONS

LICENCE: dict[str, Any] = {"license": "other", "license_name": "see-the-licence-of-the-corpus"}
NAME = re.compile(r"\w[\w .:/+-]{0,99}")  # what a card of others may name
OUTCOMES = ("found", "resolved", "redirected", "dead", "self", "disambiguation", "edges")  # of links


def model_card(
    run: dict[str, Any], state: State, config: Config, stores: Sequence[OpenPart], *, encoder: PretrainedConfig
) -> str:
    """Write the card from run.json and its date, where the run stands, its settings, its stores and its config.json."""
    pairs = sum(state.relations)
    seen = {"pairs seen": f"{pairs:,}", "tokens seen": f"{state.tokens:,}"}
    for i, name in enumerate(RELATIONS):
        asked = sum(each.weight * each.config.shares[i] for each in stores)
        seen[f"share of {name} pairs"] = f"{state.relations[i] / max(pairs, 1):.1%} (asked: {asked:.1%})"
    scores = "Not scored."
    if state.evaluation:
        pairs, step = state.evaluation["pairs"], state.evaluation["step"]
        scores = f"After step {step:,}, on {pairs:,} held-out pairs; in brackets 95 % intervals, by document.\n"
        for line in describe(from_json(state.evaluation)):
            scores += re.sub(r"^( *)", r"\n\1* ", line)
    # A path by its last part, as other people's disks are nobody's business.
    real = {name: getattr(encoder, name) for name in SIZES} | {"architecture": encoder.model_type}  # whatever `init` is
    both = {**dict(config), **real}.items()
    settings = {k: f"`{plain(v) if isinstance(v, str) else show_value(v)}`" for k, v in both}
    sources, described = zip(*(describe_store(each) for each in stores), strict=True)
    tags = ["linkbert", encoder.model_type, "fill-mask", "pretraining"]
    known = describe_base(run.get("init", config.init))
    head = ModelCardData(library_name="transformers", pipeline_tag="fill-mask", tags=tags, **known)
    base = head.base_model or (plain(config.init) if config.init != "none" else "none, from random weights")
    values: dict[str, Any] = {"run": run, "state": state, "config": config, "scores": scores, "head": head}
    values |= {"encoder": encoder, "base": base}
    values |= {"sources": "; ".join(sources), "learnt_from": "\n\n".join([table(seen), *described])}
    values |= {"settings": table(settings), "objective": find_objective(config.objective)}
    template = resources.files("linkbert.pretraining").joinpath("card.md").read_text(encoding="utf-8")
    card = str(ModelCard.from_template(head, template_str=template, **values)).strip()
    return printable(card, keep="\n\t") + "\n"


def describe_base(init: str) -> dict[str, Any]:
    """Return what is known of the encoder a run started from: its hub name; its card's language, licence and data."""
    found = dict(LICENCE)
    with suppress(Exception):  # it may have no card, or one of any form
        here = Path(init).expanduser().exists()  # else what is kept of the hub: a card fetches nothing
        readme = find_encoder(init) / "README.md" if here else Path(str(try_to_load_from_cache(init, "README.md")))
        data = ModelCard.load(readme, ignore_metadata_errors=True).data.to_dict()
        known = {name: data[name] for name in ("language", "license", "license_name", "datasets") if name in data}
        words = {name: [*map(str, each)] if isinstance(each, list) else [str(each)] for name, each in known.items()}
        found = {name: known[name] for name in words if all(map(NAME.fullmatch, words[name]))} or found
    named = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", init) and init != "none" and not Path(init).exists()
    return found | ({"base_model": init} if named else {})


def push_model(folder: Path, name: str, metadata: dict[str, Any], *, private: bool = False) -> str:
    """Upload a model's files to the hub as `name`, its card with that name and more `metadata`; return the address."""
    there = model_files(folder)
    choose_weights({path.name for path in there}, folder)  # none, where they are a link: nothing is uploaded
    own = folder / "README.md"
    card = ModelCard(own.read_text("utf-8") if own in there else "---\n---\n")
    known = {*inspect.signature(ModelCardData).parameters}
    for key, value in metadata.items():
        if key not in known and (not value or "did" in nearest(key, known)):
            raise ValueError(f"{key}: a card has key=value, as language=en license=mit; {nearest(key, known)}")
        setattr(card.data, key, value)
    files = [CommitOperationAdd(path.name, str(path)) for path in there if path.name != "README.md"]
    files.append(CommitOperationAdd("README.md", str(card).replace('"DIR"', f'"{name}"').encode()))
    try:
        address = HfApi().create_repo(name, private=private, exist_ok=True)
        HfApi().create_commit(address.repo_id, files, commit_message="Upload by linkbert")
    except Exception as error:  # no network, no token, no such organisation
        remedy = "the hub was not reached: run it again when it is"
        if isinstance(error, HfHubHTTPError | ValueError):
            remedy = "log in first: hf auth login" if isinstance(error, HfHubHTTPError) else "a name is ORG/NAME"
        raise ValueError(f"{name} is not uploaded ({one_line(error)[:200]}); {remedy}") from None
    return str(address)


def describe_store(store: OpenPart) -> tuple[str, str]:
    """Name a store's sources; also count, in Markdown, what it holds, and describe how pairs are drawn from it."""
    manifest, config = read_manifest(store.part.path), store.config
    graph = store.graph.meta if store.graph else {}
    names = [plain(each["path"]) for each in manifest["sources"]] or ["its corpus"]
    sources = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    shares = ", ".join(f"{name} {part:.1%}" for name, part in zip(RELATIONS, config.shares, strict=True))
    rows = {"sources": sources, "store built on": plain(manifest["created"])}
    rows |= {name: f"{store.tokens.meta[name]:,}" for name in ("documents", "tokens")}
    rows |= {f"links: {key}": f"{graph[key]:,}" for key in OUTCOMES if graph.get(key) is not None}
    rows |= {"share of the pairs": f"{store.weight:.2%}", "asked of them": shares}
    scope = "links that stand in the first segment" if config.scope == "segment" else "any link of the first document"
    drawn = f"A linked pair follows {scope}; a document is drawn in proportion to in-degree^-{config.alpha:g}."
    policy = drawn if config.shares[LINKED] else "No pair was linked."
    name = f"### {plain(store.part.name)}\n\n" if store.part.name else ""
    held_out = f"Documents held out: {config.held_out:.1%}, by a hash of their id."
    return sources, f"{name}{table(rows)}\n\n{policy} {held_out}"


def table(rows: dict[str, str]) -> str:
    """Lay out names and values as a Markdown table without a head."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def plain(text: str) -> str:
    """Keep of what comes from outside a path's last part, on one line, free of Markdown's and HTML's signs."""
    return re.sub(r"[^\w .,:+@=-]", "_", re.split(r"[/\\]", text.rstrip("/"))[-1])[:200]
