"""Rules and their algebra: what they say of a position, and what they promise of a tile."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattention import masks
from selfattention.masks import FAR, Band, Rule, Says, Table


def seen(rule, n, m):
    return rule.tile(range(n), range(m)).astype(int)


def test_causal_by_hand():
    np.testing.assert_array_equal(seen(masks.causal, 3, 3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_top_left_and_bottom_right_differ_where_n_is_not_m():
    """Two queries, four keys: the second query is beside the second key, or beside the last."""
    np.testing.assert_array_equal(
        seen(masks.top_left(masks.causal, 2, 4), 2, 4), [[1, 0, 0, 0], [1, 1, 0, 0]]
    )
    np.testing.assert_array_equal(
        seen(masks.bottom_right(masks.causal, 2, 4), 2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]]
    )


def test_window_by_hand():
    np.testing.assert_array_equal(seen(masks.window(2), 3, 4), [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(
        seen(masks.causal & masks.window(2), 3, 3), [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    )


def test_prefix_by_hand():
    np.testing.assert_array_equal(
        seen(masks.causal | masks.prefix(2), 3, 3), [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    )


def test_sinks_by_hand():
    """The first key, and the last two."""
    rule = masks.causal & (masks.window(2) | masks.sinks(1))
    np.testing.assert_array_equal(seen(rule, 4, 4), [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_sinks_stay_the_first_keys_beside_a_cache(n):
    """The last n of five queries, bottom-right: the window moves with them, and the sinks do not."""
    rule = masks.causal & (masks.window(2) | masks.sinks(1))
    np.testing.assert_array_equal(seen(masks.bottom_right(rule, n, 5), n, 5), seen(rule, 5, 5)[-n:])


def test_sinks_are_seen_by_everybody_who_comes_later():
    """And by nobody who stands before them, under `causal`; far out as well."""
    rule = masks.causal & (masks.window(9) | masks.sinks(4))
    for first in 0, 13, 1000, FAR - 1:
        np.testing.assert_array_equal(
            rule(np.array(first), np.arange(-1, 5)), np.arange(-1, 5) < min(first + 1, 4)
        )


def test_padding_has_one_length_per_member_of_the_batch():
    rule = masks.padding([2, 0])
    np.testing.assert_array_equal(seen(rule, 1, 3), [[[[1, 1, 0]]], [[[0, 0, 0]]]])


def test_documents_by_hand():
    np.testing.assert_array_equal(seen(masks.documents([0, 0, 5]), 3, 3), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_shifted_windows_by_hand():
    """Two rows of three: squares of two from the corner, and of a grid one place down and to the right."""
    plain, moved = masks.shifted_windows(2, 3, 2), masks.shifted_windows(2, 3, 2, 1)
    same = [[1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1]]
    np.testing.assert_array_equal(seen(plain, 6, 6), same + same)
    rows = [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    np.testing.assert_array_equal(seen(moved, 6, 6), np.kron(np.eye(2, dtype=int), rows))
    assert moved.ends == (6, 6)


def test_windows_of_a_row_are_those_of_a_line():
    """A picture of one row, or of one column."""
    for shape in (1, 7), (7, 1):
        rule = masks.shifted_windows(*shape, 3, 2)
        np.testing.assert_array_equal(seen(rule, 7, 7), seen(masks.documents([0, 0, 1, 1, 1, 2, 2]), 7, 7))


def test_algebra_by_hand():
    a, b = masks.causal, masks.prefix(1)
    np.testing.assert_array_equal(seen(~a, 2, 2), 1 - seen(a, 2, 2))
    np.testing.assert_array_equal(seen(a & ~b, 2, 2), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(seen(~(a & b), 2, 2), seen(~a | ~b, 2, 2))


@pytest.mark.parametrize(
    ("rule", "by_hand"),
    [
        (masks.window(1), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (masks.prefix(0), [[0, 0, 0]] * 3),
        (masks.sinks(0), [[0, 0, 0]] * 3),
        (masks.sinks(1), [[1, 0, 0]] * 3),
        (masks.prefix(1), [[1, 0, 0]] * 3),
        (masks.documents([7]), [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        (masks.padding([0]), [[[[0, 0, 0]] * 3]]),
        (masks.padding([1]), [[[[1, 0, 0]] * 3]]),
        (masks.bottom_right(masks.causal, 0, 0), [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
        (masks.bottom_right(masks.causal, 0, 1), [[1, 1, 0], [1, 1, 1], [1, 1, 1]]),
        (masks.bottom_right(masks.causal, 1, 0), [[0, 0, 0], [1, 0, 0], [1, 1, 0]]),
    ],
    ids=str,
)
def test_the_smallest_arguments_by_hand(rule, by_hand):
    np.testing.assert_array_equal(seen(rule, 3, 3), by_hand)


def test_queries_before_the_first_position_see_nobody():
    """n > m, bottom-right: the first n − m queries stand before the first position, not at the last."""
    np.testing.assert_array_equal(
        seen(masks.bottom_right(masks.documents([0, 0, 1]), 5, 3), 5, 3),
        [[0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1]],
    )
    table = masks.bottom_right(Table(np.ones((2, 2), bool)), 5, 2)  # n > 2 m
    np.testing.assert_array_equal(seen(table, 5, 2), [[0, 0]] * 3 + [[1, 1]] * 2)
    np.testing.assert_array_equal(seen(~table, 5, 2), [[1, 1]] * 3 + [[0, 0]] * 2)


# Every rule below comes with its docstring, spelt out in plain Python: may query i see key j, in
# member b of the batch and head h? There are three members and two heads.


def as_integers(low, high):
    """Integers, as Python's or as one of NumPy's kinds in which they fit."""
    kinds = [int, *(np.dtype(f"{sign}int{bits}").type for bits in (8, 16, 32, 64) for sign in ("", "u"))]
    return st.integers(low, high).flatmap(lambda x: st.sampled_from(kinds).map(lambda kind: kind(x)))


def as_arrays(low, high, **size):
    """Lists of integers, or arrays of any kind of integer."""
    kinds = [None, "int8", "uint8", "int32", "uint64", "int64"]
    return st.tuples(st.lists(st.integers(low, high), **size), st.sampled_from(kinds)).map(
        lambda drawn: drawn[0] if drawn[1] is None else np.array(drawn[0], drawn[1])
    )


class Knights(Rule):
    """A rule of one's own: i + 2 j is a multiple of three, in one head only."""

    def __call__(self, i, j):
        return np.stack([(i + 2 * j) % 3 == 0, (i - j) != (i - j)])


