"""The pool: never too many, always clean, nothing lost and nothing left, whatever goes wrong."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from stepgym.errors import ConfigError, SandboxError
from stepgym.sandboxes import BusyError, Sandbox, SandboxPool, Spec, make
from stepgym.sandboxes.plain import PlainSandbox
from stepgym.sandboxes.reaper import Kind, look, prune

RED, BLUE = Spec(env={"COLOUR": "red"}), Spec(env={"COLOUR": "blue"})


class Counted(PlainSandbox):
    """Knows how many there were, and how many at once."""

    lock = threading.Lock()
    started, starting, live, most_starting, most_live = 0, 0, 0, 0, 0

    @classmethod
    def clear(cls) -> None:
        Counted.started = Counted.starting = Counted.live = Counted.most_starting = Counted.most_live = 0

    def start(self) -> Self:
        with Counted.lock:
            Counted.started += 1
            Counted.starting += 1
            Counted.live += 1
            Counted.most_starting = max(Counted.most_starting, Counted.starting)
            Counted.most_live = max(Counted.most_live, Counted.live)
        time.sleep(0.02)
        try:
            return super().start()
        finally:
            with Counted.lock:
                Counted.starting -= 1

    def close(self) -> None:
        with Counted.lock:
            Counted.live -= self._folder is not None
        super().close()


class Flaky(PlainSandbox):
    """Cannot be started as often as `failures` has errors."""

    failures: list[SandboxError] = []  # noqa: RUF012

    def start(self) -> Self:
        if Flaky.failures:
            raise Flaky.failures.pop()
        return super().start()


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of every test: no folder of a sandbox, no thread of a pool."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    Counted.clear()
    Flaky.failures.clear()
    yield
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "sandbox-pool"])
    assert list(tmp_path.glob("stepgym-*")) == []


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def together(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in threads, and raise what one of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def folder_of(sandbox: Sandbox) -> str:
    return sandbox.exec("pwd").output.strip()


@pytest.mark.parametrize("warm", [0, 2])
def test_never_more_than_live_nor_more_at_a_start(warm: int) -> None:
    with SandboxPool(Counted, live=3, warm=warm, starting=2) as pool:

        def work(number: int) -> None:
            for _ in range(3):
                with pool.take(RED if number % 2 else BLUE) as sandbox:
                    result = sandbox.exec('ls; echo "$COLOUR"; echo > mine')
                    assert result.output == ("red\n" if number % 2 else "blue\n")

        together(8, work)
    assert 1 <= Counted.most_live <= 3
    assert 1 <= Counted.most_starting <= 2
    assert Counted.live == 0


def test_what_a_taker_did_the_next_does_not_see() -> None:
    with SandboxPool("none", Spec(), live=1, warm=1) as pool:
        with pool.take() as sandbox:
            first = folder_of(sandbox)
            sandbox.exec("echo x > file; cd /; export LEFT=1; sleep 60 & sleep 60 &", stateful=True)
        with pool.take() as sandbox:
            assert folder_of(sandbox) == first, "the same one, reset"
            assert sandbox.exec("ls; pwd; echo $LEFT; jobs", stateful=True).output == f"{first}\n\n"


def test_warm_ones_are_started_ahead_and_started_again() -> None:
    with SandboxPool(Counted, Spec(), live=4, warm=2) as pool:
        assert eventually(lambda: pool.idle == 2)
        assert Counted.started == 2
        with pool.take() as sandbox:
            assert sandbox.exec("echo hi").output == "hi\n"
            assert eventually(lambda: pool.idle == 2)
            assert pool.count == 3
        assert eventually(lambda: pool.count == 2 and pool.idle == 2)
        assert Counted.started == 3


def test_idle_ones_of_another_spec_make_room() -> None:
    with SandboxPool(Counted, RED, live=2, warm=2) as pool:
        assert eventually(lambda: pool.idle == 2)
        with pool.take(BLUE) as one, pool.take(BLUE) as two:
            assert [each.exec("echo $COLOUR").output for each in (one, two)] == ["blue\n"] * 2
    assert Counted.most_live == 2


def test_a_spec_used_again_finds_its_own_sandbox() -> None:
    with SandboxPool(Counted, live=3, warm=2) as pool:
        folders = []
        for spec in (RED, BLUE, RED, BLUE):
            with pool.take(spec) as sandbox:
                folders.append(folder_of(sandbox))
            assert eventually(lambda: pool.idle == pool.count)
        assert folders[:2] == folders[2:]
    assert Counted.started == 2


def test_a_sandbox_given_back_is_of_no_more_use() -> None:
    with SandboxPool("none", Spec(), live=1, warm=1) as pool:
        with pool.take() as kept:
            kept.write("file", "x")
        for use in (kept.start, kept.reset, kept.snapshot, lambda: kept.exec("echo"), lambda: kept.read("file")):
            with pytest.raises(SandboxError, match="given back"):
                use()
        kept.close()
        with pool.take() as sandbox:
            assert sandbox.exec("ls").output == ""


def test_those_who_wait_are_served_in_turn() -> None:
    served: list[int] = []
    with SandboxPool("none", Spec(), live=1) as pool:

        def work(number: int) -> None:
            time.sleep(0.1 * number)
            with pool.take():
                served.append(number)

        with pool.take():
            worker = threading.Thread(target=together, args=(5, work))
            worker.start()
            time.sleep(1)
        worker.join(60)
    assert served == [0, 1, 2, 3, 4]


def test_waiting_ends_with_a_sentence() -> None:
    with SandboxPool("none", Spec(), live=1) as pool, pool.take():
        started = time.monotonic()
        with pytest.raises(SandboxError, match="all 1 of the pool are in use"), pool.take(timeout=0.2):
            pass
        assert 0.2 <= time.monotonic() - started < 5


def test_a_busy_back_end_is_asked_again_until_patience_ends() -> None:
    with SandboxPool(Flaky, Spec(), live=1) as pool:
        Flaky.failures[:] = [BusyError("engine overloaded")] * 2
        with pool.take() as sandbox:
            assert sandbox.exec("echo hi").ok
    assert Flaky.failures == []
    with SandboxPool(Flaky, Spec(), live=1, patience=0.5) as pool:
        Flaky.failures[:] = [BusyError("engine overloaded")] * 50
        with pytest.raises(SandboxError, match=r"engine overloaded \(tried for 0.5 s\)"), pool.take():
            pass
        assert len(Flaky.failures) > 40, "it was asked ever more rarely"


def test_what_fails_for_good_is_not_tried_again_and_leaves_its_room() -> None:
    with SandboxPool(Flaky, Spec(), live=1) as pool:
        for _ in range(3):
            Flaky.failures[:] = [SandboxError("no such image")]
            with pytest.raises(SandboxError, match="no such image"), pool.take():
                pass
        with pool.take(timeout=10) as sandbox:
            assert sandbox.exec("echo hi").ok


def test_warm_ones_that_cannot_start_cost_nothing_but_themselves() -> None:
    Flaky.failures[:] = [SandboxError("not today")] * 2
    with SandboxPool(Flaky, Spec(), live=2, warm=2) as pool:
        assert eventually(lambda: pool.count == 0)
        with pool.take() as sandbox:
            assert sandbox.exec("echo hi").ok


def test_on_a_full_disk_nothing_is_started() -> None:
    with (
        SandboxPool("none", Spec(), live=1, free_bytes=1 << 62, patience=0.3) as pool,
        pytest.raises(SandboxError, match=r"MiB are free on the disk of .* a start needs .* \(tried for 0.3 s\)"),
        pool.take(),
    ):
        pass


def test_a_broken_one_is_never_handed_on() -> None:
    with SandboxPool("none", Spec(), live=1, warm=1) as pool:
        folders: list[str] = []

        def fail(sandbox: Sandbox) -> None:
            folders.append(folder_of(sandbox))
            raise SandboxError("the container is gone")

        with pytest.raises(SandboxError), pool.take() as sandbox:
            fail(sandbox)
        with pool.take() as sandbox:
            second = folder_of(sandbox)
            shutil.rmtree(Path(second).parent)
            with pytest.raises(SandboxError):
                sandbox.exec("echo hi")
        with pool.take() as sandbox:
            third = folder_of(sandbox)
        assert eventually(lambda: pool.idle == 1)
        shutil.rmtree(Path(third).parent)
        with pool.take() as sandbox:
            assert folder_of(sandbox) not in (*folders, second, third)


def test_an_error_of_the_taker_s_own_leaves_the_sandbox_good() -> None:
    with SandboxPool(Counted, Spec(), live=1, warm=1) as pool:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), pool.take():
                raise ZeroDivisionError
        assert Counted.started == 1


def test_forks_count_and_snapshots_are_not_handed_on() -> None:
    with SandboxPool(Counted, Spec(), live=2, warm=1, patience=0.3) as pool:
        with pool.take() as sandbox:
            first = folder_of(sandbox)
            sandbox.write("file", "x")
            point = sandbox.snapshot()
            with sandbox.fork(point) as fork:
                assert fork.read("file") == b"x"
                assert pool.count == 2
                with pytest.raises(SandboxError, match="all 2 of the pool"):
                    sandbox.fork(point)
            with pytest.raises(SandboxError):
                fork.read("file")
            with sandbox.fork(point) as fork:
                assert fork.exec("cat file").output == "x"
        with pool.take() as sandbox:
            assert folder_of(sandbox) != first


def test_closing_ends_what_is_idle_in_use_and_waited_for() -> None:
    pool = SandboxPool("none", Spec(), live=3, warm=1)
    assert eventually(lambda: pool.idle == 1)
    outcomes: list[str] = []

    def use() -> None:
        with pool.take() as sandbox:
            outcomes.append(sandbox.exec("sleep 0.5; echo slept").output)
            with pytest.raises(SandboxError):
                sandbox.exec("echo again")

    def wait() -> None:
        with pytest.raises(SandboxError, match="the pool of sandboxes is closed"), pool.take(BLUE):
            pass

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    time.sleep(0.2)
    users.append(threading.Thread(target=wait))
    users[-1].start()
    time.sleep(0.1)
    pool.close()
    assert pool.count == 0
    for user in users:
        user.join(30)
    assert outcomes == ["slept\n"] * 3
    pool.close()
    with pytest.raises(SandboxError, match="closed"), pool.take():
        pass


def test_what_cannot_be_closed_is_tried_again_and_told() -> None:
    class Stuck(PlainSandbox):
        tries = 0

        def close(self) -> None:
            Stuck.tries += 1
            if Stuck.tries <= 2:
                raise SandboxError("the daemon does not answer")
            super().close()

    pool = SandboxPool(Stuck, Spec(), live=1)
    with pool.take():
        pass
    assert eventually(lambda: pool.count == 0)
    with pytest.raises(SandboxError, match="1 sandboxes of a pool could not be closed: the daemon does not answer"):
        pool.close()
    pool.close()
    assert Stuck.tries == 3


@pytest.mark.parametrize("numbers", [(0, 0, 1), (2, 3, 1), (2, 1, 0), (1, -1, 1)])
def test_impossible_bounds_are_refused(numbers: tuple[int, int, int]) -> None:
    live, warm, starting = numbers
    with pytest.raises(ConfigError, match="a pool needs"):
        SandboxPool("none", live=live, warm=warm, starting=starting)


def test_a_pool_without_a_spec_asks_for_one() -> None:
    with SandboxPool("none", live=1) as pool, pytest.raises(ConfigError, match="take"), pool.take():
        pass


USING = """
import contextlib, sys, threading
from stepgym.errors import SandboxError
from stepgym.sandboxes import SandboxPool, Spec
pool = SandboxPool({backend!r}, Spec(), live=3, warm=1)
begun = threading.Semaphore(0)
def use():
    with pool.take() as sandbox:
        sys.stdout.write("in use\\n")  # at once, where print may be cut in two by another thread
        sys.stdout.flush()
        begun.release()
        with contextlib.suppress(SandboxError):  # it is closed while it runs
            sandbox.exec("sleep {seconds}", timeout=30)
