"""``swe-small``: small repositories with a bug each, which come with the package and need nothing but Python.

Each is one file, ``repos/NAME.txtar``, with ``issue.md``, the files of ``base/``, ``gold.patch``, ``test.patch``, and
``tests.json`` with what SWE-bench calls FAIL_TO_PASS and PASS_TO_PASS and the hash of the base's commit. Their tests
run with `unittest`, whose log swebench reads as Django's.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from stepgym.records import Task
from stepgym.tasks.swe import Instance, swe_task
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_scripts import eval_script
from stepgym.tasks.swe_source import PACKAGED
from stepgym.tasks.txtar import read_txtar

FOLDER = Path(__file__).parent / "repos"
TIMEOUT = 120.0


@lru_cache(maxsize=1)
def small_tasks() -> tuple[Task, ...]:
    """All of them, in the order of their names."""
    return tuple(small_task(path) for path in sorted(FOLDER.glob("*.txtar")))


def small_task(path: Path) -> Task:
    """The task in one such file."""
    files = read_txtar(path)
    tests = json.loads(files["tests.json"])
    instance = Instance(
        repo=f"swe-small/{path.stem}",
        base_commit=tests["base_commit"],
        source=f"{PACKAGED}{path.relative_to(Path(__file__).parent)}",
        test_patch=files["test.patch"],
        eval_script=_script(files, tests["base_commit"]),
        log_parser="parse_log_django",
        fail_to_pass=tuple(tests["FAIL_TO_PASS"]),
        pass_to_pass=tuple(tests["PASS_TO_PASS"]),
        timeout=TIMEOUT,
    )
    return swe_task(f"swe-small__{path.stem}", files["issue.md"].strip(), files["gold.patch"], instance)


def _script(files: dict[str, str], base: str) -> str:
    """Every test module by its name, so that no other file takes part."""
    names = {name.removeprefix("base/") for name in files if name.startswith("base/")}
    names |= {change.after for change in changes(files["test.patch"])}
    modules = [
        name.removesuffix(".py").replace("/", ".") for name in sorted(names) if Path(name).name.startswith("test_")
    ]
    return eval_script(
        files["test.patch"],
        f"python3 -m unittest -v {' '.join(modules)}",
        base=base,
        before=["export PYTHONDONTWRITEBYTECODE=1"],
    )
