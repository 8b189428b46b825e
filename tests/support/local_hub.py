"""A server on this machine that plays the Hub: repositories with revisions, downloads, uploads, and a list of requests.

It serves folders, and takes commits whose files are all sent in the commit itself (no LFS).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

API = re.compile(
    r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|paths-info|preupload|commit)/([^/]+))?(/.*)?"
)
FILE = re.compile(r"/(?:(datasets)/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")


class LocalHub:
    """revisions: {(kind, name): {revision: commit}}; folders: {commit: folder}; requests: "METHOD path" as they came.

    uploaded: {name: {file: content}}; made: {name: private}.
    """

    def __init__(self) -> None:
        self.revisions: dict[tuple[str, str], dict[str, str]] = {}
        self.folders: dict[str, Path] = {}
        self.requests: list[str] = []
        self.uploaded: dict[str, dict[str, bytes]] = {}
        self.made: dict[str, Any] = {}
        self.endpoint = ""

    def add(self, name: str, folder: Path, revision: str = "main", *, kind: str = "models") -> str:
        """Let a revision of a repository be what is in a folder, and return its commit."""
        digest = hashlib.sha1(f"{name} {folder}".encode())
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
        commit = digest.hexdigest()
        self.revisions.setdefault((kind, name), {}).update({revision: commit, commit: commit})
        self.folders[commit] = folder
        return commit

    def commit_of(self, kind: str, name: str, revision: str | None) -> str | None:
        known = self.revisions.get((kind, name))
        if known is None:
            return None
        return known.get(unquote(revision or "main"))

    @contextmanager
    def running(self, port: int = 0) -> Iterator[LocalHub]:
        """Serve inside the block, at `endpoint`."""

        class Handler(_Handler):
            hub = self

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self._answer(body)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        if path == "/":
            self._send(200, b"ok")
        elif path == "/api/whoami-v2":
            self._json({"name": "me", "type": "user", "orgs": []})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization") or "me", asked["name"]) if part)
            self.hub.made[name] = asked.get("private", asked.get("visibility"))
            self.hub.revisions.setdefault(("models", name), {"main": "0" * 40})
            self._json({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})
        elif match := FILE.fullmatch(path):
            self._file(*match.groups())
        elif match := API.fullmatch(path):
            self._api(*match.groups(), body)
        else:
            self._error("EntryNotFound")

    def _file(self, kind: str | None, name: str, revision: str, file: str) -> None:
        commit = self.hub.commit_of(kind or "models", name, revision)
        if commit is None:
            self._error("RepoNotFound" if (kind or "models", name) not in self.hub.revisions else "RevisionNotFound")
            return
        path = self.hub.folders[commit] / unquote(file)
        if not path.is_file():
            self._error("EntryNotFound", {"X-Repo-Commit": commit})
            return
        content = path.read_bytes()
        self._send(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit})

    def _api(self, kind: str, name: str, what: str | None, revision: str | None, rest: str | None, body: bytes) -> None:
        commit = self.hub.commit_of(kind, name, revision)
        if (kind, name) not in self.hub.revisions:
            self._error("RepoNotFound")
        elif what == "preupload":
            files = json.loads(body)["files"]
            self._json({"files": [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files
            ]})  # fmt: skip
        elif what == "commit":
            self._commit(name, body)
        elif commit is None:
            self._error("RevisionNotFound")
        elif what == "tree":
            self._json(self._entries(commit, (rest or "").strip("/")))
        elif what == "paths-info":
            asked = json.loads(body)["paths"] if body.startswith(b"{") else re.findall(rb"paths=([^&]+)", body)
            names = {unquote(text if isinstance(text, str) else text.decode()) for text in asked}
            self._json([entry for entry in self._entries(commit, "") if entry["path"] in names])
        else:
            files = [{"rfilename": entry["path"]} for entry in self._entries(commit, "") if entry["type"] == "file"]
            self._json({
                "_id": "1", "id": name, "sha": commit, "private": False, "tags": [], "downloads": 0, "likes": 0,
                "gated": False, "disabled": False, "siblings": files,
            })  # fmt: skip

    def _entries(self, commit: str, below: str) -> list[dict[str, Any]]:
        root = self.hub.folders[commit]
        entries = []
        for path in sorted((root / below).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file():
                content = path.read_bytes()
                entries.append({"type": "file", "oid": _oid(content), "size": len(content), "path": name})
            else:
                entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": name})
        return entries

    def _commit(self, name: str, body: bytes) -> None:
        files = self.hub.uploaded.setdefault(name, {})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self._json({"commitOid": "1" * 40, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{'1' * 40}"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, code: str, more: dict[str, str] | None = None) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": code, **(more or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
