"""What all image networks share: the tiles they hold, and which of their parameters belong to pixels."""

from __future__ import annotations

import math

import torch
from torch import nn

from dolfinx_neural_topo._checks import check_count
from dolfinx_neural_topo._tiles import Tiles
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.networks._stages import Stage


class ImageNetwork(nn.Module):
    """A network that returns an image, whole or cut into tiles, of one logit a pixel or several.

    A module within it that has parameters for each pixel names them in a dictionary `pixelwise`, with the
    shape that they have as an image, (*size, entries of a pixel).

    Attributes:
        shape: Size of the whole image.
        outputs: Logits a pixel.
        tiles: The part of it that `forward` returns; the whole until `distribute` is called.
    """

    shape: tuple[int, ...]

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = check_count("outputs", outputs)
        self.tiles = Tiles()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the whole output: `shape`, or (*shape, outputs) where there are several."""
        return self.shape if self.outputs == 1 else (*self.shape, self.outputs)

    def logits_of(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output that a tile of shape (1, outputs, *tile) stands for."""
        return x[0, 0] if self.outputs == 1 else x[0].movedim(0, -1)

    @property
    def divisible(self) -> bool:
        """Whether `forward` is one of this package, which knows tiles; one of a user's subclass may not."""
        return type(self).forward.__module__.startswith(str(__package__))

    def pixel_parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the whole shape, as an image, of each parameter that belongs to pixels, by its name."""
        return {
            f"{prefix}.{name}" if prefix else name: image
            for prefix, module in self.named_modules()
            for name, image in getattr(module, "pixelwise", {}).items()
        }

    def distribute(self, tiles: Tiles) -> None:
        """Keep this process's tile alone; from now on `forward` returns that, and is collective.

        `state_dict` holds the tile from then on, too.

        Args:
            tiles: The tiles of the image, made for `shape`.

        Raises:
            InputError: The network is cut into other tiles already.
        """
        if tiles is self.tiles or (tiles.whole and self.tiles.whole):
            return
        if not self.tiles.whole:
            if tiles == self.tiles:
                return
            raise InputError(
                "network holds the tile of another communicator or image already; make a new one"
            )
        for name, image in self.pixel_parameters().items():
            parameter = self.get_parameter(name)
            parameter.data = cut(parameter.data, image, tiles)
        for module in self.modules():
            if isinstance(module, (ImageNetwork, Stage)):
                module.tiles = tiles


def cut(whole: torch.Tensor, image: tuple[int, ...], tiles: Tiles) -> torch.Tensor:
    """Return a copy of the part of a parameter that belongs to a tile.

    Args:
        whole: Parameter, its first axes (or their product, its first axis) the pixels of an image.
        image: Its shape as an image, (*size, entries of a pixel).
        tiles: Tiles.
    """
    *size, _ = image
    tile = tiles.shape(size)
    if tuple(whole.shape[: len(size)]) == tuple(size):
        shape = (*tile, *whole.shape[len(size) :])
    else:
        shape = (math.prod(tile) * (whole.shape[0] // math.prod(size)), *whole.shape[1:])
    return whole.view(image)[tiles.part(size)].reshape(shape).clone(memory_format=torch.contiguous_format)
