"""What is particular to the study of singular values: its larger sizes."""


def test_the_full_scale_asks_for_more(study):
    full = {name: e.sizes["full"] for name, e in study.experiments.items()}
    assert full["X4"].seeds == 25
    assert full["X5"].samples is None
    assert full["gaussian"].draws == 4000
    assert full["X3"].points == 2001
    assert full["X3"].n == 64
