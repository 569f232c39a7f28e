"""An inventory that is valid, or has the mistakes that a test gives it."""

from typing import Any

import pytest

from fleet.spec.fleet import Inventory
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError

WEB: dict[str, Any] = {"queues": ["default"], "concurrency": 4}
ALL: dict[str, Any] = {"celery_app": "shop.app", "app_source": "app"}


def inventory_of(web: Any = WEB, brokers: int = 1, everywhere: dict[str, Any] = ALL, **group_data: Any) -> Inventory:
    """One broker (or as many as asked for) and web1, with `web` as its web_worker and further group data."""
    broker_names = tuple(f"broker{number + 1}" for number in range(brokers))
    hosts: dict[str, Any] = {name: {**everywhere, "lan_address": "10.0.0.10"} for name in broker_names}
    hosts["web1"] = {**everywhere, "web_worker": web, **group_data}
    return Inventory(hosts, {"broker": broker_names, "web": ("web1",)}, frozenset({"web"}))


def mistakes(inventory: Inventory) -> list[str]:
    """The mistakes that loading the inventory reports."""
    with pytest.raises(SpecError) as caught:
        load_fleet(inventory)
    return caught.value.mistakes