def documents(ids):
    known = range(len(ids))
    return masks.documents(ids), lambda b, h, i, j: i in known and j in known and ids[i] == ids[j]


def table(shape, share, seed):
    allowed = np.random.default_rng(seed).random(shape) < share
    *lead, n, m = shape

    def definition(b, h, i, j):
        if not (0 <= i < n and 0 <= j < m):
            return False
        return bool(
            allowed[tuple(at % size for at, size in zip((b, h)[2 - len(lead) :], lead, strict=True))][i, j]
        )

    return Table(allowed), definition


def windows(height, width, M, shift):
    """In rows and columns; shift is brought below M."""
    shift = type(shift)(int(shift) % int(M))

    def window(i):
        return [(place - int(shift)) // int(M) for place in divmod(i, width)]

    def definition(b, h, i, j):
        return all(0 <= place < height * width for place in (i, j)) and window(i) == window(j)

    return masks.shifted_windows(height, width, M, shift), definition


def moved(pair, n, m):
    rule, definition = pair
    return masks.bottom_right(rule, n, m), lambda b, h, i, j: definition(b, h, i + int(m) - int(n), j)


leaves = st.one_of(
    st.sampled_from(
        [
            (masks.everybody, lambda b, h, i, j: True),
            (masks.causal, lambda b, h, i, j: j <= i),
            (Knights(), lambda b, h, i, j: h == 0 and (i + 2 * j) % 3 == 0),
        ]
    ),
    st.one_of(as_integers(1, 9), st.just(2**70)).map(
        lambda w: (masks.window(w), lambda b, h, i, j: abs(i - j) < int(w))
    ),
    st.tuples(st.integers(-5, 5), st.integers(-5, 5)).map(
        lambda ends: (Band(*ends), lambda b, h, i, j: ends[0] <= i - j <= ends[1])
    ),
    st.one_of(as_integers(0, 14), st.just(2**70)).map(
        lambda p: (masks.prefix(p), lambda b, h, i, j: j < int(p))
    ),
    st.one_of(as_integers(0, 14), st.just(2**70)).map(
        lambda k: (masks.sinks(k), lambda b, h, i, j: j < int(k))
    ),
    as_arrays(0, 14, min_size=3, max_size=3).map(
        lambda lengths: (masks.padding(lengths), lambda b, h, i, j: j < int(lengths[b]))
    ),
    as_arrays(0, 3, max_size=12).map(documents),
    st.lists(st.sampled_from([-(2**70), -1, 2**63, 2**64]), max_size=12).map(documents),
    st.builds(windows, st.integers(1, 4), st.integers(1, 4), as_integers(1, 5), as_integers(0, 5)),
    st.builds(
        lambda lead, n, m, share, seed: table((*lead, n, m), share, seed),
        st.sampled_from([(), (1,), (2,), (1, 1), (3, 1), (1, 2), (3, 2)]),
        st.sampled_from([0, 1, 5, 12]),
        st.sampled_from([0, 1, 7, 12]),
        st.sampled_from([0, 0.5, 0.95, 1]),
        st.integers(0, 9),
    ),
)
expressions = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.tuples(children, children).map(
            lambda ab: (ab[0][0] & ab[1][0], lambda *at: ab[0][1](*at) and ab[1][1](*at))
        ),
        st.tuples(children, children).map(
            lambda ab: (ab[0][0] | ab[1][0], lambda *at: ab[0][1](*at) or ab[1][1](*at))
        ),
        children.map(lambda a: (~a[0], lambda *at: not a[1](*at))),
        st.builds(moved, children, as_integers(0, 12), as_integers(0, 12)),
        children.map(lambda a: (masks.top_left(a[0], 3, 5), a[1])),
    ),
    max_leaves=5,
)
rules = expressions.map(lambda pair: pair[0])
spans = st.tuples(st.integers(-7, 15), st.integers(0, 5)).map(lambda s: range(s[0], s[0] + s[1]))


