"""What is particular to the study: its medium, and how often noise makes the form indefinite."""

import numpy as np

from thalweg.studies.dehoop2019_operator_recurrent import boundary


def test_the_medium_is_smooth_with_a_jump():
    np.testing.assert_allclose(
        1 / boundary.smooth_and_jump(np.array([0.0, 0.4, 0.4001, np.pi / 10])),
        [1, 1 + 0.3 * np.sin(2), 1.2 + 0.3 * np.sin(2.0005), 1.3],
    )


def test_noise_makes_forms_indefinite_and_a_penalty_definite_again(results):
    share = results["A3"]["indefinite"]
    assert float(share.sel(noise=0.0).max()) == 0
    assert float(share.sel(noise=0.1)[0]) > 0.5
    assert float(share.sel(noise=0.1)[-1]) == 0
    assert np.all(np.diff(share.values, axis=1) <= 0)


def test_medians_are_below_means_where_few_media_are_lost(results):
    found = results["A3"].sel(noise=0.1)
    assert float(found["median"][0]) < float(found["error"][0])
