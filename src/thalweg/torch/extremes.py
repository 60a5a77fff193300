"""Extreme eigenvalues of symmetric maps of PyTorch, warm-started from record to record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.complement import SMALL, next_pause
from thalweg.core.result import Reading, Result
from thalweg.torch.lanczos import PLACE, SIGN, bounded

FAILURE = 0.005  # with which a recheck may overlook an eigenvalue
WIDTH = 8  # products after which a search from the last vectors has lost them
CHALLENGED = 5  # every so many records the second eigenvalue is looked at
RECHECK = 100  # records after which a recheck is due at the latest

Product = Callable[[Any], Any]


class Ends(NamedTuple):
    """What a search found.

    Attributes:
        readings: By end, "largest" and "smallest".
        products: How many were spent.
        bounded: Whether the errors bound what may have been missed; if not, they are residuals of
            what was followed from the last record.
    """

    readings: dict[str, Reading]
    products: int
    bounded: bool


class Extremes:
    """The largest eigenvalue, the smallest or both, of a map that changes from record to record.

    At a recheck Lanczos goes from a random start until it bounds what it may have missed
    (`thalweg.torch.lanczos`): at every record of at most 256 parameters; of more at records 0, 5,
    15, 35, 75, ..., as twice as many records may pass before the next while it finds what was
    followed, at most `recheck`, and five where it finds something else: a mode that training does
    not turn to, as at a symmetric start, is no part of vectors that are carried. In between one
    space serves both ends: it begins with a vector of each, the last one or where it and the one
    before it lead, whichever was nearer at the record before, and grows by the residual of the
    first pair that has not converged; should it grow too large, a recheck is made. Every fifth
    record the vector of the second largest eigenvalue is looked at too.

    The largest eigenvalue lies in [value, value + error], the smallest in [value - error, value]:
    after a recheck with probability 0.995; in between unless another has overtaken since, with the
    residual ||A v - value v|| for an error. Rounding is added. Without `bound` a recheck, too, ends
    at the residual.

    Args:
        ends: "largest", "smallest".
        tolerance: Error asked, relative to |value| of the largest, to ||A|| for the smallest.
        most_products: After which a search gives up.
        seed: Of the random starts.
        bound: Whether rechecks bound what they may have missed.
        recheck: Records after which one is due at the latest.
    """

    def __init__(
        self,
        ends: tuple[str, ...],
        tolerance: float,
        most_products: int,
        seed: int,
        bound: bool = True,
        recheck: int = RECHECK,
    ) -> None:
        import torch

        self.ends, self.tolerance, self.most = ends, tolerance, most_products
        self.failure = FAILURE if bound else None
        self.source = torch.Generator().manual_seed(seed)
        self.kept: dict[str, Any] = {}  # of each end, to begin with at the next record,
        self.before: dict[str, Any] = {}  # at the record before,
        self.ahead: dict[str, bool] = {}  # and whether their line was the better guess
        self.records, self.due, self.pause, self.recheck = 0, 0, 0, recheck

    def measure(self, product: Product, like: Any, rounding: float) -> Ends:
        """Both ends of a symmetric map.

        Args:
            product: v -> A v, of flat tensors.
            like: A flat tensor of the type and on the device of v.
            rounding: Error of a product relative to ||A||.
        """
        spent, found = 0, None
        if self.kept and self.records < self.due and len(like) > SMALL:
            found, spent = self._followed(product, like, rounding)
        bounded = found is None and self.failure is not None
        if found is None:
            found, more = self._searched(product, like, rounding, self.most - spent)
            spent += more
        self.records += 1
        return Ends(found, spent, bounded)

    def _allowed(self, end: str, value: float, scale: float) -> float:
        return self.tolerance * (abs(value) if end == "largest" else scale)

    def _told(self, end: str, value: float, error: float, scale: float, noise: float) -> Reading:
        error = error + noise * scale
        good = error <= self._allowed(end, value, scale) + 3 * noise * scale + TINY
        return reading(value, error, Result.OK if good else Result.NOT_CONVERGED)

    def _searched(
        self, product: Product, like: Any, rounding: float, most: int
    ) -> tuple[dict[str, Reading], int]:
        """Readings from a random start, with a bound, and products."""
        import torch

        noise = max(100 * torch.finfo(like.dtype).eps, rounding)
        drawn = torch.randn(len(like), generator=self.source, dtype=torch.float64)
        drawn = drawn.to(like.dtype).to(like.device)

        def allowed(end: str, values: np.ndarray) -> float:
            scale = float(np.max(np.abs(values)))
            value = float(values[PLACE[end]])
            return self._allowed(end, value, scale) + noise * scale + TINY

        found = bounded(product, drawn, self.ends, allowed, max(most, 1), self.failure)
        spent, old = len(found.basis), self.kept
        self.kept = {}
        if not np.isfinite(found.scale):
            return {end: reading(np.nan, np.nan, Result.NONFINITE) for end in self.ends}, spent
        places = {end: PLACE[end] for end in self.ends}
        self.kept = {end: found.vector(place) for end, place in places.items()}
        if "largest" in self.ends and len(found.values) > len(self.ends):
            self.kept["second"] = found.vector(-2)
        same = bool(old) and len(like) > SMALL
        for end, place in places.items() if same else ():
            unit = old[end] / old[end].norm()
            if float(abs(unit @ self.kept[end])) > 0.9:
                continue
            # One of several about as large is no less the outermost.
            value, spent = float(found.values[place]), spent + 1
            behind = SIGN[end] * (value - float(unit @ product(unit)))
            same = same and behind <= self._allowed(end, value, found.scale)
        self.before, self.ahead = {}, {}
        self.pause = next_pause(self.pause, same, self.recheck)
        self.due = self.records + self.pause
        told = {
            end: self._told(end, float(found.values[place]), found.beyond[end], found.scale, noise)
            for end, place in places.items()
        }
        return told, spent

    def _followed(
        self, product: Product, like: Any, rounding: float
    ) -> tuple[dict[str, Reading] | None, int]:
        """Readings from the vectors of the last record, None where they are lost; and products."""
        import torch

        noise = max(100 * torch.finfo(like.dtype).eps, rounding)
        space = _Space(product, like, min(WIDTH * len(self.ends), len(like)))
        rival = self.records % CHALLENGED == 0 and "second" in self.kept
        for end in (*self.ends, "second") if rival else self.ends:
            space.add(self._guess(end) if self.ahead.get(end) else self.kept[end])
        while space.filled and np.isfinite(space.scale):
            values, rotations = np.linalg.eigh(space.projected[: space.filled, : space.filled])
            space.scale = max(space.scale, float(np.max(np.abs(values))))
            places = {end: PLACE[end] for end in self.ends}
            found = {end: space.pair(values, rotations, place) for end, place in places.items()}
            room = {
                end: self._allowed(end, pair.value, space.scale) + noise * space.scale
                for end, pair in found.items()
            }
            late = [pair for end, pair in found.items() if pair.length > room[end]]
            if rival and space.filled > len(self.ends):
                second = space.pair(values, rotations, -2)
                self.kept["second"] = second.vector
                if second.value + second.length > found["largest"].value + room["largest"]:
                    late.append(second)
            if late and space.filled == len(space.basis) < len(like):
                return None, space.filled
            if not late or not space.add(late[0].residual):
                told = {}
                for end, pair in found.items():
                    told[end] = self._told(end, pair.value, pair.length, space.scale, noise)
                    # A step of the power iteration, which costs nothing.
                    ahead = SIGN[end] * pair.residual / (space.scale or 1.0)
                    self._keep(end, pair.vector + ahead)
                return told, space.filled
        return None, space.filled

    def _guess(self, end: str) -> Any:
        """Where the line through the last two vectors leads."""
        return 2 * self.kept[end] - self.before[end]

    def _keep(self, end: str, vector: Any) -> None:
        """Take over the vector of a record, and look which guess of it was the better."""
        last = self.kept[end]
        vector = vector / vector.norm()
        if float(vector @ last) < 0:
            vector = -vector
        if end in self.before:
            line = self._guess(end)
            self.ahead[end] = float(vector @ line) * float(last.norm()) > float(
                vector @ last
            ) * float(line.norm())
        self.before[end], self.kept[end] = last, vector


TINY = float(np.finfo(np.float32).tiny)


def reading(value: float, error: float, code: float) -> Reading:
    """A value, its error and a code, as arrays of NumPy."""
    numbers: Any = np.asarray(value), np.asarray(error), np.asarray(int(code))
    return Reading(*numbers)


class _Pair(NamedTuple):
    """A Ritz pair; `residual` is A v - value v."""

    value: float
    vector: Any
    residual: Any
    length: float


class _Space:
    """An orthonormal basis, its images, and the map within it."""

    def __init__(self, product: Product, like: Any, room: int) -> None:
        import torch

        self.product, self.filled, self.scale = product, 0, 0.0
        self.basis, self.images = (like.new_empty(room, len(like)) for _ in range(2))
        self.projected = np.zeros((room, room))
        self.eps = torch.finfo(like.dtype).eps

    def add(self, row: Any) -> bool:
        """Take in what is new in a row, at a product; False where nothing is."""
        size, k = float(row.norm()), self.filled
        if not 0 < size < np.inf or k == len(self.basis):
            return False
        row, held = row / size, self.basis[:k]
        for _ in range(2 if k else 0):  # twice is enough (Kahan, Parlett)
            row = row - (held @ row) @ held
        length = float(row.norm())
        if not length > max(1e-10, 8 * self.eps):
            return False
        row = row / length
        if length < 0.5:  # what was left may be little
            row = row - (held @ row) @ held
            row = row / row.norm()
        image = self.product(row)
        self.basis[k], self.images[k], self.filled = row, image, k + 1
        column = (self.basis[: k + 1] @ image).double().cpu().numpy()
        self.projected[k, : k + 1] = self.projected[: k + 1, k] = column
        length = float(image.norm())
        self.scale = max(self.scale, length) if np.isfinite(length) else np.nan
        return True

    def pair(self, values: np.ndarray, rotations: np.ndarray, place: int) -> _Pair:
        """The Ritz pair of a place."""
        import torch

        shares = torch.as_tensor(rotations[:, place].copy()).to(self.basis.dtype)
        shares = shares.to(self.basis.device)
        vector, image = shares @ self.basis[: self.filled], shares @ self.images[: self.filled]
        value = float(values[place])
        residual = image - value * vector
        return _Pair(value, vector, residual, float(residual.norm()))
