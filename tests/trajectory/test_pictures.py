"""A trajectory drawn, shown in a notebook and kept as netCDF."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Canvas

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.dynamics.stability import descent_rule
from thalweg.trajectory import Trajectory


def made(seeds: int = 1, lost: bool = False) -> Trajectory:
    """Three records of a run on a parabola, as the driver stores them, with two singular values."""
    time = np.array([0.0, 0.5, 2.0])
    loss = np.array([[100.0, 5.0, 1.0]]) * np.arange(1, seeds + 1)[:, None]
    code = np.zeros((seeds, 3), int)
    if lost:
        loss[-1, 2], code[-1, 2] = np.nan, Result.NONFINITE
    ranks = np.stack([loss, 2 * loss], axis=-1)
    about = {"units": "loss/parameter^2"}
    data = xr.Dataset(
        {
            "loss": (("seed", "time"), loss, {"units": "loss"}),
            "loss_error": (("seed", "time"), 0.01 * loss),
            "loss_result": (("seed", "time"), code),
            "sharpness": (("seed", "time"), loss / 10, about),
            "sharpness_error": (("seed", "time"), loss / 1000, about),
            "sharpness_result": (("seed", "time"), code),
            "singular_values": (("seed", "time", "rank"), ranks, {"units": "parameter"}),
            "result": (("seed", "time"), code),
            "evaluations": (("seed", "time"), np.tile([0, 3, 12], (seeds, 1))),
        },
        {"seed": np.arange(seeds), "time": ("time", time, {"units": "step size"})},
        {
            "dynamics": "the <b>method</b>",
            "doubts": ["it may be wrong"],
            "finished": True,
            "stability": json.dumps(descent_rule(0.5).plain()),
            "provenance": "{}",
        },
    )
    return Trajectory(data)


def axes() -> Any:
    return Canvas().subplots()


def test_a_variable_is_drawn_with_its_band_over_time() -> None:
    run, ax = made(), axes()
    assert run.plot("sharpness", ax) is ax
    (line,) = (it for it in ax.lines if it.get_label() != "_level")
    np.testing.assert_array_equal(line.get_xdata(), run.dataset["time"])
    np.testing.assert_array_equal(line.get_ydata(), run.dataset["sharpness"][0])
    corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert {10.1, 9.9} <= set(np.round(corners[corners[:, 0] == 0.0, 1], 12))
    (level,) = (it for it in ax.lines if it.get_label() == "_level")
    assert level.get_ydata()[0] == 2 / 0.5
    assert [text.get_text() for text in ax.texts] == ["2/eta"]
    assert ax.get_ylabel() == "sharpness (loss/parameter²)"
    assert ax.get_yscale() == "log"


def test_seeds_are_lines_or_their_median_between_the_ends() -> None:
    run, ax = made(seeds=3), axes()
    run.plot("loss", ax)
    drawn = [line.get_ydata() for line in ax.lines]
    np.testing.assert_array_equal(drawn, run.dataset["loss"])
    ax = axes()
    run.plot("loss", ax, seeds="median", log=False)
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 3]
    np.testing.assert_array_equal(drawn, run.dataset["loss"].values[[1, 0, 2]])
    assert ax.get_yscale() == "linear"


def test_further_dimensions_are_chosen_or_fanned_out() -> None:
    ax = axes()
    made().plot("singular_values", ax)
    assert len(ax.lines) == 2
    run, ax = made(seeds=2), axes()
    run.plot("singular_values", ax, seed=1)
    np.testing.assert_array_equal(
        [line.get_ydata() for line in ax.lines], run.dataset["singular_values"][1].T
    )
    for options, told in (
        ({}, "has the dimensions seed and rank besides time; choose of all but one, as plot("),
        ({"layer": 1}, "unknown dimension of 'singular_values' 'layer'"),
        ({"seed": 7}, "has no label 7"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            run.plot("singular_values", axes(), **options)
    with pytest.raises(InputError, match="unknown variable of this run 'sharpnes'"):
        run.plot("sharpnes")
    with pytest.raises(InputError, match="unknown way to draw seeds 'all'"):
        run.plot("loss", seeds="all")


def test_where_a_seed_left_the_finite_numbers_is_marked() -> None:
    for seeds, told in ((1, "diverged"), (3, "1 of 3 seeds diverged, from here on")):
        ax = axes()
        made(seeds, lost=True).plot("loss", ax)
        (level,) = (it for it in ax.lines if it.get_label() == "_level")
        assert level.get_xdata()[0] == 2.0
        assert told in [text.get_text() for text in ax.texts]


def test_a_second_run_in_the_same_axes_has_its_own_colour_and_name() -> None:
    ax = axes()
    made().plot("loss", ax)
    made().plot("loss", ax, label="other")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "the <b>method</b>",
        "other",
    ]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_a_notebook_shows_the_last_values_with_their_errors() -> None:
    text = made()._repr_html_()
    assert repr(made()) == str(made())  # at a prompt the sentence, not the arrays
    assert "<b>" not in text
    assert "&lt;b&gt;method&lt;/b&gt;" in text
    assert "1.000 ± 0.010" in text
    assert "loss/parameter²" in text
    assert "it may be wrong." in text
    lost = made(3, lost=True)
    assert "1 of 3 seeds diverged." in lost._repr_html_()
    # Of those that are left: 1 and 2, so 1.5 and the standard error 1/2.
    assert "1.50 ± 0.50" in lost._repr_html_()
    assert str(made()) == "The <b>method</b>: 3 records of one seed to training time 2."


def test_netcdf_gives_back_all_of_it(tmp_path: Path) -> None:
    run = made(seeds=2)
    back = tw.load(run.to_netcdf(tmp_path / "new" / "run.nc"))
    xr.testing.assert_identical(back.dataset, run.dataset)
    assert back.doubts == run.doubts
    assert back.stability == run.stability
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.nc"]
    (tmp_path / "no.nc").write_bytes(b"CDF, but not really")
    with pytest.raises(InputError, match=r"no\.nc cannot be read as netCDF"):
        tw.load(tmp_path / "no.nc")


def test_what_a_run_stores_survives_netcdf(tmp_path: Path) -> None:
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
    run = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2)
    xr.testing.assert_identical(tw.load(run.to_netcdf(tmp_path / "a.nc")).dataset, run.dataset)
    text = bowl._repr_html_()
    assert "lambda" in text
    assert "<lambda>" not in text