def by_definition(definition, rows, columns):
    """Nested loops: booleans (3, 2, len(rows), len(columns))."""
    answers = [[[[definition(b, h, i, j) for j in columns] for i in rows] for h in (0, 1)] for b in (0, 1, 2)]
    return np.array(answers, bool).reshape(3, 2, len(rows), len(columns))


def assert_promised(said, tile):
    """NOBODY and EVERYBODY are true of every position of the tile."""
    assert said is Says.SOMEBODY or (tile.all() if said is Says.EVERYBODY else not tile.any())


AROUND = range(-6, 16)  # positions that the rules know, and some before and after


@settings(max_examples=300)
@given(expressions, st.integers(0, 2**32))
def test_a_rule_answers_as_its_docstring_says(pair, seed):
    """On any tiles, of positions that exist or do not, empty ones too; and it keeps its promises."""
    rule, definition = pair
    everywhere = by_definition(definition, AROUND, AROUND)
    starts, sizes = np.random.default_rng(seed).integers(0, [[[17]], [[7]]], (2, 10, 2)).tolist()
    for (down, along), (tall, wide) in zip(starts, sizes, strict=True):
        rows, columns = AROUND[down : down + tall], AROUND[along : along + wide]
        wanted = everywhere[..., down : down + tall, along : along + wide]
        tile = rule.tile(rows, columns)
        assert tile.dtype == bool
        assert tile.shape[-2:] == (len(rows), len(columns))
        np.testing.assert_array_equal(np.broadcast_to(tile, wanted.shape), wanted)
        assert_promised(rule.says(rows, columns), wanted)


@settings(max_examples=300)
@given(
    expressions, st.lists(st.integers(-7, 15), min_size=1, max_size=5), st.sampled_from(["i1", "i4", "i8"])
)
def test_a_rule_answers_for_any_positions(pair, positions, dtype):
    """Not only for ranges: pairs in any order, more than once, one at a time."""
    rule, definition = pair
    wanted = by_definition(definition, positions, positions)
    i = np.array(positions, dtype)
    np.testing.assert_array_equal(np.broadcast_to(rule(i[:, None], i), wanted.shape), wanted)
    pairs = rule(i, i)
    assert pairs.shape[-1:] == i.shape
    diagonal = np.diagonal(wanted, axis1=2, axis2=3)
    np.testing.assert_array_equal(np.broadcast_to(pairs, diagonal.shape), diagonal)
    np.testing.assert_array_equal(np.broadcast_to(rule(positions[0], positions[0]), (3, 2)), diagonal[..., 0])


@settings(max_examples=50)
@given(expressions, spans, spans)
def test_who_writes_into_an_answer_changes_no_rule(pair, rows, columns):
    rule, _ = pair
    first = rule.tile(rows, columns)
    before = first.copy()
    first[:] = ~first
    np.testing.assert_array_equal(rule.tile(rows, columns), before)


