"""What every formula must do: keep the dtype, take leading axes, leave its arguments alone, and
answer bad input with an error that names the argument."""

import numpy as np
import pytest
from examples import EXAMPLES, NOT_OF_FLOATS

from selfattention import formulas


def each(function):
    return pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.function)(function)


def outputs(result):
    return result if isinstance(result, tuple) else (result,)


def arrays(arguments):
    """The arguments that are arrays of floats."""
    return {name: x for name, x in arguments.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}


def test_every_formula_has_an_example():
    assert {e.function for e in EXAMPLES} | NOT_OF_FLOATS == set(formulas.__all__)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_out_is_dtype_in(example, dtype, rng):
    for output in outputs(example(example.arguments(rng, dtype))):
        assert output.dtype == dtype


@each
def test_float32_is_float64_rounded(example, rng):
    """No step may lose more than float32 rounding: 100 eps covers sums of up to 22 terms."""
    exact = example.arguments(rng, np.float32)
    wide = exact | {name: array.astype(np.float64) for name, array in arrays(exact).items()}
    for narrow, reference in zip(outputs(example(exact)), outputs(example(wide)), strict=True):
        scale = np.abs(reference[np.isfinite(reference)]).max()
        np.testing.assert_allclose(narrow, reference, atol=100 * np.finfo(np.float32).eps * scale, rtol=0)


@each
def test_leading_axes_are_a_batch(example, rng):
    """One call on a (2, 3) batch = six calls, each with its own data and the same weights."""
    batch = example.arguments(rng, np.float64, leading=(2, 3))
    together = outputs(example(batch))
    for where in np.ndindex(2, 3):
        alone = example(batch | {name: batch[name][where] for name in example.data})
        for whole, single in zip(together, outputs(alone), strict=True):
            np.testing.assert_allclose(whole[where], single, rtol=1e-12, atol=1e-14)


@each
def test_integers_are_refused_by_name(example, rng):
    arguments = example.arguments(rng, np.float64)
    for name, array in arrays(arguments).items():
        with pytest.raises(TypeError, match=rf"^{name} has dtype int64; wanted floats"):
            example(arguments | {name: np.ones(array.shape, dtype=np.int64)})


@each
def test_lists_are_refused_by_name(example, rng):
    arguments = example.arguments(rng, np.float64)
    for name, array in arrays(arguments).items():
        with pytest.raises(TypeError, match=rf"^{name} is a list; wanted a NumPy array"):
            example(arguments | {name: array.tolist()})


@each
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_by_name(example, poison, rng):
    arguments = example.arguments(rng, np.float64)
    for name, array in arrays(arguments).items():
        poisoned = array.copy()
        poisoned[(-1,) * array.ndim] = poison
        with pytest.raises(ValueError, match=rf"^{name} holds {poison} at .*; wanted finite numbers"):
            example(arguments | {name: poisoned})


@each
def test_a_wrong_axis_is_refused_by_name(example, rng):
    """Lengthen each axis of each argument in turn: either the formula is free in that axis, or the
    error names the argument. Some axis must be refused where two arguments share one."""
    arguments = example.arguments(rng, np.float64)
    refused = 0
    for name, array in arrays(arguments).items():
        for axis in range(array.ndim):
            longer = np.concatenate([array, array.take([0], axis)], axis)
            try:
                example(arguments | {name: longer})
            except ValueError as error:
                refused += 1
                blamed = [name, *example.others]  # h, where it does not divide a width
                assert any(str(error).startswith(f"{word} ") or f"{word} (" in str(error) for word in blamed)  # noqa: PT017
    assert refused or len(arrays(arguments)) == 1


def test_an_error_says_what_came_and_what_is_wanted(rng):
    with pytest.raises(ValueError, match=r"h is 4; wanted a positive integer that divides the width, 22$"):
        formulas.split_heads(rng.normal(size=(5, 22)), h=4)
    with pytest.raises(
        ValueError, match=r"V has shape \(5, 11\); wanted \(…, m, d_v\), where .*K.* is \(7, 3\)"
    ):
        formulas.attention(rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(5, 11)))


def test_self_attention_without_memory_reads_x(rng):
    """A wrong W_K is blamed on W_K where memory is left out, too."""
    X, W_Q, W_K, W_V = (rng.normal(size=shape) for shape in [(5, 13), (13, 3), (12, 3), (13, 11)])
    with pytest.raises(ValueError, match=r"^W_K has shape \(12, 3\)"):
        formulas.projections(X, W_Q, W_K, W_V)
