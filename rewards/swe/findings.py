"""What is not as it is in an honest attempt, whether the patch, the log or the harness's own record shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a finding is about, and so what it does to the strict verdict."""

    STEERING = "steering"
    """A file that steers test runs; harmless once it is taken out."""
    TEST = "test"
    """A file of the hidden tests; harmless once it is taken out."""
    OTHER_TEST = "other test"
    """Another file of tests: of interest only where it is left in."""
    UNSAFE = "unsafe"
    """A path or a kind of file that no patch may hold; harmless once it is taken out."""
    CODE = "code"
    """Code that reaches for the test runner, which stays in."""
    LOG = "log"
    """A log that does not describe a test run which came to its end."""
    RECORD = "record"
    """A log that tells otherwise than the harness's own record."""


REMOVABLE = frozenset({Kind.STEERING, Kind.TEST, Kind.OTHER_TEST, Kind.UNSAFE})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it is in an honest attempt."""

    kind: Kind
    why: str
    path: str = ""
