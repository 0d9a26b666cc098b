"""What signatures promise of every formula: whole numbers that do not wrap, halves that do not
overflow in silence, arrays of other kinds taken rightly or refused, and the smallest sizes."""

import inspect
import re
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch
from examples import CALLS, EXAMPLES, SMALLEST
from jaxtyping import AbstractArray
from test_all_formulas import arrays, each, outputs

from selfattention import formulas
from selfattention.formulas import (
    attention,
    attention_flops,
    central_difference,
    dot_scores,
    encoder_layer,
    feed_forward,
    finish_state,
    gelu,
    layer_norm,
    log_sum_exp,
    masked_attention,
    multi_head_parameters,
    rotary,
    rows_that_fit,
    scaled_scores,
    score_variance,
    self_attention,
    softmax,
    tile_state,
    weighted_sum,
)
from selfattention.signatures import unchecked

SIZES = [(name, argument) for name, smallest in SMALLEST.items() for argument in smallest]
EVERY_INTEGER = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]
MEASURES = {
    "absorbed_below": ["F"],
    "arithmetic_intensity": ["flops", "words"],
    "buried_scores": ["F"],
    "cap_after_mask": ["C"],
    "central_difference": ["step"],
    "exposed_seconds": ["flops", "sent_bytes", "flops_per_second", "bytes_per_second", "latency"],
    "frequencies": ["base"],
    "gaussian_scores": ["tau"],
    "hiding_tokens": ["seen", "flops_per_second", "bytes_per_second", "latency"],
    "largest_entry": ["largest", "scale"],
    "layer_norm": ["epsilon"],
    "leave_one_out": ["tau"],
    "nadaraya_watson": ["tau"],
    "ring_seconds": ["flops", "sent_bytes", "flops_per_second", "bytes_per_second", "latency", "overlap"],
    "rms_norm": ["epsilon"],
    "roofline": ["intensity", "flops_per_second", "bytes_per_second"],
    "rotary": ["base"],
    "rotary_halves": ["base"],
    "rotary_step": ["base"],
    "rotation": ["base"],
    "score_variance": ["query_variance", "key_variance"],
    "shared_rate": ["rate"],
    "sinusoids": ["base"],
    "step_seconds": ["computing", "sending", "overlap"],
    "transfer_seconds": ["sent_bytes", "bytes_per_second", "latency"],
    "softcap": ["C"],
}
MEASURED = [(name, argument) for name, measures in MEASURES.items() for argument in measures]
MAY_BE_ZERO = {"flops", "intensity", "epsilon", "query_variance", "key_variance"}
MAY_BE_ZERO |= {"sent_bytes", "latency", "computing", "sending", "overlap"}
MAY_BE_INFINITE = {"flops_per_second", "bytes_per_second", "rate"}


def call_of(name):
    """A call that works: the function, and its arguments."""
    examples = {e.function: e for e in EXAMPLES}
    rng = np.random.default_rng(0)
    return getattr(formulas, name), CALLS.get(name) or examples[name].arguments(rng, np.float64)


