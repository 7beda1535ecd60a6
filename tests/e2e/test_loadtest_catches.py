"""The load test against services whose Lua is broken on purpose: each broken promise is caught, by name.

Each case is a copy of lua/ with one or two lines changed. An oracle that has never objected proves nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

import lua
from engine.scripts import Script, compose
from runtime.loadtest.schedule import Sale
from runtime.loadtest.session import Outcome, flash_sale
from runtime.throwaway_service import ServiceAddress
from tests.planted.changes import Change, make_changes


class Break(Struct, frozen=True):
    """Changes to lua/, and the promises of which at least one must be found broken."""

    promises: frozenset[str]
    changes: tuple[Change, ...]


def broken(*promises: str, changes: Sequence[tuple[str, str, str]]) -> Break:
    return Break(frozenset(promises), tuple(Change(*change) for change in changes))


BREAKS = {
    "available forgets what is reserved": broken(
        "oversold 0",
        changes=[
            (
                "commands/reserve.lua",
                "quantity <= level[1] - level[2] - level[3]",
                "quantity <= level[1] - level[3]",
            )
        ],
    ),
    # Slow answers show the same fault as a confirm that comes too late instead of as a unit held twice.
    "holds end before their time": broken(
        "oversold 0",
        "one end",
        changes=[("commands/reserve.lua", "local deadline = now + ttl\n", "local deadline = now + 300\n")],
    ),
    "the last unit is never sold": broken(
        "undersold 0",
        changes=[
            (
                "commands/reserve.lua",
                "quantity <= level[1] - level[2] - level[3]",
                "quantity < level[1] - level[2] - level[3]",
            ),
            ("lib/shortages.lua", "    if quantities[i] > free then", "    if quantities[i] >= free then"),
        ],
    ),
    "an expired hold keeps its units": broken(
        "undersold 0",
        changes=[
            (
                "lib/holds.lua",
                'give_back(skus, quantities)\n  end_record(base, record, "EXPIRED")',
                'end_record(base, record, "EXPIRED")',
            )
        ],
    ),
    "a released hold keeps its units": broken(
        "undersold 0",
        changes=[("commands/release.lua", "  give_back(skus, quantities)\n", "")],
    ),
    "a hold can be confirmed after its deadline": broken(
        "one end",
        changes=[("commands/confirm.lua", 'if status == "EXPIRED" and not late then', "if false then")],
    ),
    "a released hold can be confirmed": broken(
        "one end",
        changes=[("commands/confirm.lua", 'elseif status == "CANCELLED" then', "elseif false then")],
    ),
    "a key is not remembered": broken(
        "one key, one hold",
        changes=[("commands/reserve.lua", "  if raw then\n", "  if false then\n")],
    ),
    "a second confirm sells again": broken(
        "ledger equal",
        changes=[("commands/confirm.lua", 'if found[i][STATUS] ~= "COMPLETED" then', "if true then")],
    ),
    "a sale forgets its order": broken(
        "ledger equal",
        changes=[
            (
                "commands/confirm.lua",
                "event_lines(skus, quantities), order_id, actor,",
                'event_lines(skus, quantities), "", actor,',
            )
        ],
    ),
}


def broken_script(folder: Path, changes: Sequence[Change]) -> Script:
    shutil.copytree(lua.FOLDER, folder)
    make_changes(folder, changes)
    return compose(folder)


def small_sale(service: ServiceAddress, seed: int, processes: int = 1) -> Outcome:
    print(f"seed {seed}")
    sale = Sale(secrets.token_hex(4).upper(), buyers=150, units=60, rate=200, ttl_s=1, think_s=0.3, seed=seed)
    return asyncio.run(flash_sale(service, sale, 32, processes, print, patience_s=2))


def broken_promises(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    return {promise.name: promise.objections for promise in outcome.verdict.promises if promise.objections}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_script_is_caught(what: str, serve: Callable[..., ServiceAddress], tmp_path: Path) -> None:
    case = BREAKS[what]
    found = broken_promises(small_sale(serve(broken_script(tmp_path / "lua", case.changes)), seed=7))
    assert case.promises & found.keys(), found


@pytest.mark.parametrize("processes", [1, 2])
def test_the_script_as_it_is_keeps_every_promise(serve: Callable[..., ServiceAddress], processes: int) -> None:
    outcome = small_sale(serve(), secrets.randbelow(2**31), processes)
    assert broken_promises(outcome) == {}
    account = outcome.verdict.account
    assert account.sold_units == 60
    assert min(account.completed, account.released, account.expired, account.refused) > 0
