"""Sandboxes on other machines: a real Ray of two nodes, used, loaded, killed."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import EditError
from stepgym.sandboxes.cluster.host import Host, Order, pack
from stepgym.sandboxes.cluster.nodes import Node, NodeLostError, choose
from stepgym.sandboxes.cluster.sandbox import RaySandbox
from stepgym.sandboxes.contract import Bind, Capability, Spec, make_spec

pytestmark = pytest.mark.usefixtures("ray_cluster")


def make(**settings: Any) -> RaySandbox:
    return RaySandbox(make_spec(**settings), inner="none")


def node_of(sandbox: RaySandbox) -> str:
    assert sandbox._held is not None
    return sandbox._held.node.id


def running(words: str) -> list[int]:
    """Processes with exactly this command line."""
    wanted = words.replace(" ", "\0").encode() + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted:
                found.append(int(entry.name))
        except OSError:
            pass  # ended meanwhile
    return found


def soon(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_the_contract_holds_at_a_distance(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("from here")
    with make(workspace=tmp_path, env={"GIVEN": "a 'b'"}) as sandbox:
        assert sandbox.exec('cat there.txt; echo "$GIVEN"; cat; exit 3', stdin=b"in\0").output == "from herea 'b'\nin\0"
        assert sandbox.exec("exit 3").exit_code == 3
        sandbox.write("a/b", b"\0\xff\n" * 1000)
        assert sandbox.read("a/b") == b"\0\xff\n" * 1000
        sandbox.edit("there.txt", "from here", "changed")
        point = sandbox.snapshot()
        sandbox.write("there.txt", "again")
        with sandbox.fork(point) as other:
            assert node_of(other) == node_of(sandbox)
            assert other.read("there.txt") == b"changed"
        sandbox.reset()
        assert sandbox.exec("ls").output == "there.txt\n"
        assert sandbox.exec("cd /; V=1", stateful=True).ok
        assert sandbox.exec("pwd; echo $V", stateful=True).output == "/\n1\n"
    assert (tmp_path / "there.txt").read_text() == "from here"


def test_errors_come_through_as_themselves() -> None:
    with make() as sandbox:
        with pytest.raises(FileNotFoundError) as missing:
            sandbox.read("nope")
        assert missing.value.filename == "nope"
        sandbox.write("file", "x" * 10)
        with pytest.raises(OSError, match="more than 3 bytes"):
            sandbox.read("file", limit=3)
        with pytest.raises(NotADirectoryError):
            sandbox.write("file/x", "")
        with pytest.raises(EditError, match="is not there"):
            sandbox.edit("file", "nope", "y")
        with pytest.raises(SandboxError, match="no snapshot 'nope'"):
            sandbox.fork("nope")
    with pytest.raises(SandboxError, match="not started"):
        sandbox.exec("echo")
    with pytest.raises(SandboxError, match="has no image"):
        make(image="debian").start()
    with make() as started:
        assert started.capabilities == make().capabilities == {Capability.SNAPSHOTS}


def test_both_nodes_are_used_by_their_size() -> None:
    with ExitStack() as stack:
        nodes = [node_of(stack.enter_context(make())) for _ in range(6)]
    counts = sorted(nodes.count(each) for each in set(nodes))
    assert counts == [2, 4], "two cores there and one here"


def test_a_node_that_has_the_image_is_preferred_while_it_has_room() -> None:
    small, large, head = Node("a", "", 1), Node("b", "", 2), Node("c", "", 0)
    nodes = [small, large, head]
    small.images.add("mine")
    assert choose(nodes, "mine") is small
    assert choose(nodes, "other") is large
    small.live = 1
    assert choose(nodes, "mine") is large, "the core of the other is taken"
    large.live = 3
    assert choose(nodes, "mine") is small, "both are full, and this is less loaded"
    small.live = large.live = 1000
    assert choose(nodes, "") is not head
    assert choose([head], "") is head


def test_an_image_draws_its_sandboxes_to_one_node(tmp_path: Path) -> None:
    """In namespaces, where a folder is an image. The second would else go to the other node, which is empty."""
    for name in ("bin", "lib", "lib64"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    spec = Spec(image=str(tmp_path), binds=(Bind(Path("/usr"), "/usr"),))
    try:
        first = RaySandbox(spec).start()
    except SandboxError as error:
        pytest.skip(f"no namespaces here: {error}")
    with first, RaySandbox(spec) as second:
        assert second.exec("echo hi").output == "hi\n"
        assert node_of(first) == node_of(second)


def test_a_workspace_is_on_a_node_once_and_as_long_as_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    host, packed = Host(), pack(tmp_path)
    from stepgym.sandboxes.owners import own_folder

    folder = own_folder() / "workspace-key"
    for name in ("one", "two"):
        answer = host.start("token", Order(name, "none", Spec(), "key"), packed)
        assert answer.error is None
        assert (folder / "file").read_text() == "content"
    assert host.call("token", "two", "read", "file").value == b"content"
    point = host.call("token", "two", "snapshot").value
    host.fork("token", "two", point, "three")
    host.close("token", "one")
    host.close("token", "two")
    assert folder.exists(), "a fork stands on it"
    host.close_all()
    assert not folder.exists()
    failed = host.start("token", Order("four", "none", Spec(image="x"), "key"), packed)
    assert isinstance(failed.error, SandboxError)
    assert not folder.exists()


def test_ctrl_c_ends_the_command_on_its_node() -> None:
    with make() as sandbox:
        sandbox.write("kept", "x")
        interrupt = threading.Timer(1.0, _thread.interrupt_main)
        interrupt.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            sandbox.exec("sleep 4321.5 & sleep 4321.5", timeout=100)
        assert time.monotonic() - started < 15
        assert running("sleep 4321.5") == []
        assert sandbox.exec("cat kept").output == "x"


def test_closing_ends_the_command_on_its_node() -> None:
    try:
        sandbox = RaySandbox(Spec()).start()
    except SandboxError as error:
        pytest.skip(f"no namespaces here: {error}")
    closing = threading.Timer(1.0, sandbox.close)
    closing.start()
    started = time.monotonic()
    with pytest.raises(SandboxError):
        sandbox.exec("sleep 4321.4", timeout=100)
    closing.join()
    assert time.monotonic() - started < 15
    assert running("sleep 4321.4") == []


def test_a_time_out_is_the_command_s_own() -> None:
    with make() as sandbox:
        result = sandbox.exec("echo partly; sleep 4321.6", timeout=0.5)
        assert (result.output, result.timed_out, result.exit_code) == ("partly\n", True, 137)
        assert running("sleep 4321.6") == []


def test_many_threads_and_sandboxes_at_once() -> None:
    outputs: dict[int, str] = {}

    def use(number: int) -> None:
        with make() as sandbox:
            sandbox.write("mine", str(number))
            outputs[number] = sandbox.exec("sleep 0.1; cat mine").output

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: str(number) for number in range(16)}


@pytest.fixture
def doomed(ray_cluster: Any) -> Iterator[Any]:
    """A third node, so large that the next sandbox goes there."""
    node = ray_cluster.add_node(num_cpus=1000, object_store_memory=80 << 20)
    yield node
    if node in ray_cluster.worker_nodes:
        ray_cluster.remove_node(node)


def test_a_node_that_dies_in_the_middle_of_a_command(ray_cluster: Any, doomed: Any) -> None:
    with make() as sandbox:
        assert node_of(sandbox) == doomed.node_id
        killer = threading.Timer(0.5, ray_cluster.remove_node, (doomed,), {"allow_graceful": False})
        killer.start()
        started = time.monotonic()
        with pytest.raises(NodeLostError, match="was lost"):
            sandbox.exec("sleep 4321.8", timeout=100)
        assert time.monotonic() - started < 60
        killer.join()
        with pytest.raises(SandboxError):
            sandbox.exec("echo")
        with make() as fresh:
            assert node_of(fresh) != doomed.node_id
            assert fresh.exec("echo works").output == "works\n"
        for pid in running("sleep 4321.8"):  # the machine of the node, which has not died with it, is this one
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(Path(sandbox.spec.workdir).parent)


DRIVER = """
import subprocess, sys, threading, time
from stepgym.sandboxes.cluster.sandbox import RaySandbox
from stepgym.sandboxes import Spec
sandboxes = [RaySandbox(Spec(), inner=sys.argv[1]).start() for _ in range(3)]
for each in sandboxes:
    threading.Thread(target=each.exec, args=("sleep 4321.7",), kwargs={"timeout": 1000}, daemon=True).start()