@pytest.mark.parametrize(
    ("rule", "rows", "columns", "says"),
    [
        (masks.everybody, range(0, 4), range(90, 94), Says.EVERYBODY),
        (masks.causal, range(4, 8), range(0, 4), Says.EVERYBODY),
        (masks.causal, range(3, 8), range(0, 4), Says.EVERYBODY),
        (masks.causal, range(2, 8), range(0, 4), Says.SOMEBODY),
        (masks.causal, range(0, 4), range(4, 8), Says.NOBODY),
        (masks.causal, range(0, 4), range(3, 8), Says.SOMEBODY),
        (masks.window(4), range(8, 12), range(0, 4), Says.NOBODY),
        (masks.window(4), range(6, 8), range(2, 4), Says.SOMEBODY),
        (masks.window(4), range(0, 4), range(0, 4), Says.EVERYBODY),
        (masks.window(4), range(0, 4), range(0, 5), Says.SOMEBODY),
        (masks.window(4), range(0, 5), range(0, 4), Says.SOMEBODY),
        (masks.window(4), range(0, 2), range(5, 7), Says.NOBODY),
        (masks.window(4), range(0, 2), range(4, 7), Says.SOMEBODY),
        (masks.padding([3, 5]), range(0, 4), range(5, 8), Says.NOBODY),
        (masks.padding([3, 5]), range(0, 4), range(4, 8), Says.SOMEBODY),
        (masks.padding([3, 5]), range(0, 4), range(0, 3), Says.EVERYBODY),
        (masks.padding([3, 5]), range(0, 4), range(0, 4), Says.SOMEBODY),
        (masks.padding([]), range(0, 4), range(0, 4), Says.NOBODY),
        (masks.documents([0, 0, 1, 1]), range(0, 2), range(2, 4), Says.NOBODY),
        (masks.documents([1, 1, 0, 0]), range(0, 2), range(2, 4), Says.NOBODY),
        (masks.documents([0, 0, 1, 1]), range(0, 2), range(0, 2), Says.EVERYBODY),
        (masks.documents([0, 0, 1, 1]), range(0, 2), range(1, 3), Says.SOMEBODY),
        (masks.documents([0, 0, 1, 1]), range(2, 5), range(2, 4), Says.SOMEBODY),
        (masks.documents([0, 0, 1, 1]), range(2, 4), range(2, 5), Says.SOMEBODY),
        (masks.documents([0, 0, 1, 1]), range(4, 6), range(2, 4), Says.NOBODY),
        (masks.documents([0, 0, 1, 1]), range(2, 4), range(-3, 0), Says.NOBODY),
        (masks.shifted_windows(4, 4, 2), range(0, 8), range(8, 16), Says.NOBODY),
        (masks.shifted_windows(4, 4, 2), range(0, 2), range(2, 4), Says.NOBODY),
        (masks.shifted_windows(4, 4, 2), range(0, 8), range(4, 12), Says.SOMEBODY),
        (masks.shifted_windows(4, 4, 2, 1), range(0, 4), range(4, 16), Says.NOBODY),
        (masks.shifted_windows(4, 4, 2, 1), range(1, 3), range(1, 3), Says.EVERYBODY),
        (masks.shifted_windows(4, 4, 2**70, 2**69), range(0, 16), range(0, 16), Says.EVERYBODY),
        (Table(np.tri(4, dtype=bool)), range(2, 4), range(0, 2), Says.EVERYBODY),
        (Table(np.tri(4, dtype=bool)), range(0, 2), range(2, 4), Says.NOBODY),
        (Table(np.tri(4, dtype=bool)), range(0, 2), range(0, 2), Says.SOMEBODY),
        (Table(np.tri(4, dtype=bool)), range(-3, 0), range(0, 2), Says.NOBODY),
        (Table(np.tri(4, dtype=bool)), range(0, 2), range(4, 9), Says.NOBODY),
        (~masks.causal, range(4, 8), range(0, 4), Says.NOBODY),
        (~masks.causal, range(0, 4), range(4, 8), Says.EVERYBODY),
        (~masks.causal, range(0, 4), range(3, 8), Says.SOMEBODY),
        (masks.causal & masks.prefix(4), range(4, 8), range(0, 4), Says.EVERYBODY),
        (masks.causal & masks.prefix(4), range(4, 8), range(0, 5), Says.SOMEBODY),
        (masks.prefix(4) & masks.causal, range(4, 8), range(0, 5), Says.SOMEBODY),
        (masks.causal & masks.prefix(4), range(4, 8), range(4, 5), Says.NOBODY),
        (masks.prefix(3) & masks.causal, range(0, 2), range(2, 5), Says.NOBODY),
        (masks.causal | masks.prefix(4), range(0, 4), range(0, 4), Says.EVERYBODY),
        (masks.prefix(4) | masks.causal, range(0, 4), range(0, 4), Says.EVERYBODY),
        (masks.causal | masks.prefix(4), range(0, 4), range(4, 6), Says.NOBODY),
        (masks.causal | masks.prefix(4), range(0, 4), range(3, 6), Says.SOMEBODY),
        (masks.causal | masks.prefix(2), range(0, 4), range(3, 6), Says.SOMEBODY),
        (masks.prefix(2) | masks.causal, range(0, 4), range(3, 6), Says.SOMEBODY),
        (masks.sinks(4), range(0, 4), range(0, 4), Says.EVERYBODY),
        (masks.sinks(4), range(0, 4), range(3, 5), Says.SOMEBODY),
        (masks.sinks(4), range(0, 4), range(4, 5), Says.NOBODY),
        *(
            (masks.causal & (masks.window(4) | masks.sinks(2)), rows, columns, says)
            for rows, columns, says in [
                (range(20, 24), range(0, 2), Says.EVERYBODY),
                (range(20, 24), range(0, 3), Says.SOMEBODY),
                (range(20, 24), range(2, 17), Says.NOBODY),
                (range(20, 24), range(2, 18), Says.SOMEBODY),
                (range(20, 22), range(18, 21), Says.EVERYBODY),
                (range(20, 24), range(24, 30), Says.NOBODY),
            ]
        ),
        (masks.bottom_right(masks.causal & masks.sinks(2), 4, 8), range(0, 2), range(0, 2), Says.EVERYBODY),
        (masks.bottom_right(masks.causal & masks.sinks(2), 4, 8), range(0, 2), range(2, 8), Says.NOBODY),
        (masks.bottom_right(masks.causal, 4, 8), range(0, 2), range(0, 5), Says.EVERYBODY),
        (masks.bottom_right(masks.causal, 4, 8), range(0, 2), range(6, 8), Says.NOBODY),
        (Knights(), range(0, 2), range(6, 8), Says.SOMEBODY),
        (masks.everybody, range(2, 2), range(6, 8), Says.NOBODY),
        (masks.everybody, range(2, 4), range(8, 6), Says.NOBODY),
        (masks.causal, range(2**80, 2**80 + 1), range(2**80 - 3, 2**80), Says.EVERYBODY),
        (masks.documents([0]), range(2**80, 2**80 + 1), range(-(2**80), 3), Says.NOBODY),
    ],
)
def test_a_rule_knows_its_easy_tiles(rule, rows, columns, says):
    """An answer of SOMEBODY everywhere would be safe, and useless: these tiles must be known."""
    assert rule.says(rows, columns) is says


# Integers of any size and kind