def assert_same(ours, theirs):
    for a, b in zip(outputs(ours), outputs(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def annotated(kind):
    """(formula, argument) for all arguments of this type, or this type or None."""
    return [
        (name, argument)
        for name in formulas.__all__
        for argument, p in inspect.signature(getattr(formulas, name)).parameters.items()
        if p.annotation in (kind, kind | None)
    ]


# Whole numbers


def test_every_number_has_a_test():
    assert sorted(SIZES) == sorted(annotated(int))
    assert sorted(MEASURED) == sorted(annotated(float))


@pytest.mark.parametrize(("name", "argument"), SIZES)
def test_the_smallest_whole_number_is_legal_and_the_one_below_is_not(name, argument):
    function, given = call_of(name)
    smallest = SMALLEST[name][argument]
    function(**given | {argument: smallest})
    with pytest.raises(ValueError, match=f"^{argument} is {smallest - 1}; wanted "):
        function(**given | {argument: smallest - 1})


NO_INTEGERS = [True, np.True_, 2.0, np.float64(2), "2", [2], np.array([2]), 2j]


@pytest.mark.parametrize(("name", "argument"), SIZES)
def test_what_is_no_whole_number_is_refused_by_name(name, argument):
    function, given = call_of(name)
    for value in NO_INTEGERS:
        wanted = "(a positive|a non-negative|an|a positive even) integer"
        with pytest.raises(ValueError, match=f"^{argument} is {re.escape(repr(value))}; wanted {wanted}"):
            function(**given | {argument: value})


@pytest.mark.parametrize(("name", "argument"), SIZES)
def test_none_is_no_whole_number_unless_it_may_be_left_out(name, argument):
    function, given = call_of(name)
    if inspect.signature(function).parameters[argument].default is None:
        function(**given | {argument: None})
    else:
        with pytest.raises(ValueError, match=f"^{argument} is None; wanted"):
            function(**given | {argument: None})


@pytest.mark.parametrize("name", SMALLEST)
def test_integers_of_numpy_are_integers(name):
    """Of any width: the same numbers come out, and counts are Python's own."""
    function, given = call_of(name)
    expected = function(**given)
    for kind in EVERY_INTEGER:
        ours = function(**given | {argument: kind(given[argument]) for argument in SMALLEST[name]})
        assert type(ours) is type(expected)
        assert_same(ours, expected)


COUNTS = [
    "attention_flops",
    "cache_bytes",
    "compulsory_traffic",
    "direct_traffic",
    "latent_cache_bytes",
    "tiled_traffic",
]
COUNTS += [
    "all_reduce_bytes",
    "all_to_all_words",
    "causal_work",
    "head_parallel_words",
    "ring_bytes",
    "ring_backward_bytes",
    "ring_words",
]
COUNTS += ["multi_head_parameters", "transformer_parameters"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_counts_do_not_wrap(name, kind):
    """Every argument as large as its type allows."""
    function, given = call_of(name)
    large = int(np.iinfo(kind).max)
    given = given | dict.fromkeys(set(SMALLEST[name]) - {"h", "d_model", "w"}, large)
    expected = function(**given)
    assert expected == function(**{x: kind(v) if x in SMALLEST[name] else v for x, v in given.items()})
    assert type(expected) is int


def test_counts_by_hand():
    """4 · 10⁵ · 10⁵ · 64, and 4 · 50,000² + 4 · 50,000: both beyond int32."""
    n, d = np.int32(100_000), np.int32(64)
    assert attention_flops(n, n, d, d) == 2_560_000_000_000
    assert multi_head_parameters(np.int32(50_000), np.int32(8), bias=True) == 10_000_200_000
    assert multi_head_parameters(np.int32(50_000), np.int32(8), bias=np.True_) == 10_000_200_000
    M, d, w = np.int16(30_000), np.int16(200), np.int16(50)  # w (d + d) is 20,000, and 452 a row
    assert rows_that_fit(M, d, d, w) == 10_000 // 452


@pytest.mark.parametrize("bias", [0, 1, None, "yes", np.array([True])], ids=repr)
def test_yes_and_no_are_booleans(bias):
    with pytest.raises(ValueError, match=f"^bias is {re.escape(repr(bias))}; wanted True or False$"):
        multi_head_parameters(8, 2, bias=bias)


@pytest.mark.parametrize("name", ["rotary", "rotary_halves"])
@pytest.mark.parametrize("kind", EVERY_INTEGER)
def test_positions_of_any_integers(name, kind, rng):
    turn, Q, p = getattr(formulas, name), rng.normal(size=(5, 6)), np.array([0, 1, 2, 99, 127])
    assert_same(turn(Q, p.astype(kind)), turn(Q, p))


@pytest.mark.parametrize("kind", EVERY_INTEGER)
def test_differences_of_positions_do_not_wrap(kind):
    """From 0 to 127 and back; from −128 to 127 where there are such, 255 apart."""
    low, high = max(-128, np.iinfo(kind).min), 127
    ends = np.array([low, high], dtype=kind)
    B = formulas.alibi(ends, ends, 8)[0]
    np.testing.assert_array_equal(B, np.array([[0, low - high], [low - high, 0]]) / 2)


@pytest.mark.parametrize("far", [2**53 + 1, -(2**53) - 1, 2**64 - 1])
def test_positions_that_no_float_knows_are_refused(far):
    kind = np.uint64 if far > 2**63 else np.int64
    with pytest.raises(ValueError, match=rf"^positions holds {far}; wanted whole numbers up to 2\*\*53$"):
        rotary(np.ones((2, 4)), np.array([0, far], dtype=kind))
    with pytest.raises(ValueError, match=rf"^k is {far}; wanted an integer from −2\*\*53 to 2\*\*53$"):
        formulas.rotation(far, 4)


@pytest.mark.parametrize("far", [2**53, -(2**53)])
def test_the_farthest_positions_are_legal(far):
    Q = np.ones((1, 4))
    np.testing.assert_allclose(rotary(Q, np.array([far])), Q @ formulas.rotation(far, 4), atol=1e-14)


def test_differences_of_the_farthest_positions():
    ends = np.array([-(2**53), 2**53])
    np.testing.assert_array_equal(formulas.alibi(ends, ends, 8)[0, 0], [0, -(2.0**53)])


# Measures


NO_MEASURES = [np.nan, -1, -1e-300, True, np.True_, "1", None, [1.0], 1j, 10**400]


@pytest.mark.parametrize(("name", "argument"), MEASURED)
def test_what_is_no_measure_is_refused_by_name(name, argument):
    function, given = call_of(name)
    for value in NO_MEASURES:
        with pytest.raises(ValueError, match=f"^{argument} is {re.escape(repr(value))}; wanted a "):
            function(**given | {argument: value})


@pytest.mark.parametrize(("name", "argument"), MEASURED)
def test_zero_and_infinity_only_where_they_have_a_meaning(name, argument):
    function, given = call_of(name)
    for value, legal in (0, MAY_BE_ZERO), (np.inf, MAY_BE_INFINITE):
        if argument in legal:
            function(**given | {argument: value})
        else:
            with pytest.raises(ValueError, match=f"^{argument} is {value}; wanted a "):
                function(**given | {argument: value})


@pytest.mark.parametrize(("name", "argument"), MEASURED)
def test_a_measure_of_any_type_is_the_same_number(name, argument):
    """And does not widen float32."""
    function, given = call_of(name)
    given = {
        x: v.astype("f4") if isinstance(v, np.ndarray) and v.dtype == "f8" else v for x, v in given.items()
    }
    expected = function(**given | {argument: 0.5})
    for value in np.float16(0.5), np.float32(0.5), np.float64(0.5), np.longdouble(0.5), Fraction(1, 2):
        assert_same(function(**given | {argument: value}), expected)


def test_numbers_that_overflow_are_refused():
    with pytest.raises(
        ValueError, match=r"^d_k, query_variance, key_variance leave the range .*: score_variance"
    ):
        score_variance(3, 1e200, 1e200)
    with pytest.raises(
        ValueError, match=r"^flops, words, word_bytes leave the range of float64: arith.* gives inf"
    ):
        formulas.arithmetic_intensity(1e300, 1e-300, 4)
    with pytest.raises(
        ValueError, match=r"^flops, words, word_bytes leave the range .* int too large to convert"
    ):
        formulas.arithmetic_intensity(1.0, 2.0, 10**400)


# Half precision, and the ends of every range


@each
def test_halves_are_computed_in_float32(example, rng):
    """To the last bit what float32 gives of the same numbers, rounded once."""
    halves = example.arguments(rng, np.float16)
    wide = halves | {name: array.astype(np.float32) for name, array in arrays(halves).items()}
    for narrow, reference in zip(outputs(example(halves)), outputs(example(wide)), strict=True):
        assert narrow.dtype == np.float16
        np.testing.assert_array_equal(narrow, reference.astype(np.float16))


@pytest.mark.parametrize("kinds", [("f2", "f4"), ("f4", "f8"), ("f2", "f8")])
def test_of_two_dtypes_the_wider_one_comes_out(kinds):
    A, V = (np.full(shape, 0.5, kind) for shape, kind in zip([(3, 2), (2, 5)], kinds, strict=True))
    assert weighted_sum(A, V).dtype == weighted_sum(A.astype(kinds[1]), V.astype(kinds[0])).dtype == kinds[1]


def test_long_rows_of_halves_keep_their_sums():
    """70,000 equal keys: Z is beyond float16, and its sums stop growing at 2048."""
    m = 70_000
    S, V = np.zeros((1, m), "f2"), np.full((m, 1), 3, "f2")
    np.testing.assert_array_equal(softmax(S), np.full((1, m), 1 / m, "f2"))
    assert log_sum_exp(S) == np.float16(np.log(m))
    assert attention(np.ones((1, 2), "f2"), np.ones((m, 2), "f2"), V) == [[3]]
    row = np.full((1, 10_000), 300, "f2")
    row[:, ::2] = 302  # mean 301, where the sum is 3 million
    flat = layer_norm(row, np.ones(10_000, "f2"), np.zeros(10_000, "f2"))
    np.testing.assert_array_equal(np.unique(flat), [-1, 1])


def test_scores_below_the_range_are_no_mask():
    """Three keys equally far: each has a third, at −320,000 in float16."""
    Q, K, V = np.full((1, 64), 200, "f2"), np.full((3, 64), -200, "f2"), np.array([[1], [2], [6]], "f2")
    np.testing.assert_array_equal(attention(Q, K, V), [[3]])
    with pytest.raises(
        ValueError, match=r"^Q, K leave the range of float16: scaled_scores gives -320000.0 at \(0, 0\)"
    ):
        scaled_scores(Q, K)


@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e20), ("f8", 1e200)])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_out_of_range_are_refused_with_the_names_of_the_arguments(dtype, size, sign):
    Q, K, V = np.full((1, 2), size, dtype), np.full((3, 2), sign * size, dtype), np.ones((3, 1), dtype)
    cure = ", or a wider dtype" if dtype == "f4" else ""
    inner = rf"leave the range of {np.dtype(dtype)}: dot_scores gives {sign * np.inf} at \(0, 0\)"
    for names, call in {
        "Q, K": lambda: dot_scores(Q, K),
        "Q, K, V": lambda: attention(Q, K, V),
        "Q, K, V ": lambda: masked_attention(Q, K, V, np.ones((1, 3), dtype=bool)),
        "X, W_Q, W_K, W_V, W_O": lambda: self_attention(
            Q, *[np.eye(2, dtype=dtype) * s for s in (1, sign, 1, 1)]
        ),
    }.items():
        with pytest.raises(ValueError, match=f"^{names.strip()} {inner}; wanted other numbers{cure}$"):
            call()