while len(subprocess.run(["pgrep", "-fx", "sleep 4321.7"], capture_output=True, text=True).stdout.split()) < 3:
    time.sleep(0.05)
print("ready", flush=True)
if sys.argv[2] == "wait":
    time.sleep(1000)
"""


def drive(cluster: Any, inner: str, then: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", DRIVER, inner, then]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_nothing_is_left_when_the_driver_is_killed(ray_cluster: Any) -> None:
    try:
        with RaySandbox(Spec()):
            pass
    except SandboxError as error:
        pytest.skip(f"no namespaces here: {error}")
    from stepgym.sandboxes.reaper import leftovers, prune

    with drive(ray_cluster, "namespace", "wait") as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n", driver.communicate()
        assert len(running("sleep 4321.7")) == 3
        driver.send_signal(signal.SIGKILL)
    assert soon(lambda: not running("sleep 4321.7")), "Ray ends the actors, and they their sandboxes"
    assert soon(leftovers), "their files, for the reaper"
    assert prune().failed == ()
    assert leftovers() == []


def test_nothing_is_left_when_the_driver_ends(ray_cluster: Any) -> None:
    with drive(ray_cluster, "none", "end") as driver:
        _, errors = driver.communicate(timeout=60)
        assert driver.returncode == 0, errors
    assert running("sleep 4321.7") == []


def test_an_address_without_a_cluster_is_a_sentence_that_says_what_to_do() -> None:
    code = "from stepgym.sandboxes import make; make('ray').start()"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "SandboxError: no Ray cluster was found: start one with `ray start --head`" in done.stderr