def test_integers_larger_than_int64():
    for huge in (2**62, 2**63 - 1, 2**63, 2**70, 10**400):
        assert seen(masks.window(huge), 3, 4).all()
        assert seen(masks.prefix(huge), 3, 4).all()
        assert seen(masks.sinks(huge), 3, 4).all()
        assert seen(masks.padding([huge, 1]), 1, 2).tolist() == [[[[1, 1]]], [[[1, 0]]]]
        assert not seen(Band(huge, np.inf), 3, 4).any()
        assert seen(Band(-huge, huge), 3, 4).all()
    assert seen(masks.padding(np.array([2**64 - 1, 0], np.uint64)), 1, 1).ravel().tolist() == [1, 0]
    np.testing.assert_array_equal(seen(masks.documents([2**70, -1, 2**70]), 1, 3), [[1, 0, 1]])
    np.testing.assert_array_equal(seen(masks.documents([2**63, -1, 2**63 + 1]), 3, 3), np.eye(3))


def test_integers_smaller_than_int64_do_not_wrap():
    assert seen(masks.window(np.uint8(200)), 200, 200).all()
    assert seen(masks.window(np.int8(-128 + 255)), 127, 127).all()
    assert seen(masks.prefix(np.uint8(255)), 1, 300).sum() == 255
    assert seen(masks.padding(np.array([255, 200], np.uint8)), 1, 300).sum() == 455
    moved = masks.bottom_right(masks.causal, np.uint8(5), np.uint8(3))
    np.testing.assert_array_equal(seen(moved, 5, 3), np.tri(5, 3, -2))
    far = np.array([250], np.uint8)
    assert masks.window(3)(far, np.array([247, 248, 255], np.uint8)).tolist() == [False, True, False]
    assert masks.bottom_right(masks.causal, 0, 10)(far, np.array([255], np.uint8)).all()


def test_integers_stay_what_they_are():
    """Copied, and no slower to ask: only what no integer of NumPy's can hold becomes an object."""
    for ids in [1, 2], np.array([1, 2], np.int8), [2**63, 2**64 - 1]:
        assert masks.documents(ids).ids.dtype == np.asarray(ids).dtype
    assert masks.documents([2**64, 1]).ids.dtype == object


def test_arrays_and_numbers_of_torch_are_taken():
    np.testing.assert_array_equal(seen(masks.documents(torch.tensor([4, 4, 5])), 1, 3), [[1, 1, 0]])
    np.testing.assert_array_equal(
        seen(masks.padding(torch.tensor([2, 1], dtype=torch.uint8)), 1, 2)[1, 0], [[1, 0]]
    )
    np.testing.assert_array_equal(seen(Table(torch.ones(2, 3).tril().bool()), 2, 3), np.tri(2, 3))
    assert masks.window(torch.tensor(2)) == masks.window(np.array(2)) == masks.window(2)


def test_positions_of_no_bounds_are_refused():
    """Where sums could wrap, or nothing is a position."""
    for i in (1.0, True, "1", None, np.uint64(2**63)):
        with pytest.raises(TypeError, match=r"^i is .*; wanted integer positions"):
            masks.causal(i, 0)
        with pytest.raises(TypeError, match=r"^j is .*; wanted integer positions"):
            masks.causal(0, i)
    assert masks.causal(np.uint64(FAR), np.uint64(1))
    for rows in (range(0, 4, 2), range(3, -1, -1), slice(0, 3), 3, range(FAR, FAR + 1), range(-FAR - 1, 0)):
        with pytest.raises(TypeError, match=r"^rows is .*; wanted a range of consecutive"):
            masks.causal.tile(rows, range(3))
        with pytest.raises(TypeError, match=r"^columns is .*; wanted a range of consecutive"):
            Table(np.ones((3, 3), bool)).tile(range(3), rows)
    assert masks.causal.tile(range(FAR - 1, FAR), range(-FAR, 1 - FAR)).all()


# What joins rules, and what does not

