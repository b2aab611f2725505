"""Every command as a user types it, on a corpus of towns that link to their countries."""

import gzip
import json
import logging
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from linkbert import cli, progress
from linkbert.config import Config, make_config
from linkbert.corpora.store import Store
from linkbert.graph.links import graph_options
from linkbert.instances.sampler import Sampler
from linkbert.pretraining.journal import read_journal
from linkbert.pretraining.run import Result
from linkbert.registry import BUILT_IN
from linkbert.tasks.settings import FineTuneConfig
from linkbert.views.runs import show_result
from linkbert.views.stats import statistics_lines, store_statistics

COUNTRIES = ("arland", "borland", "corland", "dorland")
TINY = ["num_hidden_layers=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=32",
        "sequence_length=32", "batch_size=8", "micro_batch_size=8", "precision=fp32", "compile=off", "threads=1",
        "eval_pairs=16", "held_out=0.2", "logging_steps=1"]  # fmt: skip

OWN_READER = """
from dataclasses import dataclass
from linkbert.corpora.reader import Reader, option
from linkbert.records import Document

@dataclass(frozen=True)
class Options:
    shout: bool = option(False, "in capitals")

def read(path, options):
    yield Document("one", "One", "HELLO TOWN" if options.shout else "hello town")

READER = Reader(read=read, options=Options)
"""


def towns(path):
    """48 towns, each with a link to its country; one link of a town leads nowhere, and one line is no JSON."""
    lines = []
    for country in COUNTRIES:
        text = (
            f"{country.title()} is a country. It has twelve towns. Its people like {country[0]} words. The sea is near."
        )
        lines.append({"id": country, "title": country.title(), "text": text, "links": []})
    for i in range(48):
        country = COUNTRIES[i % 4]
        text = f"Town {i} lies in {country}. It has a market and a mill. Its river is near.\nHistory\nIt is old."
        start = text.index(country)
        links = [{"start": start, "end": start + len(country), "target": country}, {"target": "nowhere"}]
        lines.append({"id": f"town {i}", "title": f"Town {i}", "text": text, "links": links})
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\nnot json\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a corpus, its store and a short run."""
    folder = tmp_path_factory.mktemp("cli")
    source = towns(folder / "towns.jsonl")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    assert (
        cli.main(["build", str(source), "--to", str(folder / "store"), "--vocab", "train:300", "--workers", "1"]) == 0
    )
    nest = folder / "nest" / "cognition" / "model"
    nest.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (nest / name).write_text("{}")
    (folder / "unfinished" / "documents").mkdir(parents=True)
    (folder / "unfinished" / "documents" / "00000.parquet").touch()
    words = ["pretrain", str(folder / "store"), *TINY, "--to", str(folder / "run"), "max_steps=6", "save_steps=3"]
    assert cli.main(words) == 0
    return folder


def test_stats_has_the_promised_keys(folder, capsys):
    assert cli.main(["stats", str(folder / "store"), "--json", "--set", "sequence_length=32"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["documents"], stats["redirects"]) == (52, 0)
    assert stats["links"] == {"found": 96, "resolved": 48, "dead": 48, "self": 0, "disambiguation": 0}
    assert stats["graphs"]["hyperlink"]["edges"] == 48
    assert stats["graphs"]["hyperlink"]["in_degree"]["1"] == 12
    assert stats["tokens"] > stats["sentences"] > 200
    assert stats["skipped"] == {"not JSON": 1}
    assert sum(stats["shares"]["realised"]) == pytest.approx(1)


def test_stats_for_people_names_the_same_counts(folder, capsys):
    assert cli.main(["stats", str(folder / "store")]) == 0
    out, _, lost = capsys.readouterr().out.partition("\nmissing documents")
    assert "nowhere" in lost
    rows = dict(re.split(r"  +", line.strip()) for line in out.splitlines() if line.startswith("  "))
    assert rows["documents"] == "52"
    assert rows["links to documents here"] == rows["links to missing documents and other sites"] == "48"
    assert rows["skipped: not JSON"] == "1"
    assert "\ngraph hyperlink\n" in out
    assert len({len(line) for line in out.splitlines() if line.startswith("  ")}) == 1, "numbers are aligned"


@pytest.mark.parametrize(
    ("share", "scope", "said"),
    [
        (8, "segment", "8% of the places for segment A have a link to follow: take scope=document"),
        (8, "document", "keep anchors=all, the default"),
        (40, "segment", "take anchors=usable"),
    ],
)
def test_stats_says_what_to_do_where_few_places_have_a_link(folder, share, scope, said):
    found = store_statistics(folder / "store", make_config("tiny"))
    found["shares"] |= {"anchors": 100, "anchors_with_usable_link": share, "scope": scope}
    assert said in statistics_lines(found)[-1]


def test_stats_draws_plots(folder, capsys):
    assert cli.main(["stats", str(folder / "store"), "--plots", str(folder / "plots")]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "largest component" in line)
    assert line.endswith(" 25.0 %")  # a country and its towns
    for name in ("degrees.png", "coverage-hyperlink.png"):
        assert f"wrote {folder / 'plots' / name}" in out
        assert (folder / "plots" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_report_is_one_page_with_everything_in_it(folder, capsys):
    report = folder / "report.html"
    assert cli.main(["report", str(folder / "store"), str(folder / "store"), "--to", str(report)]) == 0
    page = report.read_text()
    assert page.count("<h2>store</h2>") == page.count("links to documents here") == 2
    assert page.count("<figcaption>") == page.count('<svg viewBox="0 0 360 244.8"') == 4  # degrees, coverage
    assert "://" not in page


def test_show_marks_resolved_and_dead_links(folder, capsys):
    assert cli.main(["show", str(folder / "store"), "town 1"]) == 0
    out = capsys.readouterr().out
    assert "Town 1 lies in [borland]." in out
    assert "1 links in the text, 1 to documents here\n1 links of the whole document, 0 to documents here:" in out
    assert "nowhere -> (not followed)" in out
    assert out.endswith("\n0 documents link to it\n")
    assert cli.main(["show", str(folder / "store"), "arland"]) == 0
    assert capsys.readouterr().out.endswith(
        "\n12 documents link to it: town 0, town 4, town 8, town 12, town 16, and 7 more\n"
    )


def test_show_does_not_let_a_corpus_steer_the_terminal(folder, tmp_path, capsys):
    from linkbert.corpora.store import Store
    from linkbert.views.show import show_document

    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a\x1b[2J", "title": ":smile: [bold]", "text": "Text."}))
    words = [
        "build",
        str(tmp_path / "a.jsonl"),
        "--to",
        str(tmp_path / "store"),
        "--vocab",
        str(folder / "store" / "vocabulary"),
    ]
    assert cli.main([*words, "--workers", "1"]) == 0
    show_document(cli.make_console(), Store.open(tmp_path / "store"), "a\x1b[2J")
    assert r":smile: [bold] (a\x1b[2J, document 0)" in capsys.readouterr().out


def test_show_prints_one_instance_of_each_relation(folder, capsys):
    assert cli.main(["show", str(folder / "store"), "--instances", "3", "--set", "sequence_length=64"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("contig", "random", "linked"))] == [
        "contiguous", "random", "linked"]  # fmt: skip
    assert out.count("[CLS]") == 3
    assert "[MASK](" in out


def shown(capsys, *words):
    assert cli.main(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_show_finds_the_instances_of_a_step(folder, capsys):
    """Steps count from 1, a step has 8 pairs, and the run's own settings hold (its seed is 0, its length 32)."""
    whole = shown(capsys, "--run", folder / "run", "--step", "2", "--instances", "8")
    length = len(Sampler.open(folder / "store", make_config("tiny", TINY)))
    assert [
        f"instance {i} of {folder / 'store'} (epoch {i // length}, index {i % length})" in whole for i in range(7, 17)
    ] == [8 <= i < 16 for i in range(7, 17)]
    one = shown(capsys, folder / "store", "--run", folder / "run", "--at", "9", "--instances", "1")
    assert one.splitlines()[1:3] == [line for line in whole.splitlines() if line][2:4]
    same = shown(capsys, folder / "store", "--at", "9", "--instances", "1", "--preset", "tiny",
                 *(word for setting in TINY for word in ("--set", setting)))  # fmt: skip
    assert same == one
    assert shown(capsys, "--run", folder / "run", "--at", 2 * length - 1).count(f"epoch 1, index {length - 1}") == 1


