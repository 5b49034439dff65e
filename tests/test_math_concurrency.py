"""The verifier gives the same verdicts in threads, event loops and processes, pickled, and under load."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from stepgym.rewards import MathVerifier
from stepgym.rewards.maths.policy import QWEN

CASES = [
    ("4", "4.0", 1.0),
    (r"\frac{\sqrt3}{2}", r"\sqrt{3}/2", 1.0),
    (r"\sin 2x", r"2\sin x\cos x", 1.0),
    (r"\sin 2x", r"3\sin x\cos x", 0.0),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{6}", 1.0),
    (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{7}", 0.0),
    ("(1,2)", "(2,1)", 0.0),
]
EXPECTED = [value for _, _, value in CASES]


def verdicts(verifier: MathVerifier) -> list[float]:
    return [verifier.equal(gold, answer).value for gold, answer, _ in CASES]


def test_in_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(verdicts, [MathVerifier()] * 24)) == [EXPECTED] * 24


def test_in_an_event_loop() -> None:
    async def main() -> list[list[float]]:
        return await asyncio.gather(*(asyncio.to_thread(verdicts, MathVerifier()) for _ in range(8)))

    assert asyncio.run(main()) == [EXPECTED] * 8


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_processes(method: str) -> None:
    assert verdicts(MathVerifier()) == EXPECTED
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as processes:
        assert list(processes.map(verdicts, [MathVerifier()] * 4)) == [EXPECTED] * 4


def test_is_pickled_with_its_policy() -> None:
    assert pickle.loads(pickle.dumps(MathVerifier(QWEN))) == MathVerifier(QWEN)


def test_uses_no_signals_of_the_caller() -> None:
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 100)
        verdicts(MathVerifier())
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
        assert signal.getsignal(signal.SIGALRM) is not before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not fired


def test_verdicts_do_not_depend_on_load() -> None:
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        values: list[list[float]] = []
        threads = [threading.Thread(target=lambda: values.append(verdicts(MathVerifier()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert values == [EXPECTED] * 4


def test_importing_the_rewards_starts_no_process_and_loads_no_sympy() -> None:
    code = (
        "import sys; from stepgym.rewards import MathVerifier; v = MathVerifier()\n"
        "assert v.equal('1/2', '0.5').value == 1 and v.equal('x+1', '1+x').value == 1\n"
        "assert not {'sympy', 'mpmath', 'numpy'} & set(sys.modules), 'heavy'\n"
        "from stepgym.sandboxes import shared_pool; assert not shared_pool()._idle"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
