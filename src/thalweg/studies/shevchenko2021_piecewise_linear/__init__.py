"""Mean-field analysis of piecewise linear solutions for wide ReLU networks, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Piecewise linear solutions of wide ReLU networks",
    source=(
        "A. Shevchenko, V. Kungurtsev, M. Mondelli: Mean-field Analysis of Piecewise Linear "
        "Solutions for Wide ReLU Networks. JMLR 23(130), 2022, arXiv:2111.02278"
    ),
    question=(
        "Which function does a wide two-layer ReLU network on the line learn under weight decay "
        "and a little noise, and where may it bend?"
    ),
    minutes={"quick": 0.6, "full": 1.5},
    paper_size="part",
    full=(
        "Three seeds without noise and two with, 500 and 4,000 neurons, 2,000 random data sets; "
        "the paper's 500 neurons on its data, full batches in place of single examples."
    ),
    answer=(
        "A piecewise linear one with at most three knots in a gap between inputs, which need "
        "neither lie at inputs nor be as few as could be. The infinitely wide net is known exactly "
        "at any temperature: integrals over one angle, and a concave problem in as many unknowns "
        "as there are inputs. Two quadratics a gap say where the second derivative stays; "
        "elsewhere it falls as 1/beta. At zero temperature they touch zero at the knots, which "
        "cutting planes and Newton steps find to rounding. Five hundred neurons descend to that "
        "net, to 1e-5 of its objective, and with noise fluctuate about the Gibbs net; but the "
        "noise that is printed for it samples twice the inverse temperature."
    ),
    deviates=(
        "Smoothing and truncation of the activation, over which the paper takes limits, are left "
        "out: the dual is finite and well posed without them.",
        "Descent sees all examples in every step, with step s = 0.05 or 0.002; the printed s = 1 "
        "is unstable for inputs up to 8. Runs without weight decay have no unique limit and are "
        "not rerun.",
        "With noise s = 0.05 is beyond the edge of stability, too: the sharpness of the law's net "
        "is 30, that of the run 21, 2/eta is 20. The mean of E |theta|^2 is 18.3 for 19.0 there, "
        "500 neurons predict within 0.03 of the law, 4,000 only within 0.16. Full scale takes "
        "s = 0.0125, where both are within 0.02.",
        "Data of the paper's figures 7 and 8 are read off the plots.",
        "The constants of Theorem 1 are not given, so that its bound is not checked, only that "
        "the curvature vanishes where it says.",
        "The largest curvature at beta = 1e6 is 9.0e3 by the quadrature here, which halves panels "
        "down to the poles; uniform grids of 8e5 angles were said to give about 1.2e4. Only its "
        "growth is checked.",
        "Knots are counted at the directions that may carry weight, whether or not a solution "
        "puts weight there.",
        "The net at zero temperature is compared on [0.9, 3.4].",
    ),
)
