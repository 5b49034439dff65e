"""Seeds that depend on what is sampled, and on nothing else: not on the order, the company, or the process."""

from __future__ import annotations

import hashlib


def content_seed(*parts: str | int) -> int:
    """A seed from 0 up to 2³¹, the same for the same `parts`."""
    whole = hashlib.sha256("/".join(map(str, parts)).encode("utf-8", "surrogatepass"))
    return int.from_bytes(whole.digest()[:4]) >> 1
