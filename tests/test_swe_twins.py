"""Twins of tests: honest code fails every one of them, and what they are made of stays as it was."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import pytest

from stepgym.rewards.swe.twins import TestPlace, place_of, twins_of

SOURCE = '''
import unittest
from unittest.mock import ANY

class Base(unittest.TestCase):
    def test_inherited(self):
        self.assertEqual(add(1, 2), 3)

class CalcTest(Base):
    def test_values(self):
        """Values are as they should be."""
        self.assertEqual(add(2, 3), 5)
        self.assertEqual(-3, add(-1, -2))
        self.assertEqual(add([1], [2]), [1, 2])
        self.assertEqual(add("a", "b"), "ab")
        self.assertEqual(dict(a=add(1, 1)), {"a": 2})
        self.assertIn(add(1, 1), [2, 3])
        self.assertAlmostEqual(add(1.0, 2.0), 3.0)
        self.assertEqual(add(1e300, 0), 1e300)

    def test_truth(self):
        self.assertTrue(add(1, 1) == 2)
        self.assertFalse(add(1, 1) == 3)
        self.assertIsNone(None)
        self.assertIsNotNone(add(1, 1))
        self.assertNotEqual(add(1, 1), 3)

    def test_errors(self):
        with self.assertRaises(TypeError) as caught:
            add(1, "a")
        self.assertIn("unsupported", str(caught.exception))
        self.assertRaises(TypeError, add, 1, "a")

    def test_plain(self):
        assert add(1, 1) == 2
        assert "b" in add("a", "b")
        assert add(1, 1)
        assert add(1, 1) is not None

    def test_loop(self):
        for number in range(3):
            if number == 1:
                continue
            self.assertEqual(add(number, 0), number)
        return None

    def test_anything(self):
        self.assertEqual(add(1, 1), ANY)

    def test_nothing(self):
        pass

    def test_skipped(self):
        self.skipTest("not today")
'''
NAMES = [
    *("inherited", "values", "truth", "errors", "plain", "loop", "anything", "nothing", "skipped"),
]
TESTS = [f"test_{name} (tests.test_calc.CalcTest.test_{name})" for name in NAMES]


def passing(source: str, add: Callable[[Any, Any], Any]) -> set[str]:
    """The names of the tests of a source that pass."""
    scope: dict[str, Any] = {"add": add, "__name__": "tests.test_calc"}
    exec(compile(source, "test_calc.py", "exec"), scope)
    suite = unittest.TestLoader().loadTestsFromTestCase(scope["CalcTest"])
    ran = {test.id().rpartition("_")[2] for test in suite}
    result = suite.run(unittest.TestResult())
    bad = {test.id().rpartition("_")[2] for test, _ in [*result.failures, *result.errors, *result.skipped]}
    return ran - bad


def test_an_honest_function_passes_the_tests_and_fails_every_twin() -> None:
    assert passing(SOURCE, lambda a, b: a + b) == set(NAMES) - {"skipped"}
    twins = twins_of("tests/test_calc.py", SOURCE, TESTS)
    assert twins is not None
    assert twins.tests == set(TESTS)
    assert passing(twins.source, lambda a, b: a + b) == set()
    assert passing(twins.source, lambda a, b: a - b) == set()


def test_what_is_equal_to_everything_passes_twins() -> None:
    class Anything(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            return True

    twins = twins_of("tests/test_calc.py", SOURCE, TESTS)
    assert twins is not None
    assert passing(twins.source, lambda a, b: Anything()) >= {"inherited", "values", "loop", "plain"}


def test_twins_can_keep_their_comparisons() -> None:
    twins = twins_of("tests/test_calc.py", SOURCE, TESTS, comparisons=False)
    assert twins is not None
    assert "self.assertEqual(add(2, 3), 5)" in twins.source
    assert passing(twins.source, lambda a, b: a + b) == set()


def test_expected_values_do_not_stand_in_twins() -> None:
    twins = twins_of("tests/test_calc.py", "def test_x():\n    assert f(1) == 271828\n", ["tests/test_calc.py::test_x"])
    assert twins is not None
    assert "271828" not in twins.source


def test_tests_that_are_not_asked_for_stay_as_they_are() -> None:
    twins = twins_of("tests/test_calc.py", SOURCE, TESTS[1:2])
    assert twins is not None
    assert twins.tests == {TESTS[1]}
    assert passing(twins.source, lambda a, b: a + b) == set(NAMES) - {"skipped", "values"}
    assert "Values are as they should be." in twins.source


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("tests/a_test.py::test_x", TestPlace("tests/a_test", "", "test_x")),
        ("tests/a.py::A::B::test_x[a::b-(c.d)]", TestPlace("tests/a", "B", "test_x")),
        ("test_x (tests.a.A.test_x)", TestPlace("tests/a", "A", "test_x")),
        ("test_x (a.tests.A)", TestPlace("a/tests", "A", "test_x")),
        ("What the test is about", None),
        ("test_issue_24211", None),
    ],
)
def test_names_tell_where_tests_stand(name: str, place: TestPlace | None) -> None:
    assert place_of(name) == place


@pytest.mark.parametrize("source", ["def broken(:\n", "x = 1\n", "def test_y(): pass\n", "(" * 10_000, "\0"])
def test_files_without_twins(source: str) -> None:
    assert twins_of("tests/a.py", source, ["tests/a.py::test_x"]) is None
