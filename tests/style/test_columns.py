"""Settings of a paper: widths, fonts kept as letters, and all set back afterwards."""

from __future__ import annotations

import io

import pytest
from matplotlib import pyplot, rcParams

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.report.colours import PALETTE


@pytest.mark.parametrize(
    ("columns", "venue", "width"), [(1, "icml", 3.25), (2, "icml", 6.75), (1, "neurips", 5.5)]
)
def test_a_figure_is_as_wide_as_its_columns(columns: int, venue: str, width: float) -> None:
    before = dict(rcParams)
    with tw.style.paper(columns, venue, font=7.0):
        figure, ax = pyplot.subplots()
        (line,) = ax.plot([0, 1], [1, 2], label="a")
        held = io.BytesIO()
        figure.savefig(held, format="pdf", metadata={"CreationDate": None})
        pyplot.close(figure)
        assert rcParams["font.size"] == 7.0
    assert figure.get_figwidth() == width
    assert line.get_color().upper() == PALETTE[0]
    text = held.getvalue()
    assert text.startswith(b"%PDF")
    assert b"/MediaBox [ 0 0 %g " % (72 * width) in text
    assert b"/FontFile2" in text
    assert b"/Subtype /Type3" not in text
    assert dict(rcParams) == before


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match=r"unknown venue 'icmll'\. Did you mean 'icml'"):
        tw.style.paper(venue="icmll")
    with pytest.raises(InputError, match="unknown number of columns '3'"):
        tw.style.paper(3)
    with pytest.raises(InputError, match="font came as -1"):
        tw.style.paper(font=-1.0)
