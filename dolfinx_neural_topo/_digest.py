"""Values in words: what must be the same on all ranks is compared, and told, as a short text."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from mpi4py import MPI

_PLAIN = (bool, int, float, complex, str, bytes, range, type(None))
_SEQUENCES = (list, tuple, set, frozenset)
_NUMBERS = {"b": "bools", "i": "integers", "u": "integers", "f": "numbers", "c": "complex numbers"}
_DEPTH = 4  # of objects inside objects


def text(value: Any, depth: int = _DEPTH) -> str:
    """Describe a value so that it reads alike on all ranks exactly if it may pass for the same there.

    Numbers, strings, paths and sequences of them count by value; arrays, which ranks usually share out, by
    kind and number of axes; objects of this package that were not made collectively by their attributes;
    everything else, networks included, by type.
    """
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.ndarray):
        return f"an array of {_NUMBERS.get(value.dtype.kind, 'objects')} with {value.ndim} axes"
    if isinstance(value, _SEQUENCES):
        parts = [text(each, depth - 1) for each in value] if depth else ["..."]
        return f"{kind.__name__}({', '.join(parts if isinstance(value, _SEQUENCES[:2]) else sorted(parts))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{key!r}: {text(each, depth - 1)}' for key, each in value.items()))}}}"
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, MPI.Comm):
        return f"a communicator of {value.size} ranks" if value != MPI.COMM_NULL else "no communicator"
    return _of_object(value, depth)


def exact(value: Any) -> str:
    """Describe an array by value as well, for one that all ranks hold whole; anything else as `text` does."""
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        return text(value)
    bits = zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    shown = f" {value.tolist()}" if value.size <= 8 else ""
    return f"an array of {value.dtype.name}, shape {value.shape}, checksum {bits:08x}{shown}"


def _of_object(value: Any, depth: int) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, type):
        return f"the class {name}"
    if hasattr(value, "__qualname__"):
        return f"the function {value.__qualname__}"
    if kind.__module__.startswith("ufl.") and hasattr(value, "signature"):
        return f"a form with signature {value.signature()[:16]}"
    if kind.__module__ == "dolfinx.fem.function" and hasattr(value, "value"):
        return f"{name} {np.asarray(value.value).tolist()}"
    if (
        not name.startswith("dolfinx_neural_topo.")
        or hasattr(vars(kind).get("__init__"), "__collective__")
        or hasattr(
            kind, "named_parameters"
        )  # a network, which may be in tiles; its weights are compared as such
        or not depth
    ):
        return name
    entries = sorted(getattr(value, "__dict__", {}).items())
    return f"{kind.__qualname__}({', '.join(f'{key}={text(each, depth - 1)}' for key, each in entries)})"
