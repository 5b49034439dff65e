"""Ids reach Gymnasium whichever package is imported first, and without importing it."""

from __future__ import annotations

import subprocess
import sys

import pytest

MAKE = "env = gym.make('stepgym/Math-v0'); env.reset(seed=0); env.close(); print('made')"


@pytest.mark.parametrize(
    "code",
    [
        f"import gymnasium as gym, stepgym; {MAKE}",
        f"import stepgym, gymnasium as gym; {MAKE}",
        f"import stepgym; from gymnasium.envs.registration import make; import gymnasium as gym; {MAKE}",
        f"import gymnasium as gym; {MAKE.replace('stepgym/', 'stepgym:stepgym/')}",
        f"import stepgym, importlib, gymnasium as gym; importlib.reload(stepgym); importlib.reload(gym); {MAKE}",
    ],
)
def test_any_order_of_imports(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "made\n", done.stderr


def test_gymnasium_looks_untouched_after_our_hook() -> None:
    code = (
        "import sys, stepgym\nbefore = list(sys.meta_path)\nimport gymnasium\n"
        "assert len(sys.meta_path) == len(before) - 1\n"
        "assert 'SourceFileLoader' in repr(gymnasium.__spec__.loader), gymnasium.__spec__\n"
        "assert gymnasium.__loader__ is gymnasium.__spec__.loader\n"
        "print(*[i for i in gymnasium.registry if i.startswith('stepgym')] == stepgym.env_ids() and ['same'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "same\n", done.stderr


def test_a_missing_gymnasium_is_an_ordinary_import_error() -> None:
    code = (
        "import sys, stepgym\nsys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        "try:\n    import gymnasium\nexcept ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "gymnasium\n", done.stderr
