"""The trajectory file, the page and the text view."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stepgym.cli import main
from stepgym.errors import StoreError, UnknownNameError
from stepgym.evals import MathEval, evaluate_math
from stepgym.evals.page import MAX_TEXT, escaped
from stepgym.evals.viewing import find_trajectory, text_of, write_page
from stepgym.records import Reply, Score, Status, Step, Stop, Task, Trajectory
from stepgym.store import JsonLines
from stepgym.trajectories import StoredTrajectory, read_trajectories

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> & \"'\x1b[31m\ud800\u202e"


def stored(task: str, said: str = "hi", stop: Stop = Stop.ANSWERED, **settings: object) -> StoredTrajectory:
    asked = Task(id=task, prompt=f"prompt of {task}", answer="4")
    score = Score(1.0, status=Status.CORRECT) if stop is Stop.ANSWERED else Score.ungraded("too slow", Status.TIMEOUT)
    step = Step(observation="seen", reply=Reply(text=said, tokens=(1, 2), logprobs=(-0.5, -1.0)), score=score)
    error = "PolicyError: dead" if stop is Stop.ERROR else ""
    steps = () if error else (step,)
    trajectory = Trajectory(task=asked, steps=steps, stop=stop, error=error, env="e", agent="a")
    return StoredTrajectory(version=1, trajectory=trajectory, **settings)  # type: ignore[arg-type]


def write(path: Path, *lines: StoredTrajectory) -> Path:
    with JsonLines(path) as file:
        for line in lines:
            file.append(line)
    return path


class Tags(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_trajectories_come_back_as_they_were(tmp_path: Path) -> None:
    lines = [stored("a", HOSTILE, sample=3, seed=7, grader="math"), stored("b", stop=Stop.UNGRADED)]
    path = write(tmp_path / "t.jsonl", *lines)
    first, second = read_trajectories(path)
    assert first == lines[0]
    assert math.isnan(second.trajectory.steps[0].score.value)
    assert second.trajectory.steps[0].score.why == "too slow"
    assert json.loads(path.read_bytes().splitlines()[1])["version"] == 1
    assert list(read_trajectories(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"version": 2, "trajectory": {}}', r"t\.jsonl:2: a trajectory of version 2, .* reads version 1 only"),
        ('{"trajectory": {}}', r"t\.jsonl:2: a trajectory of version None"),
        ("[]", r"t\.jsonl:2: a trajectory of version None"),
        ('{"version": 1, "trajectory": {"task": 3}}', r"t\.jsonl:2: trajectory line\.trajectory.*missing|expected"),
        ("{", r"t\.jsonl:2: not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "t.jsonl", stored("a"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(StoreError, match=says):
        list(read_trajectories(path))


def test_the_page_stands_alone_and_is_safe(tmp_path: Path) -> None:
    file = write(tmp_path / "run" / "trajectories.jsonl", stored(HOSTILE, HOSTILE), stored("b", stop=Stop.ERROR))
    page = write_page(tmp_path / "run", None, limit=10)
    assert page == file.with_name("view.html")
    text = page.read_text()
    tags = Tags(text)
    assert (tags.count("script"), tags.count("img"), tags.count("details")) == (1, 0, 2)
    assert HOSTILE.replace("\ud800", "?") in tags.text
    assert not any({"src", "href"} & attributes.keys() for _, attributes in tags.tags)
    assert not any(name.startswith("on") for _, attributes in tags.tags for name in attributes)
    assert "://" not in text
    policy = next(
        attributes["content"] for tag, attributes in tags.tags if tag == "meta" and "http-equiv" in attributes
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_policy_allows_the_script_that_is_there(tmp_path: Path) -> None:
    import base64
    import hashlib

    write(tmp_path / "trajectories.jsonl", stored("a"))
    text = write_page(tmp_path, None, limit=10).read_text()
    for tag in ("script", "style"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in text


def test_the_page_is_bounded_and_its_totals_are_not(tmp_path: Path) -> None:
    lines = [stored(f"t{i}", "x" * 100_000) for i in range(30)]
    write(tmp_path / "trajectories.jsonl", *lines, stored("u", stop=Stop.UNGRADED), stored("f", stop=Stop.ERROR))
    text = write_page(tmp_path, tmp_path / "page.html", limit=5).read_text()
    assert len(text) < 5 * (MAX_TEXT + 5000) + 20_000
    assert "80,000 characters left out" in text
    assert "<b>32</b><span>episodes</span>" in text
    assert "<b>1.000</b><span>mean reward</span>" in text
    assert "the first 5 of 32 episodes" in text


def test_a_failure_that_was_played_again_is_not_shown_twice(tmp_path: Path) -> None:
    lines = [stored("a", stop=Stop.ERROR), stored("b"), stored("a", stop=Stop.ERROR), stored("a", "third")]
    write(tmp_path / "trajectories.jsonl", *lines)
    tags = Tags(write_page(tmp_path, None, limit=10).read_text())
    assert tags.count("details") == 2
    assert "failed 0" not in tags.text
    assert "third" in tags.text
    assert find_trajectory(tmp_path, "a", 0).trajectory.steps[0].reply.text == "third"


def test_an_evaluation_shows_its_estimates(tmp_path: Path) -> None:
    evaluate_math(MathEval(policy="gold", tasks="arithmetic", limit=4, out=tmp_path / "run"))
    text = Tags(write_page(tmp_path / "run", None, limit=10).read_text()).text
    assert "avg@1" in text
    assert "100.00 %" in text


def test_one_trajectory_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "trajectories.jsonl", stored("a", HOSTILE), stored("b", sample=2))
    with pytest.raises(SystemExit) as ended:
        main(["view", str(tmp_path), "--task", "a"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "task a, sample 0, answered, reward 1" in said
    assert r"\u001b[31m\ud800\u202e" in said  # nothing reaches the terminal but text
    assert "--- gold answer\n4" in text_of(find_trajectory(tmp_path, "b", 2))
    with pytest.raises(UnknownNameError, match="no task in this run named 'c'"):
        find_trajectory(tmp_path, "c", 0)
    with pytest.raises(UnknownNameError, match="sample of 'b' named '0'; known: 2"):
        find_trajectory(tmp_path, "b", 0)
    with pytest.raises(StoreError, match="does not exist"):
        find_trajectory(tmp_path / "x", "b", 0)


def test_long_text_keeps_its_ends() -> None:
    cut = escaped("a" + "x" * 50_000 + "z")
    assert cut.startswith("ax")
    assert cut.endswith("xz")
    assert len(cut) < MAX_TEXT + 100
    assert escaped("<&>") == "&lt;&amp;&gt;"
