"""Numbers within their range: what passes, what is refused, and the sentence."""

import jax
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.core.ranges import require_from_zero, require_positive, require_share

TINY = np.finfo(float).tiny
FITS = {
    require_positive: (TINY, 1, np.float32(2.0), np.array([0.1, 3.0]), [1, 2], None),
    require_from_zero: (0, TINY, np.array([[0.0, 2.0]]), None),
    require_share: (0.0, 1 - 1e-16 * 2, np.array([0.0, 0.5]), None),
}
ALWAYS = (np.nan, np.inf, -1.0, "0.1", True, 1j, np.array([0.5, np.nan]), [0.5, -1.0])
REFUSED = {
    require_positive: (*ALWAYS, 0, -TINY, np.array([1.0, 0.0]), [1.0, np.inf]),
    require_from_zero: (*ALWAYS, -TINY),
    require_share: (*ALWAYS, -TINY, 1, np.array([0.0, 1.0])),
}


@pytest.mark.parametrize("rule", FITS)
def test_what_fits_passes_and_the_rest_is_refused_by_its_name(rule):
    rule(**{f"x{i}": value for i, value in enumerate(FITS[rule])})
    for value in REFUSED[rule]:
        with pytest.raises(InputError, match=r"^the_rate came as .*; give a (positive )?number"):
            rule(good=0.5, the_rate=value)


def test_what_is_traced_passes():
    jax.jit(lambda x: (require_positive(x=x), x)[1])(-1.0)
