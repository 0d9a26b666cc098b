"""Rules and their algebra: what they say of a position, and what they promise of a tile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfattention import masks
from selfattention.masks import Says


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


def test_padding_has_one_length_per_member_of_the_batch():
    rule = masks.padding([2, 0])
    np.testing.assert_array_equal(seen(rule, 1, 3), [[[[1, 1, 0]]], [[[0, 0, 0]]]])


def test_documents_by_hand():
    np.testing.assert_array_equal(seen(masks.documents([0, 0, 5]), 3, 3), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_algebra_by_hand():
    a, b = masks.causal, masks.prefix(1)
    np.testing.assert_array_equal(seen(~a, 2, 2), 1 - seen(a, 2, 2))
    np.testing.assert_array_equal(seen(a & ~b, 2, 2), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(seen(~(a & b), 2, 2), seen(~a | ~b, 2, 2))


rules = st.recursive(
    st.one_of(
        st.just(masks.causal),
        st.integers(1, 6).map(masks.window),
        st.integers(0, 9).map(masks.prefix),
        st.lists(st.integers(0, 9), min_size=3, max_size=3).map(masks.padding),
        st.lists(st.integers(0, 3), min_size=12, max_size=12).map(masks.documents),
        st.integers(0, 2**16 - 1).map(
            lambda bits: masks.Table(np.array([bits >> k & 1 for k in range(144)], bool).reshape(12, 12))
        ),
    ).flatmap(lambda rule: st.sampled_from([rule, masks.bottom_right(rule, 5, 5)])),
    lambda children: st.one_of(
        st.tuples(children, children).map(lambda ab: ab[0] & ab[1]),
        st.tuples(children, children).map(lambda ab: ab[0] | ab[1]),
        children.map(lambda a: ~a),
    ),
    max_leaves=6,
)
spans = st.tuples(st.integers(0, 11), st.integers(1, 12)).map(lambda s: range(s[0], min(12, s[0] + s[1])))


@given(rules, spans, spans)
def test_a_rule_keeps_its_promise_for_a_tile(rule, rows, columns):
    """NOBODY and EVERYBODY are true of every position of the tile."""
    tile, says = rule.tile(rows, columns), rule.says(rows, columns)
    assert tile.shape[-2:] == (len(rows), len(columns))
    if says is Says.NOBODY:
        assert not tile.any()
    if says is Says.EVERYBODY:
        assert tile.all()


@pytest.mark.parametrize(
    ("rule", "rows", "columns", "says"),
    [
        (masks.causal, range(4, 8), range(0, 4), Says.EVERYBODY),
        (masks.causal, range(0, 4), range(4, 8), Says.NOBODY),
        (masks.causal, range(0, 4), range(3, 8), Says.SOMEBODY),
        (masks.window(4), range(8, 12), range(0, 4), Says.NOBODY),
        (masks.padding([3, 5]), range(0, 4), range(5, 8), Says.NOBODY),
        (masks.padding([3, 5]), range(0, 4), range(0, 3), Says.EVERYBODY),
        (masks.documents([0, 0, 1, 1]), range(0, 2), range(2, 4), Says.NOBODY),
        (masks.documents([0, 0, 1, 1]), range(0, 2), range(0, 2), Says.EVERYBODY),
        (~masks.causal, range(4, 8), range(0, 4), Says.NOBODY),
        (masks.causal | masks.prefix(4), range(0, 4), range(0, 4), Says.EVERYBODY),
    ],
)
def test_a_rule_knows_its_easy_tiles(rule, rows, columns, says):
    """An answer of SOMEBODY everywhere would be safe, and useless: these tiles must be known."""
    assert rule.says(rows, columns) is says


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: masks.window(0), "w"),
        (lambda: masks.prefix(-1), "p"),
        (lambda: masks.padding([1.5]), "lengths"),
        (lambda: masks.padding([-1]), "lengths"),
        (lambda: masks.documents([[1]]), "ids"),
    ],
)
def test_a_wrong_argument_is_named(make, name):
    with pytest.raises(ValueError, match=f"^{name} "):
        make()
