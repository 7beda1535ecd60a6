"""Why the service says no: one exception a reason, each with the code that the HTTP contract gives it.

Owns the reasons and what each one tells; never how an answer looks (api/problems.py).

    Refusal                    nothing was changed, unless the class says otherwise
    ├── InvalidRequest         the request breaks a rule of the contract
    ├── UnknownSku             ... names what is not in the catalogue
    ├── InsufficientStock      would take more than is on hand and not reserved
    ├── StockLimit             would put more on hand than a SKU can hold
    ├── KeyReused              the Idempotency-Key came with another request before
    └── LedgerLate             changed, but not yet known to be in the ledger; repeating is safe
"""

from __future__ import annotations

from typing import ClassVar

from engine.results import Shortage


class Refusal(Exception):
    """Root of the tree. `detail` is a sentence for the caller; empty: the title of the code says it all."""

    code: ClassVar[str] = "internal-error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.code)
        self.detail = detail


class InvalidRequest(Refusal):
    """One thing is wrong; `at` names it as a JSON path such as `$.quantity`."""

    code = "validation-error"

    def __init__(self, detail: str, at: str = "") -> None:
        super().__init__(detail)
        self.at = at


class UnknownSku(Refusal):
    """SKUs that are not in the catalogue."""

    code = "unknown-sku"

    def __init__(self, skus: tuple[str, ...]) -> None:
        super().__init__()
        self.skus = skus


class InsufficientStock(Refusal):
    """Every line that would take too much."""

    code = "insufficient-stock"

    def __init__(self, shortages: tuple[Shortage, ...]) -> None:
        super().__init__("More than is on hand and not reserved.")
        self.shortages = shortages


class StockLimit(Refusal):
    """More units than a SKU can hold."""

    code = "stock-limit"


class KeyReused(Refusal):
    """Same key, other request."""

    code = "idempotency-key-reused"


class LedgerLate(Refusal):
    """The change has been made; whether it is in the ledger is not known yet."""

    code = "durability-unknown"
