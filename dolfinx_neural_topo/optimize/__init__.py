"""Optimizers and the loop around them.

Names are resolved on first use, so that a run by OC or MMA never loads torch.
"""

from importlib import import_module

_HOME = {
    "Adam": "adam",
    "AugmentedLagrangian": "augmented_lagrangian",
    "Built": "buildable",
    "Continuation": "continuation",
    "GCMMA": "gcmma",
    "LBFGS": "lbfgs",
    "MMA": "mma",
    "Method": "method",
    "NLoptMMA": "nlopt_mma",
    "OC": "oc",
    "RelativeProgress": "stopping",
    "Result": "result",
    "Schedule": "multistart",
    "SciPyLBFGSB": "scipy_lbfgsb",
    "SiMPL": "simpl",
    "Step": "step",
    "make_buildable": "buildable",
    "minimize": "loop",
    "minimize_multistart": "multistart",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
