"""Killable worker processes: budgets, replacement, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import OverBudgetError, WorkerPool, shared_pool

SPIN = "worker_functions:spin"


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of functions that only the workers import."""
    (tmp_path / "worker_functions.py").write_text(
        textwrap.dedent(
            """
            import os, time
            def double(x): return 2 * x
            def pid(_): return os.getpid()
            def spin(_):
                while True: pass
            def spin_in_c(_): return 9 ** 9 ** 9
            def work(seconds):
                end = time.process_time() + seconds
                while time.process_time() < end: pass
                return seconds
            def sleep(seconds): time.sleep(seconds); return seconds
            def eat(megabytes): return len(bytearray(megabytes << 20))
            def fail(_): raise KeyError("what happened")
            def leave(code): os._exit(code)
            def chatter(_): print("noise"); os.write(1, b"noise"); return "quiet"
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(2)
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_runs_a_function_and_keeps_the_process(pool: WorkerPool) -> None:
    assert pool.run("worker_functions:double", 21, cpu_seconds=1) == 42
    first = pool.run("worker_functions:pid", None, cpu_seconds=1)
    assert first == pool.run("worker_functions:pid", None, cpu_seconds=1) != os.getpid()


@pytest.mark.parametrize("function", [SPIN, "worker_functions:spin_in_c"])
def test_cpu_time_is_bounded_also_in_c_code(pool: WorkerPool, function: str) -> None:
    before = pool.run("worker_functions:pid", None, cpu_seconds=1)
    with pytest.raises(OverBudgetError, match="CPU"):
        pool.run(function, None, cpu_seconds=0.2)
    assert gone_within(before, 5)
    assert pool.run("worker_functions:double", 1, cpu_seconds=1) == 2


def test_waiting_costs_no_cpu_time_but_has_a_backstop(pool: WorkerPool) -> None:
    assert pool.run("worker_functions:sleep", 0.5, cpu_seconds=0.1) == 0.5
    with pytest.raises(OverBudgetError, match=r"0\.3 s"):
        pool.run("worker_functions:sleep", 60, cpu_seconds=1, wall_seconds=0.3)


def test_memory_is_bounded(pool: WorkerPool) -> None:
    with pytest.raises(OverBudgetError, match="MiB"):
        pool.run("worker_functions:eat", 1000, cpu_seconds=5)
    assert pool.run("worker_functions:eat", 10, cpu_seconds=5) == 10 << 20


def test_the_limit_of_one_call_is_not_that_of_the_next(pool: WorkerPool) -> None:
    assert pool.run("worker_functions:eat", 1, cpu_seconds=5, memory_bytes=100 << 20) == 1 << 20
    assert pool.run("worker_functions:eat", 200, cpu_seconds=5) == 200 << 20
    assert pool.run("worker_functions:eat", 1, cpu_seconds=5, memory_bytes=60 << 20) == 1 << 20
    assert str(pool.run("sympy:nsimplify", 0.5, cpu_seconds=5)) == "1/2"


def test_an_error_in_the_function_is_ours_and_named(pool: WorkerPool) -> None:
    with pytest.raises(SandboxError, match="KeyError: 'what happened'"):
        pool.run("worker_functions:fail", None, cpu_seconds=1)
    with pytest.raises(SandboxError, match="ended with code 7"):
        pool.run("worker_functions:leave", 7, cpu_seconds=1)
    with pytest.raises(SandboxError, match="no_such_module"):
        pool.run("no_such_module:f", None, cpu_seconds=1)


def test_what_a_function_prints_is_no_result(pool: WorkerPool, capfd: pytest.CaptureFixture[str]) -> None:
    assert pool.run("worker_functions:chatter", None, cpu_seconds=1) == "quiet"
    assert capfd.readouterr().out == ""


def test_an_idle_worker_that_died_is_replaced(pool: WorkerPool) -> None:
    pid = pool.run("worker_functions:pid", None, cpu_seconds=1)
    os.kill(pid, signal.SIGKILL)
    assert pool.run("worker_functions:pid", None, cpu_seconds=1) != pid


def test_many_threads_share_few_processes(pool: WorkerPool) -> None:
    with ThreadPoolExecutor(16) as threads:
        values = list(threads.map(lambda x: pool.run("worker_functions:double", x, cpu_seconds=1), range(200)))
        pids = set(threads.map(lambda _: pool.run("worker_functions:pid", None, cpu_seconds=1), range(50)))
    assert values == [2 * x for x in range(200)]
    assert len(pids) <= pool.size


def test_load_does_not_change_results(pool: WorkerPool) -> None:
    """Half of the budget of CPU time is enough, however many others compute."""
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        assert pool.run("worker_functions:work", 0.4, cpu_seconds=0.8) == 0.4
    finally:
        for process in load:
            process.kill()
            process.wait()


def test_close_ends_the_processes_and_the_pool_can_go_on(pool: WorkerPool) -> None:
    pid = pool.run("worker_functions:pid", None, cpu_seconds=1)
    pool.close()
    assert not alive(pid)
    assert pool.run("worker_functions:double", 2, cpu_seconds=1) == 4


SCRIPT = """
import os, signal, sys, threading
from stepgym.sandboxes import shared_pool
sys.path.append({path!r})
pid = shared_pool().run("worker_functions:pid", None, cpu_seconds=1)
print(pid, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "raise SystemExit(3)"])
def test_workers_end_with_their_parent(tmp_path: Path, then: str) -> None:
    script = SCRIPT.format(path=str(tmp_path), then=then)
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert gone_within(int(done.stdout), 10)
    assert "Warning" not in done.stderr


def test_a_busy_worker_ends_too_when_its_parent_is_killed(tmp_path: Path) -> None:
    then = (
        f"threading.Thread(target=lambda: shared_pool().run({SPIN!r}, None, cpu_seconds=1)).start()\n"
        "import time; time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)"
    )
    script = SCRIPT.format(path=str(tmp_path), then=then)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert gone_within(int(done.stdout), 20)


def in_child(results: multiprocessing.Queue[object]) -> None:
    results.put(shared_pool().run("operator:neg", 5, cpu_seconds=1))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_works_in_children_of_fork_and_spawn(method: str) -> None:
    assert shared_pool().run("operator:neg", 1, cpu_seconds=1) == -1
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == -5
    child.join(60)
    assert child.exitcode == 0
    assert shared_pool().run("operator:neg", 2, cpu_seconds=1) == -2
    results.close()
    results.join_thread()


def test_a_thread_that_ends_does_not_take_the_worker_along(pool: WorkerPool) -> None:
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(pool.run("worker_functions:pid", None, cpu_seconds=1)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert pool.run("worker_functions:pid", None, cpu_seconds=1) == pids[0]


def test_a_process_with_many_open_files_can_use_the_pool() -> None:
    code = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]\n"
        "from stepgym.sandboxes import WorkerPool\n"
        "pool = WorkerPool(1)\n"
        "print(pool.run('math:sqrt', 9.0, cpu_seconds=5))\n"
        "pool.close()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "3.0\n", done.stderr
