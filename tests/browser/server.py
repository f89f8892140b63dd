"""Serve a built site as a host would: below a sub-path, compressed, with its own 404 page."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote, urlsplit

PREFIX = "/a/sub-path/"  # a site that works here works at the root too
COMPRESSED = {".css", ".html", ".js", ".json", ".md", ".svg", ".txt", ".xml"}


@contextmanager
def serving(folder: Path, prefix: str = PREFIX) -> Iterator[str]:
    """Serve `folder` on a free port of this machine; yields the address of its root."""
    folder = folder.resolve()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            file = (folder / path.removeprefix(prefix)).resolve()
            if file.is_dir():
                file /= "index.html"
            known = path.startswith(prefix) and file.is_relative_to(folder) and file.is_file()
            if not known:
                file = folder / "404.html"
            body = _content(file) if file.exists() else b""
            self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
            kind = guess_type(file.name)[0] or "application/octet-stream"
            self.send_header("Content-Type", kind + "; charset=utf-8" * kind.startswith("text/"))
            self.send_header("Cache-Control", "max-age=600")
            self.send_header("Content-Length", str(len(body)))
            if file.suffix in COMPRESSED:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        server.shutdown()


@cache
def _content(file: Path) -> bytes:
    content = file.read_bytes()
    return gzip.compress(content, mtime=0) if file.suffix in COMPRESSED else content
