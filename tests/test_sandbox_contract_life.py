"""What every sandbox promises of its life: start, snapshot, fork, reset, close, and that nothing is left of it."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepgym.errors import ConfigError, SandboxError, UnknownNameError
from stepgym.sandboxes import Bind, Capability, Limits, Sandbox, Spec, make, require
from stepgym.sandboxes.owners import own_folder

FILES = r"""
mkdir -p full/deep empty 'a b/é'
echo one >full/one; echo two >full/deep/two; echo x >'a b/é/-f'; : >none; printf '\0\377' >binary
echo run >script; chmod 755 script; echo secret >private; chmod 600 private; chmod 1777 empty
ln -s full/one link; ln -s /nowhere dangling; ln full/one hard; mkfifo pipe; touch -d @1000000000 old
"""
"""A tree of everything a file can be."""
TREE = (
    r"find . -printf '%p %y %m %l %s\n' | sort; stat -c %Y old; find . -type f -exec cat {} + | sort | od -c | tail -50"
)


@pytest.fixture(scope="module")
def snapshots(backend: str) -> str:
    """A back end that has them."""
    with make(backend) as made:
        if Capability.SNAPSHOTS not in made.capabilities:
            with pytest.raises(SandboxError):
                made.snapshot()
            pytest.skip(f"{backend} has no snapshots here")
    return backend


@pytest.fixture(scope="module")
def isolated(backend: str) -> str:
    with make(backend) as made:
        if Capability.ISOLATION not in made.capabilities:
            pytest.skip(f"{backend} does not isolate")
    return backend


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_text("as given")
    (folder / "sub" / "other").write_text("below")
    (folder / "run").write_text("#!/bin/sh\necho ran\n")
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("sub/other")
    (folder / "it's -n\n🙂").write_text("odd")
    return folder


def tree(folder: Path) -> dict[str, object]:
    def what(path: Path) -> object:
        if path.is_symlink():
            return os.readlink(path)
        return (path.stat().st_mode, path.read_bytes() if path.is_file() else None)

    return {str(path.relative_to(folder)): what(path) for path in sorted(folder.rglob("*"))}


# Start and close


def uses(sandbox: Sandbox) -> list[Callable[[], object]]:
    return [
        lambda: sandbox.exec("true"),
        lambda: sandbox.exec("true", stateful=True),
        lambda: sandbox.read("x"),
        lambda: sandbox.write("x", "y"),
        lambda: sandbox.edit("x", "y", "z"),
        sandbox.snapshot,
        lambda: sandbox.fork("x"),
        sandbox.reset,
    ]


def test_nothing_works_before_the_start_and_after_the_close(backend: str) -> None:
    sandbox = make(backend)
    for use in uses(sandbox):
        with pytest.raises(SandboxError):
            use()
    sandbox.close()
    with sandbox:
        assert sandbox.exec("echo on").output == "on\n"
    for use in uses(sandbox):
        with pytest.raises(SandboxError):
            use()


def test_starting_and_closing_twice(backend: str) -> None:
    sandbox = make(backend)
    assert sandbox.start() is sandbox
    sandbox.write("kept", "x")
    assert sandbox.start() is sandbox
    assert sandbox.read("kept") == b"x"
    sandbox.close()
    sandbox.close()
    with sandbox.start() as again:
        assert again is sandbox
        assert sandbox.exec("ls -A").output == ""
    sandbox.close()


def test_an_exception_in_the_block_closes_it(backend: str) -> None:
    class TroubleError(Exception):
        pass

    with pytest.raises(TroubleError), make(backend) as sandbox:
        raise TroubleError
    with pytest.raises(SandboxError):
        sandbox.exec("true")


def test_closing_kills_what_runs(backend: str, isolated: str) -> None:
    with make(backend) as sandbox:
        sandbox.exec("exec -a stepgym-beacon-close setsid sleep 1000 & exec -a stepgym-beacon-close sleep 1000 &")
        sandbox.exec("exec -a stepgym-beacon-close sleep 1000 &", stateful=True)
    assert seen_from_here("stepgym-beacon-close") == []


def test_a_close_from_another_thread_ends_no_command_in_the_middle_or_ends_it_cleanly(backend: str) -> None:
    sandbox = make(backend).start()
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(sandbox.exec("sleep 0.5; echo done", timeout=10).output)
        except SandboxError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.2)
    sandbox.close()
    thread.join(15)
    assert not thread.is_alive()
    assert outcome
    assert outcome[0] == "done\n" or isinstance(outcome[0], SandboxError)


def test_capabilities_are_known_and_required(backend: str) -> None:
    sandbox = make(backend)
    assert isinstance(sandbox.capabilities, frozenset)
    require(sandbox, sandbox.capabilities)
    for lacking in set(Capability) - sandbox.capabilities:
        with pytest.raises(SandboxError, match=f"{lacking}.*doctor"):
            require(sandbox, [lacking])


def test_a_host_to_reach_is_refused_where_it_cannot_be(backend: str) -> None:
    if Capability.ALLOW_LIST in make(backend).capabilities:
        pytest.skip(f"{backend} can")
    with pytest.raises(SandboxError), make(backend, allow=("example.org",)):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workdir": "relative"}, "absolute"),
        ({"workdir": "/a/../b"}, r"\.\."),
        ({"workdir": "/a\0"}, "absolute"),
        ({"workspace": "/no/such/folder"}, "not a folder"),
        ({"binds": (Bind(Path("/etc"), "etc"),)}, "absolute"),
        ({"env": {"a-b": "x"}}, "environment variable"),
        ({"env": {"é": "x"}}, "environment variable"),
        ({"env": {"A": "\0"}}, "environment variable"),
        ({"memory": 0}, "memory"),
        ({"memory": -1}, "memory"),
        ({"processes": 0}, "processes"),
        ({"cpus": -0.5}, "cpus"),
        ({"cpus": float("nan")}, "cpus"),
        ({"disk": 0}, "disk"),
        ({"output": 0}, "output"),
        ({"network": "some"}, "network|some"),
        ({"colour": "red"}, "no setting 'colour'"),
    ],
)
def test_a_specification_that_cannot_be(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make("none", **settings)


def test_a_back_end_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'none'"):
        make("nine")


def test_settings_go_over_a_specification() -> None:
    spec = Spec(env={"A": "1"}, limits=Limits(memory=5, disk=6))
    made = make("none", spec, memory=7)
    assert (made.spec.limits.memory, made.spec.limits.disk, made.spec.env["A"]) == (7, 6, "1")


def test_an_image_there_is_not(backend: str) -> None:
    with pytest.raises(SandboxError), make(backend, image="/no/such/image:ever"):
        pass


# Workspace and binds


def test_the_workspace_is_seen_and_stays_as_it_is(backend: str, workspace: Path) -> None:
    before = tree(workspace)
    with make(backend, workspace=workspace) as sandbox:
        assert sandbox.read("file") == b"as given"
        assert sandbox.exec("./run; cat link").output == "ran\nbelow"
        assert sandbox.read("it's -n\n🙂") == b"odd"
        sandbox.write("file", "changed")
        sandbox.write("sub/new", "new")
        done = sandbox.exec("echo x >>sub/other; chmod 700 file; mv run moved; rm link; ln -s / link; rm it*")
        assert done.output == ""
        assert (
            sandbox.exec("find . -mindepth 1 | sort").output
            == "./file\n./link\n./moved\n./sub\n./sub/new\n./sub/other\n"
        )
        assert tree(workspace) == before
        sandbox.reset()
        assert sandbox.read("file") == b"as given"
        assert sandbox.exec("./run; cat link; ls -A | wc -l").output == "ran\nbelow6\n"
        sandbox.exec("rm -rf ..?* .[!.]* *")
        assert sandbox.exec("ls -A").output == ""
    assert tree(workspace) == before


def test_two_sandboxes_share_a_workspace_and_see_nothing_of_each_other(backend: str, workspace: Path) -> None:
    with make(backend, workspace=workspace) as one, make(backend, workspace=workspace) as other:
        one.write("file", "one")
        other.exec("rm file; echo other >new")
        assert one.read("file") == b"one"
        assert other.exec("ls").output.split("\n")[0] != "file"
        assert not one.exec("ls new").ok


def test_a_bind_is_seen_and_cannot_be_changed(isolated: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("bound")
    (tmp_path / "single").write_text("alone")
    binds = (Bind(tmp_path / "folder", "/data/set"), Bind(tmp_path / "single", "/data/single"))
    with make(isolated, binds=binds) as sandbox:
        assert sandbox.exec("cat /data/set/file /data/single").output == "boundalone"
        for command in (
            "echo x >/data/set/file",
            "echo x >/data/single",
            "touch /data/set/new",
            "rm -f /data/set/file",
            "chmod 777 /data/set/file",
            "mount -o remount,rw /data/set && touch /data/set/new",
            "mv /data/set /data/gone",
        ):
            assert not sandbox.exec(command).ok, command
        with pytest.raises(OSError, match="file"):
            sandbox.write("/data/set/file", "x")
    assert (tmp_path / "folder" / "file").read_text() == "bound"
    assert (tmp_path / "single").read_text() == "alone"
    assert os.listdir(tmp_path / "folder") == ["file"]


# Snapshots


def test_reset_brings_the_first_files_back(snapshots: str, workspace: Path) -> None:
    with make(snapshots, workspace=workspace) as sandbox:
        sandbox.exec(f"mkdir tree; cd tree; {FILES}")
        sandbox.exec("A=1; cd /; sleep 1000 &", stateful=True)
        sandbox.exec("setsid sleep 1000 & rm file; chmod 000 sub")
        sandbox.reset()
        assert sandbox.exec("cat file; cat sub/other; ls tree").output.startswith("as givenbelow")
        assert sandbox.exec("pwd; echo ${A-unset}", stateful=True).output == f"{sandbox.spec.workdir}\nunset\n"
        sandbox.reset()
        sandbox.reset()
        assert sandbox.read("file") == b"as given"


def test_a_fork_has_the_files_of_the_snapshot(snapshots: str) -> None:
    with make(snapshots) as sandbox:
        assert sandbox.exec(FILES).output == ""
        before = sandbox.exec(TREE).output
        assert len(before.splitlines()) > 20
        point = sandbox.snapshot()
        assert sandbox.exec(TREE).output == before
        sandbox.exec(
            "rm -rf full; echo changed >script; chmod 700 private; touch new; rm link; ln -s x link; mkdir full"
        )
        with sandbox.fork(point) as one, sandbox.fork(point) as other:
            assert one.exec(TREE).output == other.exec(TREE).output == before
            one.exec("rm -rf *")
            assert other.exec(TREE).output == before
        assert sandbox.exec("ls full; cat script").output == "changed\n"


def test_deletions_and_replacements_are_part_of_a_snapshot(snapshots: str, workspace: Path) -> None:
    with make(snapshots, workspace=workspace) as sandbox:
        sandbox.exec(
            "rm file link; rm -r sub; mkdir sub; echo new >sub/only; mkdir file; touch file/in; rm run; ln -s sub run"
        )
        before = sandbox.exec("find . | sort; cat run/only").output
        with sandbox.fork(sandbox.snapshot()) as fork:
            assert fork.exec("find . | sort; cat run/only").output == before
            fork.exec("rm -r file sub; echo again >file")
            with fork.fork(fork.snapshot()) as second:
                assert second.exec("cat file; ls sub").output.startswith("again\n")
                assert not second.exec("ls sub").ok
                second.exec("rm file")
                second.reset()
                assert second.read("file") == b"again\n"
            fork.reset()
            assert fork.exec("find . | sort; cat run/only").output == before
        sandbox.reset()
        assert sandbox.read("file") == b"as given"


def test_points_are_many_and_each_keeps_its_own(snapshots: str) -> None:
    with make(snapshots) as sandbox:
        points = []
        for i in range(4):
            sandbox.write("count", str(i))
            sandbox.exec(f"touch only-{i}; rm -f only-{i - 1}")
            points.append(sandbox.snapshot())
        assert len(set(points)) == 4
        sandbox.reset()
        for i in (2, 0, 3):
            with sandbox.fork(points[i]) as fork:
                assert fork.exec("cat count; ls").output == f"{i}count\nonly-{i}\n"


def test_a_fork_outlives_what_it_came_from(snapshots: str) -> None:
    sandbox = make(snapshots).start()
    sandbox.write("kept", "x")
    fork = sandbox.fork(sandbox.snapshot())
    grandchild = fork.fork(fork.snapshot())
    try:
        sandbox.close()
        assert fork.read("kept") == b"x"
        fork.exec("rm kept; echo y >new")
        fork.reset()
        assert fork.exec("cat kept; ls").output == "xkept\n"
        fork.close()
        assert grandchild.exec("cat kept; echo more >>kept; cat kept").output == "xxmore\n"
        again = grandchild.snapshot()
        with grandchild.fork(again) as last:
            assert last.read("kept") == b"xmore\n"
    finally:
        for each in (sandbox, fork, grandchild):
            each.close()


def test_a_snapshot_ends_processes_and_the_sandbox_goes_on(snapshots: str) -> None:
    with make(snapshots) as sandbox:
        sandbox.exec("A=1; (while :; do echo x >>beats; sleep 0.02; done) &", stateful=True)
        time.sleep(0.1)
        sandbox.snapshot()
        before = sandbox.read("beats")
        time.sleep(0.2)
        assert sandbox.read("beats") == before != b""
        assert sandbox.exec("echo ${A-unset}", stateful=True).output == "unset\n"


@pytest.mark.parametrize("point", ["", "nope", "..", "../x", "/", "start", "a\0b", "\ud800", "x" * 5000])
def test_a_point_there_is_not(snapshots: str, point: str) -> None:
    with make(snapshots) as sandbox:
        sandbox.snapshot()
        with pytest.raises(SandboxError, match="snapshot"):
            sandbox.fork(point)
        assert sandbox.exec("echo on").output == "on\n"


def test_a_point_is_of_its_sandbox_and_its_time(snapshots: str) -> None:
    with make(snapshots) as one, make(snapshots) as other:
        point = one.snapshot()
        with pytest.raises(SandboxError, match="snapshot"):
            other.fork(point)
        one.close()
        one.start()
        with pytest.raises(SandboxError, match="snapshot"):
            one.fork(point)


def test_folders_that_nobody_may_enter_are_snapshot_reset_and_removed_too(snapshots: str) -> None:
    with make(snapshots) as sandbox:
        sandbox.exec("mkdir -p shut/in/deep; echo x >shut/in/file; chmod 000 shut/in/file shut/in shut")
        with sandbox.fork(sandbox.snapshot()) as fork:
            assert (
                fork.exec("stat -c %a shut; chmod 700 shut shut/in shut/in/file; cat shut/in/file").output == "0\nx\n"
            )
        sandbox.exec("n=$(printf d%.0s {1..200}); for i in {1..30}; do mkdir $n; cd $n; done; chmod 000 .")
        sandbox.reset()
        assert sandbox.exec("ls -A").output == ""
        sandbox.exec("mkdir -p shut/in; chmod 000 shut/in shut")


# Several at once


def test_sandboxes_see_nothing_of_each_other(backend: str) -> None:
    with make(backend) as one, make(backend) as other:
        one.write("mine", "x")
        one.exec("cd /usr; A=1", stateful=True)
        assert other.exec("ls -A; echo ${A-unset}").output == "unset\n"
        assert other.exec("pwd", stateful=True).output == other.spec.workdir + "\n"
        assert one.exec("sleep 60", timeout=0.2).timed_out
        assert other.exec("echo on").output == "on\n"
        if Capability.ISOLATION in one.capabilities:
            one.exec(
                "exec -a stepgym-beacon-one sleep 1000 & touch /tmp/one /dev/shm/one; (exec 3<>/dev/tcp/127.0.0.1/99)"
            )
            assert "stepgym-beacon-one" in one.exec("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").output
            seen = other.exec("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /tmp /dev/shm; hostname; kill -9 -1")
            assert "stepgym-beacon-one" not in seen.output
            assert "one" not in seen.output.split()
            assert "stepgym-beacon-one" in one.exec("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").output


def test_a_kill_of_everything_reaches_no_other_sandbox(backend: str) -> None:
    with make(backend) as one, make(backend) as other:
        other.exec("(while :; do echo x >>beats; sleep 0.02; done) &")
        assert one.exec("sleep 60", timeout=0.1).timed_out
        if Capability.ISOLATION in one.capabilities:
            one.exec("kill -9 -1")
        before = len(other.read("beats"))
        time.sleep(0.3)
        assert len(other.read("beats")) > before


def test_many_at_once_from_threads(backend: str) -> None:
    def life(i: int) -> str:
        with make(backend) as sandbox:
            sandbox.write("n", str(i))
            timed_out = sandbox.exec("sleep 60", timeout=0.1).timed_out
            return f"{timed_out} {sandbox.exec('cat n; ls -A').output}"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(life, range(8))) == [f"True {i}n\n" for i in range(8)]


# Nothing is left


@pytest.fixture
def nothing_left(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files, descriptors, threads and child processes of this process are after the test what they were before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def count() -> tuple[int, int, int, list[str]]:
        gc.collect()
        files = [*os.listdir(tmp_path), *os.listdir(own_folder())]
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children()), sorted(files)

    before = count()
    yield
    deadline = time.monotonic() + 5
    while count() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count() == before


def children() -> list[str]:
    return [
        pid
        for task in os.listdir("/proc/self/task")
        for pid in Path(f"/proc/self/task/{task}/children").read_text().split()
    ]


def seen_from_here(mark: str) -> list[str]:
    """Processes of this machine whose command line has that mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def test_nothing_is_left_of_a_sandbox(backend: str, nothing_left: None) -> None:
    for i in range(3):
        with make(backend) as sandbox:
            sandbox.exec("setsid sleep 1000 & sleep 1000", timeout=0.1)
            sandbox.exec("kill -9 $$")
            sandbox.exec("exit", stateful=True)
            sandbox.exec("cat", stdin="x" * 100_000, stateful=True)
            with pytest.raises(FileNotFoundError):
                sandbox.read("missing")
            if Capability.SNAPSHOTS in sandbox.capabilities and i == 0:
                fork = sandbox.fork(sandbox.snapshot())
                fork.exec("sleep 1000 &")
                sandbox.reset()
                fork.close()


def test_nothing_is_left_of_a_sandbox_that_could_not_start(backend: str, nothing_left: None) -> None:
    for _ in range(3):
        with pytest.raises(SandboxError):
            make(backend, image="/no/such/image").start()


def test_a_forgotten_sandbox_holds_no_descriptor_for_each_command(backend: str) -> None:
    with make(backend) as sandbox:
        sandbox.exec("true")
        sandbox.exec("true", stateful=True)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            sandbox.exec("sleep 9", timeout=0.02)
            sandbox.exec("exit", stateful=True)
        sandbox.exec("true")
        sandbox.exec("true", stateful=True)
        assert len(os.listdir("/proc/self/fd")) <= before
