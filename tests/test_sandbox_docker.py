"""Sandboxes in containers: what no other back end has. What all promise is in the contract's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import Bind, Capability, make
from stepgym.sandboxes.containers.engine import connect
from stepgym.sandboxes.containers.sandbox import DockerSandbox
from stepgym.sandboxes.containers.traces import EXPIRES, OWNER
from stepgym.sandboxes.contract import Limits, Spec
from stepgym.sandboxes.owners import this_owner
from stepgym.sandboxes.reaper import leftovers, prune
from tests.docker_engine import own_engine

pytestmark = pytest.mark.usefixtures("docker_engine")


@pytest.fixture
def api(docker_engine: str) -> Iterator[Any]:
    engine = connect()
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def nothing_left(api: Any) -> Iterator[None]:
    """No container and no image of ours outlives a test."""
    ours, nameless = {"label": f"{OWNER}={this_owner().label}"}, {"dangling": True}
    before = {each["Id"] for each in api.images(filters=nameless)}
    yield
    assert api.containers(all=True, filters=ours) == []
    assert api.images(filters=ours) == []
    assert {each["Id"] for each in api.images(filters=nameless)} <= before


@pytest.fixture(scope="class")
def shared(docker_engine: str) -> Iterator[DockerSandbox]:
    spec = Spec(limits=Limits(memory=64 << 20, processes=40, cpus=0.5, disk=32 << 20))
    with DockerSandbox(spec) as sandbox:
        yield sandbox


def meanwhile(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


class TestContainer:
    """One container, with limits that a test can reach, for tests that leave it as it was."""

    @pytest.fixture(autouse=True)
    def nothing_left(self) -> None:
        """But for that container."""

    def test_is_made_as_strict_as_the_engine_can(self, shared: DockerSandbox, api: Any) -> None:
        made = api.inspect_container(shared._name)
        host = made["HostConfig"]
        assert made["Config"]["Labels"][OWNER] == this_owner().label
        assert time.time() + 3600 < int(made["Config"]["Labels"][EXPIRES]) < time.time() + 25 * 3600
        assert host["NetworkMode"] == "none"
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
        assert (host["PidsLimit"], host["NanoCpus"], host["Privileged"]) == (40, 500_000_000, False)
        assert host["LogConfig"]["Type"] == "none"

    def test_has_no_capability_and_no_way_to_one(self, shared: DockerSandbox) -> None:
        said = shared.exec("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status").output.split()
        sets = dict(zip(said[::2], said[1::2], strict=True))
        assert {sets[f"Cap{each}:"] for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert (sets["NoNewPrivs:"], sets["Seccomp:"]) == ("1", "2")

    def test_declares_its_limits(self, shared: DockerSandbox) -> None:
        assert {Capability.ISOLATION, Capability.NO_NETWORK, Capability.MEMORY_LIMIT} <= shared.capabilities

    def test_says_that_memory_ran_out(self, shared: DockerSandbox) -> None:
        result = shared.exec("x=a; while :; do x=$x$x; done")
        assert (result.exit_code, result.why) == (137, "out of memory: the limit is 64 MiB")
        assert shared.exec("kill -9 $BASHPID").why == ""

    def test_keeps_its_first_process_where_many_small_ones_take_the_memory(self, api: Any) -> None:
        with make("docker", memory=24 << 20) as sandbox:
            assert isinstance(sandbox, DockerSandbox)
            began = api.inspect_container(sandbox._name)["State"]["StartedAt"]
            sandbox.exec("trap '' TERM; while :; do sleep 1000 & done 2>/dev/null", timeout=1)
            assert sandbox.exec("echo ok").output == "ok\n"
            assert api.inspect_container(sandbox._name)["State"]["StartedAt"] == began

    def test_stops_who_fills_the_disk(self, shared: DockerSandbox) -> None:
        result = shared.exec("for i in {1..1000}; do fallocate -l 4M /big$i; sleep 0.02; done", timeout=60)
        assert (result.exit_code, "MiB written" in result.why) == (137, True)
        assert shared.exec("rm -f /big*; echo ok").output == "ok\n"

    def test_stops_who_fills_the_disk_with_files_that_have_no_name(self, shared: DockerSandbox) -> None:
        hoard = "for i in {1..200}; do exec {fd}>/gone; rm /gone; fallocate -l 4M /proc/self/fd/$fd; sleep 0.02; done"
        result = shared.exec(hoard, timeout=60)
        assert (result.exit_code, "MiB written" in result.why) == (137, True)

    def test_survives_a_fork_bomb(self, shared: DockerSandbox) -> None:
        result = shared.exec("f() { f | f & wait; }; f", timeout=1)
        assert result.exit_code != 0
        assert shared.exec("echo ok", timeout=30).output == "ok\n"

    def test_survives_a_bomb_of_programs_that_fork_no_more(self, shared: DockerSandbox) -> None:
        """Every place for a process is taken, and none is given up."""
        result = shared.exec("trap '' TERM; while :; do sleep 1000 & done 2>/dev/null", timeout=2)
        assert result.timed_out
        assert shared.exec("set -- /proc/[0-9]*; echo $(($# < 6))", timeout=30).output == "1\n"

    def test_is_not_ended_by_signals_to_its_first_process(self, shared: DockerSandbox) -> None:
        assert shared.exec("for n in {1..64}; do kill -$n 1; done 2>/dev/null; echo done").output == "done\n"
        assert shared.exec("sleep 0.1; kill -0 1 && echo lives").output == "lives\n"

    def test_reaps_orphans(self, shared: DockerSandbox) -> None:
        shared.exec("for n in {1..20}; do (sleep 0.01 &) ; done")
        left = "sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
        assert shared.exec(left).output == "0\n"

    def test_ends_a_flood_that_nobody_reads(self, shared: DockerSandbox) -> None:
        result = shared.exec("yes & yes", timeout=0.5)
        assert (result.timed_out, result.truncated) == (True, True)
        assert result.seconds < 10

    def test_notices_a_dead_shell_behind_a_background_process(self, shared: DockerSandbox) -> None:
        result = shared.exec("sleep 1000 & kill -9 $$; sleep 1000", timeout=30)
        assert (result.exit_code, result.timed_out, result.why) == (137, False, "the sandbox's shell was killed")
        assert result.seconds < 10

    def test_keeps_the_path_of_the_image(self, shared: DockerSandbox) -> None:
        assert shared.exec("echo $PATH").output.startswith("/usr/local/sbin:")
        assert shared.exec("echo $HOME $LANG").output == "/root C.UTF-8\n"


def test_a_container_that_is_removed_from_outside_is_no_exit_code(api: Any) -> None:
    with make("docker") as sandbox:
        assert isinstance(sandbox, DockerSandbox)
        assert sandbox.exec("echo hi").ok
        timer = meanwhile(0.5, lambda: api.remove_container(sandbox._name, force=True))
        with pytest.raises(SandboxError, match=r"gone|ended"):
            sandbox.exec("echo before; sleep 100")
        timer.join()
        with pytest.raises(SandboxError, match=r"gone|ended"):
            sandbox.exec("echo hi")
        sandbox.close()
        assert sandbox.start().exec("echo again").output == "again\n"


def test_a_container_that_is_killed_from_outside_is_no_exit_code(api: Any) -> None:
    with make("docker") as sandbox:
        assert isinstance(sandbox, DockerSandbox)
        timer = meanwhile(0.5, lambda: api.kill(sandbox._name))
        with pytest.raises(SandboxError, match=r"gone|ended"):
            sandbox.exec("sleep 100")
        timer.join()


def test_a_container_ends_after_its_time_to_live() -> None:
    with DockerSandbox(Spec(), time_to_live=2) as sandbox, pytest.raises(SandboxError, match=r"gone|ended"):
        sandbox.exec("sleep 100", timeout=20)


def test_what_has_expired_is_left_over_whoever_made_it() -> None:
    with DockerSandbox(Spec(), time_to_live=1) as sandbox:
        kept = sandbox.fork(sandbox.snapshot())
        try:
            time.sleep(3)
            found = {trace.where for trace in leftovers()}
            assert {sandbox._name, kept._name, f"{kept._repository}:start"} <= found
        finally:
            kept.close()


def test_a_shell_that_was_replaced_by_a_liar_is_not_believed(api: Any) -> None:
    lie = "cp /bin/bash /b; printf '#!/b\\nexit 0\\n' >/b2; chmod +x /b2; mv /b2 /bin/bash; /b -c 'sleep 1000 & wait'"
    with make("docker") as sandbox:
        assert isinstance(sandbox, DockerSandbox)
        assert sandbox.exec(lie, timeout=1).timed_out
        with pytest.raises(SandboxError):
            sandbox.exec("echo hi")
        assert api.inspect_container(sandbox._name)["State"]["Running"] is False


def test_snapshots_go_with_the_last_who_needs_them(api: Any) -> None:
    with make("docker") as sandbox:
        sandbox.write("file", "one")
        first = sandbox.snapshot()
        sandbox.write("file", "two")
        child = sandbox.fork(first)
        try:
            grandchild = child.fork(child.snapshot())
            sandbox.close()
            child.write("file", "three")
            child.reset()
            assert child.read("file") == b"one"
        finally:
            child.close()
        try:
            assert grandchild.read("file") == b"one"
            with pytest.raises(SandboxError, match="no snapshot"):
                grandchild.fork(first)
        finally:
            grandchild.close()


def test_an_image_that_is_not_there_is_one_sentence(api: Any) -> None:
    with pytest.raises(SandboxError, match="no image localhost:1/nothing:here, and cannot pull it") as caught:
        make("docker", image="localhost:1/nothing:here").start()
    assert "\n" not in str(caught.value)


def test_an_image_without_a_shell_is_one_sentence(api: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    api.import_image_from_file(str(tmp_path / "empty.tar"), repository="test-without-shell", tag="x")
    try:
        with pytest.raises(SandboxError, match=r"no container could be made.*bash"):
            make("docker", image="test-without-shell:x").start()
    finally:
        api.remove_image("test-without-shell:x")


def test_no_engine_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
        with pytest.raises(SandboxError, match=r"no container engine answers at unix://.*nothing"):
            make("docker").start()


def test_the_workspace_is_a_copy_and_binds_cannot_be_changed(tmp_path: Path) -> None:
    work, bound = tmp_path / "work", tmp_path / "bound"
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "big").write_bytes(os.urandom(3 << 20))
    (work / "deep" / "script").write_text("#!/bin/sh\necho ran")
    (work / "deep" / "script").chmod(0o751)
    (work / "ünï code").write_text("x")
    (work / "link").symlink_to("/etc/passwd")
    os.link(work / "ünï code", work / "second name")
    os.mkfifo(work / "pipe")
    bound.mkdir()
    (bound / "file").write_text("given")
    spec = Spec(workspace=work, binds=(Bind(bound, "/given"),))
    with make("docker", spec) as sandbox:
        assert sandbox.exec("find . -printf '%y %m %P\\n' | sort").output.splitlines() == [
            "d 755 ",
            "d 755 deep",
            "d 755 deep/er",
            "f 644 deep/er/big",
            "f 644 second name",
            "f 644 ünï code",
            "f 751 deep/script",
            "l 777 link",
        ]
        assert sandbox.read("deep/er/big") == (work / "deep" / "er" / "big").read_bytes()
        assert sandbox.exec("deep/script && stat -c %u:%g deep/script").output == "ran\n0:0\n"
        sandbox.exec("rm -r deep; echo changed >'second name'")
        assert sandbox.exec("echo no >/given/file").exit_code != 0
        assert sandbox.exec("cat /given/file").output == "given"
        sandbox.reset()
        assert sandbox.exec("deep/script").output == "ran\n"
    assert (work / "second name").read_text() == "x"


OWNER_PROGRAM = """
import time
from stepgym.sandboxes import make
sandbox = make("docker").start()
point = sandbox.snapshot()
fork = sandbox.fork(point)
print(sandbox._name, f"{sandbox._repository}:{point}", fork._name, f"{fork._repository}:start", flush=True)
time.sleep(1000)
"""


def test_what_a_killed_owner_leaves_is_removed_and_nothing_else(api: Any) -> None:
    """Not a living owner's, and not what somebody made from ours, which has its labels."""
    foreign = "test-made-by-somebody"
    with make("docker") as alive:
        with subprocess.Popen([sys.executable, "-c", OWNER_PROGRAM], stdout=subprocess.PIPE, text=True) as owner:
            try:
                assert owner.stdout is not None
                left = owner.stdout.readline().split()
                api.commit(left[0], repository=foreign, tag="x")
            finally:
                owner.send_signal(signal.SIGKILL)
        theirs = api.create_container(f"{foreign}:x", command=["true"], name=foreign)["Id"]
        try:
            assert OWNER in api.inspect_container(theirs)["Config"]["Labels"]
            pruned = prune()
            assert pruned.failed == ()
            assert len(left) == 4
            assert set(left) <= {each.where for each in pruned.removed}
            assert foreign not in str(pruned.removed)
            assert alive.exec("echo lives").output == "lives\n"
            assert api.inspect_container(theirs)["Name"] == f"/{foreign}"
        finally:
            api.remove_container(theirs)
            api.remove_image(f"{foreign}:x")


