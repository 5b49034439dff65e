"""What a run in another process has done, read as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from stepgym.codec import decode
from stepgym.trainers.metrics import StepRecord


class Following:
    """Reads the lines that come to ``metrics.jsonl``; from its start again if it was written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._file = (0, 0)

    def records(self) -> Iterator[StepRecord]:
        """Those since the last call. A line that is not yet whole waits for the next."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        if (status.st_dev, status.st_ino) != self._file or status.st_size < self._read:
            self._file, self._read = (status.st_dev, status.st_ino), 0
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield decode(StepRecord, json.loads(line), where=str(self._path))
