"""Faults around a sandbox of this machine: its owner killed, the disk full, a user without rights."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import make

pytestmark = pytest.mark.usefixtures("namespaces")

NOBODY = 65534
ROUNDS = 50
USER_WORK = """
import os, re, sys, time
from pathlib import Path
from stepgym.errors import SandboxError
from stepgym.sandboxes import Bind, make
from stepgym.sandboxes.owners import own_folder, state_folder

assert os.getuid() != 0
workspace = Path(os.environ["HOME"], "work")
workspace.mkdir()
(workspace / "file").write_text("as given")
with make("namespace", workspace=workspace, memory=512 << 20, disk=100 << 20) as sandbox:
    assert sandbox.exec("id -u; cat file; pwd").output == "0\\nas given/workspace\\n"
    seen = sandbox.exec("cat ~/.ssh/id_rsa /etc/shadow; env; cat /proc/*/environ; find / -name id_rsa 2>/dev/null")
    assert "a-secret" not in seen.output, seen
    assert not re.search(r"^\\w+:\\$", seen.output, re.M), seen
    assert sandbox.exec("cat /proc/self/status | grep CapEff").output.split()[1].strip("0") == ""
    for command in ("mount -t tmpfs x /tmp", "unshare -U true", "mknod x c 1 1", "echo x >/usr/bin/env", "kill -9 1"):
        result = sandbox.exec(command)
        assert not result.ok or command == "kill -9 1", result
    assert sandbox.exec("setsid sleep 1000 & sleep 1000", timeout=0.2).timed_out
    assert not sandbox.exec("tail /dev/zero", timeout=20).ok
    assert "written" in sandbox.exec("cat /dev/zero >big; cat /dev/zero >big2", timeout=20).why
    sandbox.reset()
    sandbox.exec("echo new >file; mkdir -p shut/in; touch shut/in/file; chmod 000 shut/in shut")
    point = sandbox.snapshot()
    sandbox.exec("rm file; mkdir -p other/in; chmod 000 other/in other")
    with sandbox.fork(point) as fork:
        assert fork.exec("cat file; stat -c %a shut").output == "new\\n0\\n"
    sandbox.reset()
    assert sandbox.read("file") == b"as given"
    sandbox.exec("mkdir -p shut/in; touch shut/in/file; chmod 000 shut/in shut")
assert (workspace / "file").read_text() == "as given"
assert [name for name in os.listdir(own_folder()) if name[0].isdigit() or name.startswith("layer")] == []
print("done")
"""
OWNER = """
import os, random, signal, sys, time
from stepgym.sandboxes import make
from stepgym.sandboxes.owners import this_owner

def live(beacon, seed):
    chance = random.Random(seed)
    while True:
        with make("namespace") as sandbox:
            sandbox.exec(f"exec -a {beacon} setsid sleep 1000 & exec -a {beacon} sleep 1000 &")
            sandbox.write("file", "x" * 100000)
            forks = [sandbox.fork(sandbox.snapshot()) for _ in range(chance.randrange(3))]
            for each in forks:
                each.exec(f"mkdir -p shut/in; chmod 000 shut; exec -a {beacon} sleep 1000 &", stateful=True)
            if chance.random() < 0.5:
                sandbox.reset()
            sandbox.exec(f"exec -a {beacon} sleep 1000", timeout=chance.random() / 20)
            for each in forks:
                each.close()

chance = random.Random(1)
for number in range(int(sys.argv[2])):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, this_owner().label.encode())
        live(sys.argv[1], number)
    label = os.read(reader, 1000).decode()
    os.close(reader)
    os.close(writer)
    time.sleep(chance.random() / 4)
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended by itself"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(label, flush=True)
"""
PRUNE = """
import os, sys
from stepgym.sandboxes.owners import state_folder
from stepgym.sandboxes.reaper import prune
left = os.listdir(state_folder())
pruned = prune()
print(len(left), len(os.listdir(state_folder())), *[failure.why for failure in pruned.failed])
"""


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """An environment whose sandboxes keep their files in a folder of their own."""
    return {**os.environ, "STEPGYM_SANDBOXES": str(tmp_path / "state")}


def python(code: str, *arguments: str, env: dict[str, str], timeout: float = 120) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def running(mark: str) -> list[str]:
    """Command lines of this machine's processes that hold it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line and path.parent.name != str(os.getpid()):
            found.append(line)
    return found


