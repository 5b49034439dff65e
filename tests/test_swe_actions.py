"""What an agent in a repository may write, and what is made of it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.swe_actions import Edit, Malformed, Shell, Submission, as_call, parse_action
from stepgym.envs.swe_shown import MOST_CHARACTERS, bounded, left, shown
from stepgym.sandboxes import ExecResult

VIEW = Edit(command="view", path="/testbed/a.py", lines=(1, 40))


def openai(name: str, arguments: object) -> dict[str, object]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


FORMS = {
    "bare": "ls -la && cat a.py",
    "a block of bash": "THOUGHT: look\n\n```bash\nls -la && cat a.py\n```",
    "a block of sh": "```sh\nls -la && cat a.py\n```\nThat is all.",
    "a block without a language": "I look.\n```\nls -la && cat a.py\n```",
    "mini-swe-agent 2": "```mswea_bash_command\nls -la && cat a.py\n```",
    "only one of two blocks is bash": "```python\nx = 1\n```\n```bash\nls -la && cat a.py\n```",
    "after a thought with a block": "<think>```bash\nrm -rf .\n```</think>\n```bash\nls -la && cat a.py\n```",
    "SWE-smith": "Look.\n<function=bash>\n<parameter=command>ls -la && cat a.py</parameter>\n</function>",
    "OpenHands": "<function=execute_bash>\n<parameter=command>\nls -la && cat a.py\n</parameter>\n</function>",
    "Hermes": '<tool_call>\n{"name": "bash", "arguments": {"command": "ls -la && cat a.py"}}\n</tool_call>',
    "Qwen3-Coder": (
        "<tool_call>\n<function=bash>\n<parameter=command>\nls -la && cat a.py\n</parameter>\n</function>\n</tool_call>"
    ),
    "OpenAI, a message": json.dumps(
        {"role": "assistant", "tool_calls": [openai("bash", '{"command": "ls -la && cat a.py"}')]}
    ),
    "OpenAI, a call": json.dumps(openai("bash", {"command": "ls -la && cat a.py"})),
    "OpenAI, a list": json.dumps([openai("bash", {"command": "ls -la && cat a.py"})]),
    "Anthropic": json.dumps({"type": "tool_use", "name": "bash", "input": {"command": "ls -la && cat a.py"}}),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_command_in_every_form(form: str) -> None:
    assert parse_action(FORMS[form]) == Shell("ls -la && cat a.py")
    if form != "bare":
        assert parse_action(FORMS[form], bare=False) == Shell("ls -la && cat a.py")


EDITS = {
    "SWE-smith": (
        "<function=str_replace_editor>\n<parameter=command>view</parameter>\n<parameter=path>/testbed/a.py</parameter>\n"
        "<parameter=view_range>[1, 40]</parameter>\n</function>",
        VIEW,
    ),
    "SWE-agent": ("str_replace_editor view /testbed/a.py  --view_range 1 40", VIEW),
    "SWE-agent, in a block": ("```bash\nstr_replace_editor view /testbed/a.py --view_range 1 40\n```", VIEW),
    "JSON": (
        json.dumps(
            {
                "name": "str_replace_based_edit_tool",
                "arguments": {"command": "view", "path": "/testbed/a.py", "view_range": [1, 40]},
            }
        ),
        VIEW,
    ),
    "view_file": (
        json.dumps({"name": "view_file", "arguments": {"file_path": "/testbed/a.py", "lines": [1, 40]}}),
        VIEW,
    ),
    "edit_file": (
        json.dumps({"name": "edit_file", "arguments": {"path": "a", "old_string": "x", "new_string": "y"}}),
        Edit(command="str_replace", path="a", old="x", text="y"),
    ),
    "SWE-agent's quotes": (
        "str_replace_editor str_replace a --old_str 'it'\"'\"'s\n  one' --new_str ''",
        Edit(command="str_replace", path="a", old="it's\n  one"),
    ),
    "create": (
        "<function=str_replace_editor>\n<parameter=command>create</parameter>\n<parameter=path>n.py</parameter>\n"
        "<parameter=file_text>\nx = 1\n\n</parameter>\n</function>",
        Edit(command="create", path="n.py", text="x = 1\n"),
    ),
    "insert": (
        json.dumps(
            openai("str_replace_editor", {"command": "insert", "path": "a", "insert_line": "0", "new_str": "x"})
        ),
        Edit(command="insert", path="a", text="x", line=0),
    ),
}


@pytest.mark.parametrize("form", EDITS)
def test_the_editor_in_every_form(form: str) -> None:
    said, action = EDITS[form]
    assert parse_action(said) == action


@pytest.mark.parametrize(
    "said",
    [
        "submit",
        " submit\n",
        "Done.\n```bash\nsubmit\n```",
        "<function=submit>\n</function>",
        '<tool_call>{"name": "submit", "arguments": {}}</tool_call>',
        '{"name": "finish"}',
        as_call("submit"),
    ],
)
def test_submissions(said: str) -> None:
    assert parse_action(said) == Submission()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "empty"),
        ("<think>ls</think>", "empty"),
        ("```bash\nls\n```\n```bash\nls\n```", "2 complete blocks"),
        ("```bash\nls", "0 complete blocks"),
        ("```bash\n\n```", "command is empty"),
        ("<function=bash>\n<parameter=command>ls</parameter>", "lacks its </function>"),
        ("<function=bash>\n<parameter=command>ls\n</function>", "lacks its </parameter>"),
        ("<function=bash>\n</function>", "needs a command"),
        (as_call("ls") + as_call("pwd"), "2 calls"),
        ("<tool_call>ls</tool_call>", "not JSON"),
        ("<tool_call>[]</tool_call>", "0 calls"),
        ("<tool_call>3</tool_call>", "JSON object"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "not JSON"),
        ('{"name": "browse", "arguments": {}}', "no tool 'browse'"),
        ('{"name": "bash", "arguments": "ls"}', "arguments of the call are not JSON"),
        ('{"name": "bash", "arguments": {"command": 3}}', "needs a command"),
        ('{"name": "str_replace_editor", "arguments": {"command": "undo_edit", "path": "a"}}', "view, create"),
        ('{"name": "edit_file", "arguments": {"path": "a"}}', "needs old_str"),
        ('{"name": "create_file", "arguments": {"path": "a", "content": 3}}', "takes texts"),
        ('{"name": "view_file", "arguments": {"path": "a", "view_range": [1]}}', "two of them"),
        ('{"name": "view_file", "arguments": {"path": "a", "view_range": "[1,"}}', "two of them"),
        ('{"name": "view_file", "arguments": {"path": ["a"]}}', "needs a path"),
        ("str_replace_editor view 'a", "No closing quotation"),
        ("str_replace_editor view", "a command and a path"),
        ("str_replace_editor view a --view_range 1", "no option with a value"),
    ],
)
def test_malformed_ones_say_why(said: str, why: str) -> None:
    action = parse_action(said)
    assert isinstance(action, Malformed)
    assert why in action.why


def test_prose_is_a_command_only_where_bare_ones_are_taken() -> None:
    assert parse_action("Let me look.") == Shell("Let me look.")
    assert isinstance(parse_action("Let me look.", bare=False), Malformed)


@pytest.mark.parametrize("form", EDITS)
def test_a_call_of_the_editor_is_written_as_it_is_read(form: str) -> None:
    assert parse_action(as_call(EDITS[form][1])) == EDITS[form][1]


def test_a_call_carries_its_own_closing_tag() -> None:
    assert parse_action(as_call("echo '</tool_call>'")) == Shell("echo '</tool_call>'")


@given(st.text(min_size=1).filter(lambda line: line.strip() == line and line != "submit" and "str_replace" not in line))
def test_a_call_carries_any_command(line: str) -> None:
    assert parse_action(as_call(line)) == Shell(line)


@given(st.lists(st.sampled_from([*FORMS.values(), "```", "bash\n", "<tool_call>", "{", "</function>", "[", '"', "\n"])))
def test_anything_is_some_action(parts: list[str]) -> None:
    parse_action("".join(parts))
    parse_action("".join(parts), bare=False)


@pytest.mark.parametrize(
    "part",
    [
        "```bash\n",
        "```\n",
        "<tool_call>",
        "<function=a>",
        "</think>",
        "<function=bash><parameter=a>",
        "{",
        '{"a":',
        "[{",
    ],
)
def test_hostile_ones_take_linear_time(part: str) -> None:
    begun = time.perf_counter()
    parse_action(part * (1_000_000 // len(part)))
    assert time.perf_counter() - begun < 3


def test_what_is_shown_is_bounded_in_the_middle() -> None:
    text = "a" * MOST_CHARACTERS + "b" * MOST_CHARACTERS
    kept = bounded(text, 1_000_000)
    assert len(kept) < MOST_CHARACTERS + 200
    assert (kept[0], kept[-1]) == ("a", "b")
    assert "990000 characters left out" in kept
    assert bounded("a\n") == "a"
    assert shown(ExecResult(output="x\n", exit_code=0)) == "<returncode>0</returncode>\n<output>\nx\n</output>"
    assert "<stopped>timed out</stopped>" in shown(ExecResult(output="", exit_code=137, why="timed out"))
    assert left(1, 61) == "[1 action and 2 minutes of running commands left]"
