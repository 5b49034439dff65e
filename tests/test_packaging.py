"""What is built can be installed by somebody else, and works from another directory."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "tasks",
    "envs",
    "rewards",
    "rewards/maths",
    "rewards/swe",
    "sandboxes",
    "sandboxes/cluster",
    "sandboxes/containers",
    "sandboxes/namespaces",
    "sandboxes/pooling",
    "sandboxes/proxying",
    "agents",
    "trainers",
    "trainers/studies",
    "evals",
)

EPISODE = """
import sys, warnings
import gymnasium as gym, stepgym
from stepgym import Attempt, Task
from stepgym.rewards import MathVerifier, SequenceSimilarity
import stepgym.sandboxes, stepgym.agents, stepgym.trainers, stepgym.evals

assert "site-packages" in stepgym.__file__, stepgym.__file__
task = Task(id="half", prompt="What is 2/4?", answer=r"\\frac{1}{2}")
env = gym.make("stepgym/Math-v0", tasks=[task])
observation, info = env.reset(seed=1)
assert "2/4" in observation
env.step("Two quarters are one half.")
*_, reward, terminated, truncated, info = env.step(r"So \\boxed{0.5}")
assert (reward, terminated, truncated) == (1.0, True, False), info
env.close()
assert MathVerifier().equal(r"\\frac{\\sqrt{8}}{2}", r"\\sqrt{2}").value == 1.0
assert SequenceSimilarity(autojunk=False).ratio("abcd", "bcde") == 0.75
for name in ("arithmetic", "worked"):
    env = gym.make("stepgym/Math-v0", tasks=name)
    env.reset(seed=0)
    env.close()
print("episode done")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], cwd=folder)
    return folder


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sources(folder: str) -> set[str]:
    return {file.name for file in (ROOT / folder).glob("*.py")}


def test_the_sdist_contains_every_folder_and_the_licence(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for folder in (*FOLDERS, "stepgym"):
        assert sources(folder) <= {Path(name).name for name in names if str(Path(name).parent) == folder}, folder
    assert {"LICENSE", "README.md", "rewards/_matching.c", "tasks/worked.jsonl", "stepgym/py.typed"} <= names


def test_the_wheel_contains_every_folder_under_one_name(built: Path) -> None:
    wheel = next(built.glob("*.whl"))
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stepgym"}
    for folder in FOLDERS:
        packed = {Path(name).name for name in names if str(Path(name).parent) == f"stepgym/{folder}"}
        assert sources(folder) <= packed, folder
    assert {"stepgym/py.typed", "stepgym/tasks/worked.jsonl", "stepgym/rewards/_matching.abi3.so"} <= set(names)


def test_the_wheel_runs_an_episode_in_a_fresh_environment(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env/bin/python")
    run([python, "-m", "pip", "install", "--quiet", str(next(built.glob("*.whl")))], cwd=tmp_path)
    assert run([python, "-W", "error", "-c", EPISODE], cwd=tmp_path) == "episode done\n"
    assert "Math-v0" in run([python, "-c", "import stepgym; print(stepgym.env_ids())"], cwd=tmp_path)
    assert "python" in run([str(tmp_path / "env/bin/stepgym"), "doctor"], cwd=tmp_path)


def test_the_source_tree_without_an_installation_says_what_to_do() -> None:
    done = subprocess.run([sys.executable, "-S", "-c", "import stepgym"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: in the root of stepgym's source tree" in done.stderr
    assert "pip install --editable ." in done.stderr
