"""A Ray cluster of two nodes on this machine, for the tests of whatever runs on one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of two nodes with 2 and 1 cores, to which Ray is connected in this process."""
    pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("STEPGYM_SANDBOXES", str(tmp_path_factory.mktemp("sandboxes")))
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: Ray's sockets are below it
    os.environ["RAY_TMPDIR"] = folder  # where it writes down which cluster is the machine's
    Path(folder, "ray").mkdir()
    settings = {"include_dashboard": False, "object_store_memory": 80 << 20, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **settings}, shutdown_at_exit=False)
    try:
        cluster.add_node(num_cpus=1, **settings)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder)
        del os.environ["RAY_TMPDIR"]
