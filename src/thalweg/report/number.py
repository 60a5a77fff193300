"""Numbers as an article prints them: as many digits as the error leaves meaningful."""

from __future__ import annotations

import math

from thalweg.report.spec import Quantity

MISSING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def show(value: Quantity | bool, error: Quantity = None, unit: str = "") -> str:
    """A quantity with its error and unit as text.

    The error is rounded to two significant digits, the value to the same decimal place:
    `show(0.123456, 0.00123) == "0.1235 ± 0.0012"`. Without an error a real value has five
    significant digits. An error below 1e-6 of the value is set apart, as it would ask for
    more digits than a reader wants: `show(1.5, 1e-12) == "1.5 ± 1×10⁻¹²"`.
    """
    text = _with_error(value, error)
    return f"{text} {unit}" if unit and text != MISSING else text


def _with_error(value: Quantity | bool, error: Quantity) -> str:
    if error is None or error == "":
        return _plain(value)
    if isinstance(value, str) or isinstance(error, str) or value is None:
        return f"{_plain(value)} ± {_plain(error)}"
    value, error = float(value), float(error)
    if not (math.isfinite(value) and math.isfinite(error) and error > 1e-6 * abs(value)):
        return f"{_plain(value)} ± {_plain(error, digits=2)}"
    power = _exponent(max(abs(value), error))
    power = power if power < -3 or power > 5 else 0
    value, error = value / 10.0**power, error / 10.0**power
    decimals = max(0, 1 - _exponent(error))
    text = f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")
    return f"({text}){_times_ten(power)}" if power else text


def _plain(value: Quantity | bool, digits: int = 5) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", "−")
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    return mantissa.replace("-", "−") + (_times_ten(int(power)) if power else "")


def _times_ten(power: int) -> str:
    return "×10" + str(power).translate(_SUPERSCRIPT)


def _exponent(value: float) -> int:
    return int(f"{value:.1e}".partition("e")[2])
