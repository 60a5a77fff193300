"""Formulas in sentences: what becomes one, what does not, and that no letter is lost."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thalweg.report.formula import GREEK, typeset


def pieces(text: str) -> list[ET.Element]:
    """The formulas that a sentence holds, as parsed XML."""
    return [ET.fromstring(m) for m in re.findall(r"<math>.*?</math>", str(typeset(text)))]


def flat(element: ET.Element) -> str:
    """A formula in one line, scripts as ^{...} and _{...}."""
    parts = [flat(child) for child in element]
    if element.tag == "msup":
        return f"{parts[0]}^{{{parts[1]}}}"
    if element.tag == "msub":
        return f"{parts[0]}_{{{parts[1]}}}"
    if element.tag == "msubsup":
        return f"{parts[0]}_{{{parts[1]}}}^{{{parts[2]}}}"
    return (element.text or "") + "".join(parts)


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("It falls as m^(-1/2).", ["m^{−1/2}"]),
        ("G^(H) of a net is K^(H) on average.", ["G^{(H)}", "K^{(H)}"]),
        (
            "L(k) <= (1 - eta lambda_0/2)^k L(0) at every step",
            ["L(k)≤(1−ηλ_{0}/2)^{k}L(0)"],
        ),
        ("norm 1 have K^(h)_ii = 1 at every", ["K_{ii}^{(h)}=1"]),
        ("x.x' (pi - angle)/(2 pi): an average", ["x.x^{′}(π−angle)/(2π)"]),
        ("||w_y||/||w||^{1 - 1/L} are constant", ["‖w_{y}‖/‖w‖^{1−1/L}"]),
        ("conserves W W^T - W'^T W' of any two", ["WW^{T}−W^{′T}W^{′}"]),
        ("never below g0^2 + c ln ||w0_perp||^2, and", ["g_{0}^{2}+cln‖w_{0perp}‖^{2}"]),
        ("at most sqrt(1 + s_1^2); those", ["√(1+s_{1}^{2})"]),
        ("as 1/t, and as eps^{-(1 - 2/L)} beyond", ["1/t", "ε^{−(1−2/L)}"]),
        ("is z z^T (x) Q^T Q over examples", ["zz^{T}⊗Q^{T}Q"]),
        ("(eta * sharpness / 2: at most 0.9)", ["η·sharpness/2"]),
        ("2/η and λ_min(G) and 10⁻³", ["2/η", "λ_{min}(G)", "10^{−3}"]),
        ("a lambda_0 and (a) sigma_n (dashed)", ["λ_{0}", "σ_{n}"]),
        ("G^(H) (E4, E5), w_x (output/input)", ["G^{(H)}", "w_{x}"]),
        ("from ||grad L||^2 >= (2 sigma_n(A)^2 / n) L, and", ["‖∇L‖^{2}≥(2σ_{n}(A)^{2}/n)L"]),
        ("for (alpha = 1e-3), see", ["α=1e-3"]),
        ("misses by ||w - w*||^2 at least", ["‖w−w^{∗}‖^{2}"]),
        ("||x0 - x*||/g* is, with g^* of x^*_1", ["‖x_{0}−x^{∗}‖/g^{∗}", "g^{∗}", "x_{1}^{∗}"]),
        ("f(w) - f_* in units of f^*", ["f(w)−f_{∗}", "f^{∗}"]),
        ("eta*x <= 3 * y_1", ["η·x≤3·y_{1}"]),
    ],
)
def test_what_is_a_formula(text: str, formulas: list[str]) -> None:
    assert [flat(element) for element in pieces(text)] == formulas


@pytest.mark.parametrize(
    "text",
    [
        "A net of 64 units, a step of 0.1; I think (a) is so.",
        "the option step_size, the file run_1/page.json, min_value and x2y",
        "5 % of 200 000 draws, 3x4 matrices, C6 and E10 (net, draw) / 2",
        "mean of |dW|_F over nets and a - b",
        "a ^ b _ c ((( ))) || | ' . , / =",
    ],
)
def test_what_is_not(text: str) -> None:
    assert pieces(text) == []


LETTERS = "abLWx*_^(){}|/=<>-+.,' 0123456789ληeta"


@example(")_L").via("a script without its base")
@example("(a))^x_2").via("another")
@given(st.text(st.sampled_from(LETTERS), max_size=60) | st.text(max_size=40))
def test_any_text_is_well_formed_and_keeps_its_letters(text: str) -> None:
    made = str(typeset(text))
    # XML allows no control characters; that they are passed on is the template's affair.
    whole = ET.fromstring(f"<p>{made}</p>") if text.isprintable() else None
    if whole is not None:
        told = "".join(whole.itertext())
        # A name may be set as its letter, or left where the text is no formula.
        signs = GREEK | {"sqrt": "√", "grad": "∇", "sum": "∑"}
        for word in sorted(signs, key=len, reverse=True):
            told, text = told.replace(word, signs[word]), text.replace(word, signs[word])
        assert sorted(filter(str.isalpha, told)) == sorted(filter(str.isalpha, text))


def test_markup_in_a_sentence_is_text() -> None:
    made = str(typeset("<b>x</b> & a_<i> <= b_2"))
    assert "<b>" not in made
    assert "<i>" not in made
