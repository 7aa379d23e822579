"""Physical groups that may overlap, in tags that hold one number an entity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dolfinx_neural_topo.errors import InputError

Tags = int | tuple[int, ...]
"""What a UFL measure takes: one number, or several."""


def overlay(
    size: int, members: Iterable[tuple[np.ndarray, tuple[int, ...]]]
) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
    """Give each entity one number that says in which groups it is.

    An entity in one group has the number of that group. Each combination of groups that occurs has a number
    of its own, above all others.

    Args:
        size: Number of entities.
        members: Rows of entities, each beside the groups they all are in; a row may come again.

    Returns:
        The number of each entity, int32 `(size,)`, 0 for those in no group; and for each group the numbers of
        its entities.
    """
    rows_of: dict[int, list[np.ndarray]] = {}
    for rows, groups in members:
        for group in groups:
            rows_of.setdefault(group, []).append(rows)
    combinations: dict[tuple[int, ...], int] = {(): 0}
    combination = np.zeros(size, dtype=np.int64)
    for group in sorted(rows_of):
        rows = np.unique(np.concatenate(rows_of[group]))
        known = list(combinations)
        before = np.unique(combination[rows])
        after = np.zeros(len(known), dtype=np.int64)
        for number in before:
            after[number] = combinations.setdefault((*known[number], group), len(combinations))
        combination[rows] = after[combination[rows]]
    present = np.unique(combination)
    number, free = np.zeros(len(combinations), dtype=np.int32), max(rows_of, default=0) + 1
    tags: dict[int, tuple[int, ...]] = {}
    for groups, index in combinations.items():
        if groups and index in present:
            number[index], free = (groups[0], free) if len(groups) == 1 else (free, free + 1)
            for group in groups:
                tags[group] = (*tags.get(group, ()), int(number[index]))
    return number[combination], tags


def by_name(
    tags: Mapping[int, tuple[int, ...]], dimension: int, names: Mapping[tuple[int, int], str]
) -> dict[str, Tags]:
    """Return the tags of each group under its name, or its number if it has none.

    Groups of the same name are one group.

    Raises:
        InputError: The name of one group is the number of another that has none.
    """
    found: dict[str, set[int]] = {}
    named = {names[dimension, group] for group in tags if (dimension, group) in names}
    for group in sorted(tags):
        name = names.get((dimension, group)) or str(group)
        if (dimension, group) not in names and name in named:
            raise InputError(f"one group is named {name!r}, another without a name has that number")
        found.setdefault(name, set()).update(tags[group])
    return {name: next(iter(ids)) if len(ids) == 1 else tuple(sorted(ids)) for name, ids in found.items()}