def test_nothing_is_left_of_owners_that_were_killed_at_random_moments(state: dict[str, str]) -> None:
    beacon = f"stepgym-beacon-{os.getpid()}"
    labels = python(OWNER, beacon, str(ROUNDS), env=state).split()
    assert len(set(labels)) == ROUNDS
    deadline = time.monotonic() + 10
    while (left := [line for mark in [beacon, *labels] for line in running(mark)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            text = mounts.read_text()
        except OSError:
            continue
        assert not any(label in text for label in labels)
    before, after, *failures = python(PRUNE, env=state).split()
    assert int(before) > 0, "the last one left something to remove; each removes what those before it left"
    assert (after, failures) == ("0", [])
    groups = [path for path in Path("/sys/fs/cgroup").rglob("*") if any(label in path.name for label in labels)]
    assert groups == []


def test_a_full_disk_of_the_host_is_no_exit_code(tmp_path: Path, state: dict[str, str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=700", "x", folder], check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        printed = python(
            """
            import os, sys
            from stepgym.errors import SandboxError
            from stepgym.sandboxes import make
            from stepgym.sandboxes.owners import state_folder

            def fails(what, use):
                try:
                    print(what, "gave", use())
                except SandboxError as error:
                    assert "full" in str(error) or "No space" in str(error), error
                    print(what, "SandboxError")

            def start():
                with make("namespace") as another:
                    return another.exec("echo x >file")

            with make("namespace") as sandbox:
                fails("a long command", lambda: sandbox.exec("cat /dev/zero >big; sleep 60", timeout=20))
                fails("a failing command", lambda: sandbox.exec("echo x >more; false"))
            with make("namespace") as sandbox:
                print("the next", sandbox.exec("echo on | cat").output, end="")
                filler = state_folder() / "filler"
                with open(filler, "wb") as file:
                    try:
                        while True:
                            file.write(bytes(1 << 20))
                            file.flush()
                    except OSError:
                        pass
                fails("a command", lambda: sandbox.exec("echo x >file"))
                fails("writing", lambda: sandbox.write("file", b"x" * 100000))
                fails("starting", start)
                os.unlink(filler)
                print("the same", sandbox.exec("echo on | cat").output, end="")
                sandbox.write("file", "x")
            print("left", os.listdir(state_folder()))
            """,
            env=state,
        )
    finally:
        subprocess.run(["umount", folder], check=True)
    assert printed.splitlines()[:4] == [
        "a long command SandboxError",
        "a failing command SandboxError",
        "the next on",
        "a command SandboxError",
    ]
    assert printed.splitlines()[4:7] == ["writing SandboxError", "starting SandboxError", "the same on"]


def interpreter_of(user: int) -> list[str]:
    """A Python that this user may run, with our packages; the test is skipped where there is none."""
    packages = sysconfig.get_path("purelib")
    prepare = f"import site; site.addsitedir({packages!r}); import stepgym.sandboxes.namespaces.sandbox"
    for program in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [program, "-c", prepare],
                user=user,
                group=user,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return [program, "-c", f"import site; site.addsitedir({packages!r}); exec(open(0).read())"]
    pytest.skip(f"no Python of this machine with our packages can be run by user {user}")


def test_a_user_without_rights_has_the_same_sandbox(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("all other tests run as such a user already")
    command = interpreter_of(NOBODY)
    home = Path("/var/tmp") / f"stepgym-user-{os.getpid()}"
    home.mkdir()
    try:
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_rsa").write_text("a-secret-key")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", home], check=True)
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TOKEN": "a-secret-token"}
        done = subprocess.run(
            command,
            input=USER_WORK,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
        left = list((home / ".cache" / "stepgym" / "sandboxes").iterdir())
        assert [path.name for path in left if not path.name.startswith(".")] == []
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


def test_a_sandbox_whose_first_process_was_killed_from_outside_says_so(state: dict[str, str]) -> None:
    with make("namespace") as sandbox:
        sandbox.exec("exec -a stepgym-beacon-inside sleep 1000 &")
        mine = [
            int(status.parent.name)
            for status in Path("/proc").glob("[0-9]*/status")
            if _parent(status) == os.getpid() and "Name:\t_launcher\n" in status.read_text()
        ]
        assert mine
        for pid in mine:
            os.kill(pid, 9)
        with pytest.raises(SandboxError, match=r"killed from outside|ended"):
            sandbox.exec("sleep 5")
        with pytest.raises(SandboxError):
            sandbox.read("x")
        deadline = time.monotonic() + 5
        while (left := running("stepgym-beacon-inside")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []
    with make("namespace") as sandbox:
        assert sandbox.exec("echo on").output == "on\n"


def _parent(status: Path) -> int:
    try:
        return int(status.read_text().split("PPid:")[1].split()[0])
    except OSError:
        return 0