def test_an_infinite_step_on_the_way_is_named_by_what_the_reader_gave(rng):
    """gelu is given infinity, as X; the reader's X is finite, and so are the matrices."""
    X, W = np.full((1, 1), 1e30, "f4"), np.full((2, 1), 1e30, "f4")
    message = r"^X, W_1, W_2 leave the range of float32: gelu is given inf at \(0, 0\); wanted other numbers"
    with pytest.raises(ValueError, match=message):
        feed_forward(X, W, W)


@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e30), ("f8", 1e200)])
def test_layer_norm_does_not_take_an_infinite_variance(dtype, size):
    """x / ∞ would be 0, and every row b."""
    X = size * np.array([[1, 3, 5, 7]], dtype)
    with pytest.raises(ValueError, match=r"^X, g, b leave the range of .*: _mean_square gives inf"):
        layer_norm(X, np.ones(4, dtype), np.zeros(4, dtype))


def test_layer_norm_without_spread_and_without_epsilon_is_refused():
    with pytest.raises(
        ValueError, match=r"^X, g, b, epsilon leave the range of float64: layer_norm gives nan"
    ):
        layer_norm(np.ones((1, 2)), np.ones(2), np.ones(2), epsilon=0)


def test_rounding_to_float16_makes_no_infinity():
    """−65,504 is the last number of float16; 16.6 below it is −∞."""
    c, Z, O = np.array([-65504], "f2"), np.array([6e-8], "f2"), np.zeros((1, 1), "f2")
    with pytest.raises(
        ValueError, match=r"^c, Z, O leave the range of float16: finish_state gives -65520.* at \(0,\)"
    ):
        finish_state(c, Z, O)


