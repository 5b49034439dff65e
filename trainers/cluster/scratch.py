"""A folder for what the processes of one start need and nobody else: sockets, rendezvous files, Ray's own logs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

LONGEST = 22
"""Characters of a place below which the longest socket of a Ray still has a path that the kernel takes."""


class Scratch:
    """Removed at the end; by the process that was started (`remove`) where the one that started it is killed."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        self.path = Path(tempfile.mkdtemp(prefix="stepgym-", dir=place if len(place) <= LONGEST else "/tmp"))
        self.variables = dict.fromkeys(("TMPDIR", "RAY_TMPDIR", "VLLM_RPC_BASE_PATH"), str(self.path))
        """Make Ray, vLLM and torch put their temporary files there."""

    def keep_logs(self, folder: Path) -> None:
        """Move what Ray's daemons and workers logged to `folder`, in the place of what is there."""
        remove(folder)
        for logs in self.path.glob("ray/session_2*/logs"):
            shutil.move(logs, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove(self.path)


def remove(folder: Path) -> None:
    """Remove it with all that is in it; nothing where it is not there."""
    shutil.rmtree(folder, ignore_errors=True)
