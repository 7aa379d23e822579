"""Filters, projections, the volume-constrained sigmoid, and designs made of them."""

from __future__ import annotations

import numpy as np
import torch

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import CELLS, Plane, Plate, Quadratic, comm, inf, minimize, nan, rectangle
from dolfinx_neural_topo.density import ThreeFieldProjection

t = Topic("filters")

RADII = [0.0, -1.0, nan, inf, "1.6", None, 1.6j, (1.0, 2.0)]
for kind in (dnt.ConeFilter, dnt.HelmholtzFilter):
    name = kind.__name__
    t.values(name, "radius", lambda v, kind=kind: kind(Plate().domain(), v), RADII, good=1.6, other=2.2)
    t.values(name, "domain", lambda v, kind=kind: kind(v, 1.6), [None, "domain", 3])
t.refuse("ConeFilter larger than the domain", "radius", lambda: dnt.ConeFilter(Plate().domain(), 100.0))
t.either("HelmholtzFilter far larger than the domain", "radius", lambda: averaged(1e9))
t.refuse("ConeFilter smaller than a cell", "radius", lambda: dnt.ConeFilter(Plate().domain(), 0.5))


def averaged(radius):
    """What is smoothed over far more than the domain is its mean."""
    domain = Plate().domain()
    x = np.where(domain.midpoints[:, 0] < 3.0, 1.0, 0.0)
    right(np.abs(dnt.HelmholtzFilter(domain, radius).apply(x) - 0.5).max(initial=0.0) < 1e-6, "the mean")


def helmholtz(**options):
    domain = Plate().domain()
    return dnt.HelmholtzFilter(domain, 1.6, petsc_options=options).apply(np.full(domain.num_owned_cells, 0.5))


t.refuse("HelmholtzFilter, an option that nothing reads", "ksp_tpye", lambda: helmholtz(ksp_tpye="cg"))
t.refuse("HelmholtzFilter, an unknown solver", "ksp_type|quick", lambda: helmholtz(ksp_type="quick"))
t.refuse("HelmholtzFilter, an unknown preconditioner", "pc_type|magic", lambda: helmholtz(pc_type="magic"))


