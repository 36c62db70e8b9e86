"""Zone data that several tests look at."""

from __future__ import annotations

from typing import Any

TWO_MX: dict[str, dict[str, list[Any]]] = {
    "example.org": {"MX": [(10, "mx1.example.org"), (20, "mx2.example.org")]},
    "mx1.example.org": {"A": ["192.0.2.1"]},
    "mx2.example.org": {"A": ["192.0.2.2"]},
}
