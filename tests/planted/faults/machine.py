"""Planted in the Lua state machine: who gets units, when a hold ends, what is checked before it is written.

Owns these faults; never how one is planted.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults.fault import fault

RESERVE: Final = "lua/commands/reserve.lua"
CONFIRM: Final = "lua/commands/confirm.lua"
AMEND: Final = "lua/commands/amend.lua"
HOLDS: Final = "lua/lib/holds.lua"
LOAD: Final = "lua/lib/load.lua"
STORE: Final = "lua/lib/store.lua"

FAULTS: Final = [
    fault(
        "available forgets holds",
        "available is what is on the shelf",
        [(RESERVE, "quantity <= level[1] - level[2] - level[3]", "quantity <= level[1] - level[3]")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the last unit is not sold",
        "less than is available must be left",
        [
            (RESERVE, "quantity <= level[1] - level[2] - level[3]", "quantity < level[1] - level[2] - level[3]"),
            ("lua/lib/shortages.lua", "    if quantities[i] > free then", "    if quantities[i] >= free then"),
        ],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "deadline off by one",
        "a hold is over after its deadline, so `>`",
        [(HOLDS, "now >= record[DEADLINE]", "now > record[DEADLINE]")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "confirm after the deadline",
        "the customer has paid, who cares about the deadline",
        [(CONFIRM, 'if status == "EXPIRED" and not late then', "if false then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "a released hold can be confirmed",
        "the record is still there, so it can be sold",
        [(CONFIRM, 'elseif status == "CANCELLED" then', "elseif false then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "a second confirm sells again",
        "confirm is only called once",
        [(CONFIRM, 'if found[i][STATUS] ~= "COMPLETED" then', "if true then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "released twice gives back twice",
        "a release that is repeated gives back what it says",
        [
            (
                "lua/commands/release.lua",
                'elseif record[STATUS] ~= "ACTIVE" then',
                'elseif record[STATUS] ~= "ACTIVE" and record[STATUS] ~= "CANCELLED" then',
            )
        ],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "an ended hold stays among the deadlines",
        "the sweeper will clean it up (a missing ZREM)",
        [(HOLDS, "  remove_deadline(member_of(base, record))\n", "")],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "a key is not remembered",
        "every request makes its own reservation",
        [(RESERVE, "  if raw then\n", "  if false then\n")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the fingerprint is ignored",
        "the same key is the same request",
        [(RESERVE, 'if print == "" or unpack_all(raw)[FINGERPRINT] ~= print then', 'if print == "" then')],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the owner is not checked",
        "nobody can guess an id",
        [(HOLDS, 'if owner ~= "" and record[OWNER] ~= owner then', "if false then")],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "a partial grant holds what is missing",
        "the shortage is what is left over",
        [(RESERVE, "missing[short[i][1]] = short[i][3]", "missing[short[i][1]] = short[i][2] - short[i][3]")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "due holds keep their units until swept",
        "the sweeper expires them soon enough",
        [
            (
                "lua/lib/shortages.lua",
                "  if any_due() then\n    answer(DUE_HOLDS)",
                "  if false then\n    answer(DUE_HOLDS)",
            )
        ],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "numbers as Lua reads them",
        "tonumber knows what a number is",
        [("lua/lib/lines.lua", '"([^=,]+)=([1-9]%d*),"', '"([^=,]+)=([^=,]+),"')],
        ["tests/scripts/test_hostile_numbers.py"],
    ),
    fault(
        "held units can be taken off the shelf",
        "an admin knows what is there",
        [("lua/commands/adjust.lua", "local free = level[1] - level[2]\n", "local free = level[1]\n")],
        ["tests/scripts/test_adjust.py"],
    ),
    fault(
        "written before checked",
        "change the counters while going through the lines, and answer at the end",
        [
            (
                AMEND,
                "  local short = shortages_beyond(skus, quantities, had)\n",
                "  for i = 1, #all do\n"
                "    stock[all[i]][2] = stock[all[i]][2] + now_held[i] - (had[all[i]] or 0)\n"
                "  end\n"
                "  local short = shortages_beyond(skus, quantities, had)\n",
            ),
            (
                AMEND,
                "    stock[sku][2] = stock[sku][2] + now_held[i] - (had[sku] or 0)\n    stock_changed",
                "    stock_changed",
            ),
        ],
        ["tests/scripts/test_amend.py"],
    ),
    fault(
        "pcall round the journal",
        "a journal that cannot be written must not stop a sale",
        [(STORE, '  call("XADD", JOURNAL', '  redis.pcall("XADD", JOURNAL'), (LOAD, '  call("XLEN", JOURNAL)\n', "")],
        ["tests/scripts/test_batches.py", "tests/scripts/test_damage.py"],
    ),
    fault(
        "no fencing",
        "there is only one life of the store",
        [(LOAD, "if meta[1] ~= expected_epoch or", "if not meta[1] or")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "a sequence number twice",
        "the first event of a batch has the number that stands in meta",
        [(LOAD, "first_seq = seq + 1", "first_seq = seq")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "time goes back",
        "TIME is the time",
        [("lua/lib/clock.lua", "  if now < last_ms then\n    now = last_ms\n  end\n", "")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "growth hidden behind a removal",
        "the order of the writes does not matter, the script is atomic",
        [
            (STORE, "  if grows then\n    write_meta()\n  end\n", ""),
            (STORE, "  if not grows then\n    write_meta()\n  end\n", "  write_meta()\n"),
        ],
        ["tests/scripts/test_out_of_memory.py"],
    ),
]
