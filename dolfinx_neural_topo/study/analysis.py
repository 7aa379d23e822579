"""What a finished design is worth to someone who did not optimize it: pictures of densities, no PDE here.

Images have the shape `Task.image_shape`, values in [0, 1], and are the same on all ranks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image = npt.NDArray[np.float64]


def threshold(rho: Image, design: npt.NDArray[np.bool_], volume_fraction: float) -> Image:
    """Return the 0-1 design with the densest cells solid and exactly the allowed volume.

    One cell is cut, where the allowed volume is no whole number of cells. Cells of equal density are taken in
    the order of the image.

    Args:
        rho: Physical density.
        design: True in design cells; others become 0.
        volume_fraction: Allowed mean density over the design cells.
    """
    solid = np.zeros(int(design.sum()))
    allowed = volume_fraction * solid.size
    whole = int(allowed)
    densest_first = np.argsort(-rho[design], kind="stable")
    solid[densest_first[:whole]] = 1.0
    solid[densest_first[whole : whole + 1]] = allowed - whole
    image = np.zeros(rho.shape)
    image[design] = solid
    return image


def greyness(rho: Image, design: npt.NDArray[np.bool_]) -> float:
    """Return the mean of 4 rho (1 - rho) over the design cells: 0 for a 0-1 design, 1 for all 0.5."""
    return float(np.mean(4.0 * rho[design] * (1.0 - rho[design])))


def components(image: Image) -> int:
    """Return the number of pieces of material (density at least 0.5), cells joined by edges (faces in 3D)."""
    return int(ndimage.label(image >= 0.5)[1])
