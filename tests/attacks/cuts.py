"""The last stage: what is no design, widths, results of another problem, and what is said of a cut."""

from __future__ import annotations

import numpy as np

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import Plate, comm, inf, minimize, nan, rectangle

t = Topic("cuts")


def built(found=None, shape=(12, 6), **options):
    """Return a cut and its design."""
    design = Plate(rectangle(*shape)).design(volume_fraction=options.pop("volume_fraction", 0.5))
    found = design.domain.expand(design.initial()) if found is None else found
    return dnt.make_buildable(design, found, **{"evaluations": 6, **options}), design


WIDTHS = [0.0, -1.0, nan, inf, 1e9, 0.5, "3", 3j]
for name in ("min_member", "min_gap"):
    t.values("make_buildable", name, lambda v, n=name: built(**{n: v}), WIDTHS, good=2.0, other=3.0)
t.values(
    "make_buildable",
    "evaluations",
    lambda v: built(evaluations=v),
    [0, 5, -1, 2.5, nan, "10", None],
    good=6,
    other=7,
)
t.values(
    "make_buildable",
    "found",
    lambda v: built(v),
    [3, "design.npz", np.zeros(5), np.full(72, nan), np.full(72, 2.0), [[0.5]]],
)


def of_another(shape=(12, 6), times=1.0):
    design = Plate(rectangle(*shape)).design()
    return built(minimize(design.with_objective(times * design.functional)))


ONE = {"ranks": (1,)}  # several ranks may hold other numbers of cells
t.refuse("make_buildable of a result of another mesh", "found.*mesh", lambda: of_another((6, 12)), **ONE)
t.refuse("make_buildable of a result of another objective", "found.*objective", lambda: of_another(times=2.0))


def measured(volume_fraction, exact_volume):
    """What a cut says of itself is what its density is."""
    cut, design = built(volume_fraction=volume_fraction, exact_volume=exact_volume)
    close(cut.value, design.functional.value(cut.rho), "value", rel=1e-8)
    close(cut.volume, design.volume(cut.rho), "volume", rel=1e-12)
    right(cut.volume < volume_fraction + 1e-9, f"volume {cut.volume} of {volume_fraction}")
    grey = comm.allreduce(int(np.count_nonzero((cut.rho > 0.0) & (cut.rho < 1.0))))
    right(grey <= exact_volume, f"{grey} grey cells")
    whole = cut.components == 1 and cut.pieces_carry_loads
    right(whole or "piece" in cut.reason, f"{cut.components} pieces, and the reason is {cut.reason!r}")


for fraction in (0.02, 0.5, 0.98, 1.0):
    for exact in (False, True):
        t.accept(
            f"a cut of volume {fraction}" + ", exact" * exact, lambda f=fraction, e=exact: measured(f, e)
        )
