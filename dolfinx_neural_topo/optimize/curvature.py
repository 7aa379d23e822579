"""What L-BFGS remembers: the last steps and changes of the gradient, and the direction they give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mpi4py import MPI

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.optimize.method import Array

_BLOCK = 8192  # entries whose products are summed in the vectors' own precision before going on in float64


def blocks(size: int) -> Iterator[slice]:
    """Cut a long vector into blocks that stay in the cache from one operation to the next."""
    return (slice(k, k + _BLOCK) for k in range(0, size, _BLOCK))


def dot(a: Array, b: Array) -> float:
    """Return a . b of this rank's parts, summed in float64 over blocks."""
    return float(sum(float(a[block] @ b[block]) for block in blocks(len(a))))


class Curvature:
    """The last pairs (step s, change of gradient y), and minus the inverse Hessian times the gradient.

    The two-loop recursion needs only inner products and one linear combination of the stored vectors. So
    `learn` reads the storage once for the products of all pairs with the new y and g, the recursion runs on
    m x m matrices, and one matrix-vector product gives the direction: 4 m n numbers read, and no vector
    written m times.

    Args:
        comm: Communicator over which entries are summed.
        memory: Number of pairs m.
        size: Entries on this rank n.
        dtype: Type of the vectors.

    Attributes:
        vectors: Storage, shape (2 m + 1, n): the gradient g, then s and y of one pair after the other.
        gradient: Its first row.
        products: Inner products of s_i (then y_i) with y_j, for i not newer than j; shape (2 m, m), float64.
        count: Number of pairs stored since the last `clear`.
        longest: Length of the longest of their steps, also of those that are no longer kept.

    References:
        Nocedal, Wright: Numerical Optimization (2006), algorithm 7.4.
        Chen, Wang, Zhou: Large-scale L-BFGS using MapReduce, NIPS 2014.
    """

    def __init__(self, comm: MPI.Comm, memory: int, size: int, dtype: np.dtype[Any]):
        self.comm, self.memory = comm, memory
        self.vectors = np.zeros((2 * memory + 1, size), dtype=dtype)
        self.gradient = self.vectors[0]
        self.products = np.zeros((2 * memory, memory))
        self.gradient_products = np.zeros(2 * memory + 1)  # of all rows with g
        self.clear()

    def clear(self) -> None:
        """Forget all pairs; the storage is overwritten as new ones come."""
        self.count, self.longest = 0, 0.0

    def learn(self, base: Array, x: Array, gradient: Array, scale: float, *, store: bool) -> None:
        """Take the pair of the step from `base` to `x`, and its products with all vectors.

        Args:
            base: Where the gradient is that of the last call, shape (n,).
            x: The new point, shape (n,).
            gradient: Gradient there, shape (n,); times `scale` it is kept as `self.gradient`.
            scale: A power of two.
            store: Keep the pair; otherwise its row is free for the next one.

        Note: Collective.
        """
        m, slot = self.memory, self.count % self.memory
        s, y, filled = 2 * slot + 1, 2 * slot + 2, 2 * min(self.count + 1, m) + 1
        products, square = np.zeros((2, 2 * m + 1)), 0.0
        for block in blocks(len(x)):
            vectors = self.vectors[:filled, block]
            np.subtract(x[block], base[block], out=vectors[s])
            new = gradient[block] * gradient.dtype.type(scale)
            np.subtract(new, vectors[0], out=vectors[y])
            vectors[0] = new
            square += float(vectors[s] @ vectors[s])
            products[0, :filled] += vectors @ vectors[0]  # two products with a vector: one with both
            products[1, :filled] += vectors @ vectors[y]  # packs all of `vectors` first, at half the speed
        *numbers, square = sum_replicated(self.comm, np.append(products, square))
        self.gradient_products, with_y = np.reshape(numbers, products.shape)
        if store:
            self.longest = max(self.longest, math.sqrt(square))
            self.products[:m, slot], self.products[m:, slot] = with_y[1::2], with_y[2::2]
            self.products[m + slot] = with_y[2::2]  # y_i . y_j is symmetric
            self.count += 1

    def direction(self, out: Array) -> float:
        """Write minus the inverse Hessian times the gradient to `out`; return its product with the gradient.

        Args:
            out: Shape and type of the gradient.
        """
        m = self.memory
        order = [k % m for k in range(max(0, self.count - m), self.count)]  # oldest first
        sy, yy = self.products[:m], self.products[m:]
        sg, yg = self.gradient_products[1::2], self.gradient_products[2::2]
        alpha, c = np.zeros(m), np.zeros(m)  # the result is gamma (g - sum alpha y) + sum c s
        for i in reversed(order):
            alpha[i] = (sg[i] - sy[i] @ alpha) / sy[i, i]
        gamma = sy[order[-1], order[-1]] / yy[order[-1], order[-1]]
        for i in order:
            c[i] = alpha[i] - (gamma * (yg[i] - yy[i] @ alpha) + sy[:, i] @ c) / sy[i, i]
        coefficients = np.zeros(2 * m + 1)
        coefficients[0], coefficients[1::2], coefficients[2::2] = -gamma, -c, gamma * alpha
        filled = 2 * len(order) + 1
        np.dot(coefficients[:filled].astype(out.dtype), self.vectors[:filled], out=out)
        return float(coefficients @ self.gradient_products)
