"""Lanczos in PyTorch from a random start, until it bounds the ends of a spectrum.

The start z gives vectors v_{j+1} = p_j(A) z, all of length 1, with polynomials p_j that grow beyond
the largest Ritz value. If A had an eigenvalue lambda there, z would have a component gamma along
its eigenvector, and |p_j(lambda) gamma| <= 1. A component below delta has a probability of at most
delta sqrt(2 p / pi). So with probability 1 - `failure` no eigenvalue lies above a t beyond the Ritz
values with p_j(t) >= sqrt(2 p / pi) / failure. Source: van Dorsselaer, Hochstenbach and van der
Vorst (2000). The lower end is the upper one of -A.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

SIGN = {"largest": 1.0, "smallest": -1.0}
PLACE = {"largest": -1, "smallest": 0}  # among ascending values
ROOM = 32  # vectors at first; doubled when they are full


class Spectrum(NamedTuple):
    """What is known of the ends.

    Attributes:
        values: Ritz values, ascending.
        rotations: Their coordinates in the basis, by columns.
        basis: Orthonormal rows.
        beyond: By end: with probability 1 - failure for all together no eigenvalue is further
            beyond the outermost value, rounding apart.
        scale: The largest |value| or ||A v|| seen; not finite where a product was not.
    """

    values: np.ndarray
    rotations: np.ndarray
    basis: Any
    beyond: dict[str, float]
    scale: float

    def vector(self, place: int) -> Any:
        """The Ritz vector of a value."""
        import torch

        shares = torch.as_tensor(self.rotations[:, place].copy()).to(self.basis.dtype)
        return shares.to(self.basis.device) @ self.basis


def bounded(
    product: Callable[[Any], Any],
    start: Any,
    ends: Sequence[str],
    allowed: Callable[[str, np.ndarray], float],
    most_products: int,
    failure: float | None,
) -> Spectrum:
    """A search that goes on until nothing further out is left, in probability.

    With `failure` None it ends where the residuals ||A v - value v|| are small, which say that some
    eigenvalues are near, not that none is further out; these are then `beyond`.

    Args:
        product: The symmetric map A, of flat tensors.
        start: Random, normal.
        ends: "largest", "smallest".
        allowed: Of an end and the Ritz values: how far beyond may stay open; the search ends,
            and says nothing, where that is no longer positive.
        most_products: Never more, at least one.
        failure: Probability with which the bounds may fail, all together; None for residuals.
    """
    import torch

    eps, p = torch.finfo(start.dtype).eps, len(start)
    enough = math.log(math.sqrt(2 * p / math.pi) * len(ends) / (failure or 1.0))
    basis = start.new_empty(min(ROOM, p), p)
    basis[0] = start / start.norm()
    heights: list[float] = []
    links: list[float] = []
    scale = 0.0
    for count in range(1, most_products + 1):
        image = product(basis[count - 1])
        size = float(image.norm())
        if not math.isfinite(size):
            nothing = np.full(1, math.nan)
            beyond = dict.fromkeys(ends, math.nan)
            return Spectrum(nothing, np.ones((1, 1)), basis[:count], beyond, math.nan)
        scale = max(scale, size)
        heights.append(float(basis[count - 1] @ image))
        image, link = _beside(image, basis[:count])
        matrix = _tridiagonal(heights, links)
        values = np.linalg.eigvalsh(matrix)
        # A remainder at rounding level ends the Krylov space: all that the start has was found.
        if link <= 100 * eps * scale or count == p:
            beyond = dict.fromkeys(ends, 0.0)
            break
        links.append(link)
        room = {end: allowed(end, values) for end in ends}
        if min(room.values()) <= 0:  # what was to be excluded has been found
            beyond = dict.fromkeys(ends, math.inf)
            break
        if failure is None:
            last = np.abs(np.linalg.eigh(matrix)[1][-1])
            beyond = {end: link * float(last[PLACE[end]]) for end in ends}
            good = all(beyond[end] <= room[end] for end in ends)
        else:
            good = all(_growth(e, values, heights, links, room[e]) >= enough for e in ends)
        if good or count == most_products:
            if failure is not None:
                beyond = {e: _least(e, values, heights, links, room[e], enough) for e in ends}
            break
        if count == len(basis):
            basis = torch.cat([basis, torch.empty_like(basis)])
        basis[count] = image / link
    scale = max(scale, float(np.max(np.abs(values))))
    values, rotations = np.linalg.eigh(matrix)
    return Spectrum(values, rotations, basis[:count], beyond, scale)


def _tridiagonal(heights: list[float], links: list[float]) -> np.ndarray:
    inner = np.asarray(links[: len(heights) - 1])
    return np.diag(heights) + np.diag(inner, 1) + np.diag(inner, -1)


def _beside(image: Any, basis: Any) -> tuple[Any, float]:
    """What an image has beside an orthonormal basis, and its length."""
    near = basis[-2:]  # which the recursion says is all, up to rounding
    image = image - (near @ image) @ near
    length = float(image.norm())
    for _ in range(2):  # twice is enough (Kahan, Parlett)
        image = image - (basis @ image) @ basis
        before, length = length, float(image.norm())
        if length > 0.5 * before:
            break
    return image, length


def _growth(
    end: str, values: np.ndarray, heights: list[float], links: list[float], beyond: float
) -> float:
    """The logarithm of p_j at a point beyond the Ritz values."""
    sign = SIGN[end]
    target = sign * float(values[-1 if sign > 0 else 0]) + beyond
    ratio, link, total = 1.0, 0.0, 0.0
    for height, following in zip(heights, links, strict=True):
        ratio = (target - sign * height - link / ratio) / following
        if not ratio > 0:  # at a Ritz value, up to rounding
            return -math.inf
        link, total = following, total + math.log(ratio)
    return total


def _least(
    end: str,
    values: np.ndarray,
    heights: list[float],
    links: list[float],
    allowed: float,
    enough: float,
) -> float:
    """How far beyond the outermost value the polynomial is large enough, to a tenth."""
    high = allowed
    while _growth(end, values, heights, links, high) < enough and math.isfinite(high):
        high *= 2
    low = 0.0
    while high - low > 0.1 * high and math.isfinite(high):
        middle = (low + high) / 2
        good = _growth(end, values, heights, links, middle) >= enough
        low, high = (low, middle) if good else (middle, high)
        if high < 1e-6 * allowed:
            break
    return high
