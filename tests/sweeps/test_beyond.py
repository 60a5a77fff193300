"""Diverging members end at a mark, and the axes are those of the others."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from thalweg.sweeps.beyond import cut_off, shown, staying

LOSSES = np.array([
    [1.0, 0.5, 0.1],
    [1.0, 1e30, 1e300],  # finite still, and gone
    [1.0, 1e9, np.nan],  # lost
    [1.0, 50.0, 2.0],  # thrown, and on its way down
    [1.0, 0.4, np.nan],  # has fewer records
])  # fmt: skip
STAY = np.array([True, False, False, True, True])


def test_who_stays_is_whom_the_judge_calls_so() -> None:
    lost = np.array([False, False, True, False, False])
    np.testing.assert_array_equal(staying(LOSSES, lost), STAY)


@pytest.mark.parametrize(("log", "top"), [(True, 500.0), (False, 50 + 0.5 * 49.9)])
def test_what_is_beyond_ends_at_the_mark(log: bool, top: float) -> None:
    found = shown(LOSSES, STAY, log)
    np.testing.assert_array_equal(found.values[STAY], LOSSES[STAY])
    np.testing.assert_allclose(found.values[~STAY], [[1, top, np.nan]] * 2, rtol=1e-12)
    assert [level.value for level in found.mark] == pytest.approx([top])
    below = shown(-LOSSES, STAY, False)
    np.testing.assert_allclose(below.values, -shown(LOSSES, STAY, False).values)
    # Nothing far away, or nobody who stays: all is drawn as it is.
    for values, stay in ((LOSSES[[0, 3, 4]], np.ones(3, bool)), (LOSSES, ~STAY & False)):
        assert shown(values, stay, log).mark == ()
        np.testing.assert_array_equal(shown(values, stay, log).values, values)


def test_what_was_measured_stays_beside_what_is_drawn() -> None:
    data = xr.Dataset(dict.fromkeys(("loss", "loss_error"), (("member", "record"), LOSSES)))
    found, mark = cut_off(data, "loss", STAY, True)
    np.testing.assert_array_equal(found["loss"], LOSSES)
    np.testing.assert_array_equal(found["loss_shown"][1], [1, 500, np.nan])
    np.testing.assert_array_equal(found["loss_shown_error"][1], [1, 0, 0])
    assert len(mark) == 1
    assert cut_off(data, "loss", STAY & False, True) == (data, ())
