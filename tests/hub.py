"""A stand-in for the Hugging Face hub, on the loopback."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves root/ORG/NAME as the repository ORG/NAME, and takes commits into it."""

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        root = self.server.root
        if parts[:2] == ["api", "models"]:
            files = [path for path in sorted((root / parts[2] / parts[3]).rglob("*")) if path.is_file()]
            names = [str(path.relative_to(root / parts[2] / parts[3])) for path in files]
            if "tree" in parts:
                sizes = [path.stat().st_size for path in files]
                rows = [
                    {"type": "file", "path": names[i], "size": size, "oid": "b" * 40} for i, size in enumerate(sizes)
                ]
                return self.answer(200, rows)
            named = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            return self.answer(200 if files else 404, named)
        path = root.joinpath(*parts[:2], *parts[4:])
        if "resolve" not in parts or not path.is_file():
            return self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        data = path.read_bytes()
        return self.answer(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = urlparse(self.path).path.strip("/").split("/")
        self.server.asked.append("/".join(parts))
        if parts[-1] == "create":
            asked = json.loads(body)
            return self.answer(200, {"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        if "preupload" in parts:
            more = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": each["path"], **more} for each in json.loads(body)["files"]]
            return self.answer(200, {"files": files})
        if "commit" in parts:
            for line in body.splitlines():
                if (row := json.loads(line))["key"] == "file":
                    path = self.server.root.joinpath(*parts[2:4], row["value"]["path"])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(base64.b64decode(row["value"]["content"]))
            where = f"{self.server.address}/{'/'.join(parts[2:4])}/commit/{COMMIT}"
            return self.answer(200, {"commitUrl": where, "commitOid": COMMIT, "pullRequestUrl": None})
        return self.answer(200, {"errors": [], "warnings": []})


@contextmanager
def stand_in_hub(folder, monkeypatch):
    """Start it, for huggingface_hub of this process; give its folder of repositories."""
    from huggingface_hub import constants

    from linkbert.files import fetch_from_hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.root, server.asked = folder / "hub", []
    server.address = address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    fetch_from_hub.cache_clear()
    try:
        yield server.root
    finally:
        server.shutdown()
        server.server_close()
        fetch_from_hub.cache_clear()
