"""stepgym/SWEEdit-v0: SEARCH/REPLACE edits with the oracle's files, and localising before editing."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym import Attempt, Score, Status, Stop, Task
from stepgym.codec import encode
from stepgym.envs import SWEEditEnv
from stepgym.envs.swe_edit_blocks import EditFormatError, edited, parse_blocks
from stepgym.errors import ConfigError
from stepgym.sandboxes.namespaces import sandbox as namespace
from stepgym.tasks import load
from stepgym.tasks.swe import KEY, instance_of
from stepgym.tasks.swe_patch_reading import changes

PAGER = "swe-small__pager"


def block(path: str, search: str, replacement: str) -> str:
    return f"### {path}\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n"


def gold_edits(task: Task) -> str:
    """The gold patch's hunks as edits."""
    edits = []
    for change in changes(task.answer):
        old, new = [], []
        for line in (*change.hunks, "@@"):
            if line.startswith(("@@", "diff ")):
                if old or new:
                    edits.append(block(change.path, "".join(old), "".join(new)))
                old, new = [], []
            else:
                old += [f"{line[1:]}\n"] * (line[:1] in (" ", "-", "") and line != "")
                new += [f"{line[1:]}\n"] * (line[:1] in (" ", "+", "") and line != "")
    return "".join(edits)


def size(attempt: Attempt) -> Score:
    return Score(float(len(attempt.text)))


@pytest.mark.usefixtures("namespaces")
def test_the_gold_patch_as_edits_resolves_every_task() -> None:
    env = gym.make("stepgym/SWEEdit-v0")
    for task in load("swe-small"):
        observation, _ = env.reset(options={"task": task})
        assert task.prompt in observation
        assert f"### {changes(task.answer)[0].before}\n```\n" in observation
        _, reward, terminated, _, info = env.step(f"<think>hm ### x\n</think>\n{gold_edits(task)}")
        assert (reward, terminated, info["score"].parts["format"]) == (1.0, True, 1.0), info["score"].why
    env.close()


@pytest.mark.usefixtures("namespaces")
def test_localise_then_edit() -> None:
    env = gym.make("stepgym/SWEEdit-v0", setting="locate")
    task = next(task for task in load("swe-small") if task.id == PAGER)
    observation, _ = env.reset(options={"task": PAGER})
    assert "pager/core.py\npager/links.py\n" in observation
    assert "tests/" not in observation.partition(task.prompt)[2]
    observation, reward, terminated, _, info = env.step(
        "Surely there.\n```\npager/core.py\n./pager/links.py\nno.py\n```"
    )
    assert (reward, terminated, info["score"].parts) == (0.0, False, {"located": 1.0})
    assert "### pager/core.py\n```\n" in observation
    _, reward, terminated, _, info = env.step(gold_edits(task))
    assert (reward, terminated, info["stop"]) == (1.0, True, Stop.ANSWERED)
    env.reset(options={"task": PAGER})
    *_, terminated, _, info = env.step("It is in pager/core.py.")
    assert (terminated, info["score"].status) == (True, Status.UNPARSABLE)
    env.close()


@pytest.mark.usefixtures("namespaces")
def test_a_broken_format_earns_what_is_set() -> None:
    for settings, reward in (({}, 0.0), ({"malformed": -1.0}, -1.0)):
        env = SWEEditEnv(reward=size, **settings)
        env.reset(options={"task": PAGER})
        _, earned, terminated, _, info = env.step("I would change the pager.")
        assert (earned, terminated, info["stop"]) == (reward, True, Stop.ANSWERED)
        assert info["score"].status is Status.UNPARSABLE
        assert info["score"].parts == {"format": 0.0}
        env.close()


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("path", "search", "why"),
    [
        ("/etc/passwd", "", "absolute"),
        ("../x", "", "'..'"),
        (".git/hooks/pre-commit", "", ".git"),
        ("tests/test_pager.py", "", "there already"),
        ("tests/test_pager.py", "import unittest\n", "not one of the files shown"),
        ("new.py", "x\n", "not one of the files shown"),
        ("pager/core.py", "no such line\n", "do not stand so"),
        ("pager/core.py", "", "is there already"),
        ("pager/core.py/x", "", "cannot be written"),
    ],
)
def test_edits_that_cannot_be_made_are_named(path: str, search: str, why: str) -> None:
    with SWEEditEnv(reward=size) as env:
        env.reset(options={"task": PAGER})
        *_, info = env.step(block(path, search, "x = 1\n"))
        assert info["score"].status is Status.UNPARSABLE
        assert why in info["score"].why
        assert info["patch"] == ""


