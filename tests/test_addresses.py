"""Sources by address: streamed from a server that breaks off, gives no ranges, or does not know the file."""

import json
import lzma
import re
import time
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkbert.cli import main
from linkbert.corpora import build
from linkbert.corpora.build import build_documents
from linkbert.files import decompressed_blocks, source_path, source_size

CONTENT = bytes(i * i % 251 for i in range(3_000_000))


@contextmanager
def server(content, *, ranges=True, drop_after=None, drops=0, status=200, date=None):
    """Serve one file at any path; the first `drops` answers break off after `drop_after` bytes."""
    left = [drops]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, body):
            if status != 200:
                self.send_error(status)
                return
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "") if ranges else None
            start = int(found[1]) if found else 0
            stop = int(found[2]) + 1 if found and found[2] else len(content)
            part = content[start:stop]
            self.send_response(206 if found else 200)
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            if date:
                self.send_header("Last-Modified", date())
            if found:
                self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if body and left[0] and len(part) > drop_after:
                left[0] -= 1
                self.wfile.write(part[:drop_after])
                self.close_connection = True
            elif body:
                self.wfile.write(part)

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(ConnectionError):  # of a reader that has enough
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", left
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_address_is_read_as_a_file_is(ranges):
    with server(CONTENT, ranges=ranges) as (address, _):
        path = source_path(f"{address}/a.bin")
        assert source_size(path) == len(CONTENT)
        assert b"".join(block for block, _ in decompressed_blocks(path)) == CONTENT


def documents(count):
    lines = [
        json.dumps({"id": str(i), "text": f"Text {i}. " * 20, "links": [{"target": str(i + 1)}]}) for i in range(count)
    ]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.slow
def test_a_build_by_address_is_the_same_as_from_the_file(tmp_path):
    data = lzma.compress(documents(6_000))
    (tmp_path / "a.jsonl.xz").write_bytes(data)
    local = build_documents([tmp_path / "a.jsonl.xz"], tmp_path / "local")
    with server(data) as (address, _):
        far = build_documents([f"{address}/a.jsonl.xz"], tmp_path / "far")
    assert list(far.documents()) == list(local.documents())
    assert far.manifest["sources"][0]["path"] == f"{address}/a.jsonl.xz"


def test_a_table_is_read_by_address_group_by_group(tmp_path):
    table = pa.table({"id": [str(i) for i in range(2_000)], "text": [f"Text {i * i} " * 9 for i in range(2_000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    local = build_documents([tmp_path / "a.parquet"], tmp_path / "local")
    with server((tmp_path / "a.parquet").read_bytes()) as (address, _):
        far = build_documents([f"{address}/a.parquet"], tmp_path / "far")
        named_otherwise = build_documents([f"{address}/a.arrow"], tmp_path / "arrow")
    assert list(far.documents()) == list(local.documents()) == list(named_otherwise.documents())


def test_what_is_not_there_is_one_line(tmp_path, capsys):
    to = str(tmp_path / "store")
    for status, said in ((404, "404"), (403, "403"), (500, "500")):
        with server(b"", status=status) as (address, _):
            assert main(["build", f"{address}/a.jsonl", "--to", to]) == 1
        told = capsys.readouterr().err
        assert said in told
        assert f"{address}/a.jsonl" in told
        assert told.count("\n") == 1
    assert main(["build", f"{address}/a.jsonl", "--to", to]) == 1  # nobody listens there any more
    assert "a.jsonl" in capsys.readouterr().err
    assert main(["build", "nonsense://a/a.jsonl", "--to", to]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_a_server_that_breaks_off_is_one_line_and_loses_nothing(tmp_path, capsys):
    with server(documents(9_000), drop_after=1_000, drops=0) as (address, left):
        left[0] = -1  # every long answer breaks off
        words = [
            "build",
            f"{address}/a.jsonl",
            "--to",
            str(tmp_path / "store"),
            "--graph",
            "none",
            "--vocab",
            "train:200",
        ]
        assert main(words) == 1
        assert re.search(r"a\.jsonl cannot be read \(.*\): run the same command again", capsys.readouterr().err)
        left[0] = 0
        store = build_documents([f"{address}/a.jsonl"], tmp_path / "store")
    assert len(store) == 9_000


@pytest.mark.slow
@pytest.mark.parametrize("of", ["answer", pytest.param("file", marks=pytest.mark.slow)])
def test_a_server_that_dates_a_file_by_its_answer_is_read_and_a_build_of_it_resumed(tmp_path, monkeypatch, of):
    began = time.time()
    date = lambda: formatdate(time.time() if of == "answer" else began, usegmt=True)  # noqa: E731
    with server(documents(3), date=date) as (address, _):
        words = [f"{address}/a.jsonl"], tmp_path / "store"
        with monkeypatch.context() as patch:
            patch.setattr(build, "_finish", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                build_documents(*words)
        time.sleep(1.1)
        assert len(build_documents(*words)) == 3
