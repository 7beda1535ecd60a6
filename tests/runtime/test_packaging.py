"""What is shipped: package data, the lock file, the Makefile, the compose file and its image."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runtime.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PACKAGES = ("engine", "lua", "persistence", "inventory", "worker", "api", "runtime", "holdfast_client")
VARIABLES = {f"HOLDFAST_{name.upper()}" for name in Settings.model_fields}


def locked_versions() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines), "no URL, no path, no marker"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_dependency_is_locked_to_a_version_that_is_allowed() -> None:
    locked = locked_versions()
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_what_is_installed_is_what_is_locked() -> None:
    """Followed from our own dependencies: a developer may have put more into the environment."""
    locked = locked_versions()
    # pip is what installs: the environment brings it, no lock can.
    waiting, seen = ["holdfast"], {"holdfast", "pip"}
    while waiting:
        parent = waiting.pop()
        extra = "dev" if parent == "holdfast" else ""
        for text in metadata.requires(parent) or []:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
                continue
            seen.add(name)
            waiting.append(name)
            assert locked.get(name) == metadata.version(name), name


def test_every_file_of_a_package_is_shipped() -> None:
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in map(Path, listed.stdout.split()):
        if file.suffix == ".py" or file.name == "README.md":
            continue
        if file == Path("holdfast_client/pyproject.toml"):  # of the client as a package of its own
            continue
        package, inside = file.parts[0], Path(*file.parts[1:])
        patterns = shipped.get(package, [])
        assert any(fnmatch(str(inside), pattern.replace("**/", "*")) for pattern in patterns), f"{file} is not shipped"


def test_every_python_folder_is_a_package() -> None:
    """setuptools leaves out folders without __init__.py."""
    for package in PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            if "migrations" not in module.parts:
                assert (module.parent / "__init__.py").exists(), module


def test_make_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    listing = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in targets:
        assert f"make {target} " in listing, target
    assert {"install", "up", "test", "check", "demo", "bench"} <= set(targets)


def test_the_ci_runs_checks_and_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    assert re.findall(r"^step make (\w+)", script.read_text(), re.MULTILINE) == ["install", "check", "test"]


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = COMPOSE["services"]
    return found


@pytest.mark.parametrize("name", ["migrate", "api", "worker", "jobs"])
def test_compose_sets_only_settings_that_exist(name: str) -> None:
    service = services()[name]
    assert set(service["environment"]) <= VARIABLES
    assert service["command"] == ([name, "work"] if name == "jobs" else [name])
    assert service["read_only"] is True


def test_compose_starts_in_order_and_checks_health() -> None:
    for name in ("valkey", "postgres", "api"):
        assert services()[name]["healthcheck"]["test"][0] == "CMD", name
    for name in ("api", "worker", "jobs"):
        assert services()[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services()[name]["depends_on"]["valkey"]["condition"] == "service_healthy"
    assert services()["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for service in services().values():
        for dependency in service.get("depends_on", {}):
            assert dependency in services()
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_compose_opens_only_the_api_and_only_to_this_machine() -> None:
    ports = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:8000:8000"]}


def test_compose_configures_valkey_as_the_audit_wants_it() -> None:
    command = services()["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendfsync"] == "${HOLDFAST_APPENDFSYNC:-everysec}"


def test_compose_has_no_secret_and_no_default_for_one() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("HOLDFAST_ADMIN_KEY", "HOLDFAST_STOREFRONT_KEY", "HOLDFAST_POSTGRES_PASSWORD"):
        uses = re.findall(r"\$\{" + name + r"[^}]*\}", text)
        assert uses
        assert all(":?" in use for use in uses), name


def test_the_image_has_every_package_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    for package in PACKAGES:
        assert f"COPY {package} {package}\n" in lines
    assert lines.index("USER holdfast") < lines.index("ENTRYPOINT")
    variables = set(re.findall(r"HOLDFAST_[A-Z_]+", lines))
    assert variables <= VARIABLES