STRANGERS = {
    "array": np.tri(5, dtype=bool),
    "tensor": torch.ones(5, 5).tril().bool(),
    "None": None,
    "boolean": True,
    "NumPy's boolean": np.True_,
    "function": masks.window,
    "class": masks.Rule,
    "list": [[True]],
    "set": {1},
    "dict": {},
    "masked array": np.ma.array([True]),
    "matrix": np.ones((1, 1), bool).view(np.matrix),
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize(
    "rule", [masks.causal, Knights(), ~masks.prefix(3), masks.causal | masks.window(3)], ids=repr
)
def test_what_is_no_rule_does_not_join_one(rule, name):
    other = STRANGERS[name]
    joins = (lambda: rule & other), (lambda: rule | other), (lambda: other & rule), (lambda: other | rule)
    for join in joins:
        with pytest.raises(TypeError, match=r"^mask joins .* and a .*Table\(array\)") as caught:
            join()
        assert f"{rule!r} and a {type(other).__name__}" in str(caught.value)


@pytest.mark.parametrize("rule", [masks.causal, Knights(), ~masks.prefix(3)], ids=repr)
@pytest.mark.parametrize(
    "judge",
    [
        bool,
        lambda rule: rule and rule,
        lambda rule: rule or rule,
        lambda rule: not rule,
        lambda rule: 1 if rule else 0,
    ],
)
def test_a_rule_is_neither_true_nor_false(rule, judge):
    """`causal and window(3)` would be `window(3)`, and the future seen."""
    with pytest.raises(TypeError, match=r"^mask .*write `&`, `\|`, `~`"):
        judge(rule)


@pytest.mark.parametrize(
    "join", [lambda a, b: a + b, lambda a, b: a ^ b, lambda a, b: a < b, lambda a, b: -a]
)
def test_what_rules_cannot_do_is_pythons_own_error(join):
    with pytest.raises(TypeError, match=r"operand|not supported"):
        join(masks.causal, masks.window(3))


@pytest.mark.parametrize("align", [masks.top_left, masks.bottom_right])
@pytest.mark.parametrize("other", [np.tri(3, dtype=bool), None, masks.window])
def test_what_is_no_rule_is_not_aligned(align, other):
    with pytest.raises(TypeError, match=r"^rule is a .*; wanted a rule"):
        align(other, 3, 3)


def test_batches_that_do_not_match_are_named():
    both, either = (
        masks.padding([1, 2]) & masks.padding([1, 2, 3]),
        masks.padding([1, 2]) | Table(np.ones((3, 1, 1, 1), bool)),
    )
    for rule in both, either:
        with pytest.raises(
            ValueError, match=r"^mask .*padding\(\[1, 2\]\).* joins answers of shapes \(2, 1, 1, 1\) and \(3,"
        ):
            rule.tile(range(1), range(1))
        with pytest.raises(ValueError, match=r"joins answers of shapes"):
            rule(0, 0)


# Rules of one's own


def own(answer, says=Says.SOMEBODY, tile=None):
    """A rule that answers what it is told to."""
    parts = {"__call__": lambda self, i, j: answer(i, j), "says": lambda self, rows, columns: says}
    return type("Own", (Rule,), parts | ({"tile": tile} if tile else {}))()


NO_BOOLEANS = {
    "integers": lambda i, j: (j <= i) * 1,
    "bytes": lambda i, j: (j <= i).astype(np.uint8),
    "floats": lambda i, j: (j <= i) * 1.0,
    "an object": lambda i, j: (j <= i).astype(object),
    "True": lambda i, j: True,
    "None": lambda i, j: None,
    "a list": lambda i, j: (j <= i).tolist(),
    "tensor of bytes": lambda i, j: torch.from_numpy(j <= i).to(torch.uint8),
}
WRONG_SHAPES = {
    "keys only": lambda i, j: j <= 3,
    "a row": lambda i, j: (j <= 3)[None],
    "queries only": lambda i, j: i <= 3,
    "sideways": lambda i, j: (j <= i).T,
    "an axis behind": lambda i, j: (j <= i)[..., None],
}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda r: r,
        lambda r: ~r,
        lambda r: r & masks.causal,
        lambda r: masks.causal | r,
        lambda r: masks.bottom_right(r, 2, 3),
    ],
)
@pytest.mark.parametrize("where", ["__call__", "tile"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [(a, TypeError) for a in NO_BOOLEANS.values()] + [(a, ValueError) for a in WRONG_SHAPES.values()],
    ids=[*NO_BOOLEANS, *WRONG_SHAPES],
)
def test_answers_that_are_no_masks_are_refused(answer, error, where, wrap):
    """`~1` is −2, and −2 counts as true."""

    def tile(self, rows, columns):
        return answer(np.array(rows)[:, None], np.array(columns))

    rule = wrap(own(answer, tile=tile if where == "tile" else None))
    with pytest.raises(error, match=r"^mask Own answers with .*; wanted "):
        rule.tile(range(2), range(3))


def test_answers_of_ones_own_may_have_leading_axes():
    rule = own(lambda i, j: np.stack([j <= i, i <= j]))
    np.testing.assert_array_equal(seen(rule & masks.window(1), 2, 2), [np.eye(2)] * 2)


@pytest.mark.parametrize("said", [None, True, "nobody may see", masks.Says])
def test_what_a_rule_says_is_one_of_three(said):
    for rule in own(lambda i, j: j <= i, says=said), ~own(lambda i, j: j <= i, says=said):
        with pytest.raises(
            TypeError, match=r"^mask Own says .*; wanted one of \['NOBODY', 'SOMEBODY', 'EVERYBODY'\]"
        ):
            rule.says(range(2), range(2))


def test_a_rule_without_an_answer_is_named():
    with pytest.raises(NotImplementedError, match="Rule has no __call__"):
        Rule().tile(range(1), range(1))


# What a rule is made from


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("make", "array", "later"),
    [(masks.padding, [2, 3], 1), (masks.documents, [0, 0, 1], 5), (Table, [[True, False]], True)],
)
def test_who_refills_an_array_changes_no_rule(make, array, later, kind):
    array = np.array(array) if kind == "numpy" else torch.tensor(array)
    rule = make(array)
    before = seen(rule, 3, 3)
    array[:] = later
    np.testing.assert_array_equal(seen(rule, 3, 3), before)


@pytest.mark.parametrize(
    "array",
    [
        masks.padding([1]).lengths,
        masks.sinks(1).lengths,
        masks.prefix(1).lengths,
        masks.documents([1]).ids,
        Table([[True]]).allowed,
    ],
)
def test_what_a_rule_keeps_is_frozen(array):
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0


