"""Servers that lead elsewhere, fall silent or lie: one line, nothing wrong built; and DuckDB fetches nothing."""

import json
import re
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from linkbert import files
from linkbert.cli import main
from linkbert.corpora.build import build_documents
from linkbert.corpora.readers.mediawiki import read_blocks
from linkbert.corpora.store import querying


def lines(count, word):
    return "".join(json.dumps({"id": str(i), "text": f"{word} {i}. " * 40}) + "\n" for i in range(count)).encode()


DATE = {"now": "Mon, 01 Jan 2024 00:00:00 GMT"}
ENDLESS = ("drips", "sends for ever")


@contextmanager
def server(kind, content, later=None):
    """Serve a file the way `kind` says; after the first bytes were asked for, `later` lies there."""
    asked, end = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, body):
            asked.append(self.path)
            to = {
                "file": "file:///etc/passwd",
                "loop": f"{self.path}x",
                "other": f"http://localhost:{self.server.server_port}/there.jsonl",
            }
            if kind in to and "there" not in self.path:
                self.send_response(302)
                self.send_header("Location", to[kind])
                self.end_headers()
                return
            if kind == "silent" or (kind == "silent at the body" and body):
                end.wait()
                return
            ranges = self.headers.get("Range") if kind != "no ranges" else None
            data = later if later and len(asked) > 5 else content
            start = int(ranges[6:].split("-")[0]) if ranges else 0
            part = data if kind == "another range" else data[start:]
            self.send_response(206 if ranges else 200)
            if not (body and kind in ENDLESS):
                self.send_header("Content-Length", str(len(part) * 10 if kind == "longer than it is" else len(part)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", DATE["now"])
            self.end_headers()
            while body and kind in ENDLESS and not end.is_set():
                self.wfile.write(part[:1] if kind == "drips" else b" " * (1 << 20))
                end.wait(0.02 if kind == "drips" else 0)
            if body:
                self.wfile.write(part[:5_000] if kind == "stalls" else part)
                self.wfile.flush()
            if kind == "stalls":
                end.wait()

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(ConnectionError):
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/a.jsonl"
        end.set()
        http.shutdown()


FAULTS = {
    **dict.fromkeys(["file", "loop", "silent", "silent at the body", "stalls", "longer than it is"], ""),
    "drips": "its server sends less than 1,000 bytes a second",
    "sends for ever": "its server sends more than the [0-9,]+ bytes that it announced",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_server_that_does_not_do_its_part_is_one_line_in_time(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(files, "SILENCE", 0.3)
    monkeypatch.setattr(files, "ANSWER", 0.5 if kind in ENDLESS else 60)
    started = time.monotonic()
    with server(kind, lines(100, "Word")) as address:
        assert main(["build", address, "--to", str(tmp_path / "store"), "--vocab", "train:200"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("  ")] == [said[-1]]
    assert "cannot be read" in said[-1]
    assert re.search(FAULTS[kind], said[-1])
    assert "root:" not in said[-1]
    assert time.monotonic() - started < 20
    assert not (tmp_path / "store" / "store.json").exists()


@pytest.mark.parametrize(
    ("kind", "said"), [("drips", "TimeoutError"), ("sends for ever", "more than the 38,0.0 bytes")]
)
def test_an_answer_for_a_part_of_a_file_has_an_end(kind, said, monkeypatch):
    monkeypatch.setattr(files, "ANSWER", 0.5)
    with server(kind, lines(100, "Word")) as address, pytest.raises(ConnectionError, match=said):
        next(read_blocks(files.source_path(address), 10))


@pytest.mark.parametrize(
    "kind",
    ["other", "changes", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("no ranges", "another range"))],
)
def test_what_is_built_is_one_state_of_the_file(kind, tmp_path):
    count = 7_500 if kind != "other" else 100  # over the 5 MB that are asked for at once
    old, new = lines(count, "Word"), lines(count, "Term")
    with server(kind, old, new if kind == "changes" else None) as address:
        store = build_documents([address], tmp_path / "store")
    texts = {document.text[:4] for document in store.documents()}
    assert (len(store), len(texts)) == (count, 1)
    assert store.manifest["skipped"] == {}


def test_a_file_that_changes_on_its_server_while_it_is_read_is_one_line(tmp_path, monkeypatch):
    change = lambda *_: monkeypatch.setitem(DATE, "now", "Tue, 02 Jan 2024 00:00:00 GMT")  # noqa: E731
    with server("", lines(100, "Word")) as address, pytest.raises(ValueError, match=f"{address} changed while it was"):
        build_documents([address], tmp_path / "store", progress=change)
    assert not (tmp_path / "store" / "store.json").exists()


def test_duckdb_fetches_no_extension(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(3, "Word"))
    store = build_documents([tmp_path / "a.jsonl"], tmp_path / "store")
    with querying(store.path) as database:
        found = database.execute(
            "SELECT value FROM duckdb_settings() WHERE name IN "
            "('autoinstall_known_extensions', 'autoload_known_extensions')"
        ).fetchall()
    assert found == [("false",), ("false",)]
