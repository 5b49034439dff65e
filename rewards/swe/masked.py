"""What of this machine a sandbox must not show: the gold patches of the tasks that come with the package.

A sandbox without an image sees this machine's ``/usr`` and the folder of its Python. Where stepgym is installed there,
an agent, or the code that it hands in, could read what resolves the shipped tasks.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stepgym.sandboxes import Bind
from stepgym.tasks import swe_small
from stepgym.tasks.swe_python import cache_folder


def gold_masked() -> tuple[Bind, ...]:
    """An empty folder in the place of the shipped tasks; nothing where a sandbox does not see them anyway."""
    return masked(swe_small.FOLDER)


def masked(folder: Path) -> tuple[Bind, ...]:
    """An empty folder in the place of one of this machine's, where a sandbox would see that."""
    place = folder.resolve()
    if not any(place.is_relative_to(Path(seen).resolve()) for seen in ("/usr", sys.base_prefix)):
        return ()
    empty = cache_folder() / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    return (Bind(empty, str(place)),)
