"""What the process that watches over a run tells the one that runs OpenRLHF. It is a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stepgym.codec import decode, encode
from stepgym.store import write_whole
from stepgym.trainers.cluster.job import TaskTable
from stepgym.trainers.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A run that was checked."""

    config: TrainConfig
    """With an absolute folder: what runs may stand elsewhere."""
    model: str
    """Name or folder of the HuggingFace model that the run starts from."""
    solver: str
    """The same of the frozen solver; empty where none is to be started."""
    context: int
    """Most tokens that the model can read."""
    tasks: TaskTable

    def write(self, file: Path) -> None:
        """Replace `file`. Raises `StoreError`."""
        write_whole(file, json.dumps(encode(self), ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises `ConfigError` for what `write` did not write."""
        return decode(cls, json.loads(file.read_text(encoding="utf-8")), where=str(file))
