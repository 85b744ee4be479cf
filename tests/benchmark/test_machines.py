"""Two machines, each a network of its own: what one process finds, two find that only a cable joins."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.example_run import SMALL, write_run
from support.paths import ROOT
from timm_pushpull.benchmark.results import Results

pytestmark = pytest.mark.slow
MACHINES = (f"pushpull-a-{os.getpid()}", f"pushpull-b-{os.getpid()}")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[str, ...]]:
    """Two network namespaces and a virtual cable between them."""
    try:
        for name in MACHINES:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cable-a",
            "netns",
            MACHINES[0],
            "type",
            "veth",
            "peer",
            "name",
            "cable-b",
            "netns",
            MACHINES[1],
        )
        for number, name in enumerate(MACHINES):
            cable = f"cable-{'ab'[number]}"
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", cable)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", cable, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        for name in MACHINES:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        pytest.skip(f"needs network namespaces: {error}")
    yield MACHINES
    for name in MACHINES:
        ip("netns", "del", name)


def test_the_benchmark_counts_the_same_over_two_machines(machines, tmp_path, image_folder):
    """Each has a disk of its own too: the first one writes the results."""
    write_run(tmp_path / "run", **SMALL)
    command = ["-m", "timm_pushpull", "benchmark", "--model", f"local-dir:{tmp_path / 'run'}"]
    command += ["--dataset", str(image_folder), "--preset", "cifar10-c", "--corruptions", "contrast", "fog"]
    alone = [sys.executable, *command, "--output", str(tmp_path / "alone.json")]
    subprocess.run(alone, check=True, cwd=ROOT, capture_output=True)
    started = []
    for number, name in enumerate(machines):
        disk = tmp_path / name
        disk.mkdir()
        launcher = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        launcher += ["--node_rank", str(number), "--master_addr", "10.77.0.1", "--master_port", "29778"]
        launcher += ["--nproc_per_node", "2", *command, "--output", str(disk / "results.json")]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": f"cable-{'ab'[number]}", "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(launcher, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert written(tmp_path, machines) == [["results.json"], []]
    found, expected = Results.load(tmp_path / machines[0] / "results.json"), Results.load(tmp_path / "alone.json")
    different = {"seconds", "command", "hardware"}
    assert {
        entry.name
        for entry in dataclasses.fields(Results)
        if getattr(found, entry.name) != getattr(expected, entry.name)
    } <= different


def written(folder: Path, machines: tuple[str, ...]) -> list[list[str]]:
    return [sorted(path.name for path in (folder / name).iterdir()) for name in machines]
