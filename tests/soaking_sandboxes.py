"""Run by a test: many sandboxes of a back end, one after the other and at once; prints what is left, as JSON."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stepgym.sandboxes import Limits, Sandbox, Spec, make
from stepgym.sandboxes.owners import own_folder, this_owner
from stepgym.sandboxes.reaper import Kind, look

MARK = f"SOAK_{os.getpid()}"
SPEC = Spec(env={MARK: "1"}, limits=Limits(processes=32))
FIRST = 20
"""Sandboxes before the first look at memory: what is made once is made then."""


def live(backend: str) -> Sandbox:
    """A sandbox with something in it: a file, and a process in the background."""
    sandbox = make(backend, SPEC).start()
    result = sandbox.exec("sleep 1000 & cat /proc/sys/kernel/random/uuid | tee f")
    assert result.ok, result
    return sandbox


def processes() -> Iterator[str]:
    """Our children, and all that runs in a sandbox of ours."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                marked = f"{MARK}=1".encode() in (entry / "environ").read_bytes()
                if int(parent) == os.getpid() or marked:
                    yield (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue


def mounts() -> list[str]:
    """Mounts outside, of files of ours or on them."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(own_folder()) in line]


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def namespaces() -> set[str]:
    """Network namespaces that descriptors of ours hold."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return {link for link in found if link.startswith(("net:", "mnt:", "pid:", "user:"))}


def main(backend: str, sequence: int, at_once: int) -> None:
    """Soak, and report."""
    for _ in range(FIRST):
        live(backend).close()
    settle()
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    for _ in range(sequence - FIRST):
        live(backend).close()
    in_sequence = time.monotonic() - started
    with ThreadPoolExecutor(8) as threads:
        sandboxes = list(threads.map(lambda _: live(backend), range(at_once)))
        most = sum(1 for _ in processes())
        list(threads.map(lambda sandbox: sandbox.close(), sandboxes))
    del sandboxes
    settle()
    print(
        json.dumps(
            {
                "at_once": most,
                "growth": resident() - before,
                "descriptors": len(os.listdir("/proc/self/fd")) - descriptors,
                "namespaces": sorted(namespaces()),
                "threads": threading.active_count() - 1,
                "processes": list(processes()),
                "mounts": mounts(),
                "files": [str(path) for path in own_folder().iterdir() if path.name not in ("lock", "skeleton")],
                "traces": [t.where for t in look().traces if t.owner == this_owner() and t.kind is not Kind.FILES],
                "seconds": in_sequence,
            }
        )
    )


def settle() -> None:
    """Wait for what ends by itself."""
    deadline = time.monotonic() + 10
    while any(processes()) and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