@pytest.mark.parametrize(
    ("allowed", "error"),
    [
        (np.tri(3, dtype=int), TypeError),
        (np.tri(3), TypeError),
        (np.tri(3, dtype=np.uint8), TypeError),
        (np.tri(3, dtype=bool).astype(object), TypeError),
        (torch.ones(3, 3, dtype=torch.uint8), TypeError),
        (torch.ones(3, 3, dtype=torch.bfloat16), TypeError),
        (torch.ones(3, 3, requires_grad=True), TypeError),
        (np.ma.array(np.tri(3, dtype=bool), mask=True), TypeError),
        ([[1, 0]], TypeError),
        ([[True], [True, False]], TypeError),
        (masks.causal, TypeError),
        (None, TypeError),
        (True, ValueError),
        ([True, False], ValueError),
    ],
)
def test_a_table_is_of_booleans(allowed, error):
    with pytest.raises(error, match=r"(?s)^allowed (is|has) .*; wanted"):
        Table(allowed)


def test_a_table_of_booleans_is_taken_as_it_comes():
    for allowed in (
        [[True, False]],
        np.array([[True, False]]).view(np.matrix),
        np.array([[True, False]], order="F"),
    ):
        assert seen(Table(allowed), 1, 2).tolist() == [[1, 0]]
        assert type(Table(allowed).allowed) is np.ndarray


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((lambda w=w: masks.window(w), "w") for w in (0, -1, 1.0, True, np.True_, "3", None, [3])),
        *((lambda p=p: masks.prefix(p), "p") for p in (-1, 1.0, True, np.int8(-1), None)),
        *((lambda k=k: masks.sinks(k), "k") for k in (-1, 1.0, True, np.int8(-1), None, [1])),
        *(
            (lambda x=x: masks.padding(x), "lengths")
            for x in ([1.5], [-1], [True], 3, [[3]], None, [None], ["3"])
        ),
        *(
            (lambda x=x: masks.documents(x), "ids")
            for x in ([[1]], 1, [1.5], [True, False], np.zeros(2), np.zeros(0), ["a"])
        ),
        *((lambda x=x: masks.shifted_windows(x, 3, 2), "height") for x in (0, -1, 1.0, True, None)),
        *((lambda x=x: masks.shifted_windows(3, x, 2), "width") for x in (0, np.int8(-1), "3")),
        *((lambda x=x: masks.shifted_windows(3, 3, x), "M") for x in (0, 2.0, [2])),
        *((lambda x=x: masks.shifted_windows(3, 3, 2, x), "shift") for x in (-1, 1.0, None, 2)),
        *((lambda n=n: masks.bottom_right(masks.causal, n, 3), "n") for n in (-1, 1.0, FAR + 1)),
        *((lambda m=m: masks.bottom_right(masks.causal, 3, m), "m") for m in (-1, 1.0, True)),
    ],
)
def test_a_wrong_argument_is_named(make, name):
    with pytest.raises(ValueError, match=f"^{name} is .*; wanted|^{name} has shape .*; wanted"):
        make()


def test_a_masked_array_is_refused():
    """Its entries are there, and are not meant."""
    for make, name in (masks.padding, "lengths"), (masks.documents, "ids"), (Table, "allowed"):
        with pytest.raises(TypeError, match=f"^{name} is a MaskedArray"):
            make(np.ma.array([1, 2], mask=[True, False]))


def test_sizes_up_to_the_farthest_position():
    assert masks.bottom_right(masks.causal, 0, FAR).by == FAR
    assert masks.bottom_right(masks.causal, FAR, 0).by == -FAR
    with pytest.raises(ValueError, match=r"m is 2305843009213693953; wanted sizes up to 2\*\*61"):
        masks.bottom_right(masks.causal, 0, FAR + 1)


