"""A fingerprint of tasks: work that was begun on some tasks must not go on with others under the same name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from stepgym.codec import encode
from stepgym.records import Task


def digest(tasks: Sequence[Task]) -> str:
    """The same for the same tasks in the same order."""
    whole = hashlib.sha256()
    for task in tasks:
        whole.update(json.dumps(encode(task), sort_keys=True).encode())
    return whole.hexdigest()[:16]
