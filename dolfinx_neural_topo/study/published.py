"""The paper's own compliances of its four methods on 116 tasks: typical run, and best of the ensemble.

Source: S. Hoyer, J. Sohl-Dickstein, S. Greydanus, Neural reparameterization improves structural optimization,
arXiv:1909.04240 (2019), supplementary table. 1000 evaluations a run; "typical" is the median over 101 seeds
for the CNN and the constant start for the others, "best" the minimum over all 102 starts.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

PAPER_METHODS = {"cnn-lbfgs": "cnn_lbfgs", "mma": "mma", "oc": "oc", "pixel-lbfgs": "pixel_lbfgs"}
"""Our name of each of the paper's methods, and the name of its column."""

Kind = Literal["typical", "best"]


@cache
def published(kind: Kind) -> MappingProxyType[str, dict[str, float]]:
    """Return the published compliances: task to method to value."""
    with resources.files(__package__).joinpath("data/paper_table.csv").open() as file:
        rows = list(csv.DictReader(file))
    return MappingProxyType(
        {
            row["problem_name"]: {
                name: float(row[f"{kind}_{column}"]) for name, column in PAPER_METHODS.items()
            }
            for row in rows
        }
    )


def best_known(task: str) -> float | None:
    """Return the lowest compliance of the paper's 408 runs on a task, or None for other tasks."""
    row = published("best").get(task)
    return min(row.values()) if row else None
