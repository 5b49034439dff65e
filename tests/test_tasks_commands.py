"""The `stepgym tasks` commands: what they print and write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.tasks import load, names
from stepgym.tasks.commands import ExportConfig, ListConfig, ShowConfig, export, list_sets, show


def test_list_names_every_set_and_where_its_data_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "aime24.jsonl").write_text('{"problem": "Q", "answer": 1}\n')
    monkeypatch.setenv("STEPGYM_DATA", str(tmp_path))
    list_sets(ListConfig())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert next(line for line in lines if line.startswith("aime24 ")).endswith(f"({tmp_path / 'aime24.jsonl'})")
    assert next(line for line in lines if line.startswith("aime25 ")).endswith("(not here: math-ai/aime25?split=test)")
    list_sets(ListConfig(json=True))
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == names()


def test_show_prints_the_task_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    task = load("arithmetic?level=2&seed=4")[7]
    show(ShowConfig(source="arithmetic?level=2&seed=4", index=7))
    out = capsys.readouterr().out
    for text in (task.id, task.prompt, f"answer: {task.answer}", *task.steps, *task.subquestions, task.hint):
        assert text in out
    assert out.count("== ") == 1
    show(ShowConfig(source="worked", limit=2, json=True))
    assert [Task.from_json(line) for line in capsys.readouterr().out.splitlines()] == list(load("worked", limit=2))
    for index in (-1, 22):
        with pytest.raises(ConfigError, match="--index"):
            show(ShowConfig(source="worked", index=index))


def test_show_keeps_control_characters_from_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"problem": "a\x1b]0;owned\x07b\nc\u202e", "answer": 1}) + "\n")
    show(ShowConfig(source=str(path)))
    out = capsys.readouterr().out
    assert "a\ufffd]0;owned\ufffdb\nc\ufffd" in out


@pytest.mark.parametrize("source", ["worked", "addition?level=3&count=10&split=test"])
def test_export_writes_what_loads_back_identically(source: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    export(ExportConfig(source=source, out=out))
    assert load(out) == load(source)
    assert os.listdir(out.parent) == ["out.jsonl"]
    with pytest.raises(ConfigError, match=r"out\.jsonl exists; .*--force"):
        export(ExportConfig(source=source, out=out))
    export(ExportConfig(source=source, out=out, limit=2, force=True))
    assert load(out) == load(source)[:2]
    with pytest.raises(ConfigError, match=r"must end in \.jsonl"):
        export(ExportConfig(source=source, out=tmp_path / "out.txt"))