def test_score_asks_what_the_run_was_asked_and_any_folder_too(folder, capsys):
    assert cli.main(["score", str(folder / "run"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    evaluation = read_journal(folder / "run" / "journal.jsonl")[-1]["evaluation"]
    assert scores == {key: value for key, value in evaluation.items() if key != "step"}
    assert scores["link_gain"]["pairs"] == 5
    checkpoint = str(next((folder / "run" / "checkpoints").iterdir()))
    words = ["score", checkpoint, str(folder / "store"), "--set", "eval_pairs=12", "--set", "held_out=0.5"]
    assert cli.main(words) == 0
    assert "link gain, nats a masked token of A: " in capsys.readouterr().out
    assert cli.main(["score", str(folder / "store" / "vocabulary")]) == 1
    assert "holds no model" in capsys.readouterr().err


@pytest.mark.slow
def test_report_lays_runs_side_by_side(folder, tmp_path, capsys):
    assert cli.main(["report", str(folder / "run"), str(folder / "store")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"documents +52\n", out)
    assert "link gain, nats" in out
    assert cli.main(["report", str(folder / "run"), str(folder / "store"), "--to", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    for words in ("Documents by degree", "Graph hyperlink: spread of linked targets", "link gain, nats",
                  "always the commonest relation right", "a masked token of A is likelier next to"):  # fmt: skip
        assert words in page
    assert re.search(r"<th[^>]*>what links lead to</th>", page)
    assert cli.main(["report", str(folder / "store"), "--to", str(tmp_path / "page.md")]) == 0
    assert re.search(r"^\| what links lead to +\|", (tmp_path / "page.md").read_text(), re.MULTILINE)
    settings = make_config("tiny", TINY)
    capsys.readouterr()
    for words, expected in (
        (
            [],
            f"relations in training are of the run {folder / 'run'} with sequence_length=32 anchors=all scope=segment",
        ),
        (["--preset", "demo"], "relations in training are of a run with sequence_length=128 anchors=all"),
    ):
        assert cli.main(["report", str(folder / "store"), str(folder / "run"), *words]) == 0
        out = capsys.readouterr().out
        assert expected in out
        length = len(Sampler.open(folder / "store", make_config("demo") if words else settings))
        assert re.search(rf"places for segment A +{length}\n", out)


def test_check_holds_and_finds_a_broken_store(folder, tmp_path, capsys):
    assert cli.main(["check", str(folder / "store")]) == 0
    store = tmp_path / "store"
    subprocess.run(["cp", "-r", str(folder / "store"), str(store)], check=True)
    (store / "graphs" / "hyperlink" / "targets.bin").write_bytes(b"\xff\xff\xff\x7f" * 48)
    capsys.readouterr()
    assert cli.main(["check", str(store), "--json"]) == 1
    assert any(not result["ok"] for result in json.loads(capsys.readouterr().out))


def test_a_random_graph_stands_beside_the_hyperlinks_and_a_run_can_take_it(folder, capsys):
    assert cli.main(["graph", str(folder / "store"), "--method", "random", "seed=3"]) == 0
    assert "48 edges" in capsys.readouterr().out
    words = ["pretrain", str(folder / "store"), "--to", str(folder / "random"), *TINY, "max_steps=1", "graph=random"]
    assert cli.main(words) == 0
    targets = (folder / "store" / "graphs" / "random" / "targets.bin").read_bytes()
    assert cli.main(["graph", str(folder / "store"), "--method", "random", "seed=3"]) == 0
    assert cli.main(["graph", str(folder / "store"), "--method", "random", "seed=4"]) == 1
    assert "give this one another --name" in capsys.readouterr().err
    assert (folder / "store" / "graphs" / "random" / "targets.bin").read_bytes() == targets


@pytest.mark.slow
def test_a_tfidf_graph_stands_beside_the_hyperlinks_and_a_run_at_scope_document_can_take_it(folder, tmp_path, capsys):
    store = tmp_path / "store"
    subprocess.run(["cp", "-r", str(folder / "store"), str(store)], check=True)
    words = ["graph", str(store), "--method", "tfidf", "--workers", "1"]
    assert cli.main([*words, "k=3"]) == 0
    assert "156 edges among 52 documents, 100.0% of the exact ones" in capsys.readouterr().out
    targets = (store / "graphs" / "tfidf" / "targets.bin").read_bytes()
    assert cli.main([*words, "k=3"]) == 0
    for other in (["k=4"], ["k=3", "exact=true"]):
        assert cli.main([*words, *other]) == 1
        assert "(method tfidf, k 3, " in capsys.readouterr().err
    assert (store / "graphs" / "tfidf" / "targets.bin").read_bytes() == targets
    run = ["pretrain", str(store), *TINY, "--to", str(tmp_path / "run"), "max_steps=1", "graph=tfidf"]
    assert cli.main([*run, "scope=document"]) == 0
    capsys.readouterr()
    run[-3] = str(tmp_path / "other")
    assert cli.main([*run, "scope=segment"]) == 1
    assert capsys.readouterr().err.split("...\n")[-1] == (
        f"linkbert pretrain: no link of graph 'tfidf' of {store} has a place in the text, so scope=segment can link "
        "nothing: take scope=document, or scope=auto\n"
    )
    (store / "graphs" / "half.parts").mkdir()  # a build that goes on
    assert cli.main(["check", str(store)]) == 0
    seen = capsys.readouterr().out
    assert "graph tfidf: pairs can be drawn" in seen
    assert "graphs/half.parts: run its command again" in seen
    assert "graph half" not in seen
    assert cli.main(["stats", str(store), "--json", "--set", "graph=tfidf", "--set", "scope=document"]) == 0
    shares = json.loads(capsys.readouterr().out)["shares"]
    assert shares["anchors_with_usable_link"] == shares["anchors"]
    assert cli.main(["show", str(store), "--instances", "1", "--set", "graph=tfidf"]) == 0
    assert cli.main(["show", str(store), "town 3"]) == 0


@pytest.mark.parametrize("name", ["towns.jsonl", "towns.xml"])
def test_a_plain_source_that_ends_in_the_middle_is_not_whole(tmp_path, name, capsys):
    whole = towns(tmp_path / "towns.jsonl")
    if name == "towns.xml":
        pages = (f"<page><title>{i}</title><ns>0</ns><revision><text>A town.</text></revision></page>" for i in "abc")
        whole.with_name(name).write_text("<mediawiki>" + "".join(pages) + "</mediawiki>")
        whole = whole.with_name(name)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[:-40])
    words = ["build", str(cut), "--to", str(tmp_path / "store"), "--vocab", "train:300", "--workers", "1"]
    assert cli.main(words) == 1
    assert "cut off or damaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_what_is_damaged_in_a_store_is_made_again_by_the_same_command(folder, tmp_path, capsys):
    store = tmp_path / "store"
    words = ["build", str(folder / "towns.jsonl"), "--to", str(store), "--vocab", "train:300", "--workers", "1"]
    assert cli.main(words) == 0
    files = [store / name for name in ("tokens/tokens.bin", "graphs/hyperlink/targets.bin", "vocabulary/vocab.txt")]
    before = [path.read_bytes() for path in files]
    files[0].write_bytes(before[0][:-8])
    files[1].unlink()
    assert cli.main(["stats", str(store)]) == 1
    assert cli.main(words) == 0
    assert [path.read_bytes() for path in files] == before
    files[2].write_bytes(before[2].replace(b"town", b"tawn"))
    files[1].write_bytes(before[1][:4])
    assert cli.main(["graph", str(store), "--method", "random", "--name", "hyperlink"]) == 1
    assert cli.main(["graph", str(store), "--method", "hyperlink"]) == 0
    assert cli.main(words) == 0
    assert [path.read_bytes() for path in files] == before
    files[1].write_bytes(b"\xff\xff\xff\x7f" * 48)
    capsys.readouterr()
    assert cli.main(["show", str(store)]) == 1
    assert "targets that are no documents" in capsys.readouterr().err
    files[1].write_bytes(before[1])
    (store / "documents" / "00000.parquet").write_bytes(b"")
    assert cli.main(["show", str(store), "town 1"]) == 1
    assert "00000.parquet is damaged" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_settings(folder, tmp_path, capsys):
    words = ["pretrain", str(folder / "store"), "--to", str(tmp_path / "run")]
    assert cli.main([*words, *TINY, "max_steps=2"]) == 0
    assert cli.main([*words, "--resume"]) == 0
    assert cli.main([*words, "--resume", "logging_steps=2"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--resume", "seed=7"]) == 1
    assert "was started with seed=0, not seed=7" in capsys.readouterr().err
    (tmp_path / "run" / "journal.jsonl").write_text("{broken\n")
    assert cli.main([*words, "--resume"]) == 1
    assert "journal.jsonl is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_stores_are_mixed_and_a_run_knows_them_when_it_goes_on(folder, tmp_path, capsys):
    store, run = str(folder / "store"), str(tmp_path / "run")
    words = ["pretrain", "--to", run, "--mix", f"a={store}:3", "b.shares=1/2,1/2,0", "--mix", f"b={store}:1"]
    assert cli.main([*words, *TINY, "max_steps=2"]) == 0
    stores = json.loads((tmp_path / "run" / "run.json").read_text())["stores"]
    assert [(name, each["weight"], each["settings"]) for name, each in stores.items()] == [
        ("a", 0.75, {}),
        ("b", 0.25, {"shares": [0.5, 0.5, 0.0]}),
    ]
    assert cli.main(["pretrain", "--to", run, "--resume"]) == 0
    assert cli.main(["pretrain", "--to", run, "--resume", "--mix", f"b={store}", "--mix", f"a={store}"]) == 0
    capsys.readouterr()
    assert cli.main(["pretrain", "--to", run, "--resume", "--mix", f"b={store}:9", "--mix", f"a={store}:1"]) == 1
    assert "started with the weight of a=0.75, not the weight of a=0.1" in capsys.readouterr().err


def test_a_cut_source_is_built_and_ends_with_status_1_unless_one_keeps_going(folder, tmp_path, capsys, caplog):
    cut = tmp_path / "towns.jsonl.gz"
    cut.write_bytes(gzip.compress((folder / "towns.jsonl").read_bytes())[:-200])
    words = ["build", str(cut), "--to", str(tmp_path / "store"), "--vocab", "train:300", "--workers", "1"]
    assert cli.main(words) == 1
    assert "is cut off: its compressed data ends in the middle" in caplog.text
    assert "--keep-going" in capsys.readouterr().err.splitlines()[-1]
    assert cli.main(["check", str(tmp_path / "store")]) == 0
    assert cli.main([*words, "--keep-going"]) == 0


def test_building_again_says_nothing_new_and_changes_nothing(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in (folder / "store").rglob("*.bin")}
    words = [
        "build",
        str(folder / "towns.jsonl"),
        "--to",
        str(folder / "store"),
        "--vocab",
        "train:300",
        "--workers",
        "1",
    ]
    assert cli.main(words) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path.parent.name != "random")


def test_a_run_ends_with_a_model_that_fills_and_relates(folder, capsys):
    assert (
        cli.main(["fill", "it has a [MASK] and a mill.", "--model", str(folder / "run"), "--top", "3", "--json"]) == 0
    )
    (mask,) = json.loads(capsys.readouterr().out)
    assert len(mask) == 3
    assert mask[0]["probability"] >= mask[1]["probability"] > 0
    assert (
        cli.main(["fill", "it has a <mask> and a mill.", "--model", str(folder / "run"), "--top", "3", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == [mask]
    (folder / "a.txt").write_text("Town 1 lies in borland.")
    (folder / "b.txt").write_text("Borland is a country.")
    texts = [str(folder / "a.txt"), str(folder / "b.txt")]
    assert cli.main(["relate", *texts, "--model", str(folder / "run"), "--json"]) == 0
    relations = json.loads(capsys.readouterr().out)
    assert list(relations) == ["contiguous", "random", "linked"]
    assert sum(relations.values()) == pytest.approx(1)
    named = ["relate", "town 1", "Borland", "--model", str(folder / "run"), "--json", "--store", str(folder / "store")]
    assert cli.main([each for each in named if each != "--json"]) == 0
    assert re.search(
        r"\nof held-out pairs it had right: \d.*; always the commonest relation \d", capsys.readouterr().out
    )
    assert cli.main(named) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(relations)
    assert "not for clinical use" in (folder / "run" / "model" / "README.md").read_text()


def test_a_run_that_is_not_finished_says_where_it_stands_and_how_it_is_resumed(folder, capsys, caplog):
    shutil.copytree(
        folder / "run" / "checkpoints" / "step-0000003", folder / "half run" / "checkpoints" / "step-0000003"
    )
    shutil.copy(folder / "run" / "run.json", folder / "half run")
    assert cli.main(["fill", "a [MASK]", "--model", str(folder / "half run")]) == 0
    assert caplog.messages == [f"{folder / 'half run'} is not finished: this is its step 3 of 6"]
    ended = Result(folder / "half run", 3, 6, False, None, None, 1.0, 9)
    capsys.readouterr()
    show_result(cli.make_console(), ended)
    line = f"stopped after step 3 of 6; to resume: linkbert pretrain --to '{folder / 'half run'}' --resume"
    assert capsys.readouterr().out == f"{line}\n"


def test_score_says_on_a_pipe_what_it_does(folder, capsys):
    assert cli.main(["score", str(folder / "run"), "--json", "--set", "eval_pairs=16"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pairs"] == 16
    assert "score: opening the model, then 16 pairs of held-out documents ..." in err


def test_long_texts_are_related_by_their_beginnings(folder, capsys):
    (folder / "long.txt").write_text("Town 1 lies in borland. " * 20_000)
    assert cli.main(["relate", *[str(folder / "long.txt")] * 2, "--model", str(folder / "run")]) == 0
    assert "contiguous" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["build", "{}/absent.jsonl", "--to", "{}/x"],
            "absent.jsonl' is not there and matches no file",
        ),
        (["build", "{}/*.nothing", "--to", "{}/x"], "matches no file"),
        (["show", "{}/store", "no such town"], "has no document 'no such town'"),
        (["stats", "{}"], "is not a store"),
        (["report", "{}/absent"], "absent is neither a STORE, a RUN nor RESULTS"),
        (["report", "{}/store", "--to", "{}/x.xyz"], "give a name that ends in .html or .md"),
        (["tasks", "--data", "{}/absent"], "absent is no folder: check the path"),
        (["show", "--run", "{}/run", "--step", "99999999"], "--step 99999999: "),
        (["pretrain", "{}/store", "--to", "{}/y", "stepz=3"], "did you mean 'max_steps'"),
        (["pretrain", "{}/store", "--to", "{}/y", "graph=tfidf"], "tfidf"),
        (["pretrain", "{}/store", "--to", "{}/big", "batch_size=1e15", "max_steps=1"], "not enough memory"),
        (["pretrain", "--to", "{}/y", "max_steps=3"], "name a STORE, or several with --mix"),
        (["pretrain", "{}/store", "--mix", "a={}/store", "--to", "{}/y"], "and --mix are both given"),
        (["pretrain", "--mix", "a={}/store", "--to", "{}/y", "b.alpha=0"], "no store of --mix is called 'b'"),
        (["pretrain", "--mix", "a={}/store:0.5", "--mix", "b={}/absent:1", "--to", "{}/y"], "absent is not there"),
        (["pretrain", "{}/store", "--to", "{}/run", "max_steps=1"], "add --resume"),
        (["pretrain", "{}/store", "--to", "{}/y", "--preset", "bace"], "did you mean 'base'"),
        (["fill", "no mask here", "--model", "{}/run"], "there is no [MASK] in the text"),
        (["graph", "{}/store", "--method", "random", "--name", ".."], "cannot name a graph"),
        (["graph", "{}/store", "--method", "random", "--name", "../../x"], "cannot name a graph"),
        (["graph", "{}/store", "--method", "random", "--name", "hyperlink"], "already (method hyperlink"),
        (["graph", "{}/store", "--method", "random", "seed=many"], "seed must be a valid integer, got many"),
        (["graph", "{}/store", "--method", "tfidf", "k=0"], "k must be >= 1, got 0"),
        (["graph", "{}/store", "--method", "random", "k=3"], "unknown setting 'k'; known are seed"),
        (["graph", "{}/store", "--method", "tfidf", "neighbours"], "settings are written key=value"),
        (
            ["graph", "{}/store", "--method", "tfidf", "memory=much"],
            "could not parse value and unit",
        ),
        (["graph", "{}/store", "--method", "tfid"], "did you mean 'tfidf'"),
        (["graph", "{}/store", "--method", "tfidf", "memory=100MB"], "memory must be at least 1GB"),
        (["graph", "{}/store", "--method", "tfidf", "--name", "x.parts"], "cannot name a graph"),
        (["pretrain", "{}/store", "--to", "{}/y", "graph=my:near"], "--method my:near` makes 'near'"),
        (["pretrain", "{}/store", "--to", "{}/y", "device=mps"], "device=mps is not known"),
        (["pretrain", "{}/store", "--to", "{}/y", "device=cpu:3"], "device=cpu:3 is not known"),
        (["build", "{}/towns.jsonl", "--to", "{}/x", "--vocab", "train:5"], "train:5"),
        (["build", "{}/towns.jsonl", "--to", "{}/x", "--links", "{}"], "is not a file: a links table"),
        (["build", "", "--to", "{}/x"], "'' is not there"),
        (["build", "{}/towns.jsonl", "--to", "{}/x", "--vocab", "train:99999999999"], "from 100 to 10000000"),
        (["show", "{}/store", "--set", "seed=99999999999999999999"], "seed must be less than"),
        (["show"], "there is no store: name a STORE"),
        (["show", "{}/store", "--step", "3"], "--step is a step of a run: add --run RUN"),
        (["pretrain", "{}/store", "--to", "{}/y", "threads=100000"], "less than or equal to 512"),
        (["pretrain", "{}/store", "--to", "{}/y", "alpha=inf"], "must be a finite number"),
        (["pretrain", "{}/store", "--to", "{}/y", "init=./nowhere"], "./nowhere: no such folder"),
        (["demo", "--to", "{}/x", "stepz=3"], "did you mean 'max_steps'"),
        (["fill", "a [MASK]", "--model", "{}/store"], "holds no model"),
        (["relate", "{}", "{}", "--model", "{}/run"], "is not a file: relate takes two files of text"),
        (["relate", "{}/latin.txt", "{}/latin.txt", "--model", "{}/run"], "is not UTF-8 text"),
    ],
)
def test_bad_input_is_one_line_and_status_1(folder, words, message, capsys):
    assert cli.main([word.format(folder) for word in words]) == 1
    (err,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  train: opening")]
    assert message in err
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bild"], "linkbert: No such command 'bild'. Did you mean 'build'?"),
        (["build"], "linkbert build: Missing argument 'SOURCE...'"),
        (["build", "{}/towns.jsonl"], "linkbert build: Missing option '--to'"),
        (["build", "{}/towns.jsonl", "--to", "{}/x", "--colums", "id=a"], "--columns"),
        (["build", "{}/towns.jsonl", "--to", "{}/x", "--min-words", "few"], "'--min-words'"),
        (["stats", "{}/store", "max_steps=3"], "max_steps=3"),
        (["pretrain", "s", "--to", "r", "--presets", "tiny"], "--preset"),
        (["show", "{}/store", "--instances", "-3"], "'--instances'"),
        (["fill", "a [MASK]", "--model", "{}/run", "--top", "-1"], "'--top'"),
        (["compare", "a", "b", "--top", "-1"], "'--top'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(folder, words, message, capsys):
    assert cli.main([word.format(folder) for word in words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "--help`" in err
    assert err.count("\n") == 1
    assert not (folder / "x").exists()


# What newcomers type: the words, and what the one line that answers them says (STORE and RUN are those of `folder`).
WRONG_CALLS = [
    ("pretain STORE --to x", "Did you mean 'pretrain'?"),
    ("train STORE --to x", "Did you mean 'pretrain'?"),
    ("pretrain STORE --to x --presett tiny", "--preset"),
    ("pretrain STORE --to x --learning_rate 1e-3", "write learning_rate=1e-3; see `linkbert settings learning_rate`"),
    ("pretrain STORE --to x --learning-rate=1e-3", "write learning_rate=1e-3"),
    ("pretrain STORE --to x --lr 1e-3", "write learning_rate=1e-3"),
    ("pretrain STORE --to x --batch-size 16", "write batch_size=16"),
    ("pretrain STORE --steps 5", "--steps is a setting: write max_steps=5"),
    ("pretrain STORE --to x --layers 4", "write num_hidden_layers=4"),
    ("pretrain STORE --to x --seed", "write seed=..."),
    ("pretrain STORE", "Missing option '--to' (the run's folder)"),
    ("pretrain STORE --to x steps", "settings are written key=value"),
    ("pretrain STORE --to x stepz=3", "did you mean 'max_steps'"),
    ("pretrain STORE --to x max_steps=many", "max_steps must be a valid integer, got many"),
    ("pretrain STORE --to x objective=mlmm", "unknown objective 'mlmm'; known are drp, none, nsp"),
    ("pretrain STORE --to x init=RUN2/none/here", "run2/none/here: no such folder"),
    ("pretrain STORE --to x init=STORE", "is a store, it holds no model"),
    ("pretrain STORE --to x --preset bace", "did you mean 'base'"),
    ("pretrain STOR --to x", "is not there; did you mean 'store'?"),
    ("pretrain RUN --to x", "run is not a store (it is a run); known are store"),
    ("pretrain --mix a=STOR --to x", "is not there; did you mean 'store'?"),
    ("pretrain STORE --to RUN", "is not empty; add --resume to continue the run in it, or name another folder"),
    ("stats STORE max_steps=3", "write --set max_steps=3"),
    ("stats STORE --sequence_length 64", "write --set sequence_length=64"),
    ("show STORE Twon 7", "has no document 'Twon 7'; the nearest ids (and titles) are 'town 7' (Town 7)"),
    ("finetune sst2 RUN --data . --to x", "sst2 is a task: write MODEL first, then TASK"),
    ("finetune RUN stt2 --data . --to x", "did you mean 'sst2'"),
    ("finetune RUN sst2 --data . --to x --epochs 3", "write num_train_epochs=3"),
    ("finetune RUN sst2 --data . --to x epoch=3", "did you mean 'num_train_epochs'"),
    ("fill [MASK] --model STORE", "is a store, it holds no model: `linkbert pretrain"),
    ("fill Paris --model RUN", "there is no [MASK] in the text"),
    ("fill A <mask> --model NEST", "config.json is in nest/cognition/model: name that folder"),
    ("fill A [MASK] --model RUN", 'words that belong together take "..."'),
    ("build https://example.org/docs/ --to x", "`wget --mirror --no-parent https://example.org/docs/`"),
    ("build towns --to x", "is not there and matches no file"),
    ("pretrain STORE --to x init=NEST", "config.json is in nest/cognition/model: name that folder"),
    ("build towns.jsonl --to x --vocab NEST", "tokenizer.json is in nest/cognition/model: name that folder"),
    ("fill [MASK] --model NEST", "config.json is in nest/cognition/model: name that folder"),
    ("score ./NEST", "config.json is in nest/cognition/model: name that folder"),
    ("fill [MASK] --model ./ruun", "./ruun: no such folder; did you mean run?"),
    ("pretrain UNFINISHED --to x", "unfinished is an unfinished build: run the same `linkbert build` again"),
    ("stats UNFINISHED", "unfinished is an unfinished build"),
    ("show Arland STORE", "store is a store: write it first, as in `linkbert show store Arland`"),
    ("show Town 7 STORE", "as in `linkbert show store Town 7`"),
    ("pretrain STORE --output x", "there is no --output: write --to x"),
    ("pretrain STORE --output_dir=x", "there is no --output_dir: write --to x"),
    ("build towns.jsonl -o x", "there is no -o: write --to x"),
    ("build towns.jsonl --out x", "there is no --out: write --to x"),
    ("build STORE --to x", "store is a store, no source of documents: name what it was made from"),
    ("build NEST/cognitoin --to x", "is not there and matches no file; did you mean nest/cognition?"),
    ("build nets/cognition --to x", "is not there and matches no file; did you mean nest?"),
    ("pretrain STORE --to x mlm_probability=15", "mlm_probability must be less than 1, got 15; 15 % is 0.15"),
    ("pretrain STORE --to x held_out=10", "held_out must be less than 1, got 10; 10 % is 0.1"),
    ("relate Paris London --model RUN", "Paris is not a file: relate takes two files of text, or with --store STORE"),
    ("relate town town --model RUN --store STORE", "has no document 'town'; the nearest ids"),
    ("score NEST/cognition/model", "there is no store: name a STORE"),
    ("pretrain STORE --to x shares=1/2,1/2", "shares must be contiguous, random and linked, such as 1/2,1/2,0"),
    ("score RUN eval_pairs=100", "eval_pairs=100 is a setting: write --set eval_pairs=100"),
    ("stats max_steps=3 STORE", "max_steps=3 is a setting: write --set max_steps=3"),
    ("show eval_pairs=3", "eval_pairs=3 is a setting: write --set eval_pairs=3"),
    ("check seed=3", "seed=3 is a setting: write STORE first"),
    ("pretrain --to RUN --resume seed=7", "seed=0, not seed=7: it is finished; start a new run with init=run/model"),
    ("predict RUN towns.jsonl", "has no fine-tuned model"),
    ("build -help", "there is no -help: write --help; see `linkbert build --help`"),
    ("help build", "there is no command help: write `linkbert COMMAND --help`"),
    ("presets", "write `linkbert pretrain --help`, which lists them"),
    ("settings alfa", "unknown setting 'alfa'; did you mean 'alpha'?"),
    ("settings demo", "demo is a preset: --preset demo"),
    ("show STORE --instances", "see `linkbert show --help`"),
    ("stats NEST/../STOR", "is not there; did you mean 'store'? (in nest/..)"),
    ("stats NEST/cognition/model", "is not a store (it is a model)"),
    ("export STORE --to x --format csv", "'--format': 'csv' is not one of"),
    ("build towns.jsonl --to x --vocab 30k", "30k is no vocabulary: write train:30000"),
    ("relate RUN a.txt b.txt", "Missing option '--model': write --model run"),
    ("fill RUN A [MASK]", "Missing option '--model': write --model run"),
    ("settings colour", "unknown setting 'colour'; `linkbert settings` lists all"),
]


def as_typed(line):
    """Put names of the fixture's folder into a line."""
    return re.sub("STORE?|RUN|NEST|UNFINISHED", lambda name: name[0].lower(), line)


@pytest.mark.parametrize(("line", "answer"), WRONG_CALLS)
def test_a_wrong_call_ends_in_a_line_that_leads_to_the_right_one(folder, line, answer, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert cli.main(as_typed(line).split()) in (1, 2)
    out, err = capsys.readouterr()
    assert answer.replace("STORE", "store") in err.replace("STORE", "store")
    assert (out, err.count("\n"), (folder / "x").exists()) == ("", 1, False)


@pytest.mark.slow
def test_a_wrong_word_imports_nothing_heavy(folder):
    """Of the calls above all but those that open a store or read a source."""
    code = """
import sys
import threading
from linkbert.cli import main
for line in sys.argv[1:]:
    main(line.split())
    print({"torch", "transformers", "numba", "duckdb", "pyarrow"} & sys.modules.keys(), line)
"""
    calls = [as_typed(line) for line, _ in WRONG_CALLS]
    calls = [line for line in calls if not line.startswith(("build", "show")) and "--store" not in line]
    done = subprocess.run([sys.executable, "-c", code, *calls], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"set() {line}" for line in calls]


@pytest.mark.parametrize(
    ("told", "spins"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_that_wait_give_their_core_away_unless_told_otherwise(told, spins, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", dict(told))
    assert cli.main(["settings", "threads"]) == 0
    assert capsys.readouterr().out
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_an_unreachable_hub_is_one_line_at_once(monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    assert cli.main(["fill", "a [MASK]", "--model", "no-such/encoder"]) == 1
    assert time.monotonic() - start < 10  # 2 s on a quiet machine
    err = capsys.readouterr().err
    assert "no-such/encoder: no such folder, and the hub did not give it (" in err
    assert err.count("\n") == 1


def test_without_a_command_there_are_examples_and_every_command_in_its_place_on_one_line(capsys):
    assert cli.main([]) == 2
    out = capsys.readouterr().out
    assert (
        out.index("linkbert pretrain store --to run") < out.index("Look:") < out.index("Build:") < out.index("Score:")
    )
    headings = [each.rich_help_panel for each in cli.app.registered_commands]
    assert set(headings) == {"Look", "Build", "Train", "Use", "Score"}
    assert all(f"\n  {each.name or each.callback.__name__} " in out for each in cli.app.registered_commands)
    assert "..." not in out[out.index("Look:") :]
    assert max(map(len, out.splitlines())) <= 80


def test_a_line_of_the_log_calls_a_model_of_the_hub_as_the_user_did():
    place = "/root/.cache/huggingface/hub/models--org--tiny/snapshots/0a1b"
    text = f"{place}: 3 weights are not used; linkbert pretrain init={place}"
    record = logging.LogRecord("linkbert", logging.WARNING, "", 0, "%s", (text,), None)
    said = "linkbert: org/tiny: 3 weights are not used; linkbert pretrain init=org/tiny"
    assert cli.LogLine("linkbert: %(message)s").format(record) == said


def test_a_setting_is_explained_by_any_of_its_names(capsys):
    assert cli.main(["settings", "lr"]) == 0
    out = capsys.readouterr().out
    assert "pretrain: " in out
    assert "learning_rate=0.002  peak learning rate [number]" in out
    assert "finetune: " in out
    assert cli.main(["settings"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name}=" in listed for name in (*Config.model_fields, *FineTuneConfig.model_fields))
    assert "masking=token  what is masked: tokens, words, or spans of words [token|word|span]" in listed


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "linkbert pre", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "linkbert pre"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "linkbert pre", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_shells_complete_commands(shell, asked, monkeypatch, capsys):
    for name, value in (asked | {"_LINKBERT_COMPLETE": f"complete_{shell}"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert not ended.value.code
    assert "pretrain" in capsys.readouterr().out


def test_a_document_is_found_by_its_title_without_quotes(folder, capsys):
    assert "Town 12 lies in [arland]" in shown(capsys, folder / "store", "Town", "12")


@pytest.mark.parametrize("command", [each.name or each.callback.__name__ for each in cli.app.registered_commands])
def test_every_help_names_its_options_and_settings_as_they_are_written(command, capsys):
    """Nothing is taken for markup: brackets and stars stand as they do in the source."""
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: linkbert {command} " in out
    assert {"pretrain": "[[STORE] [key=value]...]", "relate": "A.txt", "graph": "[option=value]"}.get(
        command, ""
    ) in out
    assert {"pretrain": "hidden_dropout_prob=0", "finetune": "num_train_epochs=3", "build": "--min-words"}.get(
        command, ""
    ) in out
    if command == "graph":
        assert all(
            f"{option}=" in out for method in BUILT_IN["graphs"] for option in graph_options(method).model_fields
        )


def test_a_reader_of_ones_own_brings_its_options(folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "ownreader.py").write_text(OWN_READER)
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "build",
        str(folder / "latin.txt"),
        "--to",
        str(tmp_path / "store"),
        "--vocab",
        str(folder / "store" / "vocabulary"),
    ]
    own = ["--format", "ownreader:READER", "--workers", "1"]
    assert cli.main([*words, *own, "--shout"]) == 0
    assert Store.open(tmp_path / "store").document(0).text == "HELLO TOWN"
    capsys.readouterr()
    assert cli.main(["build", "--format", "ownreader:READER", "--help"]) == 0
    assert re.search(r"--shout +ownreader:READER: in capitals", capsys.readouterr().out)
    assert cli.main([*words, "--min-words", "3"]) == 1
    assert "--min-words is an option of pubmed" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["anywhere", "while a class is made", "in a library that makes another error"])
def test_ctrl_c_is_one_line(folder, monkeypatch, capsys, where):
    class Named:
        def __set_name__(self, *_):
            signal.raise_signal(signal.SIGINT)  # Python 3.11 makes a RuntimeError of it

    def interrupted(*_, **__):
        try:
            type("Made", (), {"name": Named()} if where == "while a class is made" else {})
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if where == "anywhere":
                raise
            raise TypeError("SchemaError: KeyboardInterrupt") from None

    monkeypatch.setattr("linkbert.views.stats.store_statistics", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert cli.main(["stats", str(folder / "store")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "linkbert stats: interrupted\n")


UNHEARD = """
import ctypes, signal, sys
from linkbert import cli, progress
def fail(): raise MemoryError if sys.argv[2] == "memory" else signal.raise_signal(signal.SIGINT)
import linkbert.views.stats
linkbert.views.stats.store_statistics = lambda *_, **__: ctypes.CFUNCTYPE(None)(fail)()
sys.exit(cli.main(["stats", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "ended"), [("memory", (1, "not enough memory")), ("ctrl-c", (130, "interrupted"))])
def test_what_a_library_keeps_to_itself_ends_a_command(folder, what, ended):
    command = [sys.executable, "-c", UNHEARD, str(folder / "store"), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (ended[0], "", f"linkbert: {ended[1]}\n")


@pytest.mark.parametrize("error", [ImportError("a.so: failed to map segment from shared object"), MemoryError()])
def test_no_memory_is_one_line(folder, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("linkbert.views.stats.store_statistics", fail)
    assert cli.main(["stats", str(folder / "store")]) == 1
    assert capsys.readouterr().err.startswith("linkbert stats: not enough memory (")


def test_with_little_memory_nothing_is_begun(folder):
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (400 << 20, 400 << 20))
    command = [sys.executable, "-m", "linkbert", "report", str(folder / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "409,600 kB of memory may be mapped (ulimit -v)" in done.stderr


def test_a_thread_that_dies_before_it_runs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(progress, "SOON", 0.1)
    monkeypatch.setattr(threading.Thread, "start", progress.start_soon)
    (dead := threading.Thread())._bootstrap = lambda: None  # as where there is no memory for its first frame
    with pytest.raises(RuntimeError, match="can't start new thread"):
        dead.start()
    ran = threading.Event()
    (thread := threading.Thread(target=ran.set)).start()
    thread.join()
    assert ran.is_set()
    with pytest.raises(RuntimeError, match="only be started once"):
        thread.start()


@pytest.mark.slow
def test_a_store_without_hyperlinks_is_shown_as_far_as_it_goes(folder, tmp_path, capsys):
    """No graph at all, and then one of TF-IDF alone: no command needs more than there is."""
    store = str(tmp_path / "store")
    words = ["build", str(folder / "towns.jsonl"), "--to", store, "--vocab", str(folder / "store" / "vocabulary")]
    assert cli.main([*words, "--graph", "none", "--workers", "1"]) == 0
    assert cli.main(["stats", store]) == 0
    assert "no graph: without one a run has no linked pairs" in capsys.readouterr().out
    assert cli.main(["stats", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graphs"] == {}
    assert cli.main(["show", store, "town 1"]) == 0
    assert "no hyperlink graph, so their targets are not known" in capsys.readouterr().out
    assert cli.main(["show", store, "--instances", "2"]) == 0
    assert cli.main(["report", store, "--to", str(tmp_path / "page.html")]) == 0
    assert "no graph" in (tmp_path / "page.html").read_text()
    assert cli.main(["stats", store, "--plots", str(tmp_path / "plots")]) == 1
    assert "has no graph to plot" in capsys.readouterr().err
    assert cli.main(["graph", store, "--method", "tfidf", "--workers", "1"]) == 0
    capsys.readouterr()
    for command in (["stats", store], ["report", store]):
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert "\ngraph tfidf\n" in out
        assert "name a graph, such as --set graph=tfidf" in out
    assert cli.main(["stats", store, "--plots", str(tmp_path / "plots")]) == 0
    assert cli.main(["show", store, "town 1"]) == 0


def test_the_installed_command_answers():
    done = subprocess.run([sys.executable, "-m", "linkbert"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pretrain" in done.stdout


@pytest.mark.slow
def test_the_demo_runs_on_a_file_of_ones_own(folder, tmp_path, capsys):
    words = [
        "demo",
        "--to",
        str(tmp_path / "demo"),
        "--source",
        str(folder / "towns.jsonl"),
        "--init",
        "none",
        *TINY,
        "max_steps=3",
    ]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    for heading in ("1. Fetch", "3. Train", "4. What it learnt", "5. Your own documents"):
        assert heading in out
    assert "too few pairs to say anything" in out
    assert cli.main(words) == 1, "a finished one stays"
    assert "is of a demo that is finished: delete" in capsys.readouterr().err
    assert cli.main([*words, "--minutes", "0"]) == 2
    assert "'--minutes': Input should be greater than or equal to 0.1" in capsys.readouterr().err
    (tmp_path / "demo" / "demo.html").unlink()
    assert cli.main(words) == 0, "one that was interrupted is continued"
    model = str(tmp_path / "demo" / "run" / "model")
    assert cli.main([*words, "--init", model]) == 1, "what it would continue is not removed"
    assert (tmp_path / "demo" / "run" / "model" / "model.safetensors").is_file()
    words[2] = str(tmp_path / "other")
    assert cli.main([*words, "held_out=0"]) == 0
    assert "no document was held out to score on" in capsys.readouterr().out
    words[2] = str(folder)
    assert cli.main(words) == 1
    assert (folder / "store").is_dir(), "another folder is not"


def test_a_library_without_memory_is_one_line_and_another_error_keeps_its_traceback(tmp_path, monkeypatch, capsys):
    """What torch and oneDNN raise is a RuntimeError."""

    def fail(*_):
        raise RuntimeError(said[-1])

    monkeypatch.setattr("linkbert.views.stats.store_statistics", fail)
    monkeypatch.setattr("linkbert.cli.read_manifest", lambda store: {})
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text('{"format": 1}')
    said = []
    for words in ("CUDA out of memory", "could not create a primitive", "can't start new thread"):
        said.append(words)
        assert cli.main(["stats", str(tmp_path / "store")]) == 1
        assert "not enough memory" in capsys.readouterr().err
    said.append("illegal memory access")
    with pytest.raises(RuntimeError, match=said[-1]):
        cli.main(["stats", str(tmp_path / "store")])


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("database or disk is full"), ValueError("the disk is full (x): make room and go on")],
)
def test_a_full_disk_is_one_line_with_one_remedy(error, folder, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("linkbert.views.stats.store_statistics", fail)
    assert cli.main(["stats", str(folder / "store")]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), err.count("make room")) == (1, 1)


UNLUCKY = """
import os, signal, time

class Left:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

left = Left()
del left
"""


def test_ctrl_c_while_a_module_is_made_is_one_line(tmp_path):
    """In a finaliser, as in code of a library, Python would say that an exception is ignored, and go on."""
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    command = [sys.executable, "-m", "linkbert", "build", "a.jsonl", "--to", "store", "--format", "unlucky:READER"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # not so where tests run in the background
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=heard)
    assert (done.returncode, done.stderr) == (130, "linkbert: interrupted\n")
