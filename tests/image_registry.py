"""A registry of tiny images over real HTTP, from which a container engine on this machine pulls."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


class Registry:
    """Has an image of every name but ``missing``; of ``damaged`` it has no layer. Use as a context manager."""

    def __init__(self) -> None:
        self.pulls: Counter[str] = Counter()
        """How often the layer of each image was asked for."""
        self._blobs: dict[str, tuple[str, bytes]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = registry._answer(self.path, counts=self.command == "GET")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - the server looks for that name

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def name(self, image: str) -> str:
        """What an engine knows an image by."""
        return f"127.0.0.1:{self._server.server_port}/{image}:latest"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, path: str, *, counts: bool) -> tuple[int, str, bytes]:
        words = path.strip("/").split("/")
        if words == ["v2"]:
            return 200, "application/json", b"{}"
        name, what, which = words[1], words[2], words[3]
        if name == "missing":
            return 404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
        if what == "manifests":
            return 200, MANIFEST, self._manifest(name)
        kind, body = self._blobs[which]
        if kind == LAYER:
            if name == "damaged":
                return 200, "application/octet-stream", b"damaged"
            self.pulls[name] += counts
        return 200, "application/octet-stream", body

    def _manifest(self, name: str) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo(name)
            tar.addfile(member)
        layer = gzip.compress(file.getvalue(), mtime=0)
        config = {
            "architecture": ARCHITECTURE.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(file.getvalue())]},
        }
        about = json.dumps(config).encode()
        for kind, body in ((CONFIG, about), (LAYER, layer)):
            self._blobs[_digest(body)] = (kind, body)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(about), "digest": _digest(about)},
            "layers": [{"mediaType": LAYER, "size": len(layer), "digest": _digest(layer)}],
        }
        return json.dumps(manifest).encode()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
