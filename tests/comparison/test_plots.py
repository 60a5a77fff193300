"""Comparisons, diagnoses and sweeps draw their page's figures and show themselves in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.diagnosis.diagnosis import Diagnosis


@pytest.fixture(scope="module")
def found() -> tw.Comparison:
    """On a valley: above the threshold at first, then thrown into a flatter part."""
    valley = tw.problems.Function(lambda p: (p[0] * p[1] - 1) ** 2, start=jnp.array([2.2, 0.3]))
    steps, flow = (
        tw.run(valley, dynamics, until=3.2, records=10, probes=["sharpness"])
        for dynamics in (tw.gradient_descent(0.32), tw.gradient_flow(1e-6))
    )
    return tw.compare(steps, flow)


def lines(ax: Any) -> list[Any]:
    return [line for line in ax.lines if line.get_label() != "_level"]


def test_the_curvature_stands_beside_its_threshold(found: tw.Comparison) -> None:
    ax = Canvas().subplots()
    assert found.plot("curvature", ax, panel="a") is ax
    steps, flow = lines(ax)
    np.testing.assert_array_equal(steps.get_ydata(), found.dataset["descent_sharpness"][0])
    np.testing.assert_array_equal(flow.get_ydata(), found.dataset["flow_sharpness"][0])
    assert flow.is_dashed()
    (level,) = (line for line in ax.lines if line.get_label() == "_level")
    assert level.get_ydata()[0] == 2 / 0.32
    assert [text.get_text() for text in ax.texts] == ["2/eta"]


def test_a_curvature_that_leaps_by_decades_stands_on_a_logarithm(found: tw.Comparison) -> None:
    valley = tw.problems.Function(lambda p: (p[0] * p[1] - 1) ** 2, start=jnp.array([2.2, 0.3]))
    steps, flow = (
        tw.run(valley, dynamics, until=8.0, records=10, probes=["sharpness"])
        for dynamics in (tw.gradient_descent(0.8), tw.gradient_flow(1e-6))
    )
    lost = tw.compare(steps, flow)
    assert lost.regime == "divergent"
    drawn = [it.plot("curvature", Canvas().subplots(), panel="a") for it in (found, lost)]
    assert [ax.get_yscale() for ax in drawn] == ["linear", "log"]


def test_the_distance_has_the_band_of_its_error(found: tw.Comparison) -> None:
    axes = Canvas().subplots(1, 2)
    assert (found.plot("distance", axes) == axes).all()
    table = found.dataset.isel(seed=0)
    np.testing.assert_array_equal(lines(axes[0])[0].get_ydata()[1:], table["distance"].values[1:])
    corners = np.concatenate([path.vertices for path in axes[0].collections[0].get_paths()])
    last = corners[corners[:, 0] == table["time"].values[-1], 1]
    gap, error = (float(table[name][-1]) for name in ("distance", "distance_error"))
    assert {last.min(), last.max()} == {gap - error, gap + error}
    with pytest.raises(InputError, match="unknown picture 'layers'"):
        found.plot("layers")


def test_a_notebook_shows_verdict_numbers_and_where_the_page_is(found: tw.Comparison) -> None:
    steps, flow = found.runs
    place = Path("runs/<i>")
    whole = Diagnosis(found, steps, flow, place, place / "index.html", "Problem: a function.")
    for text in (found._repr_html_(), whole._repr_html_()):
        assert found.sentence in text
        assert "threshold 2/eta" in text
        assert "data:image/svg+xml" in text
    assert "Page: runs/&lt;i&gt;/index.html" in whole._repr_html_()
    assert str(whole) == f"{found}\nPage: runs/<i>/index.html"
    ax = Canvas().subplots()
    assert whole.plot("loss", ax) is ax
