"""The shipped repositories: the gold patch solves each, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgym.errors import TaskError
from stepgym.evals.swe_making import run_tests
from stepgym.rewards.swe.grading import grade
from stepgym.tasks import load
from stepgym.tasks.swe import Instance, instance_of
from stepgym.tasks.swe_patch import is_test
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_small import FOLDER
from stepgym.tasks.swe_source import git, materialise, pack, unpack
from stepgym.tasks.txtar import read_txtar

pytestmark = pytest.mark.usefixtures("namespaces")

TASKS = load("swe-small")
IDS = [task.id for task in TASKS]


def laid_out(instance: Instance, folder: Path) -> Instance:
    from dataclasses import replace

    materialise(instance.source, folder)
    return replace(instance, source=str(folder))


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_gold_solves_it_and_nothing_does_not(task, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    instance = laid_out(instance_of(task), tmp_path)
    gold = grade(task, run_tests(instance, task.answer), patch=task.answer)
    assert gold.resolved, gold
    noop = grade(task, run_tests(instance))
    assert not noop.resolved
    failing = {test.name for test in noop.tests if not test.success}
    assert failing == set(instance.fail_to_pass)


def test_what_ships() -> None:
    assert len(TASKS) >= 6
    assert sorted(IDS) == IDS
    assert any(len(changes(task.answer)) > 1 for task in TASKS)
    for task in TASKS:
        instance = instance_of(task)
        assert len(instance.fail_to_pass) >= 2
        assert len(instance.pass_to_pass) >= 3
        assert not any(is_test(change.path) for change in changes(task.answer))
        assert all(is_test(change.path) for change in changes(instance.test_patch))
        assert instance.source.startswith("package:")


def test_the_hidden_tests_are_not_in_the_repository(tmp_path: Path) -> None:
    for task in TASKS:
        folder = tmp_path / task.id
        assert materialise(instance_of(task).source, folder) == instance_of(task).base_commit
        assert git(folder, "log", "--all", "--format=%s").split() == ["base"]
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.parts}
        made = {change.after for change in changes(instance_of(task).test_patch) if not change.before}
        assert not made & files
        assert not {"issue.md", "gold.patch", "tests.json"} & files


def test_the_commit_depends_on_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = instance_of(TASKS[0]).source
    first = materialise(source, tmp_path / "first")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "someone")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[core]\n\tautocrlf = true\n[user]\n\tname = x\n[init]\n\tdefaultBranch = y\n")
    assert materialise(source, tmp_path / "second") == first
    pack(tmp_path / "second", tmp_path / "a.tar.gz")
    pack(tmp_path / "first", tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert materialise(str(tmp_path / "a.tar.gz"), tmp_path / "third") == first
    assert materialise(str(tmp_path / "third"), tmp_path / "fourth") == first


def test_a_source_beside_the_task_file(tmp_path: Path) -> None:
    from dataclasses import replace

    from stepgym.codec import encode
    from stepgym.tasks.swe import KEY

    task = TASKS[0]

    def written(source: str) -> Path:
        instance = replace(instance_of(task), source=source)
        path = tmp_path / "tasks.jsonl"
        path.write_text(replace(task, meta={KEY: encode(instance)}).to_json() + "\n")
        return path

    (loaded,) = load(written("base.tar.gz"))
    assert instance_of(loaded).source == str(tmp_path / "base.tar.gz")
    with pytest.raises(TaskError, match="the files of the repository are not at"):
        materialise(instance_of(loaded).source, tmp_path / "x")
    with pytest.raises(TaskError, match=r"tasks\.jsonl:1: the source '\.\./base' leads out"):
        load(written("../base"))


def test_archives_cannot_lead_out(tmp_path: Path) -> None:
    import io
    import tarfile

    def archive(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
        path = tmp_path / "hostile.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, 0 if link else 1
            tar.addfile(member, io.BytesIO(b"x"))
        return path

    for hostile in (
        archive("../out"),
        archive("a", kind=tarfile.SYMTYPE, link="/etc"),
        archive("d", kind=tarfile.CHRTYPE),
    ):
        with pytest.raises(TaskError, match="cannot be unpacked"):
            unpack(hostile, tmp_path / "in")
    unpack(archive("/rooted"), tmp_path / "in")
    assert (tmp_path / "in" / "rooted").exists()
    (tmp_path / "junk.tar.gz").write_bytes(b"\x1f\x8b junk")
    with pytest.raises(TaskError, match="cannot be unpacked"):
        unpack(tmp_path / "junk.tar.gz", tmp_path / "in")


def test_txtar(tmp_path: Path) -> None:
    path = tmp_path / "a.txtar"
    path.write_text("a comment\n-- x/y --\n1\n\n-- z --\n-- not\n")
    assert read_txtar(path) == {"x/y": "1\n\n", "z": "-- not\n"}
    for name in ("/etc/x", "a/../../b", "x/y"):
        path.write_text(f"-- x/y --\n-- {name} --\n")
        with pytest.raises(TaskError, match=r"a\.txtar:2"):
            read_txtar(path)
    for file in FOLDER.glob("*.txtar"):
        assert {"issue.md", "gold.patch", "test.patch", "tests.json"} <= read_txtar(file).keys()
