"""Waves on a half line, driven and heard at its end: random media, their responses, data.

    u_tt = c(x)^2 u_xx,  x > 0;    -u_x(0, t) = f(t);    u = u_t = 0 at t = 0;

the Neumann-to-Dirichlet map Lambda takes f to u(0, t). It is causal and does not change with time,
so that on a grid of times it is a lower triangular Toeplitz matrix of the response g to an impulse.

Travel time tau(x) = int_0^x 1/c, position chi its inverse, slowness zeta(y) = 1/c(chi(y)), volume
V(r) = int_0^chi(r) c^-2 dx = int_0^r zeta dy. A medium of layers has all of these in closed form.

On a grid of nodes with masses M_i, joined by springs k_i, the leapfrog scheme

    M_i (u_i^{n+1} - 2 u_i^n + u_i^{n-1}) / dt^2 = k_i (u_{i+1} - u_i) - k_{i-1} (u_i - u_{i-1})
                                                 + [i = 0] f^n,    u^0 = u^-1 = 0

is exact on cells of travel time dt: no wave outruns it, and the identities of boundary control hold
to rounding.

Source: de Hoop, Lassas and Wong (2019, arXiv 1912.11090), section on the wave equation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require, unknown
from thalweg.core.ranges import require_positive
from thalweg.problems.data.data import Data

GRIDS = ("travel-time", "physical")


class WaveGrid(NamedTuple):
    """A chain of masses and springs, the half line in nodes; leading axes hold several.

    Attributes:
        masses: M_i, shape (..., nodes) (unit: time^2/length).
        springs: k_i between nodes i and i+1, shape (..., nodes - 1) (unit: 1/length).
    """

    masses: Float[Array, "*media nodes"]
    springs: Float[Array, "*media cells"]


class DrivenWave(NamedTuple):
    """What is heard at the end, and where the wave is then.

    Attributes:
        heard: u_0^n for n = 0..steps-1, shape (..., steps) (unit of u).
        state: u_i^n at n = steps, shape (..., nodes).
    """

    heard: Float[Array, "*media steps"]
    state: Float[Array, "*media nodes"]


def travel_time_grid(slowness: ArrayLike, time_step: float) -> WaveGrid:
    """Nodes that are one time step of travel apart: M_i = dt (zeta_{i-1/2} + zeta_{i+1/2}) / 2.

    The node at the end has half a cell, M_0 = dt zeta_{1/2} / 2, and so has the last.

    Args:
        slowness: zeta on cells, shape (..., cells), positive (unit: time/length).
        time_step: dt.

    Raises:
        InputError: If there is no cell, or a number is not positive.

    Source: de Hoop, Lassas and Wong (2019); the "magic" time step of the leapfrog scheme.

    Examples:
        >>> grid = tw.problems.travel_time_grid([1.0, 3.0], 0.5)
        >>> grid.masses.tolist(), grid.springs.tolist()
        ([0.25, 1.0, 0.75], [2.0, 6.0])
    """
    zeta = np.asarray(slowness, float)
    require(
        zeta.ndim >= 1 and zeta.size > 0 and bool(np.all((zeta > 0) & np.isfinite(zeta))),
        f"slowness came with shape {zeta.shape}; give finite positive numbers, one for each cell",
    )
    require_positive(time_step=time_step)
    return _travel_time_grid(jnp.asarray(zeta), time_step)


def driven_wave(grid: WaveGrid, time_step: float, source: ArrayLike) -> DrivenWave:
    """The leapfrog scheme from rest; what is heard is Lambda f.

    Args:
        grid: Masses and springs.
        time_step: dt; stable while dt^2 is at most 4 over the largest eigenvalue of M^-1 S, which
            a grid of travel time is for its own.
        source: f^n, shape (steps,), the same for all media of the grid.

    Returns:
        What is heard and the state after all steps. A grid that has at least steps/2 + 1 cells is
        heard as a half line.

    Raises:
        InputError: If there is no step.

    Error: Rounding. Cost: O(steps nodes).

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> grid = tw.problems.travel_time_grid(np.ones(8), 0.5)
        >>> tw.problems.driven_wave(grid, 0.5, [1.0, 0, 0, 0, 0]).heard.tolist()  # a chequerboard
        [0.0, 1.0, 0.0, 1.0, 0.0]
    """
    f = np.asarray(source, float)
    require(
        f.ndim == 1 and f.size > 0 and bool(np.all(np.isfinite(f))),
        f"source came with shape {f.shape}; give finite numbers, one for each time step",
    )
    require_positive(time_step=time_step)
    return _driven(grid, jnp.asarray(time_step), jnp.asarray(f))


def causal_toeplitz(response: ArrayLike) -> NDArray[np.float64]:
    """The matrix of a causal map that does not change with time, A_nm = g_{n-m}, 0 above.

    Column m is the response that begins at time m. Of what is heard of a pulse, h, it is the map
    from multiples of translated pulses: Lambda times the Toeplitz matrix of the pulse.

    Args:
        response: g, shape (..., n).

    Returns:
        Shape (..., n, n).

    Raises:
        InputError: If there is no time.

    Examples:
        >>> tw.problems.causal_toeplitz([1.0, 2.0, 3.0]).tolist()
        [[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [3.0, 2.0, 1.0]]
    """
    g = np.asarray(response, float)
    require(
        g.ndim >= 1 and g.shape[-1] > 0,
        f"response came with shape {g.shape}; give one number for each time",
    )
    n = g.shape[-1]
    padded = np.concatenate([np.zeros_like(g[..., 1:]), g], axis=-1)  # entry n-1 is g_0
    lag = np.arange(n)[:, None] - np.arange(n)
    return np.asarray(padded[..., n - 1 + lag])


@dataclass(frozen=True, eq=False)
class WaveMedia:
    """Media of layers, with the response of each; `wave_media` draws them.

    Layers divide [0, 1] evenly, and the last goes on for ever.

    Attributes:
        speeds: c of the layers, shape (count, layers) (unit: length/time).
        time_step: dt.
        responses: g, what is heard of an impulse at times 0..2N-1, shape (count, 2N).
        grid: "travel-time" or "physical", by which the responses were found.
    """

    speeds: NDArray[np.float64]
    time_step: float
    responses: NDArray[np.float64]
    grid: str = "travel-time"

    @property
    def steps(self) -> int:
        """N: reconstruction reaches as far as a wave does in so many steps."""
        return self.responses.shape[-1] // 2

    @property
    def horizon(self) -> float:
        """T = N dt."""
        return self.steps * self.time_step

    @property
    def slowness(self) -> NDArray[np.float64]:
        """Zeta at the midpoints of 2N + 2 cells of travel time, shape (count, 2N + 2)."""
        of = partial(_slowness, dt=self.time_step, cells=2 * self.steps + 2)
        return np.asarray(jax.vmap(of)(jnp.asarray(self.speeds)))

    @property
    def operators(self) -> NDArray[np.float64]:
        """Lambda, shape (count, 2N, 2N); made when it is asked for."""
        return causal_toeplitz(self.responses)

    @property
    def volumes(self) -> NDArray[np.float64]:
        """V(T) in closed form, shape (count,) (unit: time^2/length)."""
        return self.volume(self.horizon)

    def volume(self, travel_time: ArrayLike) -> NDArray[np.float64]:
        """V(r) in closed form, shape (count, ...) for r of shape (...)."""
        return self._integrated(travel_time, 1 / self.speeds)

    def position(self, travel_time: ArrayLike) -> NDArray[np.float64]:
        """chi(r), how far a wave is then, shape (count, ...) for r of shape (...)."""
        return self._integrated(travel_time, self.speeds)

    def noisy(self, key: jax.Array, level: float) -> WaveMedia:
        """The media as heard in noise: g + level max|g| xi, xi normal and independent.

        Raises:
            InputError: If `level` is not a number that is at least 0.
        """
        require(bool(np.isfinite(level)) and level >= 0, f"level came as {level}; give at least 0")
        xi = np.asarray(jax.random.normal(key, self.responses.shape))
        largest = np.abs(self.responses).max(-1, keepdims=True)
        return replace(self, responses=self.responses + level * largest * xi)

    def _integrated(self, r: ArrayLike, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """int_0^r of what has a value in each layer, over travel time."""
        r = np.asarray(r, float)
        last = np.cumsum(1 / (self.speeds.shape[-1] * self.speeds), axis=-1)
        first = np.concatenate([np.zeros_like(last[:, :1]), last[:, :-1]], axis=-1)
        width = np.diff(first, axis=-1, append=np.inf)
        inside = np.clip(r[..., None, None] - first, 0, width)  # (..., count, layers)
        return np.moveaxis((inside * value).sum(-1), -1, 0)


def wave_media(
    key: jax.Array,
    count: int,
    steps: int = 20,
    horizon: float = 0.5,
    *,
    layers: int = 5,
    slowest: float = 0.5,
    fastest: float = 1.5,
    grid: str = "travel-time",
) -> WaveMedia:
    """Random media: the speed of each layer is uniform and independent.

    Args:
        key: Random key of the speeds.
        count: How many media.
        steps: N; the response is heard at 2N times.
        horizon: T, so that dt = T/N.
        layers: Into how many [0, 1] is divided.
        slowest: Least speed.
        fastest: Largest speed.
        grid: As of `layered_media`.

    Raises:
        InputError: If a count is not at least 1, or a speed or the horizon is not positive, or the
            grid is unknown.

    Error: As of `layered_media`. Cost: O(count steps^2), compiled once for a size.

    Source: de Hoop, Lassas and Wong (2019) and the program that goes with it.

    Examples:
        >>> media = tw.problems.wave_media(jax.random.key(0), 3, steps=4)
        >>> media.responses.shape, media.operators.shape, media.volumes.shape
        ((3, 8), (3, 8, 8), (3,))
    """
    for name, number in (("count", count), ("layers", layers)):
        require(number >= 1, f"{name} came as {number}; give at least 1")
    require(
        0 < slowest <= fastest < np.inf,
        f"speeds from {slowest} to {fastest} were asked for; give positive ones, the slowest first",
    )
    speeds = jax.random.uniform(key, (count, layers), minval=slowest, maxval=fastest)
    return layered_media(speeds, steps, horizon, grid=grid)


def layered_media(
    speeds: ArrayLike, steps: int = 20, horizon: float = 0.5, *, grid: str = "travel-time"
) -> WaveMedia:
    """Media of given speeds, with their responses.

    Args:
        speeds: c of layers that divide [0, 1] evenly, shape (layers,) or (count, layers); the last
            goes on for ever.
        steps: N; the response is heard at 2N times.
        horizon: T, so that dt = T/N.
        grid: "travel-time" has cells of one time step each, with the speed at their middle: exact
            for the medium of these cells. "physical" has nodes c_max dt apart, with masses dx/c^2
            there: off by O(dt), and a little faster than the wave.

    Raises:
        InputError: If a speed or the horizon is not positive, there is no step, or the grid is
            unknown.

    Error: O(dt) for layers that end within a cell. Cost: O(count steps^2).

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> media = tw.problems.layered_media([1.0, 2.0], steps=4, horizon=1.0)
        >>> media.responses[0, :4].tolist(), media.volume(1.0).tolist()
        ([0.0, 0.5, 0.0, 0.5], [0.75])
    """
    require(grid in GRIDS, unknown(grid, GRIDS, "grid"))
    require(steps >= 1, f"steps came as {steps}; give at least 1")
    require_positive(horizon=horizon)
    c = np.atleast_2d(np.asarray(speeds, float))
    require(
        c.ndim == 2 and c.size > 0 and bool(np.all((c > 0) & np.isfinite(c))),
        f"speeds came with shape {c.shape}; give finite positive numbers, one for each layer",
    )
    dt = float(horizon) / steps
    return WaveMedia(c, dt, np.asarray(_responses(jnp.asarray(c), dt, steps, grid)), grid)


def volume_data(media: WaveMedia, scale: float | None = None) -> Data:
    """Data to learn the volume V(T) from the Neumann-to-Dirichlet map.

    Args:
        media: What the examples are made of.
        scale: By which the maps are divided; their mean spectral norm by default. A test set is
            given that of its training set, `train.description["scale"]`.

    Returns:
        Inputs Lambda / scale, shape (count, 2N, 2N), and targets V(T), shape (count, 1).

    Raises:
        InputError: If `scale` is not positive.

    Source: de Hoop, Lassas and Wong (2019); the volume inversion of the program that goes with it.

    Examples:
        >>> media = tw.problems.wave_media(jax.random.key(0), 3, steps=4)
        >>> data = tw.problems.volume_data(media)
        >>> data.inputs.shape, data.targets.shape
        ((3, 8, 8), (3, 1))
        >>> round(float(np.linalg.norm(data.inputs, 2, (1, 2)).mean()), 12)
        1.0
    """
    operators = media.operators
    if scale is None:
        scale = float(jnp.mean(jnp.linalg.norm(jnp.asarray(operators), 2, (1, 2))))
    require_positive(scale=scale)
    data = Data.of(operators / scale, media.volumes[:, None], "wave-volumes")
    told: dict[str, Any] = {"scale": scale, "horizon": media.horizon, "grid": media.grid}
    return replace(data, description=data.description | told)


def _travel_time_grid(zeta: Array, dt: Array | float) -> WaveGrid:
    none = jnp.zeros_like(zeta[..., :1])
    before, after = jnp.concatenate([none, zeta], -1), jnp.concatenate([zeta, none], -1)
    return WaveGrid(dt * (before + after) / 2, zeta / dt)


def _slowness(speeds: Array, dt: Array | float, cells: int) -> Array:
    """1/c of one medium in the layer that the middle of each cell of travel time is in."""
    ends = jnp.cumsum(1 / (len(speeds) * speeds))
    middle = (jnp.arange(cells, dtype=speeds.dtype) + 0.5) * dt
    return 1 / speeds[jnp.searchsorted(ends[:-1], middle, side="right")]


def _physical_grid(speeds: Array, dt: Array | float, cells: int) -> WaveGrid:
    """Nodes c_max dt apart in one medium, masses dx/c^2, half a one at the ends."""
    dx, layers = jnp.max(speeds) * dt, len(speeds)
    at = jnp.arange(cells + 1, dtype=speeds.dtype) * dx * layers
    masses = dx / speeds[jnp.minimum(at.astype(int), layers - 1)] ** 2
    masses = masses.at[jnp.array([0, -1])].divide(2)
    return WaveGrid(masses, jnp.full(cells, 1 / dx))


@partial(jax.jit, static_argnames=("steps", "grid"))
def _responses(speeds: Array, dt: Array | float, steps: int, grid: str) -> Array:
    def of(c: Array) -> Array:
        cells = 2 * steps + 2
        chain = (
            _physical_grid(c, dt, cells)
            if grid == "physical"
            else _travel_time_grid(_slowness(c, dt, cells), dt)
        )
        return _driven(chain, dt, jnp.zeros(2 * steps).at[0].set(1.0)).heard

    return jax.vmap(of)(speeds)


@jax.jit
def _driven(grid: WaveGrid, dt: Array | float, source: Array) -> DrivenWave:
    none = jnp.zeros_like(grid.springs[..., :1])

    def step(two: tuple[Array, Array], f: Array) -> tuple[tuple[Array, Array], Array]:
        u, before = two
        pull = grid.springs * jnp.diff(u, axis=-1)
        force = jnp.concatenate([pull, none], -1) - jnp.concatenate([none, pull], -1)
        ahead = 2 * u - before + dt**2 * force.at[..., 0].add(f) / grid.masses
        return (ahead, u), u[..., 0]

    rest = jnp.zeros_like(grid.masses)
    (state, _), heard = jax.lax.scan(step, (rest, rest), source)
    return DrivenWave(jnp.moveaxis(heard, 0, -1), state)
