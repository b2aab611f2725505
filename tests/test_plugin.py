"""A package of a third party (tests/plugin) is installed, and used with one worker and with two."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linkbert.api import build_store

pytestmark = pytest.mark.slow  # pip and commands in processes of their own, half a minute
PLUGIN = Path(__file__).parent / "plugin"
SMALL = ["num_hidden_layers=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=32", "max_steps=4",
         "save_steps=2", "sequence_length=32", "batch_size=12", "micro_batch_size=32", "compile=off", "precision=fp32",
         "threads=1", "eval_pairs=16", "held_out=0.2", "logging_steps=1"]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the package where only these tests see it."""
    folder = tmp_path_factory.mktemp("plugin")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        folder / "site",
    ]
    source = folder / "source"  # building writes into its folder
    shutil.copytree(PLUGIN, source)
    subprocess.run([*command, source], check=True, capture_output=True)
    pages = {f"{kind}s/{kind}{i}": f"{kind.title()} {i}" for i in range(10) for kind in ("tree", "fern")} | {
        "soil": "Soil"
    }
    for number, (page, title) in enumerate(pages.items()):
        path = folder / "wiki" / f"{page}.doku"
        path.parent.mkdir(parents=True, exist_ok=True)
        other = [*pages][(number + 1) % len(pages)].replace("/", ":")
        soil = "[[:soil|the soil]]" if page != "soil" else "it"
        text = f"{title} grows next to [[:{other}]]. It likes the rain.\nIn {soil} it is at home. It is old."
        path.write_text(f"====== {title} ======\n{text}\n")
    return folder


def run(site, *words, status=0):
    """Run a command in a process of its own, which sees the installed package; return what it prints."""
    path = os.pathsep.join([str(site / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-m", "linkbert", *map(str, words)], env=os.environ | {"PYTHONPATH": path},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def store(site):
    run(site, "build", site / "wiki", "--to", site / "store", "--vocab", "train:150", "--workers", "2")
    return site / "store"


def test_a_reader_works_with_one_worker_and_with_two_and_shows_its_options(site, store):
    text = run(site, "build", site / "wiki", "--to", site / "one", "--vocab", "train:150", "--workers", "1")
    assert "read as dokuwiki" in text
    for name in ("tokens/tokens.bin", "graphs/hyperlink/targets.bin", "graphs/hyperlink/links.bin"):
        assert (site / "one" / name).read_bytes() == (store / name).read_bytes()
    assert json.loads((store / "graphs/hyperlink/graph.json").read_text())["edges"] == 41
    assert "--drop-namespace" in run(site, "build", "--help")
    options = ["--format", "linkbert_example.dokuwiki:READER", "--drop-namespace", "ferns", "--workers", "2"]
    run(site, "build", site / "wiki", "--to", site / "fewer", "--vocab", "train:120", *options)
    assert json.loads((site / "fewer/store.json").read_text())["documents"] == 11


def test_a_graph_method_takes_its_options_from_its_signature(site, store):
    run(site, "graph", store, "--method", "dense", "k=3")
    run(site, "graph", store, "--method", "linkbert_example.dense:neighbours", "--name", "again", "k=3")
    meta = json.loads((store / "graphs/dense/graph.json").read_text())
    assert (meta["k"], meta["dimensions"], meta["edges"]) == (3, 16, 63)
    assert (store / "graphs/dense/targets.bin").read_bytes() == (store / "graphs/again/targets.bin").read_bytes()
    assert "did you mean 'dimensions'" in run(site, "graph", store, "--method", "dense", "dimension=3", status=1)


def test_an_objective_is_trained_resumed_and_shown_by_its_names(site, store):
    words = [
        "pretrain",
        store,
        "--preset",
        "tiny",
        "objective=contrastive",
        "shares=0,1/2,1/2",
        *SMALL,
        "scope=document",
        "batch_size=32",
    ]
    run(site, *words, "--to", site / "run")
    lines = [json.loads(line) for line in (site / "run/journal.jsonl").read_text().splitlines()]
    losses = [line["contrastive_loss"] for line in lines if "contrastive_loss" in line]
    assert len(losses) == 4
    assert min(losses) > 0
    assert "contrastive accuracy" in run(site, "report", site / "run")
    # A run cut off after two steps resumes to the same numbers.
    shutil.copytree(site / "run", site / "cut")
    for path in ("model", "checkpoints/step-000004"):
        shutil.rmtree(next((site / "cut").glob(path + "*"), site / "none"), ignore_errors=True)
    run(site, "pretrain", store, "--to", site / "cut", "--resume")
    again = [json.loads(line) for line in (site / "cut/journal.jsonl").read_text().splitlines()]
    assert [line.get("contrastive_loss") for line in again] == [line.get("contrastive_loss") for line in lines]
    weights = [(site / name / "model/model.safetensors").read_bytes() for name in ("run", "cut")]
    assert weights[0] == weights[1]


def test_a_dataset_is_a_table_of_the_package(site, store):
    data = site / "data"
    data.mkdir()
    for name in ("train", "dev"):
        rows = [f"{i}\t{'oak tree' if i % 2 else 'moss fern'} {i}\t{'tree' if i % 2 else 'fern'}" for i in range(12)]
        (data / f"{name}.tsv").write_text("id\ttext\tlabel\n" + "\n".join(rows) + "\n")
    assert "plants" in run(site, "tasks")
    run(site, "pretrain", store, "--preset", "tiny", *SMALL, "--to", site / "plain")
    text = run(site, "finetune", site / "plain", "plants", "--data", data, "--to", site / "results", "max_length=16")
    assert "Plants" in text


def test_a_function_in_a_file_of_the_current_folder_reads_documents(tmp_path):
    """As the console script runs, which does not look for modules there by itself: -P."""
    (tmp_path / "own.py").write_text(
        "import linkbert\n\n\ndef read(source, options):\n"
        "    for number, line in enumerate(source.read_text().splitlines()):\n"
        "        yield linkbert.Document(str(number), line, line)\n"
    )
    for name in ("a.lines", "b.lines"):
        (tmp_path / name).write_text(f"The oak of {name} is old.\nThe elm is not.\n")
    words = ["build", "a.lines", "b.lines", "--format", "own:read", "--to", "store", "--vocab", "train:100"]
    command = [sys.executable, "-P", "-m", "linkbert", *words, "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "store/store.json").read_text())["documents"] == 2, "of equal ids the first counts"


def test_what_a_reader_of_ones_own_yields_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "a.lines").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)

    def build(name, more):
        text = (
            f"import linkbert\n\n\ndef read(source, options):\n    yield linkbert.Document('a', 'A', 'A b.', {more})\n"
        )
        (tmp_path / f"{name}.py").write_text(text)
        return build_store(tmp_path / "a.lines", tmp_path / name, format=f"{name}:read", vocabulary="train:100")

    store = build("reads", "sections=(('far', 99), ('here', 0))")
    assert store.document(0).sections == (("here", 0),)
    assert store.manifest["skipped"] == {"section out of range (left out)": 1}
    for name, more in (("places", "sections={'History': 6}"), ("fragment", "links=(linkbert.Link(0, 1, 'b', 5),)")):
        with pytest.raises(ValueError, match="a reader yields Documents and Redirects whose texts are str"):
            build(name, more)
