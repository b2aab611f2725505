"""Names and texts that would steer a terminal, break a line or a page: every command shows them escaped."""

import io
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from urllib.parse import urlparse

import huggingface_hub
import pytest

from linkbert.cli import app, main
from linkbert.corpora.store import Store
from linkbert.files import without_secrets
from linkbert.progress import Screen, json_text, make_console, printable, reporting, say_json, screened
from linkbert.views.page import Section, write_report
from test_addresses import server
from test_cli import TINY
from watched.sitecustomize import hear

# ESC sequences, BEL, a return, a new line, C1 controls, turns of direction, separators, a tag that is not seen, NUL
EVIL = "\x1b[2J\x1b]0;t\x07a\rb\nEVIL\x9b31m\x85\u202e\u2066\u200f\u2028\ufeff\U000e0041\x7f<script>alert(1)</script>"
NAME = EVIL.replace("/", "")  # of a file
HALF = "\ud83d"  # of a surrogate pair
STEERS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0041]"
)
SERVED = set()  # ports that a test serves
WATCHED = str(Path(__file__).with_name("watched"))
sys.addaudithook(hear)
SECRETS = ("Pa55word", "T0ken", "hf_" + "x" * 34)


@contextmanager
def nobody_called():
    """Assert that no process of a command calls or looks up anybody, or listens, but at SERVED on the loopback."""
    with pytest.MonkeyPatch.context() as patch, tempfile.NamedTemporaryFile("r") as noted:
        patch.setenv("WATCHED", noted.name)
        patch.setenv("PYTHONPATH", os.pathsep.join([WATCHED, os.environ.get("PYTHONPATH", "")]))
        yield
        asked = [json.loads(line)[1:] for line in noted]
    assert {int(port) for _, port in asked} <= SERVED
    assert {host for host, _ in asked} <= {"127.0.0.1", "localhost"}


def assert_text(text):
    """Assert that what was printed or written steers nothing, and has no line of others'."""
    assert not (found := STEERS.search(text)), ascii(text[max(found.start() - 200, 0) : found.end() + 20])
    assert not re.search(r"^\W*EVIL", text, re.MULTILINE), ascii(text)
    text.encode()


def command(*words):
    """Run a command as a shell does, with its log on stderr; return its status, and what it printed."""
    out, err, before = io.StringIO(), io.StringIO(), logging.root.handlers
    logging.root.handlers = []
    try:
        with redirect_stdout(out), redirect_stderr(err), nobody_called():
            status = main([str(word) for word in words])
    finally:
        logging.root.handlers = before
        logging.root.setLevel(logging.WARNING)
    for text in (out.getvalue(), err.getvalue()):
        assert_text(text)
    return status, out.getvalue(), err.getvalue()


def toml(text):
    """Write a text as TOML has it between quotes."""
    return "".join(f"\\U{ord(each):08x}" for each in str(text))


def done(*words):
    status, out, err = command(*words)
    assert status == 0, err
    return out


