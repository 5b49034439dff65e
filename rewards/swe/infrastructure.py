"""Signs, in a log without results, that the machinery broke rather than the patch.

They advise and decide nothing: an attempt that they mark is still unresolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """What a log shows."""

    reason: str
    pattern: str
    certain: bool
    """Whether no patch can be to blame."""


SIGNS = (
    Sign("browser_launch_failed", r"Failed to launch|Failed to connect to the bus", True),
    Sign("display_unavailable", r"cannot open display|Missing X server|unable to open X display", True),
    Sign("out_of_memory", r"Cannot allocate memory|OutOfMemoryError|^Killed$", True),
    Sign("container_unavailable", r"Error response from daemon|Cannot connect to the Docker daemon", True),
    Sign("network_unreachable", r"Could not resolve host|Temporary failure in name resolution", True),
    Sign("missing_module", r"Cannot find module|MODULE_NOT_FOUND|ModuleNotFoundError", False),
    Sign("no_tests_collected", r"no tests ran|collected 0 items", False),
    Sign("tests_timed_out", r"Timeout error: \d+ seconds exceeded", False),
)


def sign_of(log: str) -> Sign | None:
    """The first of `SIGNS` that a log shows."""
    return next((sign for sign in SIGNS if re.search(sign.pattern, log, re.MULTILINE)), None)
