"""`python -m bench --quick` runs against real servers, prints a table and writes the results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.run import BENCHMARKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["memory_per_hold", "flusher", "redis_cpu"])
def test_quick_run(name: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", name, "--results", str(tmp_path / "found.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "| what | Holdfast |" in finished.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["quick"] is True
    assert found["figures"]
    assert all(figure["ours"] > 0 for figure in found["figures"])


def test_every_benchmark_says_its_command_its_rival_and_its_caveat() -> None:
    for name in (*BENCHMARKS, "hot_path_parts"):
        text = (ROOT / "bench" / f"{name}.py").read_text().split('"""')[1]
        assert f"python -m bench.{name}" in text, name
        assert "Compares" in text, name
        assert "Caveat" in text, name
