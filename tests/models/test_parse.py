"""Models from a line of text: every right form, every wrong one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.models import MLP, ConvNet, Convolution, parse_model
from thalweg.models.parse import FORMS

WIDTHS = st.lists(st.integers(1, 100_000), max_size=4)


@given(WIDTHS, st.booleans())
def test_every_list_of_widths(widths, bias):
    text = "-".join(map(str, widths))
    assert parse_model(f"mlp:{text}", "gelu", bias, "orthogonal") == MLP(
        tuple(widths), "gelu", bias, "orthogonal"
    )
    assert parse_model(f"linear:{text}", "gelu", bias) == MLP(tuple(widths), "linear", False)


@given(
    st.integers(1, 99), st.integers(1, 9), st.integers(1, 4), st.integers(0, 4), st.integers(1, 4)
)
def test_every_convolution(filters, kernel, stride, padding, pool):
    long = f"conv:{filters}k{kernel}s{stride}p{padding}m{pool}-3k2/7"
    expected = (Convolution(filters, kernel, stride, padding, pool), Convolution(3, 2))
    assert parse_model(long) == ConvNet(expected, (7,), "tanh", True)


@pytest.mark.parametrize(
    ("text", "layer", "dense"),
    [
        ("conv:6k5", Convolution(6, 5), ()),
        ("conv:6k5p2/", Convolution(6, 5, padding=2), ()),
        ("conv:6k5m2/10-4", Convolution(6, 5, pool=2), (10, 4)),
        ("conv:6k5s2m3", Convolution(6, 5, 2, 0, 3), ()),
    ],
)
def test_parts_may_be_left_out(text, layer, dense):
    assert parse_model(text) == ConvNet((layer,), dense, "tanh", True)


def test_the_forms_shown_are_forms_taken():
    for kind, form in FORMS.items():
        text = form.split(" ")[0]
        assert text.startswith(f"{kind}:")
        parse_model(text)


@pytest.mark.parametrize(
    "text",
    ["mlp:0", "mlp:-4", "mlp:64-", "mlp:-64", "mlp:6.5", "mlp:64,64", "mlp: 64", "mlp:1e3",
     "mlp:²", "mlp:٦٤", "mlp:100001", "mlp:" + "9" * 5000, "linear:x", "conv:", "conv:/10",
     "conv:6", "conv:k5", "conv:6k", "conv:0k5", "conv:6k0", "conv:6k5s0", "conv:6k5m0",
     "conv:6k5p2s2", "conv:6k5-", "conv:6k5/x", "conv:6k5/1/2", "conv:6k5 "],
)  # fmt: skip
def test_malformed_text_is_a_sentence_with_the_form(text):
    kind = text.partition(":")[0]
    with pytest.raises(InputError, match="is not of the form") as caught:
        parse_model(text)
    assert FORMS[kind] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "near"), [("mpl:64", "mlp"), ("linaer", "linear"), ("cnov:6k5", "conv")]
)
def test_unknown_kinds_name_the_nearest(text, near):
    with pytest.raises(InputError, match=f"Did you mean '{near}'"):
        parse_model(text)
    with pytest.raises(InputError, match="unknown model"):
        parse_model("")
    with pytest.raises(InputError, match="Did you mean 'relu'"):
        parse_model("mlp:4", "rleu")
    with pytest.raises(InputError, match="unknown initialiser"):
        parse_model("mlp:4", initialiser="nothing")


@given(st.text(max_size=20) | st.from_regex(r"(mlp|conv|linear):[0-9kspm/\-]{0,12}"))
@example("mlp:\n")
@example("conv:1k1\n")
def test_any_text_gives_a_model_or_a_sentence(text):
    with suppress(InputError):
        assert isinstance(parse_model(text), MLP | ConvNet)