# How far a rule knows its way, and how it looks


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (masks.causal, (np.inf, np.inf)),
        (masks.padding([3]), (np.inf, np.inf)),
        (Knights(), (np.inf, np.inf)),
        (masks.documents([1, 1, 2]), (3, 3)),
        (Table(np.ones((2, 1, 3, 4), bool)), (3, 4)),
        (masks.shifted_windows(3, 4, 2), (12, 12)),
        (~Table(np.ones((3, 4), bool)), (3, 4)),
        (masks.bottom_right(masks.documents([1, 1, 2]), 5, 3), (5, 3)),
        (masks.bottom_right(masks.documents([1, 1, 2]), 1, 3), (1, 3)),
        (masks.documents([1] * 9) & Table(np.ones((3, 12), bool)), (3, 9)),
        (masks.causal | masks.documents([1, 1, 2]), (3, 3)),
    ],
    ids=repr,
)
def test_a_rule_knows_its_ends(rule, ends):
    assert tuple(rule.ends) == ends


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (masks.causal, "causal"),
        (masks.everybody, "everybody"),
        (masks.window(1), "window(1)"),
        (masks.window(np.int32(3)), "window(3)"),
        (Band(-2, 3), "Band(-2, 3)"),
        (Band(1, -1), "Band(1, -1)"),
        (masks.prefix(np.uint8(0)), "prefix(0)"),
        (masks.sinks(np.uint8(4)), "sinks(4)"),
        (masks.causal & (masks.window(3) | masks.sinks(2)), "causal & (window(3) | sinks(2))"),
        (masks.padding([3, 5]), "padding([3, 5])"),
        (masks.padding([]), "padding([])"),
        (masks.documents(np.array([7, 7, 9], np.int8)), "documents([7, 7, 9])"),
        (masks.documents(range(6)), "documents([0, 1, 2, 3, 4, 5])"),
        (masks.documents(range(8192)), "documents([0, 1, 2, 3, 4, 5, …])"),
        (Table(np.ones((2, 1, 3, 4), bool)), "Table(2 × 1 × 3 × 4)"),
        (masks.shifted_windows(np.int8(4), 6, 2), "shifted_windows(4, 6, 2, 0)"),
        (masks.bottom_right(masks.causal, 3, 1), "Moved(causal, -2)"),
        (masks.causal & masks.window(3), "causal & window(3)"),
        (masks.causal & masks.window(3) | masks.prefix(2), "causal & window(3) | prefix(2)"),
        (masks.causal & (masks.window(3) | masks.prefix(2)), "causal & (window(3) | prefix(2))"),
        ((masks.window(3) | masks.prefix(2)) & masks.causal, "(window(3) | prefix(2)) & causal"),
        (~masks.causal, "~causal"),
        (~(masks.causal & ~masks.window(3)), "~(causal & ~window(3))"),
        (~(masks.causal | masks.window(3)), "~(causal | window(3))"),
        (masks.causal & Knights(), "causal & Knights"),
    ],
)
def test_a_rule_prints_as_it_was_written(rule, text):
    assert repr(rule) == str(rule) == text


def test_rules_are_equal_and_hashed_as_their_parts_are():
    assert masks.causal & masks.window(3) == masks.causal & masks.window(3)
    assert len({masks.causal & masks.window(3), masks.causal & masks.window(np.int8(3))}) == 1
    assert masks.causal & masks.window(3) != masks.causal | masks.window(3)
    assert ~masks.causal != masks.causal
    assert masks.padding([3]) != masks.padding([3])  # arrays are compared by identity


ONE_OF_EACH = [
    masks.causal,
    masks.prefix(1),
    masks.sinks(1),
    masks.documents([1]),
    masks.shifted_windows(2, 3, 2, 1),
    Table([[True]]),
    ~masks.causal,
    masks.causal & masks.prefix(1),
    masks.causal | masks.prefix(1),
    masks.bottom_right(masks.causal, 1, 2),
]


@pytest.mark.parametrize("rule", ONE_OF_EACH, ids=repr)
def test_a_rule_does_not_change(rule):
    """It may be a key of a dictionary, and somebody may be about to ask it again."""
    assert {rule: "found"}[rule] == "found"
    for part in vars(rule):
        with pytest.raises(AttributeError):
            setattr(rule, part, None)


def test_rules_can_be_copied_and_sent():
    rule = masks.causal & ~masks.padding([1, 2]) | masks.bottom_right(masks.documents([1, 2]), 3, 2)
    for twin in copy.deepcopy(rule), pickle.loads(pickle.dumps(rule)):
        np.testing.assert_array_equal(seen(twin, 3, 2), seen(rule, 3, 2))


HUGE = 10**30  # fits into no integer of NumPy's


@pytest.mark.parametrize(
    "rule",
    [
        masks.prefix(HUGE),
        masks.sinks(HUGE),
        masks.padding([HUGE]),
        masks.window(HUGE),
        masks.shifted_windows(3, 3, HUGE),
        masks.shifted_windows(3, 3, HUGE, HUGE // 10),
    ],
    ids=repr,
)
def test_a_size_beyond_every_integer_hides_nobody(rule):
    np.testing.assert_array_equal(np.squeeze(seen(rule, 9, 9)), np.ones((9, 9)))


def test_windows_are_shifted_only_where_that_is_said():
    np.testing.assert_array_equal(
        seen(masks.shifted_windows(4, 4, 2), 16, 16), seen(masks.shifted_windows(4, 4, 2, 0), 16, 16)
    )


def test_a_table_answers_beyond_its_own_rows_and_columns():
    i, j = np.arange(-1, 4)[:, None], np.arange(-1, 7)
    inside = (0 <= i) & (i < 2) & (0 <= j) & (j < 5)
    np.testing.assert_array_equal(Table(np.ones((2, 5), bool))(i, j), inside)


def test_a_tile_is_asked_for_with_two_ranges():
    with pytest.raises(TypeError, match=r"^rows is \[0, 1\]; wanted a range of consecutive positions$"):
        masks.prefix(3).tile([0, 1], range(2))
    with pytest.raises(TypeError, match=r"^columns is range\(0, 4, 2\); wanted a range"):
        masks.prefix(3).tile(range(2), range(0, 4, 2))


def test_the_questions_keep_their_names():
    """What wraps a rule's methods stays out of sight of `help`."""
    kinds = [kind for kind in vars(masks).values() if isinstance(kind, type) and issubclass(kind, Rule)]
    asked = [(kind, name) for kind in kinds for name in ("__call__", "tile", "says") if name in vars(kind)]
    assert len(asked) > 12
    for kind, name in asked:
        assert vars(kind)[name].__qualname__ == f"{kind.__qualname__}.{name}"
