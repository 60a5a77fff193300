"""A study that was run draws the figures of its page, and shows itself in a notebook."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Canvas

from thalweg.core.errors import InputError
from thalweg.lab.runner import Outcome
from thalweg.report import Figure, Number, Page, Panel, Series, write_page
from thalweg.storage.datasets import save_dataset

STUDY: Any = SimpleNamespace(title="Do <b>bowls</b> decay?", slug="bowls2026")


def ran(folder: Path) -> Outcome:
    data = xr.Dataset({"loss": ("time", [4.0, 2.0, 1.0])}, {"time": [0.0, 1.0, 2.0]})
    save_dataset(data, folder / "decay.zarr")
    figure = Figure("decay", "Decay", "", [Panel([Series("decay", "loss")])])
    numbers = [Number("rate", 0.693, 0.001, "1/time")]
    page = Page(STUDY.title, "study", "Does it?", "It <i>does</i>.", "good", numbers, (), [figure])
    write_page(page, folder)
    return Outcome(STUDY, (), folder / "index.html", 1.0)


def test_its_figures_are_drawn_from_what_is_stored(tmp_path: Path) -> None:
    outcome, ax = ran(tmp_path), Canvas().subplots()
    assert outcome.plot(ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4.0, 2.0, 1.0])
    with pytest.raises(InputError, match="unknown picture 'rise'"):
        outcome.plot("rise")
    with pytest.raises(InputError, match="the page of bowls2026 was not written"):
        Outcome(STUDY, (), None, 1.0).plot()


def test_a_notebook_shows_its_page_in_short(tmp_path: Path) -> None:
    text = ran(tmp_path)._repr_html_()
    assert "It &lt;i&gt;does&lt;/i&gt;." in text
    assert "<b>" not in text
    assert "0.6930 ± 0.0010 1/time" in text
    assert "data:image/svg+xml" in text
    assert str(ran(tmp_path)).startswith("Do <b>bowls</b> decay?: 0 of 0 claims reproduced.\nPage:")
    assert "0 of 0 claims" in Outcome(STUDY, (), None, 1.0)._repr_html_()