@pytest.mark.usefixtures("namespaces")
def test_files_keep_their_line_ends_and_bytes(tmp_path: Path) -> None:
    files = {"dos.py": b"a = 1\r\nb = 2\r\n", "latin.py": b"# \xe9\nc = 3", "picture.py": b"\0\1\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    gold = "".join(f"diff --git a/{n} b/{n}\n--- a/{n}\n+++ b/{n}\n@@ -1 +1 @@\n-x\n+y\n" for n in files)
    instance = replace(instance_of(load("swe-small")[0]), source=str(tmp_path))
    task = Task(id="t", prompt="p", answer=gold, meta={KEY: encode(instance)})
    with SWEEditEnv([task], reward=size) as env:
        shown, _ = env.reset()
        assert "# \ufffd\nc = 3\n```" in shown
        assert "picture.py" not in shown
        *_, info = env.step(block("dos.py", "b = 2\n", "b = 3\n") + block("latin.py", "c = 3\n", "c = 4\n"))
    assert "-b = 2\r\n+b = 3\r\n" in info["patch"]
    assert "b/latin.py" in info["patch"]
    assert "a = 1\r\n" in info["patch"]


@pytest.mark.usefixtures("namespaces")
def test_no_sandbox_is_held_while_the_agent_thinks() -> None:
    begun = len(namespace._LIVE)
    env = SWEEditEnv(reward=size)
    env.reset(seed=0)
    assert len(namespace._LIVE) == begun
    env.step("nothing")
    assert len(namespace._LIVE) == begun


@pytest.mark.usefixtures("namespaces")
def test_a_sandbox_that_cannot_be_had_again_is_not_a_zero() -> None:
    with SWEEditEnv(reward=size) as env:
        env.reset(options={"task": PAGER})
        env.sandbox_spec = replace(env.sandbox_spec, image="/nowhere")
        _, reward, terminated, truncated, info = env.step(block("new.py", "", "x = 1\n"))
        assert math.isnan(reward)
        assert (terminated, truncated, info["stop"]) == (False, True, Stop.UNGRADED)
        assert "/nowhere" in info["ungraded"]


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="oracle or locate"):
        SWEEditEnv(setting="guess", reward=size)


FILE = "def f():\n    return 1\n\n\ndef g():\n    return 1\n"


@pytest.mark.parametrize(
    ("search", "replacement", "after"),
    [
        ("def g():\n", "def h():\n", FILE.replace("def g", "def h")),
        ("    return 1\n", "    return 2\n", FILE.replace("1", "2")),
        ("\n\n", "\n", FILE.replace("\n\n\n", "\n\n")),
        ("    return 1\n", "", FILE.replace("    return 1\n", "")),
        ("def f():\n    return 1\n", "x = 1\n", "x = 1\n" + FILE.partition("1\n")[2]),
    ],
)
def test_whole_lines_are_replaced_wherever_they_stand(search: str, replacement: str, after: str) -> None:
    assert edited({"a.py": FILE}, parse_blocks(block("a.py", search, replacement))) == {"a.py": after}


@pytest.mark.parametrize("search", ["return 1\n", "def f()\n", "    return 1\n    return 1\n", "def f():\n\n"])
def test_half_lines_do_not_match(search: str) -> None:
    with pytest.raises(EditFormatError, match="do not stand so"):
        edited({"a.py": FILE}, parse_blocks(block("a.py", search, "x\n")))


def test_edits_follow_one_another_and_make_files() -> None:
    text = (
        "<think>### no.py\n<<<<<<< SEARCH\n</think><solution>\n```python\n"
        + block("a.py", "def f():\n", "def e():\n")
        + "```\n```python\n<<<<<<< SEARCH\ndef e():\n=======\ndef d():\n>>>>>>> REPLACE\n```\n"
        + block("`./b/new.py`", "", "x = 1\n")
        + "</solution>"
    )
    assert edited({"a.py": FILE}, parse_blocks(text)) == {"a.py": FILE.replace("def f", "def d"), "b/new.py": "x = 1\n"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no edit"),
        ("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE", "no line '### path'"),
        ("### a.py\n<<<<<<< SEARCH\na\n=======\nb\n", "lacks its line '>>>>>>> REPLACE'"),
        ("### a.py\n<<<<<<< SEARCH\na\n", "lacks its line '======='"),
        (block("a.py", "def f():\n", "def f():\n"), "changes nothing"),
        (block("a.py", "def f():\n", "a\0b\n"), "NUL"),
        (block("a.py", "def f():\n", "x\n") * 1001, "more than 1000"),
        (block("a.py", "a\n", "a\n" * 1000) * 9, "longer than"),
    ],
)
def test_edits_that_are_none(text: str, why: str) -> None:
    with pytest.raises(EditFormatError, match=why):
        edited({"a.py": FILE + "a\n" * 1000}, parse_blocks(text))


@given(st.lists(st.sampled_from(["### a.py", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "x", "", "```"])))
def test_anything_is_edits_or_is_refused(lines: list[str]) -> None:
    with suppress(EditFormatError):
        edited({"a.py": "x\n\nx\n"}, parse_blocks("\n".join(lines)))


def test_hostile_edits_take_linear_time() -> None:
    begun = time.perf_counter()
    for text in ("<<<<<<< SEARCH\n" * 70_000, "### " * 250_000, block("a.py", "a\n" * 1000 + "b\n", "x\n") * 500):
        with pytest.raises(EditFormatError):
            edited({"a.py": "a\n" * 100_000}, parse_blocks(text))
    assert time.perf_counter() - begun < 3


@pytest.mark.usefixtures("namespaces")
def test_the_reward_may_be_likeness_to_the_gold_patch() -> None:
    task = next(task for task in load("swe-small") if task.id == PAGER)
    with SWEEditEnv([task], reward="patch-similarity", malformed=-1.0) as env:
        rewards = []
        for said in (gold_edits(task), block("pager/other.py", "", "x = 1\n"), "Nothing."):
            env.reset()
            rewards.append(env.step(said)[1])
    assert rewards[0] > 0.99
    assert rewards[1:] == [0.0, -1.0]
