"""What is asked: benchmark files, data sets of the hub, and seeded families that need no file at all.

    load("aime24")                                    # a named set, from $STEPGYM_DATA or the hub
    load("arithmetic?level=3&count=256&split=train")  # a procedural family
    load("problems.jsonl")                            # a file: .jsonl, .json or .parquet
    load("runs/django.traj.json")                     # a recorded run of a software-engineering agent, or a folder

Add a family: a file here, and a line in `FAMILIES`. Add a benchmark: an entry in `stepgym.tasks.sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepgym.lazy import exports
from stepgym.registry import Registry

if TYPE_CHECKING:
    from stepgym.records import Task
    from stepgym.tasks.family import generate
    from stepgym.tasks.fields import Fields
    from stepgym.tasks.loading import load, names

FAMILIES: Registry[Task] = Registry(
    "task family",
    {
        "addition": "stepgym.tasks.addition:addition",
        "arithmetic": "stepgym.tasks.arithmetic:arithmetic",
        "equations": "stepgym.tasks.equations:equations",
        "modular": "stepgym.tasks.modular:modular",
    },
)
"""Each entry is a `stepgym.tasks.family.Family`: it draws one task."""

__getattr__ = exports(
    __name__,
    {
        "Fields": "stepgym.tasks.fields",
        "generate": "stepgym.tasks.family",
        "load": "stepgym.tasks.loading",
        "names": "stepgym.tasks.loading",
    },
)

__all__ = ["FAMILIES", "Fields", "generate", "load", "names"]
