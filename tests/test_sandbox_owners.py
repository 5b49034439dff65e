"""Whose a sandbox is: owners known apart, alive or dead, and what dead ones left removed, nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes.namespaces.cgroups import FOLDER
from stepgym.sandboxes.owners import LOCK, Owner, state_folder, this_owner
from stepgym.sandboxes.reaper import Kind, leftovers, look, prune
from stepgym.sandboxes.removal import remove_tree

OWNING = (
    "from stepgym.sandboxes.owners import own_folder, this_owner\n"
    "(own_folder() / 'sandbox').mkdir(); print(this_owner().label, flush=True); input()"
)
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder for this test alone."""
    monkeypatch.setenv("STEPGYM_SANDBOXES", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def other(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, with a folder in the state folder; its label is the first line it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def label_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def owner_of(process: subprocess.Popen[str]) -> Owner:
    owner = Owner.parse(label_of(process))
    assert owner is not None
    return owner


def made(owner: Owner) -> Path:
    """A folder as `owner` might have left it, a day ago."""
    folder = state_folder() / owner.label
    folder.mkdir()
    (folder / LOCK).touch()
    os.utime(folder, (time.time() - 86400,) * 2)
    return folder


def in_child(work: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", work], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_a_label_is_a_fit_name_and_leads_back_to_the_owner() -> None:
    owner = this_owner()
    assert re.fullmatch(r"[a-z0-9.-]{1,60}", owner.label)
    assert Owner.parse(owner.label) == owner
    assert owner.pid == os.getpid()


@pytest.mark.parametrize("label", ["", "x", "stepgym", "../x", "lock", "80c86c-8595d39b-effffffc-12-x", "١-2-3-4-5"])
def test_what_is_no_label_has_no_owner(label: str) -> None:
    assert Owner.parse(label) is None


def test_this_process_lives_and_an_earlier_one_of_its_number_does_not() -> None:
    owner = this_owner()
    assert owner.alive()
    assert not replace(owner, started=owner.started - 1).alive()


def test_pid_one_lives_under_its_true_start_alone() -> None:
    started = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    first = replace(this_owner(), pid=1, started=started)
    assert first.alive()
    assert not replace(first, started=started + 1).alive()


def test_of_another_boot_of_this_machine_nobody_lives() -> None:
    assert not replace(this_owner(), boot="00000000").alive()


def test_of_another_machine_everybody_counts_as_alive() -> None:
    assert replace(this_owner(), machine="000000", boot="00000000", pid=1 << 22).alive()


def test_one_that_ended_is_dead_also_while_its_exit_code_is_kept(other: subprocess.Popen[str]) -> None:
    owner = owner_of(other)
    assert owner.alive()
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie
    assert not owner.alive()
    other.wait()
    assert not owner.alive()


def test_in_another_pid_namespace_the_lock_decides(state: Path, other: subprocess.Popen[str]) -> None:
    owner = owner_of(other)
    elsewhere = replace(owner, namespace=owner.namespace + 1)
    assert elsewhere.alive(), "nothing is known of one without a folder"
    (state / owner.label).rename(state / elsewhere.label)
    os.utime(state / elsewhere.label, (time.time() - 86400,) * 2)
    assert elsewhere.alive()
    other.kill()
    other.wait()
    assert not elsewhere.alive()
    os.utime(state / elsewhere.label)
    assert elsewhere.alive(), "it may be about to lock"


def test_a_forked_child_is_another_owner_with_a_folder_of_its_own(state: Path) -> None:
    work = """
import os, sys
from stepgym.sandboxes.owners import own_folder, this_owner
mine, folder = this_owner(), own_folder()
reading, writing = os.pipe()
if not (child := os.fork()):
    assert this_owner() != mine and this_owner().pid == os.getpid() and mine.alive()
    assert own_folder() != folder
    os.write(writing, b"fine")
    sys.exit()
os.waitpid(child, 0)
print(os.read(reading, 9).decode(), sorted(os.listdir(folder.parent)) == [folder.name], own_folder() == folder)
"""
    assert in_child(work) == "fine True True"
    assert os.listdir(state) == []


def test_the_lock_holds_while_the_owner_lives_through_forks_and_threads(state: Path) -> None:
    work = """
import fcntl, os, subprocess, sys, threading
from stepgym.sandboxes.owners import LOCK, own_folder
path = own_folder() / LOCK
threading.Thread(target=own_folder).start()
if not (child := os.fork()):
    own_folder()
    os._exit(0)
os.waitpid(child, 0)
probe = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
print(subprocess.run([sys.executable, "-c", probe, path], stderr=subprocess.PIPE).stderr.decode().split()[-1])
"""
    assert in_child(work) == "unavailable"


def test_an_empty_folder_is_removed_at_exit_and_one_in_use_is_not(state: Path) -> None:
    in_child("from stepgym.sandboxes.owners import own_folder; own_folder()")
    assert os.listdir(state) == []
    in_child("from stepgym.sandboxes.owners import own_folder; (own_folder() / 'x').mkdir()")
    assert len(os.listdir(state)) == 1


def test_the_state_folder_is_for_its_user_alone(state: Path) -> None:
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    assert state_folder() == state
    assert state.stat().st_mode & 0o777 == 0o700


def test_where_files_cannot_be_kept_one_sentence_says_so(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write_text("")
    with pytest.raises(SandboxError, match="STEPGYM_SANDBOXES"):
        state_folder()
    monkeypatch.setenv("STEPGYM_SANDBOXES", "/proc/nowhere")
    with pytest.raises(SandboxError, match="set STEPGYM_SANDBOXES to another folder"):
        state_folder()


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(state: Path) -> None:
    state.mkdir()
    os.chown(state, 65534, 65534)
    with pytest.raises(SandboxError, match="another user"):
        state_folder()


def test_only_what_dead_owners_left_is_removed(state: Path, other: subprocess.Popen[str]) -> None:
    label = label_of(other)
    us = this_owner()
    reborn, rebooted = replace(us, started=us.started - 1), replace(us, boot="00000000")
    foreign = replace(us, machine="000000", boot="00000000")
    dead = {str(made(owner)) for owner in (reborn, rebooted)}
    made(foreign)
    (state / "notes").mkdir()
    (state / "notes" / reborn.label).mkdir()
    assert {trace.where for trace in leftovers() if trace.kind is Kind.FILES} == dead
    pruned = prune()
    assert dead <= {trace.where for trace in pruned.removed}
    assert pruned.failed == ()
    assert sorted(os.listdir(state)) == sorted([label, foreign.label, "notes"])
    assert os.listdir(state / "notes") == [reborn.label]
    other.kill()
    other.wait()
    prune()
    assert sorted(os.listdir(state)) == sorted([foreign.label, "notes"])


def test_a_link_with_the_name_of_a_dead_owner_leads_nowhere(state: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    dead = replace(this_owner(), boot="00000000")
    (state_folder() / dead.label).symlink_to(tmp_path / "precious")
    assert [failure.trace.owner for failure in prune().failed] == [dead]
    assert (tmp_path / "precious" / "file").exists()


def test_many_reapers_at_once_remove_everything_and_nobody_fails(state: Path) -> None:
    us = this_owner()
    for number in range(1, 9):
        folder = made(replace(us, started=us.started - number))
        for name in range(20):
            (folder / f"{name}/a/b").mkdir(parents=True)
            (folder / f"{name}/a/b/file").touch()
    work = "from stepgym.sandboxes.reaper import prune; print(len(prune().failed))"
    reapers = [subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [reaper.communicate(timeout=60)[0].strip() for reaper in reapers] == ["0"] * 4
    assert os.listdir(state) == []


def test_the_first_sandbox_of_a_process_removes_leftovers_once(state: Path) -> None:
    work = """
import os
from dataclasses import replace
from stepgym.sandboxes.owners import state_folder, this_owner
from stepgym.sandboxes.reaper import reap_once
dead = state_folder() / replace(this_owner(), boot="00000000").label
for _ in range(2):
    dead.mkdir()
    reap_once()
    print(dead.exists(), end=" ")
"""
    assert in_child(work) == "False True"


def groups() -> list[Path]:
    """A folder for control groups in every hierarchy where this user may make one."""
    found = []
    for base in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        folder = base / FOLDER
        if (base / "cgroup.procs").exists():
            try:
                folder.mkdir(exist_ok=True)
            except OSError:
                continue
            found.append(folder)
    return found


def test_a_control_group_of_a_dead_owner_goes_with_its_processes(state: Path) -> None:
    folders = groups()
    if not folders:
        pytest.skip("this user may not make control groups")
    us = this_owner()
    dead = replace(us, started=us.started - 1)
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        for folder in folders:
            for owner in (dead, us):
                (folder / f"{owner.label}.7").mkdir()
            (folder / f"{dead.label}.7" / "cgroup.procs").write_text(str(sleeper.pid))
        pruned = prune()
        assert pruned.failed == ()
        assert sleeper.wait(timeout=10) == -signal.SIGKILL
        assert [folder for folder in folders if (folder / f"{dead.label}.7").exists()] == []
        assert [folder for folder in folders if not (folder / f"{us.label}.7").exists()] == []
        assert {trace.where for trace in look().traces if trace.owner == us and trace.kind is Kind.CGROUP} >= {
            str(folder / f"{us.label}.7") for folder in folders
        }
    finally:
        sleeper.kill()
        sleeper.wait()
        for folder in folders:
            for owner in (dead, us):
                shutil.rmtree(folder / f"{owner.label}.7", ignore_errors=True)
                if (folder / f"{owner.label}.7").exists():
                    (folder / f"{owner.label}.7").rmdir()


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stepgym.cli", "sandboxes", *words], capture_output=True, text=True, timeout=60
    )


def test_commands_list_and_prune(state: Path, other: subprocess.Popen[str]) -> None:
    label = label_of(other)
    dead = replace(this_owner(), boot="00000000")
    folder = made(dead)
    listed = run_command("ls")
    assert listed.returncode == 0, listed.stderr
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert ["files", str(dead.pid), "dead", str(folder)] in lines
    assert ["files", str(other.pid), "lives", str(state / label)] in lines
    pruned = run_command("prune", "--json")
    assert pruned.returncode == 0, pruned.stderr
    assert {row["where"] for row in json.loads(pruned.stdout)} >= {str(folder)}
    rows = json.loads(run_command("ls", "--json").stdout)
    assert [(row["owner"], row["alive"]) for row in rows if row["kind"] == "files"] == [(label, True)]


def test_prune_says_what_it_could_not_remove(state: Path, tmp_path: Path) -> None:
    (state_folder() / replace(this_owner(), boot="00000000").label).symlink_to(tmp_path)
    pruned = run_command("prune")
    assert pruned.returncode == 2
    assert re.fullmatch(r"stepgym: 1 could not be removed; .*\n", pruned.stderr.splitlines(keepends=True)[-1])


def test_an_engine_that_does_not_answer_is_told_after_the_rest(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{state}/nobody")
    folder = made(replace(this_owner(), boot="00000000"))
    for words in (["ls"], ["prune"]):
        done = run_command(*words)
        assert done.returncode == 2
        assert str(folder) in done.stdout
        assert "engine" in done.stderr
    assert not folder.exists()


def test_commands_without_a_usable_folder_end_with_a_sentence(state: Path) -> None:
    state.write_text("")
    listed = run_command("ls")
    assert listed.returncode == 2
    assert listed.stderr.startswith("stepgym: sandboxes cannot keep their files in ")
    assert len(listed.stderr.splitlines()) == 1


def deep(folder: Path, depth: int) -> None:
    """Folders in folders, some of them closed to everyone."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for level in range(depth):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        if level % 7 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
            os.fchmod(here, 0)
        os.close(here)
        here = below
    os.fchmod(here, 0)
    os.close(here)


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # a disk takes seconds to make one
    place = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    deep(place / "deep", 5000)
    assert remove_tree(place / "deep") is None
    place.rmdir()


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user; the other tests run as one")
def test_a_user_removes_folders_closed_to_everyone() -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        os.chown(place, 65534, 65534)
        if not (child := os.fork()):
            code = 1
            try:
                os.setuid(65534)
                deep(place / "deep", 50)
                code = 0 if remove_tree(place / "deep") is None and not (place / "deep").exists() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(place)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "folder").mkdir(parents=True)
    (precious / "file").touch()
    (tmp_path / "tree" / "below").mkdir(parents=True)
    for name, target in (("one", precious), ("two", precious / "file"), ("below/three", precious / "folder")):
        (tmp_path / "tree" / name).symlink_to(target)
    os.mkfifo(tmp_path / "tree" / "pipe")
    assert remove_tree(tmp_path / "tree") is None
    (tmp_path / "link").symlink_to(precious)
    assert isinstance(remove_tree(tmp_path / "link"), NotADirectoryError)
    assert remove_tree(tmp_path / "nowhere") is None
    assert sorted(os.listdir(precious)) == ["file", "folder"]


@pytest.mark.skipif(
    not AS_ROOT or not shutil.which("chattr"), reason="only root, with chattr, can make files immutable"
)
def test_what_cannot_be_removed_is_reported_and_the_rest_is_gone(tmp_path: Path) -> None:
    below = tmp_path / "tree/a/b"
    below.mkdir(parents=True)
    for name in ("kept", "gone"):
        (below / name).touch()
    if subprocess.run(["chattr", "+i", below / "kept"], capture_output=True).returncode:
        pytest.skip("the file system knows no immutable files")
    try:
        assert isinstance(remove_tree(tmp_path / "tree"), PermissionError)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept"]
    finally:
        subprocess.run(["chattr", "-R", "-i", tmp_path], check=True)
    assert remove_tree(tmp_path / "tree") is None


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount")
def test_what_is_mounted_in_a_tree_is_left_alone(tmp_path: Path) -> None:
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    (precious / "folder").mkdir(parents=True)
    (tree / "a" / "b").mkdir(parents=True)
    work = (
        f"mount --bind {precious} {tree}/a/b && {sys.executable} -c 'from pathlib import Path;"
        f' from stepgym.sandboxes.removal import remove_tree; print(repr(remove_tree(Path("{tree}"))))\''
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", work], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert "resource busy" in done.stdout
    assert os.listdir(precious) == ["folder"]


def test_two_threads_remove_one_tree(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"tree/{number}/x/y").mkdir(parents=True)
    workers = [threading.Thread(target=remove_tree, args=(tmp_path / "tree",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert remove_tree(tmp_path / "tree") is None
    assert os.listdir(tmp_path) == []
