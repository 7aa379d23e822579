"""What a functional and its state equation are, in words that do not depend on the number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl


def describe_functional(functional: Any) -> str:
    """Describe a functional: its kind, its forms by signature, their constants, power and weights.

    Args:
        functional: Any functional; of one of the user's own only the type counts.
    """
    words = [type(functional).__name__]
    for name in ("power", "weights"):
        if hasattr(functional, name):
            words.append(f"{name} {np.asarray(getattr(functional, name)).tolist()}")
    if hasattr(functional, "J"):
        words.append(f"J {describe_form(functional.J)}")
    equation = getattr(getattr(functional, "state", None), "equation", None)
    if equation is not None:
        forms = [equation.a, equation.residual, *equation.loads]
        words.append(f"state {', '.join(describe_form(form) for form in forms if form is not None)}")
    return "; ".join(words)


def describe_form(form: ufl.Form) -> str:
    """Return the beginning of a form's signature, and the values of its constants."""
    values = [np.asarray(constant.value).tolist() for constant in form.constants()]
    return f"{form.signature()[:16]} {values or ''}".strip()
