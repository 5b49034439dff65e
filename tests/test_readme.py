"""Every snippet of the README runs, and every command and name it speaks of exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import stepgym
from stepgym.rewards import REWARDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [body for language, body in BLOCKS if language == "python"]
CONSOLE = [body for language, body in BLOCKS if language == "console"]


def test_there_is_nothing_that_is_not_run() -> None:
    assert {language for language, _ in BLOCKS} <= {"python", "console", "text"}
    assert len(PYTHON) >= 3
    assert CONSOLE


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.strip().splitlines()[0])
def test_python_snippets_run(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for value in re.findall(r"# → (.+)$", code, re.MULTILINE):
        assert value in done.stdout, f"promised {value!r}, printed {done.stdout!r}"


@pytest.mark.parametrize("body", CONSOLE, ids=lambda body: body.strip().splitlines()[0])
def test_console_snippets_run(body: str, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands = [line.removeprefix("$ ").split("#")[0] for line in body.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tables_name_every_environment_and_reward() -> None:
    for name in stepgym.env_ids():
        assert f"`{name}`" in README, name
    for name in REWARDS:
        assert f"`{name}`" in README, name


def test_the_tree_names_every_folder() -> None:
    (tree,) = (body for language, body in BLOCKS if language == "text")
    named = set(re.findall(r"^(\w+)/", tree, re.MULTILINE))
    tracked = {file.parent.name for file in ROOT.glob("*/*.py")} - {"build"}
    assert tracked <= named
