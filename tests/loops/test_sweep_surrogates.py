"""A sweep of a net whose gradient is a surrogate: judged by what can be measured."""

from __future__ import annotations

import pytest

import thalweg as tw
from thalweg.core.errors import InputError


@pytest.mark.thorough
def test_a_spiking_net_is_swept_without_its_hessian() -> None:
    problem = tw.problem("digits", model="spiking:4", samples=20)
    options = {"step_size": [0.02, 0.1], "steps": 4, "records": 2, "progress": False}
    found = tw.sweep(problem, tw.gradient_descent, **options)
    assert "sharpness" not in found.dataset
    regimes = found.regimes(progress=False)
    assert not regimes.table["largest_stability"].notnull().any()
    assert any(text.startswith("Sharpness is not measured") for text in regimes.sentences)
    assert regimes.flow == "the flow of the surrogate gradient"
    assert regimes.flow in regimes.boundaries[0].name
    assert not any("sweep with probes" in text for text in regimes.sentences)
    with pytest.raises(InputError, match="surrogate of spikes"):
        tw.sweep(problem, tw.gradient_descent, probes=["loss", "sharpness"], **options)
