"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Name the data folder to the loaders, and to the processes that tests start, in the way users do."""
    if BESIDE_CHECKOUT.is_dir():
        os.environ.setdefault("STEPGYM_DATA", str(BESIDE_CHECKOUT))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of benchmark data (it holds ``math/``); the test is skipped where there is none."""
    folder = Path(os.environ.get("STEPGYM_DATA", BESIDE_CHECKOUT))
    if not (folder / "math").is_dir():
        pytest.skip(f"no benchmark data: {folder} has no folder math/ (set STEPGYM_DATA)")
    return folder
