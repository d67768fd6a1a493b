"""Adds up an order: {"items": [{"name", "price", "count"}]} gives {"total", "count"}."""

import json
from decimal import Decimal


class EmptyOrder(Exception):
    """Nothing was ordered."""


def handler(event, context):
    # Prices as decimals: 0.1 + 0.2 is 0.3.
    items = json.loads(event, parse_float=Decimal)["items"]
    if not items:
        raise EmptyOrder("an order needs at least one item")
    total = sum(item["price"] * item["count"] for item in items)
    return json.dumps({"total": float(total), "count": sum(item["count"] for item in items)})
