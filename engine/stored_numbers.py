"""Numbers as Redis holds them: somebody else may have written there, and nobody who reads them may end of it.

Owns what stands for a number that is none; what is to be done about it is recovery's and reconciliation's.
"""

from __future__ import annotations


def whole(value: bytes | str | float | None) -> int:
    """The whole number that this is; 0 when it is none, or nothing is there."""
    try:
        return int(value or 0)
    except (ValueError, OverflowError):
        return 0


def standing(epoch: bytes | None, seq: bytes | None) -> tuple[int, int]:
    """(epoch, seq) as `meta` says; epoch 0, which is no state at all, when either is missing or no number."""
    if epoch is None or seq is None or not (epoch.isdigit() and seq.isdigit()):
        return 0, whole(seq)
    return int(epoch), int(seq)
