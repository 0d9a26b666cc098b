"""X @ W with weights that Numba reads, in floats and in eight bits: NumPy's numbers, up to rounding."""

import tracemalloc
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfattention.implementations import numba_products, numpy_products

BOTH = pytest.mark.parametrize("products", [numpy_products, numba_products], ids=["numpy", "numba"])
ROWS = st.sampled_from([(), (1,), (2,), (4,), (5,), (8,), (9,), (2, 3), (0,), (3, 0, 2)])
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def drawn(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def as_stored(seed, inputs, outputs, dtype=np.float32):
    """A matrix (in, out) that lies in memory output by output."""
    return drawn(seed, outputs, inputs, dtype=dtype).T


def assert_near(came, wanted, sums_of):
    """As far apart as rounding explains, of sums of so many terms of about 1."""
    assert (came.shape, came.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(came, wanted, rtol=0, atol=8 * sums_of * np.finfo(wanted.dtype).eps)


@given(rows=ROWS, sizes=SIZES, dtype=st.sampled_from([np.float32, np.float64]), stored=st.booleans())
def test_floats_times_rows_are_the_product(rows, sizes, dtype, stored):
    X, W = drawn(0, *rows, sizes[0], dtype=dtype), as_stored(1, *sizes, dtype=dtype)
    W = W if stored else np.ascontiguousarray(W)
    for products in numpy_products, numba_products:
        assert_near(X @ products.Floats(W), X @ W, sizes[0])


@given(rows=ROWS, sizes=SIZES, dtype=st.sampled_from([np.float32, np.float64]))
def test_both_products_in_eight_bits_are_that_with_the_restored_weights(rows, sizes, dtype):
    X, W = drawn(0, *rows, sizes[0], dtype=dtype), as_stored(1, *sizes, dtype=dtype)
    for products in numpy_products, numba_products:
        few = products.EightBits.of(W)
        assert_near(X @ few, X @ few.restored(), sizes[0])


@given(rows=ROWS, sizes=SIZES)
def test_eight_bits_of_whole_numbers_lose_nothing(rows, sizes):
    """Codes and rows of small whole numbers, steps of 1: no rounding anywhere, so to the bit."""
    rng = np.random.default_rng(2)
    W = rng.integers(-127, 128, sizes[::-1]).astype(np.float32).T
    W[0] = 127
    X = rng.integers(-9, 10, (*rows, sizes[0])).astype(np.float32)
    for products in numpy_products, numba_products:
        few = products.EightBits.of(W)
        np.testing.assert_array_equal(few.restored(), W)
        np.testing.assert_array_equal(X @ few, X @ W)


def test_eight_bits_by_hand():
    """The largest of a column is 127 steps: 2.54 and −1.27 make steps of .02 and .01."""
    W = np.array([[2.54, 0.635], [-0.035, -1.27]])
    few = numpy_products.EightBits.of(W)
    np.testing.assert_allclose(few.steps, [0.02, 0.01])
    np.testing.assert_array_equal(few.codes, [[127, -2], [64, -127]])
    assert (few.shape, few.nbytes) == ((2, 2), 4 + 2 * 8)


@pytest.mark.parametrize("size", [1, 0.01])
def test_no_weight_of_eight_bits_is_off_by_more_than_half_its_step(size):
    W = as_stored(3, 61, 83) * np.float32(size)
    few = numpy_products.EightBits.of(W)
    np.testing.assert_allclose(few.steps, abs(W).max(0) / 127, rtol=1e-6)
    assert (abs(few.restored() - W) <= few.steps * np.float32(0.50001)).all()
    assert abs(few.codes).max() == 127


def test_eight_bits_of_a_column_of_zeros_are_zeros():
    few = numpy_products.EightBits.of(np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(few.restored(), 0)


@pytest.mark.parametrize("codes_at_a_time", [1, 6, 7, 100])
def test_eight_bits_are_multiplied_in_pieces(codes_at_a_time, monkeypatch):
    """Of 3 inputs for each of 7 outputs: less than an output, two, two and a bit, and all."""
    monkeypatch.setattr(numpy_products, "AT_A_TIME", codes_at_a_time)
    X, few = drawn(0, 2, 3), numpy_products.EightBits.of(as_stored(1, 3, 7))
    assert few.shape == (3, 7)
    np.testing.assert_allclose(X @ few, X @ few.restored(), rtol=1e-5)


def test_eight_bits_never_stand_there_as_floats():
    """4,194,304 weights would take 16 MiB."""
    few = numpy_products.EightBits(np.ones((1024, 4096), np.int8), np.ones(1024, np.float32))
    X = np.ones((1, 4096), np.float32)
    tracemalloc.start()
    X @ few
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 2**20


@BOTH
def test_without_inputs_there_are_zeros(products):
    """A sum of nothing, for each of three outputs."""
    W = np.ones((3, 0), np.float32).T
    for kind in products.Floats(W), products.EightBits.of(W):
        np.testing.assert_array_equal(np.ones((2, 0), np.float32) @ kind, np.zeros((2, 3)))


@BOTH
def test_a_number_is_no_row(products):
    W = as_stored(1, 5, 7)
    for kind in products.Floats(W), products.EightBits.of(W):
        with pytest.raises(ValueError, match="matmul"):
            np.float32(1) @ kind


@BOTH
def test_a_matrix_is_itself_and_no_other(products):
    """Compared as an object, not number by number, and not to be changed in its place."""
    W = as_stored(1, 5, 7)
    for kind in products.Floats, products.EightBits.of:
        one, other = kind(W), kind(W)
        assert len({one, other}) == 2
        with pytest.raises(FrozenInstanceError):
            one.W = one.steps = W


@pytest.mark.parametrize(
    "W", [np.zeros(3), np.zeros((2, 3, 5)), np.array([[1, np.nan]]), np.array([[np.inf]])]
)
def test_what_has_no_eight_bits_is_refused(W):
    with pytest.raises(ValueError, match="W has shape"):
        numpy_products.EightBits.of(W)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_a_row_stays_in_that_row(products, bad):
    X, W = drawn(0, 3, 37), as_stored(1, 37, 41)
    for kind in products.EightBits.of(W), products.Floats(W):
        clean, X[1, 36] = X @ kind, bad
        answer, X[1, 36] = X @ kind, 0
        assert not np.isfinite(answer[1]).any()
        np.testing.assert_array_equal(answer[[0, 2]], clean[[0, 2]])


@BOTH
@pytest.mark.parametrize("rows", [1, 9])
def test_rows_of_another_width_are_refused(products, rows):
    W = as_stored(1, 5, 7)
    for kind in products.Floats(W), products.EightBits.of(W):
        with pytest.raises(ValueError, match="matmul"):
            np.zeros((rows, 6), np.float32) @ kind


@BOTH
def test_floats_copy_nothing(products):
    W = as_stored(1, 5, 7)
    kind = products.Floats(W)
    assert np.shares_memory(kind.W, W)
    assert (kind.shape, kind.nbytes) == (W.shape, W.nbytes)


@BOTH
def test_other_floats_are_multiplied_too(products):
    """Small whole numbers: right to the bit in half precision, and with rows of another dtype."""
    rng = np.random.default_rng(5)
    X, W = rng.integers(-3, 4, (2, 5)), rng.integers(-3, 4, (7, 5)).T
    for one, other in ("f2", "f2"), ("f4", "f2"), ("f8", "f4"):
        answer = X.astype(one) @ products.Floats(W.astype(other))
        assert answer.dtype == one
        np.testing.assert_array_equal(answer, X @ W)


def test_the_short_way_is_taken_by_whom_the_tests_mean(monkeypatch):
    """Up to 8 rows of weights in order; otherwise the library's product, or nothing above would test it."""
    met, W = [], as_stored(1, 5, 7)
    monkeypatch.setattr(numba_products, "_dots", lambda *arrays: met.append("numba"))
    monkeypatch.setattr(np, "vecdot", lambda *arrays, out: met.append("numpy"))
    for products in numpy_products, numba_products:
        for rows, weights in (1, W), (8, W), (9, W), (1, np.ascontiguousarray(W)):
            np.zeros((rows, 5), np.float32) @ products.Floats(weights)
    assert met == ["numpy", "numpy", "numba", "numba"]