def test_minus_infinity_is_an_answer_only_where_nobody_is_seen():
    """c of a tile without keys is −∞; Õ may not be, whatever its values are."""
    c, _, _ = tile_state(np.full((1, 2), -np.inf), np.ones((2, 1)))
    assert c == [-np.inf]
    with pytest.raises(
        ValueError, match=r"^S, V leave the range of float64: tile_state gives -inf at \(0, 0\)"
    ):
        tile_state(np.zeros((1, 2)), np.full((2, 1), -1.7e308))


def answer_or_refusal(example, given):
    try:
        return outputs(example(given))
    except ValueError as error:
        return str(error)


@each
@pytest.mark.parametrize("size", [1e25, -1e25, 1e-25])
def test_large_and_small_numbers_are_taken_rightly_or_refused(example, size, rng):
    """Every argument in turn, in float32, against float64, where nothing of this overflows."""
    given = example.arguments(rng, np.float32)
    names = [*arrays(given), *(["tau"] if "tau" in given else [])]
    for name, array in arrays(given).items():
        if size < 0 and name[0] in "AZ":
            continue  # weights and their sums are never negative
        stretched = given | {name: array * np.float32(size)}
        answer = answer_or_refusal(example, stretched)
        if isinstance(answer, str):
            assert size != 1e-25
            assert answer.startswith(f"{', '.join(names)} leave the range of float32: ")
            continue
        wide = stretched | {x: v.astype(np.float64) for x, v in arrays(stretched).items()}
        for ours, exact in zip(answer, outputs(example(wide)), strict=True):
            largest = np.abs(exact[np.isfinite(exact)]).max()
            np.testing.assert_allclose(ours, exact, atol=1e-4 * largest + 1e-37, rtol=1e-4)


