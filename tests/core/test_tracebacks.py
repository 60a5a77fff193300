"""What a user's code says that fails within a compiled program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.doors import checked
from thalweg.core.tracebacks import failed_callback, is_interruption


def host(x: Any) -> Any:
    raise OSError("the sensor is off\nsince noon")


def interrupted(x: Any) -> Any:
    raise KeyboardInterrupt


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)


def called_back(host: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: x + jax.pure_callback(host, jax.ShapeDtypeStruct((), x.dtype), x)


def objective_of(function: Callable[[Any], Any]) -> tw.problems.Function:
    return tw.problems.Function(function, start=jnp.asarray(1.0))


def stops(x: Any) -> Any:
    return eqx.error_if(x, x < 2, "x is below 2")  # where it stops


@pytest.mark.parametrize(
    ("function", "place", "words"),
    [
        (called_back(host), "raise OSError", "OSError: the sensor is off$"),
        (lambda x: jax.debug.callback(host, x) or x, "raise OSError", "OSError: the sensor is off"),
        (stops, "# where it stops", "EquinoxRuntimeError: x is below 2$"),
    ],
)
@pytest.mark.parametrize("compiled", [jax.jit, eqx.filter_jit], ids=["jit", "filter_jit"])
def test_what_fails_as_a_program_runs_is_told_with_its_line(
    function: Callable[[Any], Any], place: str, words: str, compiled: Any
) -> None:
    problem = objective_of(function)
    door = checked(
        lambda problem, x: compiled(lambda x: problem.objective(x))(x).block_until_ready()
    )
    at = rf"test_tracebacks\.py, line {line_of(place)}: {words}"
    with pytest.raises(tw.InputError, match=at) as caught:
        door(problem, jnp.asarray(1.0))
    assert type(caught.value.__cause__).__name__ in (
        "JaxRuntimeError", "XlaRuntimeError", "EquinoxRuntimeError", "ValueError",
    )  # fmt: skip


def test_a_callback_of_a_wrong_shape_is_a_sentence() -> None:
    door = checked(lambda x: jax.jit(called_back(lambda x: np.zeros(3)))(x).block_until_ready())
    with pytest.raises(tw.InputError, match="RuntimeError: Incorrect output shape"):
        door(jnp.asarray(1.0))


def test_ctrl_c_in_a_callback_is_ctrl_c() -> None:
    door = checked(lambda x: jax.jit(called_back(interrupted))(x).block_until_ready())
    with pytest.raises(KeyboardInterrupt) as caught:
        door(jnp.asarray(1.0))
    cause = caught.value.__cause__
    assert cause is not None
    assert is_interruption(cause)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("calling"), KeyboardInterrupt()])
def test_other_errors_are_no_callback_s(error: BaseException) -> None:
    assert failed_callback(error) is None


@pytest.mark.slow
def test_records_before_a_failure_are_kept_and_the_run_goes_on(tmp_path: Path) -> None:
    away = tmp_path / "away"

    def checks(x: Any) -> Any:
        if x < 0.5 and away.exists():
            raise OSError("the sensor is off")
        return np.zeros_like(x)

    def function(x: Any) -> Any:
        still = jax.lax.stop_gradient(x)
        like = jax.ShapeDtypeStruct((), x.dtype)
        return 0.5 * x**2 + jax.pure_callback(checks, like, still, vmap_method="sequential")

    def run(out: Path | None) -> Any:
        return tw.run(
            objective_of(function), tw.gradient_descent(0.1), until=2.0, records=21,
            out=out, progress=False,
        )  # fmt: skip

    away.touch()
    with pytest.raises(tw.InputError, match="the sensor is off"):
        run(tmp_path / "run.zarr")
    # x falls by 0.9 a step: above 0.5 up to the sixth, which its record's loss is taken at.
    kept = tw.load(tmp_path / "run.zarr").dataset
    np.testing.assert_allclose(kept.loss.values[0], 0.5 * 0.9 ** (2 * np.arange(kept.time.size)))
    assert kept.time.size == 7
    away.unlink()
    again, whole = run(tmp_path / "run.zarr").dataset, run(None).dataset
    np.testing.assert_array_equal(again.loss, whole.loss)


def test_an_objective_of_two_arguments_is_refused() -> None:
    with pytest.raises(tw.InputError, match=r"the objective came as a function <lambda>\(x, y\)"):
        objective_of(lambda x, y: x)  # type: ignore[misc, arg-type]