for _ in range(2):
    threading.Thread(target=use, daemon=True).start()
for _ in range(2):
    begun.acquire()
{last}
"""


@contextmanager
def using(backend: str, seconds: float, last: str, state: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with two of its threads in sandboxes when this begins."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", USING.format(backend=backend, seconds=seconds, last=last)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STEPGYM_SANDBOXES": str(state), "TMPDIR": str(state.parent)},
    ) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["in use\n"] * 2
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["none", "namespace"])
def local(request: pytest.FixtureRequest) -> str:
    """A back end that needs nothing but this machine."""
    name: str = request.param
    try:
        make(name).start().close()
    except SandboxError as error:
        pytest.skip(f"{name}: {error}")
    return name


def test_a_forked_child_has_an_empty_pool_that_works_and_leaves_ours_alone(local: str) -> None:
    with SandboxPool(local, Spec(), live=2, warm=1) as pool, ExitStack() as block:
        sandbox = block.enter_context(pool.take())
        sandbox.write("file", "ours")
        assert eventually(lambda: pool.idle == 1)
        if not (child := os.fork()):
            code = 1
            try:
                assert pool.count == 0
                block.close()
                gc.collect()
                with pool.take() as own:
                    assert own.exec("ls").output == ""
                pool.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sandbox.read("file") == b"ours"
        assert pool.idle == 1
        with pool.take() as idle:
            assert idle.exec("ls").output == ""


def test_after_an_interrupt_nothing_is_left(local: str, tmp_path: Path) -> None:
    with using(local, 1, "with pool: use()", tmp_path / "state") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in use\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert list((tmp_path / "state").glob("*")) == []
    assert groups_of(process.pid) == []


def test_a_process_that_ends_without_closing_its_pool_leaves_nothing(local: str, tmp_path: Path) -> None:
    with using(local, 0.5, "import time; time.sleep(0.1)", tmp_path / "state") as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert list((tmp_path / "state").glob("*")) == []
    assert groups_of(process.pid) == []


@pytest.mark.parametrize("local", ["namespace"], indirect=True)  # without isolation commands outlive their owner
def test_of_a_process_killed_with_its_pool_the_next_removes_everything(
    local: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using(local, 1000, "import time; time.sleep(1000)", tmp_path / "state") as process:
        process.kill()
        process.communicate()
    assert list((tmp_path / "state").glob("*/*")) != []
    monkeypatch.setenv("STEPGYM_SANDBOXES", str(tmp_path / "state"))
    assert [failure for failure in prune().failed if failure.trace.owner.pid == process.pid] == []
    assert list((tmp_path / "state").glob("*")) == []
    assert groups_of(process.pid) == []


def groups_of(pid: int) -> list[str]:
    return [trace.where for trace in look().traces if trace.owner.pid == pid and trace.kind is Kind.CGROUP]
