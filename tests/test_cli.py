"""The command line as a person meets it: help, bad input, configuration files, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepgym.cli import COMMANDS


def stepgym(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "stepgym.cli", *words]
    clean = {key: value for key, value in os.environ.items() if key != "STEPGYM_DATA"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=clean, timeout=120)


def test_help_lists_every_command_with_a_line() -> None:
    done = stepgym("--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for name in COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert len(line.removeprefix(f"  {name}").strip()) > 15, line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(name: str) -> None:
    done = stepgym(*name.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: stepgym {name}" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evl"], "did you mean"),
        (["eval"], "did you mean 'eval swe'"),
        (["eval", "maths"], "did you mean 'eval math'"),
        (["tasks", "show", "aime42"], "did you mean 'aime2"),
        (["tasks", "show", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["validate", "arithmetik"], "did you mean 'arithmetic'"),
        (["eval", "math", "--policy", "opnai"], "did you mean 'openai'"),
        (["train", "gropo"], "did you mean 'grpo'"),
        (["rollout", "stepgym/Maths-v0"], "did you mean 'stepgym/Math-v0'"),
        (["view", "no/such/run"], "no/such/run"),
        (["doctor", "--config"], "--config needs a file name"),
        (["doctor", "--config", "missing.toml"], "missing.toml: cannot be read"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_clear_sentence(words: list[str], message: str, tmp_path: Path) -> None:
    done = stepgym(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("stepgym: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert os.listdir(tmp_path) == []


def test_a_configuration_file_gives_the_same_fields(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("json = true\n")
    done = stepgym("doctor", "--config", "c.toml", cwd=tmp_path)
    assert {row["what"] for row in json.loads(done.stdout)} >= {"python", "gymnasium", "torch"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jason = true\n", "c.toml: settings: no field named 'jason'; did you mean 'json'?"),
        ("json = 1\n", "c.toml: settings.json: expected true or false, got 1"),
        ("json = \n", "c.toml: not TOML"),
    ],
)
def test_a_broken_configuration_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = stepgym("doctor", "--config", "c.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_closed_pipe_is_no_crash() -> None:
    command = f"{sys.executable} -m stepgym.cli tasks show arithmetic?count=500 --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("words", ["tasks list", "--help", "validate worked", "eval math --help"])
def test_output_that_nobody_takes(words: str) -> None:
    """Short output too, which Python keeps until it exits."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    for where, code, message in (("| head -c 0", 0, ""), ("> /dev/full", 2, "the output cannot be written (No space")):
        line = f"{sys.executable} -m stepgym.cli {words} {where}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=clean)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert "Exception" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr


def test_a_terminal_that_lacks_the_letters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"problem": "Сколько?", "answer": "2"}\n', encoding="utf-8")
    command = [sys.executable, "-m", "stepgym.cli", "tasks", "show", "a.jsonl"]
    narrow = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=narrow)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0421" in done.stdout


@pytest.mark.parametrize(
    "words", [("eval", "math", "--policy", "gold", "--out"), ("view", "run", "--out"), ("tasks", "export", "worked")]
)
def test_a_place_that_cannot_be_written_is_one_clear_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    assert stepgym("eval", "math", "--policy", "gold", "--limit", "2", "--out", "run", cwd=tmp_path).returncode == 0
    done = stepgym(*words, "run/report.json/below.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stepgym:")]
    assert "cannot be written" in line
    assert "Traceback" not in done.stderr


def test_a_part_that_is_not_installed_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    without = os.environ | {"PYTHONPATH": str(tmp_path)}
    for words in ("train grpo --plan", "eval math --policy local --model x"):
        command = [sys.executable, "-m", "stepgym.cli", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=without)
        assert done.returncode == 2, done.stderr
        assert done.stderr == "stepgym: torch is not installed; pip install 'stepgym[train]'\n"


def test_the_file_of_settings_may_follow_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("json = true\n")
    assert json.loads(stepgym("doctor", "--config=c.toml", cwd=tmp_path).stdout)
