"""Where weights live, and in which type."""

from __future__ import annotations

import torch

from dolfinx_neural_topo.errors import InputError


def check_placement(dtype: torch.dtype, device: torch.device | str | None) -> None:
    """Refuse a type that is not floating-point, and a device that is not there.

    Raises:
        InputError: One of them.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no one type for it
        said = str(error).splitlines()[0]
        raise InputError(f"device must be one that torch has here, got {device!r}: {said:.120}") from error
