"""What is particular to the study: its risks are means over draws, in parts that fit memory."""

import numpy as np

from thalweg.estimators import centred_spike, trend_filter
from thalweg.studies.sadhanala2021_kronecker_trend_filtering import risks


def test_risks_in_parts_are_those_of_single_fits(monkeypatch):
    truth, size = 4 * centred_spike(8), risks.Tried((8,), draws=3, penalties=4, gap=1e-7)
    monkeypatch.setattr(risks, "AT_ONCE", 600)
    mean, error = risks.adaptive_risk(truth, 0.5, 1, size)
    noise = np.random.default_rng(0).normal(size=(3, 8, 8))
    lams = 0.5 * np.logspace(-1, 1.2, 4)
    losses = np.array(
        [
            [np.mean((trend_filter(truth + 0.5 * e, lam, 1).values - truth) ** 2) for lam in lams]
            for e in noise
        ]
    )
    best = losses.mean(0).argmin()
    np.testing.assert_allclose(mean, losses[:, best].mean(), rtol=1e-3)
    np.testing.assert_allclose(error, losses[:, best].std(ddof=1) / np.sqrt(3), rtol=1e-2)
