"""Boundary control: volumes for every reach by one factorisation, beside a solve for each.

A medium of five layers, heard at 2N times; beside it the error in one whose cells have independent
speeds, which is as hard as it gets.
"""

from __future__ import annotations

import jax
import numpy as np
from timing import clock_for, limit_threads, machine, options, show

from thalweg.problems import WaveMedia, layered_media, wave_media
from thalweg.theory.inverse_problems.boundary_control import (
    ControlOperators,
    control_operators,
    volume_curve,
    wave_speed,
)
from thalweg.theory.inverse_problems.time_reversal import landweber

SIZES = (40, 80, 160, 320)
ITERATIONS = 1000


def solved_apart(operators: ControlOperators) -> np.ndarray:
    """V_k for k = 1..N, a dense solve each."""
    K, b, _ = operators
    return np.array([b[k:] @ np.linalg.solve(K[k:, k:], b[k:]) for k in reversed(range(len(b)))])


def main() -> None:
    """Time each stage."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    clock = clock_for(asked.threads)
    print(machine(asked.threads))
    rows = []
    for N in SIZES[:1] if asked.quick else SIZES:
        media, cells = wave_media(jax.random.key(0), 1, N, 1.0), layered_media(_speeds(N), N, 1.0)
        times: dict[str, float] = {}

        def timed(name, function, times=times):  # type: ignore[no-untyped-def]
            """Best of three: the first may compile or page memory in."""
            spans = []
            for _ in range(3):
                begun = clock()
                found = function()
                spans.append(clock() - begun)
            times[name] = min(spans)
            return found

        timed("response", lambda N=N: wave_media(jax.random.key(0), 1, N, 1.0))
        operators = timed("K", lambda m=media: control_operators(m.responses[0], m.time_step))
        curve = timed("curve", lambda o=operators: volume_curve(o))
        apart = timed("apart", lambda o=operators: solved_apart(o))
        timed("iterations", lambda o=operators: landweber(o, ITERATIONS, 1e-4))
        differ = np.abs(curve.volume / apart - 1).max()
        whole = times["response"] + times["K"] + times["curve"]
        each = [f"{1e3 * times[n]:.1f} ms" for n in ("response", "K", "curve", "apart")]
        told = [f"{1e3 * whole:.1f} ms", f"{times['apart'] / times['curve']:.0f}"]
        last = [
            f"{differ:.0e}",
            _error(media),
            _error(cells),
            f"{1e3 * times['iterations']:.0f} ms",
        ]
        rows.append([f"{N}", *each, *told, *last])
    show(
        "Boundary control",
        ["N", "response", "K", "all volumes", "N solves", "in all", "solves / one", "difference",
         "c, layers", "c, cells", f"{ITERATIONS} iterations"],
        rows,
    )  # fmt: skip


def _error(media: WaveMedia) -> str:
    """Largest relative error of the speeds that are found."""
    curve = volume_curve(control_operators(media.responses[0], media.time_step))
    error = np.abs(wave_speed(curve).speed * media.slowness[0, : media.steps] - 1).max()
    return f"{error:.0e}" if error < 1 else "lost"


def _speeds(N: int) -> np.ndarray:
    """Of layers thinner than cells, so that neighbouring cells are independent."""
    return np.asarray(jax.random.uniform(jax.random.key(N), (4 * N,), minval=0.5, maxval=1.5))


if __name__ == "__main__":
    main()
