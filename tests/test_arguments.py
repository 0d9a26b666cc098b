"""The small questions that the contract asks of NumPy's arrays and of torch's, one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from selfattention.implementations.arguments import (
    accumulator,
    cast,
    check_answers,
    check_axes,
    detached,
    in_its_own_dtype,
    is_finite,
    is_tensor,
    kind_of,
    learns,
    library_of,
    norm,
    plain,
    taken,
    truth,
    unchanged,
    usual_scale,
)
from selfattention.implementations.introduction import Maker

LIBRARIES = pytest.mark.parametrize("made", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])


@LIBRARIES
@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-9, 9)))
def test_no_row_has_a_larger_norm(made, X):
    rows = np.sqrt((X**2).sum(-1))
    assert norm(made(X)) >= rows.max() * (1 - 1e-15)


def test_the_norm_is_one_that_some_array_of_its_shape_attains():
    """Where all numbers are equally large, a row is as long as it can be. NumPy's is that of all rows."""
    assert norm(torch.full((2, 5, 9), -3.0)) == 9.0
    assert norm(torch.tensor([[-1.0, 2.0, 0.0, 0.0]])) == 4.0
    assert norm(np.full((2, 2, 9), -3.0)) == 18.0


@LIBRARIES
def test_the_norm_of_nothing_is_zero_and_of_no_number_none(made):
    assert norm(made(np.zeros((3, 0)))) == 0
    assert norm(made(np.zeros((0, 3)))) == 0
    assert norm(made(np.ones((1, 1)))) == 1
    for number in np.inf, -np.inf, np.nan:
        assert not math.isfinite(norm(made(np.array([[1.0, number]]))))


def test_the_norm_is_no_part_of_a_graph():
    assert isinstance(norm(torch.ones(2, 2, requires_grad=True)), float)


@LIBRARIES
def test_truth_is_pythons(made):
    answers = [made(np.array([True, False])).any(), made(np.array([True, False])).all()]
    assert [*truth(*answers)] == [True, False]
    assert all(type(answer) is bool for answer in truth(*answers))
    assert [*truth(*answers[::-1])] == [False, True]


def test_whose_array_it_is():
    assert is_tensor(torch.ones(1)) is True
    assert is_tensor(np.ones(1)) is False
    assert library_of(np.ones(1)) is np
    assert library_of(torch.ones(1)) is torch


def test_who_learns():
    fixed, learned = torch.ones(1), torch.ones(1, requires_grad=True)
    assert learns(fixed, learned)
    assert not learns(fixed, fixed)
    assert not detached(learned).requires_grad
    array = np.ones(1)
    assert detached(array) is array


def test_autocast_is_off_inside_and_on_again_afterwards():
    Q = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with in_its_own_dtype(Q):
            assert not torch.is_autocast_enabled("cpu")
            assert (Q @ Q).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")
        with in_its_own_dtype(np.ones((2, 2))):  # NumPy never heard of it
            assert torch.is_autocast_enabled("cpu")
        with in_its_own_dtype(Q.to("meta")):  # nor did every device
            assert torch.is_autocast_enabled("cpu")
    with in_its_own_dtype(Q):
        assert not torch.is_autocast_enabled("cpu")


def test_the_usual_scale_is_one_over_the_root_of_the_width():
    assert usual_scale(16) == 0.25
    assert usual_scale(1) == 1.0
    with pytest.raises(ValueError, match="Q has width 0"):
        usual_scale(0)


def test_finite_numbers():
    assert is_finite(3)
    assert is_finite(-1e308)
    assert not is_finite(math.inf)
    assert not is_finite(math.nan)
    assert not is_finite(10**400)


KINDS = {"float16": "f", "bfloat16": "f", "float32": "f", "float64": "f", "bool": "b"}


@pytest.mark.parametrize("name", [*KINDS, "int8", "uint8", "complex64"])
def test_the_kind_of_a_dtype(name):
    assert kind_of(getattr(torch, name)) == KINDS.get(name, "other")
    if name != "bfloat16":
        assert kind_of(np.dtype(name)) == KINDS.get(name, "other")


