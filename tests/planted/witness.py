"""A pytest plugin (`-p tests.planted.witness`): writes down what failed first, and from where the sources came.

Owns that report only. Loaded in the copy by its own path; without it a run is not believed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

_PACKAGES = ("engine", "persistence", "inventory", "worker", "api", "runtime", "lua", "tests")


class Witness:
    """One run of pytest, or the process that directs several."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = ""
        self._said = ""
        self._tests = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each test, from whatever process."""
        if report.when == "call" or report.failed:
            self._tests += 1
        self._note(report.nodeid, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot even be imported is a failure as well."""
        self._note(report.nodeid, report)

    def _note(self, name: str, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and not self._failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._failed = name
            self._said = (crash.message if crash else str(report.longrepr)).strip().splitlines()[0][:200]

    def pytest_sessionfinish(self) -> None:
        """Tell."""
        found = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in _PACKAGES]
        sources = sorted(path for path in found if path)
        told = {"failed": self._failed, "said": self._said, "tests": self._tests, "sources": sources}
        self._path.write_text(json.dumps(told))


def pytest_configure(config: pytest.Config) -> None:
    """Take part unless this is only a worker process of xdist."""
    path = os.environ.get("HOLDFAST_PLANTED_REPORT")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Witness(Path(path)), "planted-witness")
