"""Wrong `merge_states(c_1, Z_1, O_1, c_2, Z_2, O_2) -> (c, Z, O)`."""

import numpy as np


def _factors(c_1, c_2):
    c = np.maximum(c_1, c_2)
    shift = np.where(np.isneginf(c), 0, c)
    return c, np.exp(c_1 - shift), np.exp(c_2 - shift)


def not_rescaled(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """Sums added as they are, whatever their maxima. Chapter 13."""
    return np.maximum(c_1, c_2), Z_1 + Z_2, O_1 + O_2


def old_output_not_rescaled(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """The sum is rescaled, the output is not. Chapter 13."""
    c, a_1, a_2 = _factors(c_1, c_2)
    return c, a_1 * Z_1 + a_2 * Z_2, O_1 + a_2[..., None] * O_2


def rescaled_the_wrong_way(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """Rescaled the wrong way: exp(c − c_t) instead of exp(c_t − c). Chapter 13."""
    c, a_1, a_2 = _factors(c_1, c_2)
    with np.errstate(divide="ignore"):
        return c, Z_1 / a_1 + Z_2 / a_2, O_1 / a_1[..., None] + O_2 / a_2[..., None]


def finished_outputs_averaged(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """Finished outputs averaged by their maxima alone: the sums behind them are forgotten. Chapter 13."""
    c, a_1, a_2 = _factors(c_1, c_2)
    with np.errstate(invalid="ignore"):
        return c, a_1 + a_2, (a_1 / Z_1)[..., None] * O_1 + (a_2 / Z_2)[..., None] * O_2


def minus_infinity_from_minus_infinity(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """Two empty states: −∞ − (−∞) is NaN. Chapter 13."""
    c = np.maximum(c_1, c_2)
    a_1, a_2 = np.exp(c_1 - c), np.exp(c_2 - c)
    return c, a_1 * Z_1 + a_2 * Z_2, a_1[..., None] * O_1 + a_2[..., None] * O_2


def newest_maximum(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """The newest tile's maximum instead of the largest: overflow when the scores fall. Chapter 13."""
    a_1 = np.exp(c_1 - c_2)
    return c_2, a_1 * Z_1 + Z_2, a_1[..., None] * O_1 + O_2


def logarithms_to_base_two(c_1, Z_1, O_1, c_2, Z_2, O_2):
    """2 to the power of c_t − c, not e: the logarithms are those of another kernel. Chapter 16."""
    c = np.maximum(c_1, c_2)
    shift = np.where(np.isneginf(c), 0, c)
    a_1, a_2 = np.exp2(c_1 - shift), np.exp2(c_2 - shift)
    return c, a_1 * Z_1 + a_2 * Z_2, a_1[..., None] * O_1 + a_2[..., None] * O_2
