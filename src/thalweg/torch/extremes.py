"""Extreme eigenvalues of symmetric maps of PyTorch, warm-started from record to record."""

from __future__ import annotations

import math
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
    not turn to, as at a symmetric start, is no part of vectors that are carried. After the first
    record Lanczos goes in the complement of what was followed, where fewer products bound; what it
    finds further out is searched for afresh. In between one space serves both ends: it begins with
    a vector of each, the last one or where it and the one before it lead, whichever was nearer at
    the record before, and grows by the residual of the first pair that has not converged; should it
    grow too large, a recheck is made. Every fifth record the vector of the second largest
    eigenvalue is looked at too.

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
        self.moved: dict[str, Any] = {}  # how it turned since the record before,
        self.ahead: dict[str, bool] = {}  # and whether as much again was the better guess
        self.records, self.due, self.pause, self.recheck = 0, 0, 0, recheck

    def measure(self, product: Product, like: Any, rounding: float) -> Ends:
        """Both ends of a symmetric map.

        Args:
            product: v -> A v, of flat tensors.
            like: A flat tensor of the type and on the device of v.
            rounding: Error of a product relative to ||A||.
        """
        import torch

        noise = max(100 * torch.finfo(like.dtype).eps, rounding)
        due = self.records >= self.due or len(like) <= SMALL
        spent, found = 0, None
        if self.kept and not (due and (self.failure is None or len(like) <= SMALL)):
            pairs, space = self._followed(product, like, noise, due)
            spent = space.filled
            if pairs and due:
                found, more = self._challenged(product, like, noise, pairs, space)
                spent += more
            elif pairs:
                scale = space.scale
                found = {
                    e: self._told(e, p.value, p.length, scale, noise) for e, p in pairs.items()
                }
        followed = found is not None and not due
        if found is None:
            found, more = self._searched(product, like, noise, self.most - spent)
            spent += more
        self.records += 1
        return Ends(found, spent, not followed and self.failure is not None)

    def _allowed(self, end: str, value: float, scale: float) -> float:
        return self.tolerance * (abs(value) if end == "largest" else scale)

    def _told(self, end: str, value: float, error: float, scale: float, noise: float) -> Reading:
        error = error + noise * scale
        good = error <= self._allowed(end, value, scale) + 3 * noise * scale + TINY
        return reading(value, error, Result.OK if good else Result.NOT_CONVERGED)

    def _searched(
        self, product: Product, like: Any, noise: float, most: int
    ) -> tuple[dict[str, Reading], int]:
        """Readings from a random start, with a bound, and products."""
        drawn = self._drawn(like)

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
        self.moved, self.ahead = {}, {}
        self._put_off(same)
        told = {
            end: self._told(end, float(found.values[place]), found.beyond[end], found.scale, noise)
            for end, place in places.items()
        }
        return told, spent

    def _drawn(self, like: Any) -> Any:
        """A random start."""
        import torch

        drawn = torch.randn(len(like), generator=self.source, dtype=torch.float64)
        return drawn.to(like.dtype).to(like.device)

    def _put_off(self, same: bool) -> None:
        """Say when the next recheck is due."""
        self.pause = next_pause(self.pause, same, self.recheck)
        self.due = self.records + self.pause

    def _challenged(
        self, product: Product, like: Any, noise: float, pairs: dict[str, _Pair], space: _Space
    ) -> tuple[dict[str, Reading] | None, int]:
        """Readings with a bound, None where another eigenvalue is further out; and products.

        Lanczos goes from a random start in the complement W of the pairs, whose spectrum there is
        farther in, so that it is bounded sooner. With rho the length of the residuals and mu what
        W's eigenvalues stay below, the largest of all is at most that of [[value, rho], [rho, mu]].
        """
        import torch

        held = torch.stack([pair.vector for pair in pairs.values()])
        rho = math.sqrt(sum(pair.length**2 for pair in pairs.values()))
        room = {end: self._room(end, pair.value, space.scale, noise) for end, pair in pairs.items()}

        def outside(v: Any) -> Any:
            return v - (held @ v) @ held

        def allowed(end: str, values: np.ndarray) -> float:
            most = SIGN[end] * pairs[end].value + room[end] - rho**2 / room[end]
            return most - SIGN[end] * float(values[PLACE[end]])

        start, most = outside(self._drawn(like)), max(self.most - space.filled, 1)
        other = bounded(
            lambda v: outside(product(v)), start, self.ends, allowed, most, self.failure
        )
        spent = len(other.basis)
        if not all(allowed(end, other.values) > 0 for end in self.ends):
            return None, spent
        if "largest" in self.ends:
            self.kept["second"] = other.vector(-1)
        self._put_off(True)
        told, scale = {}, max(space.scale, other.scale)
        for end, pair in pairs.items():
            behind = SIGN[end] * (pair.value - float(other.values[PLACE[end]])) - other.beyond[end]
            above = math.hypot(behind / 2, rho) - behind / 2
            told[end] = self._told(end, pair.value, above, scale, noise)
        return told, spent

    def _room(self, end: str, value: float, scale: float, noise: float) -> float:
        return self._allowed(end, value, scale) + noise * scale + TINY

    def _followed(
        self, product: Product, like: Any, noise: float, due: bool
    ) -> tuple[dict[str, _Pair] | None, _Space]:
        """Pairs from the vectors of the last record, None where they are lost, and their space.

        At a recheck their residuals leave most of the tolerance to what the bound says.
        """
        space = _Space(product, like, min(WIDTH * len(self.ends), len(like)))
        rival = not due and self.records % CHALLENGED == 0 and "second" in self.kept
        for end in (*self.ends, "second") if rival else self.ends:
            space.add(self._guess(end))
        while space.filled and np.isfinite(space.scale):
            values, rotations = space.spectrum()
            space.scale = max(space.scale, float(np.max(np.abs(values))))
            found = {end: space.pair(values, rotations, PLACE[end]) for end in self.ends}
            room = {
                end: self._room(end, pair.value, space.scale, noise) for end, pair in found.items()
            }
            share = 0.5 / math.sqrt(len(self.ends)) if due else 1.0
            late = [pair for end, pair in found.items() if pair.length > share * room[end]]
            if rival and space.filled > len(self.ends):
                second = space.pair(values, rotations, -2)
                self.kept["second"] = second.vector
                if second.value + second.length > found["largest"].value + room["largest"]:
                    late.append(second)
            if late and space.filled == space.room < len(like):
                return None, space
            if not late or not space.add(late[0].residual):
                for end, pair in found.items():
                    # A step of the power iteration, which costs nothing.
                    step = SIGN[end] / (space.scale or 1.0)
                    self._keep(end, pair.vector.add(pair.residual, alpha=step))
                return found, space
        return None, space

    def _guess(self, end: str) -> Any:
        """Where the line through the last two vectors leads, if that guess was better before."""
        return self.kept[end] + self.moved[end] if self.ahead.get(end) else self.kept[end]

    def _keep(self, end: str, vector: Any) -> None:
        """Take over the vector of a record, and look which guess of it was the better."""
        last, vector = self.kept[end], vector / vector.norm()
        along = float(vector @ last)
        if along < 0:
            vector, along = -vector, -along
        if end in self.moved:
            moved = self.moved[end]
            line = math.sqrt(1 + 2 * float(last @ moved) + float(moved @ moved))
            self.ahead[end] = along + float(vector @ moved) > along * line
        self.moved[end], self.kept[end] = vector - last, vector


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
    """An orthonormal basis of at most `room` rows, its images, and the map within it.

    Calls of PyTorch are what it costs beside products, so that one row, the common case, has few.
    """

    def __init__(self, product: Product, like: Any, room: int) -> None:
        import torch

        self.product, self.room, self.scale = product, room, 0.0
        self.basis: list[Any] = []
        self.images: list[Any] = []
        self.projected = np.zeros((room, room))
        self.eps = torch.finfo(like.dtype).eps

    @property
    def filled(self) -> int:
        """How many rows there are, each of which took a product."""
        return len(self.basis)

    def add(self, row: Any) -> bool:
        """Take in what is new in a row, at a product; False where nothing is."""
        import torch

        size, k = float(row.norm()), self.filled
        if not 0 < size < np.inf or k == self.room:
            return False
        row, left = row / size, 1.0
        held = torch.stack(self.basis) if k else None
        for _ in range(2 if k else 0):  # twice is enough (Kahan, Parlett)
            row = row - (held @ row) @ held
            left, before = float(row.norm()), left
            if not left > max(1e-10, 8 * self.eps):
                return False
            if left > 0.5 * before:
                break
        row = row / left if k else row
        image = self.product(row)
        self.basis.append(row)
        self.images.append(image)
        column = [float(image @ of) for of in self.basis]
        self.projected[k, : k + 1] = self.projected[: k + 1, k] = column
        length = float(image.norm())
        self.scale = max(self.scale, length) if math.isfinite(length) else math.nan
        return True

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values, ascending, and their coordinates, by columns."""
        k = self.filled
        if k == 1:
            return self.projected[0, :1], np.ones((1, 1))
        values, rotations = np.linalg.eigh(self.projected[:k, :k])
        return values, rotations

    def pair(self, values: np.ndarray, rotations: np.ndarray, place: int) -> _Pair:
        """The Ritz pair of a place."""
        import torch

        value, vector, image = float(values[place]), self.basis[0], self.images[0]
        if self.filled > 1:
            shares = vector.new_tensor(rotations[:, place])
            vector, image = shares @ torch.stack(self.basis), shares @ torch.stack(self.images)
        residual = image.sub(vector, alpha=value)
        return _Pair(value, vector, residual, float(residual.norm()))
