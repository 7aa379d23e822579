"""The numbers a demo stands for, beside what was expected, once its pictures and files are there.

Rounding decides where a nonconvex search ends, and another processor or library rounds otherwise. Bounds of
such ends lie outside of what `tests/spread.py` measured (`results/spread.md`); first evaluations, volumes and
orders are sharp.
"""

import sys
from math import inf

WHY = (
    "Where a nonconvex search ends, rounding decides, and another processor or library rounds otherwise: see "
    "demos/results/spread.md. Pictures and files are in demos/output. A number far outside is worth a report."
)


def near(value, rtol):
    """Bounds at a relative distance."""
    return value - rtol * abs(value), value + rtol * abs(value)


def above(low):
    """Bounds of what may be as large as it likes."""
    return low, inf


def below(high):
    """Bounds of what may be as small as it likes."""
    return -inf, high


def expect(comm, numbers):
    """Print numbers, {name: (value, low, high)}; end with status 1 if one of rank 0 lies outside."""
    outside = []
    if comm.rank == 0:
        print(f"\n{'number':<48} {'value':>12}   expected")
        for name, (value, low, high) in numbers.items():
            print(f"{name:<48} {value:12.6g}   {low:.6g} to {high:.6g}")
            if not low <= value <= high:
                outside.append(f"not as expected: {name} is {value:.8g}, expected {low:.8g} to {high:.8g}.")
    if comm.bcast(outside):
        sys.stdout.flush()
        sys.exit("\n".join([*outside, WHY]) if comm.rank == 0 else 1)
