"""The documentation is true: every block is of a language that is checked, and the pages that promise to run do.

`python` blocks are compiled and their imports carried out (run where the page says so), `sh` blocks are parsed and what
they name must exist, `json` and `toml` are read. `text` is for what is not to be checked.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from holdfast_client import Client
from runtime.data_folder import read_bootstrap_keys
from tests.documents.pages import ROOT, Block, blocks, pages, run_page, run_python
from tests.documents.shell_words import faults
from tests.http.running import KEYS, RunningService
from tests.runtime.up_process import Up

_TAGS = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b((?:src|href)=\"[^\"]*\")")
_NAV = "nav:\n  - Home: index.md\n\n"
BLOCKS = [block for page in pages() for block in blocks(page)]


def of(*languages: str) -> Any:
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=[block.name for block in found])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("documents") / "data").wait_until_ready()
    yield up
    up.stop()


@pytest.fixture(scope="module")
def described(service: Up) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json", trust_env=False, timeout=30).json()
    return found


def test_every_block_has_a_language_that_is_known_here() -> None:
    known = {"python", "sh", "json", "toml", "yaml", "sql", "promql", "text"}
    assert [f"{block.name}: {block.language!r}" for block in BLOCKS if block.language not in known] == []


@of("python")
def test_python_compiles_and_its_imports_are_there(block: Block) -> None:
    tree = compile(block.text, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), {})  # noqa: S102 - the page is ours


@of("sh")
def test_shell_parses(block: Block) -> None:
    run = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


def test_what_shell_blocks_name_is_there(described: dict[str, Any]) -> None:
    found = [
        f"{block.name}: {fault}"
        for block in BLOCKS
        if block.language == "sh"
        for fault in faults(block.text, described)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("make frobnicate", "make has no target frobnicate"),
        ("make test ARGS='-k x'", ""),
        ("X=1 .venv/bin/holdfast frobnicate", "no command holdfast frobnicate"),
        ("holdfast up --frobnicate 7 --port=80", "holdfast up has no option --frobnicate"),
        ("holdfast jobs run holds.leftover  # comment", ""),
        (".venv/bin/python -m examples.nothing", "no module examples.nothing"),
        (".venv/bin/pytest tests/none.py", "no file tests/none.py"),
        ('curl -s "$URL/inventory/none"', "no endpoint GET /inventory/none"),
        ("X=$(ask \"$URL/inventory/reserve\" -d '{}' | sed 1d)", ""),
        ('curl -X DELETE "$URL/inventory/reserve"', "no endpoint DELETE /inventory/reserve"),
        ("curl -s $HOLDFAST/admin/webhooks/$ID/test -X POST", ""),
    ],
)
def test_what_is_not_there_is_found(script: str, fault: str, described: dict[str, Any]) -> None:
    assert list(faults(script, described)) == ([fault] if fault else [])


@of("json", "toml", "yaml")
def test_data_can_be_read(block: Block) -> None:
    {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}[block.language](block.text)


def test_the_quick_start_runs_as_it_stands(service: Up) -> None:
    page = ROOT / "docs" / "quick-start.md"
    run_page(page, service, 6)
    keys = read_bootstrap_keys(service.data_dir)
    assert keys is not None
    assert run_python(page, {"url": service.url, "storefront_key": keys.storefront_key}) == 1


@pytest.fixture
def fresh_shop(redis_url: str, database_url: str) -> Iterator[str]:
    running = RunningService(redis_url, database_url).start()
    yield running.address("protocol")
    running.stop()


def test_the_page_of_the_client_runs_as_it_stands(fresh_shop: str) -> None:
    with Client(fresh_shop, KEYS["admin"]) as admin:
        admin.put_product("MUG-RED", "Red mug", initial_stock=100)
        admin.put_product("TRAY", "Tray", initial_stock=100)
        # The async block lists products, which a storefront may not.
        names = {"url": fresh_shop, "key": KEYS["admin"], "admin": admin}
        assert run_python(ROOT / "docs" / "client.md", names) >= 8


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does it. Never with --quiet: mkdocs does not count warnings that it does not show."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=folder,
        env={**os.environ, "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_every_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("mkdocs.yml", "docs/mkdocs_hooks.py"):
        (tmp_path / name).write_text(re.sub(r"(?s)^nav:.*?(?=^hooks:)", _NAV, (ROOT / name).read_text(), flags=re.M))
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Home\n\n[`a[b]`](../mkdocs.yml)\n")
    good = build(tmp_path, tmp_path / "site")
    assert good.returncode == 0, good.stderr
    page.write_text("# Home\n\n[x](nowhere.md) [x](index.md#nowhere) [x](../nowhere.py) ![x](none.png)\n")
    bad = build(tmp_path, tmp_path / "site")
    assert bad.returncode != 0
    warned = [line for line in bad.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warned) == 4, bad.stderr


def test_the_site_is_built_whole_and_asks_nobody_else(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run = build(ROOT, site)
    assert run.returncode == 0, run.stdout + run.stderr
    written = list(site.rglob("*.html"))
    assert len(written) >= len(list((ROOT / "docs").rglob("*.md")))
    fetched = [
        f"{file.name}: {tag}"
        for file in written
        for tag in _TAGS.findall(file.read_text())
        if "//" in tag.partition("=")[2]
    ]
    assert fetched == []
