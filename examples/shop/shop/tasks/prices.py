"""I/O: ask a supplier."""

from typing import Any

import requests

from shop.app import TimedTask, app
from shop.resources import http


@app.task(base=TimedTask, autoretry_for=(requests.ConnectionError, requests.Timeout), retry_backoff=2, max_retries=3)  # type: ignore[untyped-decorator]
def fetch_price(supplier: str, sku: str) -> dict[str, Any]:
    """The price of one article, in cents, from `supplier` (its base URL).

    Raises requests.HTTPError when the supplier refuses, requests.RequestException when it cannot be reached.
    """
    response = http().get(f"{supplier}/prices/{sku}", timeout=(5, 15))  # to connect, to answer
    response.raise_for_status()
    return {"sku": sku, "price_cents": int(response.json()["price_cents"])}
