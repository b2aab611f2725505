"""Disturbances of files and of the clock: a command says one line, or gives what it would have given."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from helpers import journal, weights
from linkbert.api import build_store
from linkbert.cli import main
from linkbert.corpora.store import Store
from linkbert.files import one_line
from linkbert.graph.links import LinkGraph
from linkbert.instances.tokens import TokenStore
from linkbert.views.check import check
from linkbert.views.stats import statistics_lines, store_statistics
from test_cli import TINY, towns


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source, its store, a run on it."""
    folder = tmp_path_factory.mktemp("made")
    build_store([towns(folder / "towns.jsonl")], folder / "store", vocabulary="train:300")
    assert main(["pretrain", str(folder / "store"), *TINY, "--to", str(folder / "run"), "max_steps=4"]) == 0
    assert main(["score", str(folder / "run")]) == 0  # what is imported is read before nobody may read it
    assert main(["report", str(folder / "store"), str(folder / "run")]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "own")


STRAY = ("._00000.parquet", "._tokens.bin", ".DS_Store", "notes.txt", "notes.parquet", "notes.json", "0.bak", "\udce9")


def outcome(folder, capsys):
    """What commands say of a store and a run."""
    capsys.readouterr()
    store, run = folder / "store", folder / "run"
    for words in (["stats", store, "--json"], ["show", store, "Town 3"], ["score", run], ["report", run],
                  ["export", store, "--to", folder / "export"], ["pretrain", "--to", run, "--resume"]):  # fmt: skip
        assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out, {path.name: path.read_bytes() for path in (folder / "export").iterdir()}


@pytest.mark.slow
def test_stray_files_have_no_effect(folder, capsys):
    before = outcome(folder, capsys)
    shutil.rmtree(folder / "export")
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    assert len(folders) > 10
    for path in folders:
        for name in STRAY:
            (path / name).write_text("stray")
    assert outcome(folder, capsys) == before
    assert all(kept for _, kept, _ in check(folder / "store"))


@pytest.mark.slow
def test_a_store_that_may_only_be_read_is_read(folder, tmp_path, capsys):
    (out := tmp_path / "out").mkdir()
    for path in (folder / "store").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "store").chmod(0o555)
    folder.chmod(0o555)
    out.chmod(0o777)
    for path in tmp_path.parents[:3]:
        path.chmod(path.stat().st_mode | 0o111)
    tmp_path.chmod(0o777)
    store, user = folder / "store", os.geteuid()
    reads = [["stats", store], ["check", store], ["show", store, "Town 3"], ["show", store, "--instances", "1"],
             ["report", store, folder / "run", "--to", out / "a.md"], ["score", folder / "run", store],
             ["export", store, "--to", out / "export"], ["pretrain", store, *TINY, "--to", out / "run", "max_steps=1"],
             ["relate", "town 1", "town 2", "--store", store, "--model", folder / "run"]]  # fmt: skip
    writes = [["graph", store, "--method", "random"], ["pretrain", store, "--to", folder / "run", "--resume"],
              ["build", folder / "towns.jsonl", "--to", store], ["export", store, "--to", store / "export"],
              ["report", store, "--to", store / "a.md"]]  # fmt: skip
    try:
        if not user:
            os.seteuid(65534)  # nobody: the owner of all may write everywhere
        for words in reads:
            assert main([str(word) for word in words]) == 0, words
        for words in writes:
            capsys.readouterr()
            assert main([str(word) for word in words]) == 1, words
            last = capsys.readouterr().err.splitlines()[-1]
            assert last.startswith(f"linkbert {words[0]}: "), last
            assert "permission denied; check the path and who may read and write there" in last
    finally:
        os.seteuid(user)
        for path in [folder, store, *store.rglob("*")]:
            path.chmod(0o755)


