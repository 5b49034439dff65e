"""The trajectory file: versioned JSON lines, one episode a line. What a run leaves: replayed, re-scored, viewed.

A line is ``{"version": 1, "sample": 0, "seed": 7, "grader": "math", "trajectory": {…}}``; fields at their default are
left out. It holds the task, so that the file stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepgym.codec import decode
from stepgym.errors import ConfigError, StoreError
from stepgym.records import Trajectory
from stepgym.store import read_lines

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrajectory:
    """One line: a trajectory, and its place in the run. Append it with `stepgym.store.JsonLines`."""

    version: int
    """The format of the line; `VERSION` is the only one this release knows."""
    sample: int = 0
    """Which of the repeated samples of the same task it is, from 0."""
    seed: int | None = None
    """Seed of the episode."""
    grader: str = ""
    """Name of the reward that gave the scores."""
    trajectory: Trajectory


def read_trajectories(path: Path) -> Iterator[StoredTrajectory]:
    """The lines of a trajectory file, in the order written; a torn last line is left out.

    Raises `StoreError` with file and line for one that is damaged or of an unknown version.
    """
    for number, value in enumerate(read_lines(path), start=1):
        version = value.get("version") if isinstance(value, Mapping) else None
        if version != VERSION:
            raise StoreError(
                f"{path}:{number}: a trajectory of version {version!r}, and this stepgym reads version {VERSION} only; "
                "read it with the release that wrote it"
            )
        try:
            yield decode(StoredTrajectory, value, where="trajectory line")
        except ConfigError as error:
            raise StoreError(f"{path}:{number}: {error}") from error