BEREAVED_PROGRAM = """
import threading, time
from stepgym.errors import SandboxError
from stepgym.sandboxes import make
sandbox = make("docker").start()
threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
for act in (lambda: sandbox.exec("echo before; sleep 100"), lambda: sandbox.exec("echo hi"), sandbox.close):
    started = time.monotonic()
    try:
        print("no error:", act(), flush=True)
    except SandboxError as error:
        print("SandboxError in time" if time.monotonic() - started < 20 else "late", flush=True)
input()
sandbox.close()
with make("docker") as fresh:
    print(fresh.exec("echo hi").output, end="", flush=True)
"""


def test_the_death_of_the_engine_is_no_exit_code(docker_engine: str) -> None:
    """In a process of its own, since the SDK leaves sockets open that it could not connect."""
    engine = own_engine()
    try:
        command = [sys.executable, "-W", "ignore", "-c", BEREAVED_PROGRAM]
        environment = {**os.environ, "DOCKER_HOST": engine.host}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as owner:
            try:
                assert owner.stdin is not None
                assert owner.stdout is not None
                assert owner.stdout.readline() == "ready\n"
                engine.kill()
                assert [owner.stdout.readline() for _ in range(3)] == ["SandboxError in time\n"] * 3
                engine.start()
                owner.stdin.write("\n")
                owner.stdin.flush()
                assert owner.stdout.read() == "hi\n"
            finally:
                owner.kill()
    finally:
        engine.close()