def test_a_clock_that_jumps_back_changes_nothing(made, tmp_path, monkeypatch):
    now, real = iter(range(10**9, 0, -3600)), time.time
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setattr(time, "time_ns", lambda: next(now) * 10**9)
    store = build_store([made / "towns.jsonl"], tmp_path / "store", vocabulary="train:300")
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (real() + 10**6,) * 2)  # files from the future
    assert build_store([made / "towns.jsonl"], tmp_path / "store", vocabulary="train:300").manifest == store.manifest
    words = ["pretrain", str(tmp_path / "store"), *TINY, "--to", str(tmp_path / "run"), "max_steps=4"]
    assert main(words) == 0
    assert next(now) < 10**9 - 3600, "it was asked"
    assert journal(tmp_path / "run") == journal(made / "run")
    assert all((weights(tmp_path / "run")[name] == value).all() for name, value in weights(made / "run").items())
    assert {**store.manifest, "sources": 0, "created": 0} == {
        **Store.open(made / "store").manifest, "sources": 0, "created": 0}  # fmt: skip


@pytest.mark.slow
def test_a_place_whose_name_is_not_utf8_is_read_or_one_line(made, tmp_path, capsys):
    odd = shutil.copytree(made, tmp_path / "caf\udce9")
    for words in (["build", odd / "towns.jsonl", "--to", tmp_path / "a", "--vocab", odd / "store" / "vocabulary",
                   "--workers", 1],
                  ["export", made / "store", "--to", odd / "export"],
                  ["report", odd / "run", "--to", odd / "a.html"]):  # fmt: skip
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    for words in (["build", odd / "towns.jsonl", "--to", odd / "new", "--workers", 1], ["stats", odd / "store"],
                  ["pretrain", made / "store", *TINY, "--to", odd / "new", "max_steps=1"], ["show", odd / "store", "x"],
                  ["fill", "[MASK]", "--model", odd / "run"],
                  ["export", made / "store", "--to", odd / "b", "--format", "parquet"]):  # fmt: skip
        capsys.readouterr()
        status, printed = main([str(word) for word in words]), capsys.readouterr()
        assert "caf\\xe9" in printed.out + printed.err
        assert status == 0 or re.search(
            r"is not UTF-8, as it must be here: give it another name|valid UTF-8", printed.err
        )


def test_a_damaged_shard_is_one_line(folder, capsys):
    path = folder / "store" / "documents" / "00000.parquet"
    path.write_bytes(b"no table")
    for words in (["show", folder / "store", "Town 3"], ["export", folder / "store", "--to", folder / "export"]):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1
        assert str(folder / "store") in capsys.readouterr().err.splitlines()[-1]


def test_libraries_send_no_figures_home():
    code = """
import json, linkbert, huggingface_hub.constants as hub
from huggingface_hub.utils import build_hf_headers
print(json.dumps([hub.HF_HUB_DISABLE_TELEMETRY, build_hf_headers(token=False)["user-agent"]]))
"""
    told = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    off, agent = json.loads(done.stdout)
    assert off
    assert "torch" not in agent


WRITTEN = ("store.json", "graphs/hyperlink/graph.json", "tokens/tokens.json", "documents/00000.json")
EDITS = (None, [], {}, -1, 1e308, "x", "\ud800", [[1]], True)


def places(value, at=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:1]):
        yield (*at, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*at, key))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_hand_edit_of_what_linkbert_wrote_is_one_line_or_has_no_effect(folder, name):
    """Every key with every value, and without the key."""
    store, path = folder / "store", folder / "store" / name
    text, said = path.read_text(), []
    for *around, key in places(json.loads(text)):
        for value in (*EDITS, "gone"):
            changed = json.loads(text)
            holder = changed
            for each in around:
                holder = holder[each]
            holder[key] = value
            if value == "gone":
                del holder[key]
            path.write_text(json.dumps(changed))
            try:
                statistics_lines(store_statistics(store))
                LinkGraph.open(store)
                TokenStore.open(store)
                Store.open(store).starts.tolist()
            except ValueError as error:
                said.append(one_line(error))
    assert len(said) > 10
    assert max(map(len, said)) < 500
    assert not [line for line in said if path.name not in line and "store/vocabulary is not the one" not in line]
    path.write_text("7")
    assert False in {kept for _, kept, _ in check(store)}
