"""Bad inputs by topic: what each must answer (see `tests/attack.py`)."""

from __future__ import annotations

from importlib import import_module

TOPICS = (
    *(
        "materials",
        "verification",
        "densities",
        "domains",
        "filters",
        "states",
        "coupled",
        "eigen",
        "transient",
    ),
    *("networks", "bridge", "transfers", "runs", "loops", "cuts", "checkpoints", "damage"),
    *(
        "meshes",
        "files",
        "pictures",
        "stores",
        "command_line",
        "problems",
        "processes",
        "agreement",
        "strangers",
    ),
)


def all_cases() -> list:
    """Return the attacks of all topics, in order."""
    from attacks.case import CASES

    for topic in TOPICS:
        import_module(f"attacks.{topic}")
    return CASES
