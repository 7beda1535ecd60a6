"""`holdfast products`: the catalogue listed, looked at and changed.

Owns what is typed and shown; what a product is stands in the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.commands.arguments import Sku
from runtime.commands.output import Cell, Column, moment, number, state
from runtime.commands.session import Session, WrongUse, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import Product

app = command_group("List, look at and change the products of the catalogue.")

ProductState = Literal["active", "inactive"]
Category = Annotated[str | None, typer.Option("--category", "-c", help='Its category; `""`: none any more.')]
Threshold = Annotated[
    int | None, typer.Option("--low-stock-threshold", min=0, help="Below so many available units it is low.")
]
Safety = Annotated[int | None, typer.Option("--safety-stock", min=0, help="Units that are never sold.")]


@service_command(app, "list", lists=True)
def list_products(
    session: Session,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Part of a SKU or a name.")] = None,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only of this category.")] = None,
    status: Annotated[ProductState | None, typer.Option(help="Only those.")] = None,
) -> None:
    """List products by SKU.

    Example: `holdfast products list --search mug --all`
    """
    found = session.client.list_products(category=category, status=status, q=search, page_size=session.page_size)
    columns: list[Column[Product]] = [
        Column("sku", lambda one: one.sku),
        Column("name", lambda one: one.name),
        Column("category", lambda one: one.category or "-", spare=True),
        Column("low below", lambda one: number(one.low_stock_threshold), right=True, spare=True),
        Column("safety", lambda one: number(one.safety_stock), right=True, spare=True),
        Column("status", lambda one: state(one.status)),
        Column("changed", lambda one: moment(one.updated_at), spare=True),
    ]
    empty = "no product is like that" if search or category or status else "no products yet; `holdfast products set`"
    session.output.rows(found, columns, limit=session.limit, empty=empty)


@service_command(app, "show")
def show_product(session: Session, sku: Sku) -> None:
    """Show one product of the catalogue. Its stock: `holdfast stock SKU`.

    Example: `holdfast products show MUG`
    """
    product = session.client.get_product(sku)
    session.output.one(product, described(product))


@service_command(app, "set")
def set_product(
    session: Session,
    sku: Sku,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Its name; needed for a new product.", show_default=False)
    ] = None,
    category: Category = None,
    low_stock_threshold: Threshold = None,
    safety_stock: Safety = None,
    status: Annotated[ProductState | None, typer.Option(help="Inactive products cannot be reserved.")] = None,
    initial_stock: Annotated[
        int | None, typer.Option(min=0, help="Units on hand of a new product; no meaning for one that is there.")
    ] = None,
) -> None:
    """Make a product, or change one. What is not given keeps its value. Again: the same.

    Example: `holdfast products set MUG --name "Red mug" --low-stock-threshold 10 --initial-stock 100`
    """
    if name is None:
        from holdfast_client.errors import HoldfastError

        given = (category, low_stock_threshold, safety_stock, status, initial_stock)
        if all(value is None for value in given):
            raise WrongUse("nothing to set: give --name, --category, --low-stock-threshold, --safety-stock or --status")
        try:
            name = session.client.get_product(sku).name
        except HoldfastError as error:
            if getattr(error, "code", "") == "unknown-sku":
                raise WrongUse(f"there is no product {sku} yet: give --name to make it") from None
            raise
    product = session.client.put_product(
        sku,
        name,
        category=category,
        low_stock_threshold=low_stock_threshold,
        safety_stock=safety_stock,
        status=status,
        initial_stock=initial_stock,
    )
    session.output.one(product, described(product))


def described(product: Product) -> list[tuple[str, Cell | None]]:
    """A product in lines."""
    return [
        ("sku", product.sku),
        ("name", product.name),
        ("category", product.category),
        ("status", state(product.status)),
        ("low below", number(product.low_stock_threshold)),
        ("safety stock", number(product.safety_stock)),
        ("made", moment(product.created_at)),
        ("changed", moment(product.updated_at)),
    ]