def test_errors_in_a_function_of_the_reader_name_the_argument():
    with pytest.raises(
        ValueError, match=r"^X, step leave the range of float64: dot_scores gives inf at \(0, 0\)"
    ):
        central_difference(lambda X: dot_scores(X, X).sum(), np.full((1, 1), 1e200), 1e190)


def test_an_attention_of_the_reader_that_is_not_finite_is_refused(rng):
    w = {e.function: e for e in EXAMPLES}["encoder_layer"].arguments(rng, np.float64)

    def attend(Q, K, V, h):
        return np.full_like(V, np.inf), np.zeros((h, 5, 5))

    with pytest.raises(
        ValueError, match=r"^X, W_Q, .* b_2 leave the range of float64: append_ones is given inf"
    ):
        encoder_layer(**w | {"attend": attend})


# Arrays of other kinds


class Framed:
    """Like a data frame: no array, but NumPy can make one of it."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Unit(np.ndarray):
    """An array that means more than its numbers."""


FOREIGN = {
    "MaskedArray": (
        lambda x: np.ma.masked_array(x, mask=x > 0.5),
        r"its mask would be lost: {}\.filled\(…\)",
    ),
    "Tensor": (torch.from_numpy, r"{}\.detach\(\)\.cpu\(\)\.numpy\(\)"),
    "Framed": (Framed, r"np\.asarray\({}\)"),
    "Unit": (lambda x: x.view(Unit), r"np\.asarray\({}\)"),
    "tuple": (tuple, r"np\.asarray\({}\)"),
    "list": (list, r"np\.asarray\({}\)"),
    "NoneType": (lambda x: None, r"np\.asarray\({}\)"),
}


@each
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_arrays_are_refused_by_name(example, kind, rng):
    foreign, cure = FOREIGN[kind]
    given = {
        name: np.array(x) if isinstance(x, np.ndarray) else x
        for name, x in example.arguments(rng, "f8").items()
    }
    for name, array in given.items():
        if isinstance(array, np.ndarray) and not (kind == "NoneType" and name == "memory"):
            wanted = "(floats|booleans|integers)"
            message = f"^{name} is a {kind}; wanted a NumPy array of {wanted}: {cure.format(name)}$"
            with pytest.raises(TypeError, match=message):
                example(given | {name: foreign(array)})


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_refused():
    """`*` would be a product of matrices, and a row would stay one."""
    with pytest.raises(TypeError, match=r"^S is a matrix; wanted a NumPy array of floats: np.asarray\(S\)$"):
        softmax(np.matrix([[1.0, 2.0]]))


@each
@pytest.mark.parametrize("dtype", ["O", "g", "U9", "M8[s]", "i1", "u8", "?"])
def test_other_dtypes_are_refused_by_name(example, dtype, rng):
    given = example.arguments(rng, np.float64)
    longer = " of at most 64 bits" if dtype == "g" else ""
    for name, array in arrays(given).items():
        message = rf"^{name} has dtype .*; wanted floats{longer}: {name}\.astype\(np\.float64\)$"
        with pytest.raises(TypeError, match=message):
            example(given | {name: np.ones(array.shape, dtype)})


@each
def test_however_an_array_lies_in_memory_it_is_the_same(example, rng, tmp_path):
    """Bytes in the other order, every second number of a larger array, columns first, a file."""
    given = example.arguments(rng, np.float64)
    expected = example(given)
    for name, array in arrays(given).items():
        every_second = np.repeat(array, 2, axis=-1)[..., ::2]
        backwards = np.ascontiguousarray(array[::-1])[::-1]
        mapped = np.memmap(tmp_path / name, array.dtype, "w+", shape=array.shape)
        mapped[...] = array
        for same in array.astype(">f8"), every_second, backwards, np.asfortranarray(array), mapped:
            for ours, theirs in zip(outputs(example(given | {name: same})), outputs(expected), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
                assert ours.dtype == np.dtype("=f8")
                assert ours.dtype.isnative
                assert type(ours) in (np.ndarray, np.float64)


def test_masks_and_positions_are_held_to_the_same():
    Q, K, V, visible = np.ones((2, 3)), np.ones((5, 3)), np.ones((5, 1)), np.ones((2, 5), dtype=bool)
    for foreign, message in {
        "is a MaskedArray; wanted a NumPy array of booleans": np.ma.masked_array(visible),
        "is a list; wanted a NumPy array of booleans": visible.tolist(),
        "has dtype object; wanted booleans$": visible.astype(object),
        "has dtype uint8; wanted booleans$": visible.astype(np.uint8),
    }.items():
        with pytest.raises(TypeError, match=f"^visible {foreign}"):
            masked_attention(Q, K, V, message)
    with pytest.raises(TypeError, match=r"^positions has dtype bool; wanted integers$"):
        rotary(np.ones((2, 4)), np.array([True, False]))
    assert_same(rotary(np.ones((2, 4)), np.arange(2, dtype=">i2")), rotary(np.ones((2, 4)), np.arange(2)))


# The smallest sizes

NEVER_EMPTY = {"d_model", "d_memory", "d_k", "d_q", "d_hidden", "d_ff", "d_embedding", "g", "h", "h·d_k"}
NEVER_EMPTY |= {"channels", "high", "wide", "gate_channels", "branches", "frames", "down", "along", "side"}
TOKENS = {"n", "m"}
NOT_ZERO = {"projections", "effective_keys"}  # Q of the queries; one key is e⁰
NOT_ZERO |= {"step", "rotary_step", "with_class_token"}  # the cache stays; the token stays


def kinds(example):
    """The jaxtyping annotation of each array of the example."""
    parameters = inspect.signature(getattr(formulas, example.function)).parameters
    given = (
        example.data
        | example.weights
        | {n: x.shape for n, x in example.others.items() if isinstance(x, np.ndarray)}
    )
    found = {}
    for name in given:
        annotation = parameters[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        found[name] = next(k for k in options if isinstance(k, type) and issubclass(k, AbstractArray))
    return found


def own_axes(kind):
    return [axis for axis in kind.dim_str.split() if not axis.startswith("*")]


def axes_of(example):
    """Every named axis and its length in the example."""
    given = example.arguments(np.random.default_rng(0), np.float64)
    return {
        axis: length
        for name, kind in kinds(example).items()
        for axis, length in zip(reversed(own_axes(kind)), reversed(given[name].shape), strict=False)
        if "+" not in axis
    }


def resized(example, rng, **lengths):
    """The example's arguments with other lengths of its axes."""
    lengths = axes_of(example) | lengths
    if example.function == "vit_tokens":  # with patches of one pixel
        lengths["tokens"] = 1 + lengths["high"] * lengths["wide"]
    given = example.arguments(rng, np.float64)
    for name, kind in kinds(example).items():
        own = own_axes(kind)
        shape = [lengths[axis.partition("+")[0]] + ("+" in axis) for axis in own]
        shape = [*given[name].shape[: given[name].ndim - len(own)], *shape]
        given[name] = np.resize(given[name], shape) if np.prod(shape) else np.zeros(shape, given[name].dtype)
    return given


