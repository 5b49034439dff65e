"""What importing stepgym costs over a bare interpreter, beside what it avoids (gymnasium, sympy).

Medians of whole processes, run in turn so that a busy machine slows all alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PACKAGES = ["stepgym"] + [
    f"stepgym.{name}" for name in ("tasks", "rewards", "envs", "sandboxes", "agents", "evals", "trainers")
]
OTHERS = ["gymnasium", "sympy"]
REPEATS = 15


def seconds(code: str) -> float:
    """Wall time of one interpreter that runs `code`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    codes = {"(bare interpreter)": "pass"} | {name: f"import {name}" for name in PACKAGES + OTHERS}
    taken: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(REPEATS):
        for name, code in codes.items():
            taken[name].append(seconds(code))
    median = {name: statistics.median(values) * 1000 for name, values in taken.items()}
    bare = median["(bare interpreter)"]
    print(f"{'import':<22}{'ms':>8}{'over bare':>12}{'× bare':>9}")
    for name, value in median.items():
        print(f"{name:<22}{value:>8.1f}{value - bare:>12.1f}{value / bare:>9.2f}")
    worst = max(median[name] - bare for name in PACKAGES)
    print(f"\nworst stepgym package: {worst:.0f} ms over a bare interpreter (bar: 100 ms)")


if __name__ == "__main__":
    main()
