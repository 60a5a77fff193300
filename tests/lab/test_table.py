"""Tables, experiments by scale, predictions beside what was measured, keys of what is stored."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from thalweg.core.errors import InputError
from thalweg.lab import reached as reaching
from thalweg.lab.claims import held
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.scaling import exponent
from thalweg.lab.table import averaged, mean_and_error, medians, over, padded, predicted, table
from thalweg.theory.prediction import make_prediction

TIMES = [0.0, 1.0, 2.0]


def falling(kind="exact", factor=1.0):
    def at(t):
        return factor * np.exp(-np.asarray(t))

    return make_prediction("loss", "loss", kind, "always", at, "E1")


def measured():
    return table(
        {"time": {"loss": (np.exp([-0.0, -1, -2]), "loss", "loss of the net")}}, time=TIMES
    )


def test_a_table_says_what_everything_is():
    found = table(
        {"draw time": {"loss": (np.ones((2, 3)), "loss", "the loss")}, "": {"n": (3, "1", "size")}},
        {"eps": 0.1},
        draw=[5, 7],
        time=TIMES,
        width=([1.0], "parameter", "width"),
    )
    assert found["loss"].dims == ("draw", "time")
    assert found["time"].attrs == {"units": "step size", "long_name": "training time"}
    assert found["width"].attrs["units"] == "parameter"
    assert found.attrs == {"eps": 0.1}
    assert found["n"].item() == 3
    assert found["draw"].values.tolist() == [5, 7]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ((np.ones(3), "", "the loss"), "without a unit or words"),
        ((np.ones(3), "loss", ""), "without a unit or words"),
        ((np.ones((3, 2)), "loss", "the loss"), "give one dim for each axis"),
    ],
)
def test_a_table_refuses_what_says_too_little(entry, words):
    with pytest.raises(InputError, match=words):
        table({"time": {"loss": entry}}, time=TIMES)


def test_a_grid_of_tables_is_one_table():
    def one(depth, rate):
        return table({"time": {"loss": (depth * rate * np.ones(3), "loss", "loss")}}, time=TIMES)

    found = over(one, depth=[1, 2], rate=([0.5, 0.1, 0.2], "step size", "step size"))
    assert found["loss"].dims == ("depth", "rate", "time")
    np.testing.assert_allclose(found["loss"][1, :, 0], [1.0, 0.2, 0.4])
    assert found["rate"].attrs["units"] == "step size"
    with pytest.raises(InputError, match="differ in their variables, sizes or labels"):
        over(lambda n: table({"time": {"a": (np.ones(n), "1", "a")}}, time=range(n)), n=[1, 2])


def test_means_over_draws_have_their_standard_error():
    values = np.random.default_rng(0).normal(size=(40, 3))
    given = table({"draw place": {"x": (values, "metre", "the way")}})
    found = averaged(given, "draw", "x")
    covariance = np.cov(values.T)
    np.testing.assert_allclose(found["x_mean"], np.ones(40) @ values / 40)
    np.testing.assert_allclose(found["x_mean_error"], np.sqrt(np.diag(covariance) / 40))
    assert found["x_mean_error"].attrs["units"] == "metre"
    assert "the way" in found["x_mean"].attrs["long_name"]
    alone = averaged(given.isel(draw=[0]), "draw", "x")
    assert np.isnan(alone["x_mean_error"]).all()  # one draw says nothing of its spread


def test_medians_have_their_standard_error():
    """sqrt(pi/2) of that of the mean for normal numbers; infinite ones leave it unknown."""
    drawn = np.random.default_rng(0).normal(size=(400, 300))
    found = table({"draw place": {"x": (drawn, "metre", "the way")}})
    with_medians = medians(found, "draw", "x")
    assert with_medians["x_median"].attrs == {"units": "metre", "long_name": "median the way"}
    np.testing.assert_array_equal(with_medians["x_median"], np.median(drawn, 0))
    error = float(with_medians["x_median_error"].mean())
    assert error == pytest.approx(np.sqrt(np.pi / 2 / 400), rel=0.05)
    spread = float(with_medians["x_median"].std())
    assert error == pytest.approx(spread, rel=0.15)
    endless = medians(found.where(found["x"] < -1, np.inf), "draw", "x")
    assert np.isnan(endless["x_median_error"]).all()


@pytest.mark.parametrize(
    ("kind", "factor", "holds"),
    [
        ("exact", 1.0, True),
        ("exact", 1.01, False),
        ("asymptotic", 1.01, False),
        ("upper", 1.2, True),
        ("upper", 0.99, False),
        ("lower", 0.9, True),
        ("lower", 1.01, False),
    ],
)
def test_a_prediction_is_held_as_its_kind_says(kind, factor, holds):
    found = predicted(measured(), falling(kind, factor))
    assert found["loss_theory"].attrs["long_name"] == "loss of the net, theory"
    check = held(found, "loss", relative=1e-6)
    assert check.ok == holds
    assert check.what == "loss of the net"


def test_tolerances_and_gaps_of_predictions():
    assert held(predicted(measured(), falling("exact", 1.01)), "loss", relative=0.011).ok
    assert held(predicted(measured(), falling("upper", 0.99)), "loss", absolute=0.0101).ok
    early = make_prediction(
        "loss", "loss", "exact", "later", lambda t: np.where(t < 1, np.nan, np.exp(-t)), "E1"
    )
    assert held(predicted(measured(), early), "loss", relative=1e-12).ok
    never = make_prediction("loss", "loss", "exact", "never", lambda t: np.nan * t, "E1")
    assert not held(predicted(measured(), never), "loss", relative=1.0).ok
    with pytest.raises(InputError, match="loss_theory"):
        held(measured(), "loss")


@dataclass(frozen=True)
class Size:
    draws: int = 5
    steps: int = 10


def test_sizes_by_scale():
    @experiment("X1", Size(), smoke={"draws": 2}, full={"steps": 1000})
    def product(lab, size):
        return table({"": {"n": (size.draws * size.steps, "1", "product")}})

    found = [int(product(Lab(scale))["n"]) for scale in ("smoke", "quick", "full")]
    assert found == [20, 50, 5000]
    assert int(product(Lab("smoke"), steps=1)["n"]) == 2
    assert len({product.known_by(s)["size"] for s in ("smoke", "quick", "full")}) == 3
    with pytest.raises(InputError, match="Did you mean 'draws'"):
        experiment("X1", Size(), smoke={"draw": 1})
    with pytest.raises(InputError, match="has no size"):
        experiment("X1", smoke={"draws": 1})


def test_a_stored_experiment_depends_on_what_it_reaches():
    flow = "thalweg.studies.wu2020_weight_normalization.flow"
    modules = reaching.reached(flow)
    assert {flow, "thalweg.theory.linear_nets.weight_normalisation", "thalweg.core.tree"} <= modules
    others = (
        "thalweg.cli",
        "thalweg.studies.du2018",
        "thalweg.report.drawing",
        f"{flow[:-5]}.claims",
    )
    assert not [m for m in modules if m.startswith(others)]
    assert len(reaching.source_digest(flow)) == 64


def test_a_package_taken_whole_reaches_what_it_exports(tmp_path, monkeypatch):
    both = "from thalweg.rooms.first import one\nfrom thalweg.rooms.two import two"
    for name, text in {
        "__init__.py": "",
        "a.py": "from thalweg.rooms import one",
        "b.py": "from thalweg import rooms",
        "c.py": "def f():\n    from thalweg.rooms.two import two",
        "rooms/__init__.py": both,
        "rooms/first.py": "one = 1",
        "rooms/two.py": "two = 2",
    }.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    monkeypatch.setattr(reaching, "ROOT", tmp_path)
    reaching._names.cache_clear()
    rooms = "thalweg.rooms"
    assert reaching.reached("thalweg.a") == {"thalweg.a", f"{rooms}.first"}
    assert reaching.reached("thalweg.b") == {"thalweg.b", rooms, f"{rooms}.first", f"{rooms}.two"}
    assert reaching.reached("thalweg.c") == {"thalweg.c", f"{rooms}.two"}
    reaching._names.cache_clear()


def test_a_table_is_an_ordinary_data_set():
    assert isinstance(measured(), xr.Dataset)


def test_three_names_are_three_values_and_no_unit():
    found = over(lambda start: table({"": {"a": (len(start), "1", "a")}}), start=("x", "yy", "zzz"))
    assert found["a"].values.tolist() == [1, 2, 3]
    assert list(found["start"].values) == ["x", "yy", "zzz"]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_what_is_padded_ends_in_nan_along_its_axis_alone(axis):
    whole = np.arange(6.0).reshape(2, 3)
    longer = padded(whole, 5, axis)
    there, behind = np.split(longer, [whole.shape[axis]], axis)
    np.testing.assert_array_equal(there, whole)
    assert longer.shape[axis] == 5
    assert np.isnan(behind).all()
    np.testing.assert_array_equal(padded(whole.astype(int), whole.shape[axis], axis), whole)


def test_a_mean_and_its_error_are_those_of_a_table_of_draws():
    draws = np.random.default_rng(0).standard_normal((2, 7, 3))
    given = mean_and_error("loss", draws, "loss", "the loss", axis=1)
    found = table({"net entry": given})
    whole = table({"net draw entry": {"loss": (draws, "loss", "the loss")}})
    expected = averaged(whole, "draw", "loss")
    for ours, theirs in (("loss", "loss_mean"), ("loss_error", "loss_mean_error")):
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-14)
        assert found[ours].attrs["units"] == "loss"


class TestExponents:
    x = xr.DataArray([1.0, 3.0, 4.0, 10.0], dims="width")

    def test_powers_have_theirs_whatever_the_other_dims(self):
        powers = xr.DataArray([-1.5, 0.0, 2.0], dims="power")
        y = 3.0 * self.x**powers
        np.testing.assert_allclose(exponent(y, self.x), powers, atol=1e-14)

    def test_what_is_no_power_has_the_slope_of_least_squares(self):
        y = xr.DataArray(np.random.default_rng(0).uniform(0.5, 2, 4), dims="width")
        expected = np.polyfit(np.log(self.x), np.log(y), 1)[0]
        np.testing.assert_allclose(exponent(y, self.x), expected, rtol=1e-12)

    @pytest.mark.parametrize("bad", [np.nan, 0.0, -2.0])
    def test_a_value_without_a_logarithm_leaves_none(self, bad):
        y = (2 * self.x).where(self.x != 3.0, bad)
        assert np.isnan(exponent(y, self.x))
        assert np.isnan(exponent(self.x[:1], self.x[:1]))
        assert np.isnan(exponent(self.x[:0], self.x[:0]))