def having(axis):
    return [e for e in EXAMPLES if axis in axes_of(e)]


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if TOKENS & axes_of(e).keys()], ids=lambda e: e.function
)
def test_no_queries_and_no_keys(example, rng):
    """Nobody asks: nothing comes out. Nobody is there to be seen: zeros, and −∞ for L."""
    for axis in TOKENS & axes_of(example).keys():
        if example.function == "head_for_weights":
            with pytest.raises(ValueError, match=r"^d_k is 2; wanted an integer from 1 to min\(n, m\) = 0$"):
                example(resized(example, rng, **{axis: 0}))
            continue
        for output in outputs(example(resized(example, rng, **{axis: 0}))):
            assert not (np.isnan(output) | np.isposinf(output)).any()
            assert (output == 0).all() or (output == -np.inf).all() or example.function in NOT_ZERO


def test_attention_without_keys_is_zero(rng):
    """As of a row that sees nobody, masked or not."""
    Q, K, V, visible = np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 5)), np.ones((2, 0), dtype=bool)
    np.testing.assert_array_equal(attention(Q, K, V), np.zeros((2, 5)))
    np.testing.assert_array_equal(masked_attention(Q, K, V, visible), np.zeros((2, 5)))
    np.testing.assert_array_equal(log_sum_exp(np.ones((2, 0))), [-np.inf, -np.inf])
    assert softmax(np.ones((2, 0))).shape == (2, 0)


