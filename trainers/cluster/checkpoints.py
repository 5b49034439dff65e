"""What a killed run left of its checkpoints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from stepgym.store import write_whole

_TAG = re.compile(r"(?:best_)?global_step(\d+)")
_WHOLE = "metric.json"
"""OpenRLHF writes it into a checkpoint when all else is there."""


def mend(folder: Path, *, critic: bool) -> int:
    """Let all models go on from the newest checkpoint that is whole in each of them; its step, 0 if there is none.

    Each is saved in a folder of its own, with a file ``latest`` that names the one to go on from: a kill may come
    between two of them, or between the end of an old one and the new one's. Where none is whole, all are deleted.
    """
    models = ("_actor", "_critic") if critic else ("_actor",)
    found = [_whole(folder / model) for model in models]
    common = set(found[0]).intersection(*found[1:])
    if not common:
        for model in models:
            shutil.rmtree(folder / model, ignore_errors=True)
        return 0
    newest = max(common)
    for model, tags in zip(models, found, strict=True):
        write_whole(folder / model / "latest", tags[newest])
    return newest


def _whole(folder: Path) -> dict[int, str]:
    """The names of a model's checkpoints by their steps."""
    tags: dict[int, str] = {}
    for path in sorted(folder.glob("*global_step*")):  # of a best one and an ordinary one of a step, the latter counts
        match = _TAG.fullmatch(path.name)
        if match is not None and (path / _WHOLE).exists():
            tags[int(match[1])] = path.name
    return tags
