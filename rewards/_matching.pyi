"""The matching blocks of difflib, counted. Symbols are native 32-bit integers; `_matching.c` says how it works."""

class _Index: ...  # opaque: a capsule

def index(b: bytes, autojunk: bool, /) -> _Index:
    """What a search needs to know of `b`; reusable, from any thread. Raises `ValueError` above 2**24 symbols."""

def count(index: _Index, a: bytes, /) -> int:
    """How many symbols of `a` the blocks of ``difflib.SequenceMatcher(None, a, b)`` cover. Releases the GIL."""