def pages(count=24):
    """Pages of which each links to the next, with evil titles, ids, targets and names of sections."""
    for i in range(count):
        text = f"Town {i} lies near a {HALF if i == 1 else ''}river. It has a mill.{EVIL[:13]} Its people are old."
        link = {"start": 5, "end": 9, "target": f"{(i + 1) % count} {EVIL}", "fragment": EVIL}
        lost = {"target": f"http://me:{SECRETS[0]}@{EVIL[:9]}host/{EVIL}"}
        yield {"id": f"{i} {EVIL}", "title": f"Town {i} {EVIL}", "text": text, "links": [link, lost, {"target": EVIL}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of an evil name, with sources of evil names, a store and a run."""
    folder = tmp_path_factory.mktemp("printed") / NAME
    folder.mkdir()
    lines = [json.dumps(page) for page in pages()]
    (folder / f"{NAME}.jsonl").write_text("\n".join([*lines, "no JSON", lines[0]]) + "\n")
    with tarfile.open(folder / f"{NAME}.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in (f"a{NAME}.html", f"caf\udce9{NAME}.html", f"../{NAME}.html", f"{NAME}.c{NAME}", f"b{NAME}.html"):
            header = tarfile.TarInfo(name)
            data = b"" if name[0] == "b" else b"<title>A page</title><p>Words \xff of a page."
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    with zipfile.ZipFile(folder / f"{NAME}.zip", "w") as archive:
        archive.writestr(f"c{NAME}.html".replace("\0", ""), f"<title>{EVIL}</title><p>Words of another page.")
    words = [
        "build",
        folder / f"{NAME}.jsonl",
        folder / f"{NAME}.tar",
        folder / f"{NAME}.zip",
        "--to",
        folder / "store",
    ]
    out = done(*words, "--vocab", "train:300", "--workers", 1, "--keep-going")
    assert r"\x1b[2J\x1b]0;t\x07a\rb\nEVIL\x9b31m\x85\u202e\u2066\u200f\u2028" in out
    (folder / "tasks.toml").write_text(OWN.format(title=toml(EVIL)))
    (folder / "train.csv").write_text("t,c\n" + "".join(f"a mill {i},{'ab'[i % 2]}\x1b[2J\u202e\n" for i in range(40)))
    for name in ("a", "b"):
        done("pretrain", folder / "store", *TINY, "--to", folder / name, "max_steps=2", f"seed={ord(name)}")
    return folder


OWN = """
[own]
title = "{title}"
kind = "text"
format = "csv"
metrics = ["accuracy"]
options.columns = {{ a = "t", label = "c" }}
files = {{ train = ["train.csv"], dev = ["train.csv"] }}

[asked]
like = "squad1"
title = "{title}"
"""
FAST = ["num_train_epochs=1", "threads=1"]


@pytest.fixture
def serve(monkeypatch):
    """Say that an address is served by a test."""
    return lambda address: monkeypatch.setitem(globals(), "SERVED", {urlparse(address).port})


def spoil(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_looked_at_is_text(folder, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setitem(globals(), "STEERS", re.compile(rf"(?!\r?\x1b\[[\d;?]*[mKlhA]){STEERS.pattern}"))
    store = folder / "store"
    assert json.loads(done("stats", store, "--json"))["path"] == str(store)
    for words in (["stats", store], ["check", store], ["show", store, f"1 {EVIL}"], ["show", store, f"Town 2 {EVIL}"],
                  ["show", store, "--set", "sequence_length=32"], ["graph", store, "--method", "random"],
                  ["show", "--run", folder / "a", "--step", 1], ["tasks", "--data", folder], ["settings"],
                  ["report", store, folder / "a", folder / "b"], ["score", folder / "a"]):  # fmt: skip
        done(*words)
    assert [*json.loads(done("check", store, "--json"))[0]] == ["promise", "ok", "detail"]
    assert command("show", store, f"nobody {EVIL}{HALF}")[0] == 1


@pytest.mark.slow  # thirty commands
def test_what_is_tuned_and_answered_is_text(folder, hub, monkeypatch, serve):
    run, results, tasks = folder / "a", folder / "results", folder / "tasks.toml"
    context = next(pages())["text"] + f" A market. {EVIL}"
    asked = {"question": f"Who? {EVIL}", "answers": [{"text": "Town", "answer_start": 0}]}
    articles = [{"context": context, "qas": [asked | {"id": f"{i}{EVIL}"}]} for i in range(40)]
    squad = {"version": "1.1", "data": [{"title": f"{i}{EVIL}", "paragraphs": [a]} for i, a in enumerate(articles)]}
    (folder / "SQuAD").mkdir()
    for name in ("train", "dev"):
        (folder / "SQuAD" / f"{name}-v1.1.json").write_text(json.dumps(squad))
    for word in (f"{HALF}{EVIL} [MASK]", f"The [MASK]{EVIL}"):
        done("fill", word, "--model", run)
    assert len(json.loads(done("fill", f"[MASK] {EVIL}", "--model", run, "--json"))) == 1
    done("relate", f"1 {EVIL}", f"2 {EVIL}", "--store", folder / "store", "--model", run)
    done("finetune", run, folder / "train.csv", "--text", "t", "--label", "c", "--to", results, *FAST)
    done("evaluate", run, "--tasks", f"{tasks}:own", "--data", folder, "--to", results, "--keep-model", *FAST)
    done("evaluate", folder / "b", "--tasks", f"{tasks}:own", "--data", folder, "--to", results, *FAST)
    kept = next((results / "models").glob("own*"), None) or next((results / "models").iterdir())
    for line in done("predict", kept, folder / "train.csv").splitlines():
        assert "prediction" in json.loads(line)
    for form in ([], ["--json"]):
        done("compare", f"{results}:a", f"{results}:b", *form)
        done("overlap", folder / "store", "--task", "squad1", "--data", folder, *form)
        done("evaluate", run, "--tasks", f"{tasks}:own", "--data", folder, "--to", results, *FAST, *form)
    (folder / "answers.json").write_text(json.dumps({f"{i}{EVIL}": EVIL for i in range(40)} | {EVIL: ""}))
    done("score-answers", folder / "answers.json", "--task", f"{tasks}:asked", "--data", folder)
    for name in ("page.html", "page.md"):
        done("report", folder / "store", run, results, "--to", folder / name)
    done("export", folder / "store", "--to", folder / "export")
    serve(huggingface_hub.constants.ENDPOINT)
    done("push", run, "org/mine", f"language={EVIL[:9]}")
    monkeypatch.setattr("linkbert.pretraining.card.HfApi.create_repo", lambda *_, **__: 1 / 0)
    assert command("push", run, f"org/{EVIL}")[0] == 1
    for path in map(folder.joinpath, ("page.html", "page.md", "a/model/README.md")):
        assert_written(path)


def assert_written(path):
    """Assert that a page or a card is text, and has no element of others."""
    assert_text(text := path.read_text(encoding="utf-8"))
    assert not re.search(r"^(?!    ).*(?<!\\)<script>", text, re.MULTILINE)
    assert "alert(1)" in text or path.name == "README.md"


@pytest.mark.slow  # two trainings
def test_what_the_demo_and_a_study_print_and_write_is_text(folder):
    words = [word for word in TINY if not word.startswith(("batch_size", "sequence_length"))]
    words += ["batch_size=8", "sequence_length=64", "max_steps=2"]
    done("demo", "--source", folder / f"{NAME}.jsonl", "--init", "none", "--to", folder / "demo", *words)
    study, title = folder / "study.toml", toml(EVIL)
    arms = {"bert": [], "linkbert": [], f'"{title}"': ['like = "bert"']}
    rows = [
        "seeds = [0]",
        f'title = "{title}"',
        "budget.steps = 2",
        "[stores.a]",
        f'path = "{toml(folder / "store")}"',
        "[settings]",
    ]
    rows += [word if "=off" not in word and "=fp32" not in word else re.sub("=(.*)", r'="\1"', word) for word in TINY]
    study.write_text("\n".join([*rows, *(line for arm, own in arms.items() for line in (f"[arms.{arm}]", *own))]))
    for more in (["--plan"], ["--to", folder / "study"]):
        done("study", study, *more)
    for path in map(folder.joinpath, ("demo/demo.html", "study/study.html", "study/study.md")):
        assert_written(path)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_secrets_of_an_address_are_neither_printed_nor_stored(tmp_path, serve):
    lines = "".join(json.dumps({"id": str(i), "text": f"Text {i}."}) + "\n" for i in range(9)) + "no JSON\n"
    store = tmp_path / "store"
    with server(lines.encode()) as (address, _):
        serve(address)
        host = address.removeprefix("http://")
        secret = f"http://me:{SECRETS[0]}@{host}/a.jsonl?part=1&token={SECRETS[1]}&x={SECRETS[2]}"
        printed = [*command("build", secret, "--to", store, "--vocab", "train:200", "--workers", 1)]
        assert printed[0] == 0, printed[2]
        assert f"http://***@{host}/a.jsonl?part=1&token=***&x=***: read as jsonl" in printed[1]
        printed += command("build", secret, "--to", store, "--vocab", "train:200", "--workers", 1)
        printed += command("stats", store, "--json") + command("build", secret, "--to", tmp_path / "gone" / "x", "-h")
    printed += command("build", secret, "--to", tmp_path / "none")
    printed += command("build", secret.replace("http", "nonsense"), "--to", tmp_path / "none")
    assert [each for each in printed if isinstance(each, int)] == [0, 0, 0, 0, 1, 1]
    stored = [path for path, data in files_of(tmp_path).items() if any(each.encode() in data for each in SECRETS)]
    assert not stored
    assert not any(secret in str(text) for text in printed for secret in SECRETS)
    assert Store.open(store).manifest["examples"] == ["a.jsonl?part=1&token=***&x=*** line 10: not JSON"]


@pytest.mark.slow
def test_a_build_that_broke_off_by_an_address_with_secrets_is_resumed(tmp_path, serve):
    lines = "".join(json.dumps({"id": str(i), "text": f"Text {i}. " * 20}) + "\n" for i in range(3_000))
    with server(lines.encode(), drop_after=1_000, drops=0) as (address, left):
        serve(address)
        left[0] = -1
        secret = address.replace("://", f"://me:{SECRETS[0]}@") + "/a.jsonl"
        words = ["build", secret, "--to", tmp_path / "store", "--vocab", "train:200", "--workers", 1]
        status, out, err = command(*words)
        assert (status, "me:" in out + err) == (1, False)
        assert not any(SECRETS[0].encode() in data for data in files_of(tmp_path).values())
        left[0] = 0
        done(*words)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a?b=c", "s3://***@bucket/a?b=c"),
        ("https://h/a?X-Amz-Signature=abc&X-Amz-Credential=A%2Fb&e=1", None),
        ("https://h/a?sig=abc;auth=d&AWSAccessKeyId=x", "https://h/a?sig=***;auth=***&AWSAccessKeyId=***"),
        ('{"a": "http://h/?token=a\\"b"}', '{"a": "http://h/?token=***\\"b"}'),
        (f"401 for {SECRETS[2]} at http://h/a", "401 for *** at http://h/a"),
        ("write to me@host, or see http://h/@me?keys", "write to me@host, or see http://h/@me?keys"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text, shown):
    shown = shown or "https://h/a?X-Amz-Signature=***&X-Amz-Credential=***&e=1"
    assert without_secrets(text) == without_secrets(shown) == shown


def test_what_libraries_write_passes_the_same_edge(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", Screen(stream))
    sys.stderr.write(f"a\tb\n{EVIL}\n")
    assert_text(stream.getvalue().replace("\nEVIL", ""))
    stream.truncate(stream.seek(0))
    for text in ("\rFetching: 50%", "\n", "\x1b[A", "\rFetching: 100%\x1b[31m\r"):  # as tqdm writes
        sys.stderr.write(text)
    assert stream.getvalue() == "\rFetching: 50%\n\x1b[A\rFetching: 100%\\x1b[31m\\r"
    with reporting(make_console(stderr=True), every=0) as show:
        show(EVIL, EVIL, 1, 2)
    assert_text(stream.getvalue().split("\\r", 1)[1])


def test_json_for_programs_is_what_it_was_and_steers_nothing():
    value = {EVIL: [EVIL, HALF, 1.5, None], "é": "東\u200d"}
    assert json.loads(json_text(value)) == value
    assert_text(json_text(value))
    assert '"é": "東\u200d"' in json_text(value)
    assert len(json_text(value, indent=None).splitlines()) == 1


def test_a_report_in_markdown_has_no_html_no_picture_and_no_line_of_others(tmp_path):
    attack = f"<img src=x> ![p](https://host/p.png) `x` | [a](b)\n## EVIL {EVIL}"
    write_report([Section(attack, [attack], [["", attack], [attack, "1"]], about=attack)], tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert_text(text)
    assert not re.search(r"^(?!    ).*(?<!\\)[<\[`!]", text, re.MULTILINE)
    assert all(line.startswith("    ") for line in text.splitlines() if "<script>" in line.replace("\\<", ""))
    assert printable(attack) in text


@pytest.mark.slow
def test_what_is_read_back_from_a_store_a_run_and_a_model_is_text(folder, tmp_path):
    store, run = shutil.copytree(folder / "store", tmp_path / "s"), shutil.copytree(folder / "a", tmp_path / "r")
    lost = {"cause": "missing", "target": EVIL, "source": EVIL, "links": 1, "whole": 1}
    evil = {"reader": EVIL, "skipped": {EVIL: 3}, "other_files": {EVIL: 1}, "links_lost": [lost], "examples": [EVIL]}
    sources = [{"path": EVIL, "bytes": 0, "mark": EVIL, "reader": EVIL}]
    spoil(store / "store.json", lambda it: it.update(evil, created=EVIL, sources=sources, linkbert=EVIL))
    graph = store / "graphs" / EVIL
    shutil.copytree(store / "graphs" / "hyperlink", graph)
    for words in (["stats", store], ["check", store], ["report", store], ["show", store, f"1 {EVIL}"]):
        command(*words)
    spoil(graph / "graph.json", lambda it: it.update(method=EVIL, edges=EVIL))
    for words in (["stats", store], ["check", store], ["graph", store, "--method", EVIL, "--name", EVIL]):
        command(*words)
    shutil.rmtree(graph)
    done("pretrain", store, *TINY, "--to", tmp_path / "new", "max_steps=1")
    assert_text((tmp_path / "new" / "model" / "README.md").read_text())
    assert command("pretrain", store, "--to", tmp_path / "x", f"seed={EVIL}")[0] == 1
    assert command("pretrain", "--mix", f"{EVIL}={store}", "--to", tmp_path / "x", *TINY, "max_steps=1")[0] < 2

    with (run / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "learning_rate": 0.1, EVIL: 0.5, "tokens": 1, "elapsed": 1.0}) + "\n")
    spoil(run / "run.json", lambda it: it.update(versions={EVIL: EVIL}, preset=EVIL, created=EVIL))
    spoil(run / "run.json", lambda it: it["store"].update(path=f"{store}{EVIL}", scope=EVIL, fingerprint=EVIL))
    done("report", run)
    assert command("pretrain", store, "--to", run, "--resume")[0] == 1
    assert command("score", run)[0] == 1
    for change in ({"config": {EVIL: EVIL}}, {"created": [EVIL]}, {"format": EVIL}, {"stores": EVIL}):
        spoil(run / "run.json", lambda it, change=change: it.update(change))
        assert command("report", run)[0] == 1
    model = run / "model"
    for change in ({"hidden_act": EVIL}, {"hidden_size": EVIL}, {"model_type": EVIL}, {"architectures": [EVIL]}):
        spoil(model / "config.json", lambda it, change=change: it.update(change))
        command("fill", "a [MASK]", "--model", model)
    (model / "tokenizer.json").write_text(json.dumps({"model": {"type": EVIL}, "added_tokens": []}))
    assert command("fill", "a [MASK]", "--model", model)[0] == 1
    (model / "vocab.txt").write_text(EVIL)
    assert command("build", folder / f"{NAME}.jsonl", "--vocab", model, "--to", tmp_path / "y")[0] == 1


def test_words_of_the_command_line_are_text(tmp_path, serve):
    serve("http://localhost:9")
    for words in ([EVIL], ["build", f"--{EVIL}"], ["fill", EVIL, "--model", EVIL], ["settings", EVIL], ["show", EVIL],
                  ["build", EVIL, "--to", tmp_path / "s", "--format", f"os:{EVIL}"], ["tasks", "--data", EVIL],
                  ["finetune", EVIL, EVIL, "--to", EVIL], ["stats", EVIL], ["predict", EVIL, EVIL], ["overlap", EVIL],
                  ["compare", EVIL, EVIL], ["report", EVIL], ["demo", "--source", EVIL, "--to", tmp_path / "d"],
                  ["build", f"http://localhost:9/{EVIL}.jsonl", "--to", tmp_path / "s"]):  # fmt: skip
        assert command(*words)[0] in (1, 2), words


def test_names_of_code_are_not_carried_into_what_we_write(folder, tmp_path):
    base = shutil.copytree(folder / "a" / "model", tmp_path / "base")
    code = {"AutoModel": "evil.Model", "AutoTokenizer": ["evil.Tokenizer", None]}
    for name in ("config.json", "tokenizer_config.json"):
        spoil(base / name, lambda it: it.update(auto_map=code, custom_pipelines={"fill-mask": {"impl": "evil.Run"}}))
    (base / "evil.py").write_text("raise SystemExit('code was run')")
    words = ["--to", tmp_path / "store", "--vocab", base, "--workers", 1]
    done("build", folder / f"{NAME}.jsonl", *words)
    spoil(tmp_path / "store" / "vocabulary" / "tokenizer_config.json", lambda it: it.update(auto_map=code))
    done("pretrain", tmp_path / "store", *TINY, f"init={base}", "--to", tmp_path / "run", "max_steps=1")
    done("finetune", base, folder / "train.csv", "--text", "t", "--label", "c", "--to", tmp_path / "results", *FAST)
    for folder_ in (tmp_path / "run", tmp_path / "results"):
        written = files_of(folder_)
        assert any(path.name == "tokenizer_config.json" for path in written)
        assert not [path for path, data in written.items() if b"evil" in data or path.suffix == ".py"]


def test_json_says_word_for_word_what_a_document_says(capsys):
    """An address in a text is data; a screen would hide what looks like a secret in it."""
    text = "see https://a@b/?monkey=x;keyboard=us \x1b[2J"
    with screened():
        say_json({"text": text})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": text}
    assert "\x1b" not in out


def test_every_command_is_among_those_whose_calls_and_words_are_looked_at():
    text = Path(__file__).read_text()
    assert len(app.registered_commands) > 20
    for command_ in app.registered_commands:
        name = command_.name or command_.callback.__name__.replace("_", "-")
        assert re.search(rf'(?:done|command)\("{name}"|\["{name}"|words = \[\s*"{name}"', text), name


CALLS = """
import multiprocessing, socket, threading
def call(*_):
    socket.socket().connect_ex(("127.0.0.1", 9))
def look():
    try: socket.getaddrinfo("nobody.invalid", 80)
    except OSError: pass
if __name__ == "__main__":
    (thread := threading.Thread(target=look)).start()
    thread.join()
    for way in ("fork", "spawn"):
        process = multiprocessing.get_context(way).Process(target=call)
        process.start()
        process.join()
    socket.socket().bind(("127.0.0.1", 0))
    socket.socket(socket.AF_UNIX).connect_ex("/nowhere")
"""


def test_what_a_command_and_its_processes_call_is_heard(tmp_path):
    """The test of the test: threads, forks and spawned processes."""
    (tmp_path / "calls.py").write_text(CALLS)
    noted = tmp_path / "noted"
    environment = os.environ | {"WATCHED": str(noted), "PYTHONPATH": WATCHED}
    subprocess.run([sys.executable, tmp_path / "calls.py"], env=environment, check=True)
    heard = [json.loads(line) for line in noted.read_text().splitlines()]
    called = ["socket.connect", "127.0.0.1", 9]
    assert heard == [["socket.getaddrinfo", "nobody.invalid", 80], called, called, ["socket.bind", "127.0.0.1", 0]]
    with pytest.raises(AssertionError), nobody_called(), socket.socket() as own:
        own.bind(("127.0.0.1", 0))


@pytest.mark.slow
def test_workers_of_a_build_call_nobody(folder, tmp_path):
    words = ["build", folder / f"{NAME}.jsonl", "--to", tmp_path / "store", "--vocab", "train:300"]
    assert "documents" in done(*words, "--workers", 2)
