"""What a client asks of the proxy, read from the head of its request as strictly as can be.

Two readers that differ over where a request ends are two requests where one was checked (request smuggling): the head
passed on is written anew, the body has the length that is said once in decimal, and not a byte follows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stepgym.sandboxes.proxying.allowed import Destination, parse_authority

_REQUEST = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,8192}) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_ABSOLUTE = re.compile(rb"(?i:http)://([^/?#]+)([^#]*)")
_HOP_BY_HOP = frozenset(b"connection host keep-alive proxy-authorization proxy-connection te trailer upgrade".split())


class RefusedError(Exception):
    """A request that is answered here, with a status and a sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for."""

    destination: Destination
    head: bytes = b""
    """What the server is told; empty for a tunnel."""
    body: int | None = None
    """Bytes that follow; None for a tunnel."""


def parse_request(head: bytes) -> Request:
    """The request with this head, the empty line included. Raises `RefusedError` for one that is not plain."""
    first, *lines = head[:-4].split(b"\r\n")
    line = _REQUEST.fullmatch(first)
    headers = [_HEADER.fullmatch(each) for each in lines]
    if line is None or not all(headers):
        raise RefusedError(400, "not an HTTP/1.1 request to a proxy")
    method, target, minor = line.groups()
    if method == b"CONNECT":
        return Request(_destination(target, None))
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise RefusedError(400, "a proxy is asked for http://host/path, or to CONNECT host:443 for HTTPS")
    destination = _destination(absolute[1], 80)
    fields = [(each[1].lower(), each[2].strip(), each[0]) for each in headers if each]
    lengths = [value for name, value, _ in fields if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _, _ in fields):
        raise RefusedError(411, "a request through this proxy says the length of its body")
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,15}", each) for each in lengths):
        raise RefusedError(400, "the request is not clear about its length")
    path = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    kept = [whole for name, _, whole in fields if name not in _HOP_BY_HOP]
    host = str(destination).removesuffix(":80").encode()
    start = [b"%b %b HTTP/1.%b" % (method, path, minor), b"Host: " + host, b"Connection: close"]
    return Request(destination, b"\r\n".join([*start, *kept, b"", b""]), int(lengths[0]) if lengths else 0)


def _destination(authority: bytes, port: int | None) -> Destination:
    found = parse_authority(authority.decode("latin-1"), port)
    if found is None:
        raise RefusedError(400, "the host of the request is none")
    return found