@each
def test_an_empty_batch(example, rng):
    for output in outputs(example(example.arguments(rng, np.float64, leading=(0, 2)))):
        assert output.shape[:2] == (0, 2)


@pytest.mark.parametrize("axis", sorted(NEVER_EMPTY))
def test_a_width_of_one_is_enough_and_none_is_refused(axis, rng):
    """Of every formula that has such an axis."""
    for example in having(axis):
        groups = axes_of(example).get("g", 1) if axis == "h" else 1  # each with a head, at least
        least = (
            2
            if example.function.startswith("rotary")
            else example.others.get("h", example.others.get("g", groups))
        )
        one = resized(example, rng, **{axis: least})
        for output in outputs(example(one)):
            assert np.isfinite(output).all()
        names = [name for name, kind in kinds(example).items() if {axis, f"{axis}+1"} & set(own_axes(kind))]
        with pytest.raises(ValueError, match=rf"^({'|'.join(names)}) has shape") as error:
            example(resized(example, rng, **{axis: 0}))
        assert f"{axis} 1 or more" in str(error.value), example.function


def test_values_may_have_no_width(rng):
    Q, K, V = np.ones((2, 3)), np.ones((5, 3)), np.ones((5, 0))
    assert attention(Q, K, V).shape == (2, 0)


def test_the_sentence_about_a_width_of_none():
    with pytest.raises(ValueError, match=r"^Q has shape \(2, 0\); wanted \(…, n, d_k\), d_k 1 or more$"):
        attention(np.ones((2, 0)), np.ones((3, 0)), np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"^W_Q has shape \(2, 0\); wanted \(…, d_model, d_k\), d_k 1 or more$"
    ):
        self_attention(np.ones((3, 2)), np.ones((2, 0)), np.ones((2, 0)), np.ones((2, 1)), np.ones((1, 2)))


def test_gelu_of_nothing_in_half_precision():
    assert gelu(np.zeros((0, 3), "f2")).dtype == np.float16


# What only looked right: numbers lost on the way to a finite answer


@pytest.mark.parametrize(
    ("dtype", "measure"), [("f4", 1e39), ("f4", 1e-44), ("f2", 1e39), ("f8", 1e-310), ("f8", 1.7e308)]
)
def test_a_measure_beyond_the_range_of_the_arrays_is_refused(dtype, measure):
    """As a float32, a variance of 1e39 is infinite, and every score would be 0."""
    X, g = np.ones((2, 3), dtype), np.ones(3, dtype)
    computed = np.promote_types(dtype, np.float32)
    wider = ", or a wider dtype" if dtype != "f8" else ""
    for name, call in {
        "tau": lambda: formulas.nadaraya_watson(X, X, X, tau=measure),
        "epsilon": lambda: layer_norm(X, g, g, epsilon=measure),
        "step": lambda: central_difference(np.sum, X, measure),
    }.items():
        message = f"^{name} is {re.escape(str(measure))}; wanted a number in the range of {computed}{wider}$"
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("order", [(1, 1, 1, 1, -1, -1, -1, -1), (-1, -1, -1, -1, 1, 1, 1, 1)])
@pytest.mark.parametrize(("dtype", "size"), [("f4", 3e38), ("f8", 1.7e308)])
def test_tanh_does_not_take_an_infinite_sum(order, dtype, size):
    """The sum is 0; where four of its terms are infinite on the way, tanh would say ±1."""
    W_1, one = np.array(order, dtype)[:, None], np.ones((1, 1), dtype)
    call = {"Q": np.full((1, 8), size, dtype), "K": 0 * one, "W_1": W_1, "W_2": one, "w": one[0]}
    try:
        S = formulas.additive_scores(**call)
    except ValueError as error:
        assert str(error).startswith(f"Q, K, W_1, W_2, w leave the range of {np.dtype(dtype)}: ")  # noqa: PT017
    else:
        np.testing.assert_array_equal(S, [[0]])  # in an order of its own, without overflow


