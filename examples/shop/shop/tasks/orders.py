"""Database: take an order."""

from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.schema import CreateTable

from shop.app import TimedTask, app
from shop.resources import engine

orders = Table(
    "orders",
    MetaData(),
    Column("order_id", String(64), primary_key=True),
    Column("sku", String(64), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("total_cents", Integer, nullable=False),
)


class OrderConflictError(ValueError):
    """The order id is taken by an order with another content."""


# An IntegrityError is two workers making the table at the same moment on PostgreSQL: the second finds it made.
@app.task(base=TimedTask, autoretry_for=(OperationalError, IntegrityError), retry_backoff=2, max_retries=5)  # type: ignore[untyped-decorator]
def place_order(order_id: str, sku: str, quantity: int, unit_cents: int) -> dict[str, Any]:
    """Store an order and answer with the stored row. A second run with the same arguments changes nothing.

    Raises OrderConflictError, and leaves the stored order as it is, if the stored order differs.
    """
    row = {"order_id": order_id, "sku": sku, "quantity": quantity, "total_cents": quantity * unit_cents}
    database = engine()
    insert = postgresql.insert if database.dialect.name == "postgresql" else sqlite.insert
    with database.begin() as connection:
        # Enough for one table; an app with a history of them keeps migrations instead.
        connection.execute(CreateTable(orders, if_not_exists=True))
        connection.execute(insert(orders).values(row).on_conflict_do_nothing(index_elements=["order_id"]))
        stored = dict(connection.execute(select(orders).filter_by(order_id=order_id)).mappings().one())
    if stored != row:
        raise OrderConflictError(f"order {order_id} is already stored as {stored}, not {row}")
    return stored