def test_a_float_that_nobody_computes_with_is_another_kind():
    assert kind_of(np.dtype(np.longdouble)) == ("f" if np.dtype(np.longdouble).itemsize == 8 else "other")
    assert kind_of(torch.float8_e4m3fn) == "other"


def test_halves_accumulate_in_float32():
    assert accumulator(np.dtype("float16"), np) is np.float32
    assert accumulator(torch.bfloat16, torch) is torch.float32
    assert accumulator(torch.float16, torch) is torch.float32
    assert accumulator(torch.float64, torch) is torch.float64
    assert accumulator(np.dtype("float64"), np) == np.float64
    assert unchanged(torch.float16, torch) is torch.float16


@LIBRARIES
def test_a_cast_to_the_same_is_the_array_itself(made):
    X = made(np.ones(2, np.float32))
    assert cast(X, X.dtype) is X
    wide = cast(X, library_of(X).float64)
    assert (wide.dtype, wide.tolist()) == (library_of(X).float64, [1.0, 1.0])


def test_a_plain_array_has_its_own_bytes_in_order():
    X = np.arange(3.0, dtype=np.dtype(np.float64).newbyteorder())
    assert plain(X).dtype.isnative
    assert plain(X).tolist() == [0, 1, 2]
    crooked = np.frombuffer(b"\0" + np.arange(3.0).tobytes(), np.float64, offset=1)
    assert plain(crooked).flags.aligned
    assert type(plain(np.arange(3.0).view(np.memmap))) is np.ndarray
    conjugate = torch.tensor([1 + 2j]).conj().imag
    assert conjugate.is_neg()
    assert not plain(conjugate).is_neg()
    assert plain(conjugate).tolist() == [-2]


Q, K, V = np.zeros((5, 4, 7, 3)), np.zeros((5, 2, 6, 3)), np.zeros((5, 2, 6, 8))


def test_axes_that_fit():
    check_axes(Q, K, V)
    check_axes(Q[0], K[0], V[0])
    check_axes(Q[0, 0], K[0, 0], V[0, 0])
    check_axes(Q, K[:, :1], V[:, :1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((Q[0, 0, 0], K, V), r"Q has shape \(3,\)"),
        ((Q, K[0], V), r"K has shape \(2, 6, 3\); wanted \(…, g, m, d_k\)"),
        ((Q, K, V[0]), r"V has shape \(2, 6, 8\); wanted \(…, g, m, d_v\)"),
        ((Q, K[:4], V[:4]), r"K has shape \(4, 2, 6, 3\)"),
        ((Q, K[..., :1], V), "K has width 1; wanted that of Q, 3"),
        ((Q, K, V[:, :, :5]), r"V has shape \(5, 2, 5, 8\); wanted the groups and keys of K, \(5, 2, 6\)"),
        ((Q, K, V[:, :1]), r"V has shape \(5, 1, 6, 8\); wanted the groups"),
        ((Q[:, :3], K, V), "K has 2 heads; wanted a divisor of the 3 heads of Q"),
        ((Q, K[:, :0], V[:, :0]), "K has 0 heads; wanted a divisor of the 4 heads of Q"),
    ],
)
def test_axes_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        check_axes(*arrays)


def test_arrays_on_two_devices():
    numbers, shapes = torch.zeros(2, 3), torch.zeros(2, 3, device="meta")
    maker = Maker("mine", "torch")
    with pytest.raises(ValueError, match="K is on meta; wanted the device of Q, cpu"):
        taken(maker, Q=numbers, K=shapes, V=numbers)
    with pytest.raises(ValueError, match="Q is on meta, where there are shapes and no numbers"):
        taken(maker, Q=shapes, K=shapes, V=shapes)


def test_what_a_forward_pass_gave_has_its_shape():
    O, L = np.zeros((5, 4, 7, 8)), np.zeros((5, 4, 7))
    check_answers(Q, V, O, O, L)
    for dO, other_O, other_L, name in (
        (O[:, :, :6], O, L, "dO"),
        (O, O[..., :7], L, "O"),
        (O, O, L[:4], "L"),
        (O, O, L[..., None], "L"),
    ):
        with pytest.raises(ValueError, match=f"^{name} has shape"):
            check_answers(Q, V, dO, other_O, other_L)
