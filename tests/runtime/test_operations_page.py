"""docs/operations.md says what the code does: settings, commands, metrics, audited settings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import typer.main

from api import exposition, job_families
from runtime import config_audit
from runtime.cli import app
from runtime.data_folder import KEYS_FILE, LOCK_FILE, SERVERS_FILE
from runtime.settings import Settings
from runtime.settings_table import settings_table
from worker import metrics as worker_metrics

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()


def test_the_table_of_settings_is_the_code() -> None:
    assert PAGE.endswith(settings_table()), "python -m runtime.settings_table prints the table"


def test_every_variable_that_is_named_exists() -> None:
    known = {f"HOLDFAST_{name.upper()}" for name in Settings.model_fields} | {"HOLDFAST_POSTGRES_PASSWORD"}
    assert set(re.findall(r"HOLDFAST_[A-Z_]+[A-Z]", PAGE)) <= known


def test_every_command_that_is_named_exists_and_every_command_is_named() -> None:
    group = typer.main.get_command(app)
    names = set(group.list_commands(None))  # type: ignore[attr-defined]
    named = set(re.findall(r"`holdfast ([a-z-]*[a-z])", PAGE.replace("\n", " ")))
    assert named <= names
    assert names <= named


def test_every_file_of_the_data_directory_is_named() -> None:
    for name in (KEYS_FILE, LOCK_FILE, SERVERS_FILE):
        assert f"`{name}`" in PAGE


def test_every_metric_that_is_named_exists() -> None:
    sources = "".join(inspect.getsource(module) for module in (worker_metrics, exposition, job_families))
    for name in re.findall(r"holdfast_([a-z_]+)", PAGE):
        bare = name.removesuffix("_total")
        assert any(f'"{spelt}"' in sources for spelt in (bare, bare.removeprefix("job_"))), name


def test_every_audited_setting_is_named() -> None:
    for name in re.findall(r'(?:refuse|warn)\("([a-z-]+)"', inspect.getsource(config_audit)):
        assert name in PAGE or name == "mode", name