@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e-22), ("f4", 3e-23), ("f8", 1e-161)])
def test_layer_norm_does_not_divide_by_what_has_lost_its_digits(dtype, size):
    """Squares below the smallest normal number are off by percents; the right answer is ±1."""
    X, one = np.array([[size, -size]], dtype), np.ones(2, dtype)
    with pytest.raises(ValueError, match=r"^X, g, b, epsilon leave the range of .*: layer_norm divides by"):
        layer_norm(X, one, one, epsilon=0)
    np.testing.assert_allclose(layer_norm(X, one, 0 * one), X * 1e6, rtol=1e-6)


def test_numbers_of_two_dtypes_are_computed_in_the_wider():
    """Scores of 2e40 are no trouble for float64, in which the answer comes."""
    Q, K, V = np.full((1, 2), 1e20, "f4"), np.full((3, 2), 1e20, "f4"), np.array([[1.0], [2.0], [6.0]])
    np.testing.assert_array_equal(attention(Q, K, V), [[3.0]])


@each
def test_of_two_dtypes_every_formula_computes_in_the_wider(example, rng):
    given = example.arguments(rng, np.float32)
    wide = given | {name: array.astype(np.float64) for name, array in arrays(given).items()}
    for name in arrays(given):
        assert_same(example(given | {name: wide[name]}), example(wide))


def test_a_difference_of_a_function_that_writes_into_its_array():
    G = central_difference(lambda X: np.exp(X, out=X).sum(), np.array([1.0]), 1e-5)
    np.testing.assert_allclose(G, np.e, rtol=1e-9)


def test_a_step_out_of_the_range_is_refused():
    X = np.full(1, 3e38, np.float32)
    with pytest.raises(
        ValueError, match=r"^step is 1e\+38; wanted one that stays in the range of float32, to"
    ):
        central_difference(np.sum, X, 1e38)


@pytest.mark.parametrize("far", [2**53 + 2, 2**64, 10**30])
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("alibi", "h"),
        ("alibi_slopes", "h"),
        ("frequencies", "d"),
        ("rotation", "d"),
        ("sinusoids", "d_model"),
        ("sinusoids", "n"),
    ],
)
def test_axes_that_no_array_has_are_refused_by_name(name, argument, far):
    function, given = call_of(name)
    with pytest.raises(ValueError, match=rf"^{argument} is {far}; wanted a length up to 2\*\*53"):
        function(**given | {argument: far})


def test_every_sentence_about_a_shape_is_of_the_shape_that_came(rng):
    """Not of what became of it on the way, under the name of an inner argument."""
    for example in EXAMPLES:
        for axis, length in [(a, n) for a in axes_of(example) for n in (0, 1, 2, 12)]:
            given = resized(example, rng, **{axis: length})
            try:
                example(given)
            except ValueError as error:
                name, _, said = str(error).partition(" ")
                assert name in given, (example.function, str(error))  # noqa: PT017
                if said.startswith("has shape"):
                    assert said.startswith(f"has shape {given[name].shape};"), example.function


@pytest.mark.parametrize("dtype", ["c16", [("a", "f8"), ("b", "i4")]], ids=["complex", "structured"])
def test_no_cast_is_advised_that_loses_half(dtype):
    with pytest.raises(TypeError, match=r"^S has dtype .*; wanted floats$"):
        softmax(np.zeros((1, 2), dtype))


def test_unchecked_formulas_give_the_same_and_ask_nothing(rng):
    """For as long as the block lasts, in its own thread, and also if it ends by an error."""
    X, g = rng.normal(size=(5, 7)), rng.normal(size=7)
    bad = np.full((2, 2), np.nan)
    with unchecked():
        np.testing.assert_array_equal(formulas.rms_norm(X, g), formulas.rms_norm.__wrapped__(X, g))
        assert np.isnan(formulas.softmax(bad)).all()
        with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="S holds nan"):
            pool.submit(formulas.softmax, bad).result()
    with pytest.raises(ZeroDivisionError), unchecked():
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="S holds nan"):
        formulas.softmax(bad)
