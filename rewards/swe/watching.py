"""Watches a run of pytest or unittest from inside, and records it.

This file, after the text of `recorder`, is put into sandboxes beside keys. The tests' Python imports it when it starts,
as ``sitecustomize``, and pytest imports it again as a plugin, which has the name of its folder. So it keeps to the
standard library and to Python 3.6. Whoever runs tests takes a key, which is gone before anything of the repository is
imported, and the environment is as it would have been.
"""

import os
import sys
from typing import Any

if "Recorder" not in globals():  # in a sandbox it stands above
    from stepgym.rewards.swe.recorder import Recorder

MOST_RUNS = 16
_state = {"recorder": None, "exit": 4}  # type: dict[str, Any]
"""Of this process; 4 is pytest's code for a call that it does not understand."""


def claim() -> "Recorder | None":
    """A recorder for a run that begins, or None: there is one already, or no key is left."""
    folder = os.path.dirname(os.path.abspath(__file__))
    plugin = sys.modules.get(os.path.basename(folder))
    if _state["recorder"] is not None or getattr(plugin, "_state", _state)["recorder"] is not None:
        return None
    for number in range(MOST_RUNS):
        try:
            with open(os.path.join(folder, f"key-{number}"), "rb") as file:
                key = bytes.fromhex(file.read().decode())
            os.unlink(file.name)
        except OSError:
            continue
        opened = os.open(os.path.join(folder, f"record-{number}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        recorder = _state["recorder"] = Recorder(opened, key)
        _leave_no_trace(folder)
        return recorder
    return None


def _leave_no_trace(folder: str) -> None:
    if "xdist" not in sys.modules:  # whose workers import what the first process has imported
        sys.path[:] = [place for place in sys.path if place != folder]
    for name, ours, mark in (
        ("PYTHONPATH", folder, os.pathsep),
        ("PYTEST_ADDOPTS", "-p " + os.path.basename(folder), None),
    ):
        rest = [each for each in os.environ.get(name, "").split(mark) if each and each not in ours.split()]
        if rest:
            os.environ[name] = (mark or " ").join(rest)
        else:
            os.environ.pop(name, None)


def _close(exit_code: int) -> None:
    recorder, _state["recorder"] = _state["recorder"], None
    if recorder is not None:
        recorder.seal(int(exit_code))


def pytest_load_initial_conftests() -> None:
    """Take a key before the first conftest.py."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        claim()


def pytest_collection_finish(session: Any) -> None:
    """Record which tests are to run."""
    if _state["recorder"] is not None:
        for item in session.items:
            _state["recorder"].write(item.nodeid, "collect")


def pytest_runtest_logreport(report: Any) -> None:
    """Record how a phase of a test ended."""
    if _state["recorder"] is not None and report.when in ("setup", "call", "teardown"):
        outcome = str(report.outcome)
        if hasattr(report, "wasxfail"):
            outcome = {"skipped": "xfailed", "passed": "xpassed"}.get(outcome, outcome)
        _state["recorder"].write(report.nodeid, report.when, outcome)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Keep the exit code; reports may still come."""
    _state["exit"] = exitstatus


def pytest_unconfigure() -> None:
    """End the record."""
    _close(_state["exit"])


class UnittestFinder:
    """Lets unittest be watched, once its modules are imported."""

    def find_spec(self, name: str, *_: Any) -> Any:
        """The usual module, that is changed when it is loaded."""
        change = {"unittest.main": watch_program, "unittest.runner": watch_runner}.get(name)
        if change is None:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                change(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def watch_program(module: Any) -> None:
    """Make ``python -m unittest`` take a key before it imports tests."""
    original = module.TestProgram.__init__

    def begin(self: Any, *words: Any, **more: Any) -> None:
        _state["program"] = claim()
        original(self, *words, **more)

    module.TestProgram.__init__ = begin


def watch_runner(module: Any) -> None:
    """Make runners record what the first run in a process does."""
    original = module.TextTestRunner.run

    def run(self: Any, test: Any) -> Any:
        recorder = _state.pop("program", None) or claim()
        if recorder is None:
            return original(self, test)
        for case in _cases(test):
            for name in _names(case):
                recorder.write(name, "collect")
        make = self._makeResult
        self._makeResult = lambda: _watched(make(), recorder)
        try:
            result = original(self, test)
        finally:
            del self._makeResult
        _close(0 if result.wasSuccessful() else 1)
        return result

    module.TextTestRunner.run = run


def _cases(test: Any) -> "list[Any]":
    try:
        members = list(test)
    except TypeError:
        return [test]
    return [case for member in members for case in _cases(member)]


def _names(case: Any) -> "list[str]":
    """The names by which a log may know a test: its own, and the line that describes it."""
    described = case.shortDescription() if hasattr(case, "shortDescription") else None
    return [str(case)] + ([described] if described else [])


def _watched(result: Any, recorder: Recorder) -> Any:
    """The result, which records each outcome before its own class hears of it."""

    def watch(method: str, outcome: str) -> None:
        original = getattr(result, method)

        def record(test: Any, *details: Any, **more: Any) -> Any:
            happened = outcome
            if method == "addSubTest":
                happened = "failed" if (list(details) + list(more.values()))[-1] is not None else ""
            if happened:
                for name in _names(test):
                    recorder.write(name, "call", happened)
            return original(test, *details, **more)

        setattr(result, method, record)

    for method, outcome in (
        ("addSuccess", "passed"),
        ("addError", "failed"),
        ("addFailure", "failed"),
        ("addSkip", "skipped"),
        ("addExpectedFailure", "xfailed"),
        ("addUnexpectedSuccess", "xpassed"),
        ("addSubTest", ""),
    ):
        watch(method, outcome)
    return result