def rough():
    plate = Plate()
    domain = plate.domain()
    x = np.where(domain.midpoints[:, 0] < 2.0, 1.0, 0.0)
    exact = dnt.HelmholtzFilter(domain, 3.0).apply(x)
    options = {"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 0.9}
    quick = dnt.HelmholtzFilter(domain, 3.0, petsc_options_prefix="rough_", petsc_options=options).apply(x)
    right(np.abs(quick - exact).max(initial=0.0) < 1e-3, "a rough solve was taken for the filtered density")


t.either("HelmholtzFilter with ksp_rtol = 0.9", "residual|ksp_rtol", rough)
t.values(
    "HelmholtzFilter",
    "petsc_options_prefix",
    lambda v: dnt.HelmholtzFilter(Plate().domain(), 1.6, petsc_options_prefix=v),
    ["", "no underscore", None, 3],
    good="h_",
    other="g_",
)

# --- projections and sigmoid ----------------------------------------------------------------------

BETAS = [0.0, -1.0, nan, inf, "4", None, 4j]
t.values("HeavisideProjection", "beta", lambda v: dnt.HeavisideProjection(v), BETAS)
t.values(
    "HeavisideProjection", "eta", lambda v: dnt.HeavisideProjection(4.0, v), [-0.1, 1.1, nan, "0.5", None, 1j]
)
t.values("ThreeFieldProjection", "beta", lambda v: ThreeFieldProjection(v), BETAS)
t.values(
    "ThreeFieldProjection", "delta", lambda v: ThreeFieldProjection(4.0, delta=v), [0.0, 0.6, nan, "a", None]
)
t.values("ThreeFieldProjection", "eta", lambda v: ThreeFieldProjection(4.0, v), [0.0, 1.0, nan, "0.5", None])


def set_beta(value):
    projection = dnt.HeavisideProjection(4.0)
    projection.beta = value


t.values("projection.beta =", "beta", set_beta, [0.0, nan, "8", None])


def with_projection(beta):
    return Plate().design(projection=dnt.HeavisideProjection(beta)).evaluate(Plate().full())


t.refuse(
    "beta differs between ranks",
    "beta|projection|rank",
    lambda: with_projection(4.0 + comm.rank),
    ranks=(2, 3),
)


def very_sharp():
    plate = Plate()
    found = plate.design(projection=dnt.HeavisideProjection(1e6)).evaluate(plate.full(0.6))
    right(np.isfinite(found.gradient).all() and abs(found.rho - 1.0).max(initial=0.0) < 1e-9, "beta = 1e6")


t.accept("a projection with beta = 1e6", very_sharp)


def sigmoid(weights=None, volume=None):
    domain = Plate().domain()
    n = domain.num_owned_cells
    weights = weights if weights is None else weights(n)
    return dnt.VolumeConstrainedSigmoid(domain, weights, volume=volume).apply(np.zeros(n))


t.values(
    "VolumeConstrainedSigmoid",
    "weights",
    sigmoid,
    [
        lambda n: np.full(n, nan),
        lambda n: np.full(n, -1.0),
        lambda n: np.ones(n + 1),
        lambda n: np.zeros(n),
        lambda n: "even",
        lambda n: np.full(n, 1j),
        lambda n: np.ones((n, 1)),
    ],
    good=np.ones,
)
t.refuse("VolumeConstrainedSigmoid without a domain", "domain", lambda: dnt.VolumeConstrainedSigmoid(None))


def extreme(scale):
    domain = Plate().domain()
    logits = scale * np.where(domain.midpoints[:, 0] < 2.0, 1.0, -1.0)
    rho = dnt.VolumeConstrainedSigmoid(domain).apply(logits)
    close(comm.allreduce(float(domain.cell_volumes @ rho)), 12.0, "volume")


t.either("logits of +-1e150", "logits", lambda: extreme(1e150))
for scale in (1e-300, 1e3, 1e9):
    t.accept(f"logits of +-{scale:g} keep the volume", lambda s=scale: extreme(s))

# --- designs --------------------------------------------------------------------------------------

t.values(
    "Design",
    "constrain",
    lambda v: Plate().design(constrain=v),
    ["volume", None, 3, ""],
    good="physical",
    other="design",
)
t.values("Design", "filter", lambda v: Plate().design(filter=v), ["cone", 1.6, dnt.ConeFilter, lambda x: x])
t.values(
    "Design", "projection", lambda v: Plate().design(projection=v), ["sharp", 4.0, dnt.HeavisideProjection]
)
t.values("Design", "domain", lambda v: dnt.Design(Plate().compliance, v), [None, "all", 3])
t.refuse(
    "Design, the filter of another domain",
    "filter",
    lambda: Plate().design(filter=dnt.ConeFilter(Plate().domain(), 1.6)),
)


def bounded(bound):
    plate = Plate()
    compliance = plate.compliance
    return plate.design(compliance, constraints=[(compliance, bound)])


t.values(
    "Design",
    "constraints",
    bounded,
    [0.0, -1.0, nan, "low", None, 1j],
    good=5.0,
    other=6.0,
    says="bound|constraints",
)
t.values(
    "Design",
    "constraints",
    lambda v: Plate().design(constraints=v),
    [
        3.0,
        "stress",
        (1.0, 2.0),
        [Quadratic],
        [("C", 1.0)],
        [(None, 1.0)],
        [(1.0, Quadratic)],
    ],
)
t.refuse(
    "Design with a constraint on one rank alone",
    "constraint|rank",
    lambda: one_constraint(comm.rank == comm.size - 1),
    ranks=(2, 3),
)


def one_constraint(there):
    plate = Plate()
    compliance = plate.compliance
    return plate.design(compliance, constraints=[(compliance, 5.0)] if there else ()).evaluate(plate.full())


def mismatched(other):
    """A functional on one mesh and a domain on another one."""
    here, there = Plate(), Plate(other())
    domain = there.domain()
    design = dnt.Design(here.compliance, domain, filter=dnt.ConeFilter(domain, 1.6))
    return minimize(design)


t.refuse(
    "functional and domain on meshes of as many cells",
    "mesh|domain|functional",
    lambda: mismatched(lambda: rectangle(4, 6)),
)
t.refuse(
    "functional and domain on meshes of other cells",
    "mesh|domain|functional",
    lambda: mismatched(lambda: rectangle(8, 4)),
)
t.refuse(
    "functional and domain on meshes of triangles and squares",
    "mesh|domain|functional",
    lambda: mismatched(lambda: rectangle(4, 3, cell=CELLS.triangle)),
)


def copies():
    close(
        mismatched(rectangle).objective,
        minimize(Plate().design()).objective,
        "objective on a copy of the mesh",
    )


def constrained_elsewhere():
    here, there = Plate(), Plate(rectangle(4, 6))
    return minimize(here.design(constraints=[(there.compliance, 5.0)]))


t.refuse(
    "a constraint on another mesh of as many cells",
    "mesh|domain|functional|constraint",
    constrained_elsewhere,
)
t.either("functional and domain on two copies of a mesh", "mesh|domain|functional", copies)
t.values("Design", "functional", lambda v: Plate().design(v), [1.0, "compliance", torch.nn.Identity(), Plane])
