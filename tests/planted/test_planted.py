"""The runner of planted bugs: that every fault is current, that it catches, and that it can fail."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.planted import run
from tests.planted.changes import Change, Outdated, changed
from tests.planted.copies import NOT_COPIED, ROOT, Check, Copy, CopyNotUsed
from tests.planted.faults import FAULTS, Fault
from tests.planted.record import Caught, Record

CHECK = "tests/scripts/test_confirm.py::test_around_the_deadline"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_current(fault: Fault) -> None:
    texts: dict[str, str] = {}
    for change in fault.changes:
        text = texts.get(change.file) or (ROOT / change.file).read_text(encoding="utf-8")
        texts[change.file] = changed(text, change)
        if change.file.endswith(".py"):
            compile(texts[change.file], change.file, "exec")
    for check in fault.checks:
        assert (ROOT / check.partition("::")[0]).exists()


def test_there_are_enough_and_no_two_alike() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25
    assert {fault.changes[0].file.split("/")[0] for fault in FAULTS} == {
        "lua", "engine", "persistence", "worker", "inventory", "api", "runtime", "holdfast_client",
    }  # fmt: skip


def test_a_text_that_is_gone_is_said_loudly() -> None:
    for text in ("other", "one two one"):
        with pytest.raises(Outdated):
            changed(text, Change("file", "one", "two"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("planted") / "copy")


def quick(name: str) -> Fault:
    (found,) = [fault for fault in FAULTS if fault.name == name]
    return found


def test_a_fault_is_caught_and_a_change_that_does_no_harm_is_missed(copy: Copy) -> None:
    fault = quick("deadline off by one")
    caught = copy.check([CHECK], fault.changes)
    assert caught.failed.startswith(CHECK)
    assert "assert" in caught.said
    file = fault.changes[0].file
    assert (copy.folder / file).read_bytes() == (ROOT / file).read_bytes()

    harmless = Change(file, "now >= record[DEADLINE]", "record[DEADLINE] <= now")
    missed = Caught(Fault("harmless", "", (harmless,), (CHECK,)), copy.check([CHECK], [harmless]))
    assert missed.check.failed == ""
    assert "**nothing**" in run.table([missed])


def test_a_fault_in_python_is_caught(copy: Copy) -> None:
    fault = quick("a reader that comes back skips the rest of a batch")
    assert "test_outgoing.py" in copy.check(fault.checks, fault.changes).failed


def test_checks_that_fail_anyway_are_refused(tmp_path: Path) -> None:
    failing = Fault("none", "", (), ("tests/scripts/test_no_such_file.py",))
    with pytest.raises((run.BaselineFailed, CopyNotUsed)):
        run.plant([failing], 1, tmp_path, Console(file=io.StringIO()), committed=False)


def test_a_run_that_was_ended_goes_on(tmp_path: Path, copy: Copy) -> None:
    fault, other = quick("deadline off by one"), quick("a second confirm sells again")
    found = Caught(fault, Check("tests/a.py::test_b", "assert 1 == 2", 1.5, 3))
    record = Record(tmp_path / "record.jsonl")
    record.note(found, copy.folder)
    with (tmp_path / "record.jsonl").open("ab") as file:
        file.write(b'{"digest": "cut o')

    assert record.known([fault, other], copy.folder) == {fault.name: found}
    assert record.known([Fault(fault.name, fault.why, other.changes, fault.checks)], copy.folder) == {}
    again = run.plant([fault], 1, tmp_path, Console(file=io.StringIO()), committed=False, record=record)
    assert again == [found]
    lua, text = copy.folder / fault.changes[0].file, (copy.folder / fault.changes[0].file).read_bytes()
    lua.write_bytes(text + b"-- the end\n")
    assert record.known([fault], copy.folder) == {}
    lua.write_bytes(text)


def test_sources_of_the_checkout_are_noticed(tmp_path: Path) -> None:
    """An editable install gives what the copy has not: then the fault would not be in what was checked."""
    other = Copy(tmp_path / "copy")
    shutil.rmtree(other.folder / "lua")
    with pytest.raises(CopyNotUsed):
        other.check([CHECK])


def test_what_a_copy_leaves_out_is_nothing_it_needs() -> None:
    left_out = NOT_COPIED(str(ROOT), [path.name for path in ROOT.iterdir()])
    assert not left_out & {"tests", "lua", "engine", "docs", "pyproject.toml"}
