"""`python -m bench --quick` runs against real servers, prints a table and writes the results; no benchmark rots unseen.

Every module is imported here and checked by mypy; a few, of different kinds, are run. Figures are never asserted.
"""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.run import BENCHMARKS

ROOT = Path(__file__).resolve().parents[2]
ON_THEIR_OWN = ("hot_path_parts", "link_cost")
"""Not in the table of all: they show where a figure comes from."""
PARTS = tuple(sorted(module.name for module in pkgutil.walk_packages(bench.__path__, "bench.")))


def run(module: str, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", module, "--quick", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("name", ["memory_per_hold", "flusher", "redis_cpu"])
def test_quick_run(name: str, tmp_path: Path) -> None:
    assert "| what | Holdfast |" in run("bench", "--only", name, "--results", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["quick"] is True
    assert found["figures"]
    assert all(figure["ours"] > 0 for figure in found["figures"])


@pytest.mark.parametrize("name", ON_THEIR_OWN)
def test_quick_run_of_what_stands_on_its_own(name: str) -> None:
    assert "us" in run(f"bench.{name}")


@pytest.mark.parametrize("name", PARTS)
def test_everything_that_a_benchmark_uses_is_still_there(name: str) -> None:
    importlib.import_module(name)


def test_every_benchmark_is_in_the_table_or_stands_on_its_own() -> None:
    runnable = {name for name in PARTS if hasattr(importlib.import_module(name), "measure")}
    assert runnable == {f"bench.{name}" for name in (*BENCHMARKS, "link_cost")}


def test_every_benchmark_says_its_command_its_rival_and_its_caveat() -> None:
    for name in (*BENCHMARKS, *ON_THEIR_OWN):
        text = (ROOT / "bench" / f"{name}.py").read_text().split('"""')[1]
        assert f"python -m bench.{name}" in text, name
        assert "Compares" in text, name
        assert "Caveat" in text, name
