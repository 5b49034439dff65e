"""A thousand sandboxes one after the other, and 64 at once: nothing is left of them, and their owner has not grown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAKING = Path(__file__).with_name("soaking_sandboxes.py")


@pytest.mark.usefixtures("namespaces")
def test_a_thousand_sandboxes_leave_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-W", "error", SOAKING, "namespace", "1000", "64"],
        capture_output=True,
        text=True,
        env={**os.environ, "STEPGYM_SANDBOXES": str(state)},
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout)
    assert left.pop("at_once") >= 64 * 2, "the sandboxes and the processes in them were there, and seen"
    assert left.pop("growth") < 10 << 20
    assert left.pop("seconds") > 0
    assert {what: value for what, value in left.items() if value} == {}
    assert os.listdir(state) == []
