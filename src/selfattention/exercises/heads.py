"""Exercises of chapter 08."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import numbers, show
from selfattention.formulas import (
    multi_head_attention,
    multi_head_parameters,
    scaled_scores,
    softmax,
)


def shapes_of_the_matrices(trial):
    (given,), (wanted,) = trial.given, trial.wanted
    d = 768 // 24 if np.isclose(given[0], wanted[0], rtol=0.005) else 64
    return f"With 24 heads of width {d}, W_Q has 768 rows and {24 * d} columns, and W_O {24 * d} rows."


@exercise(
    rtol=0.005,
    evidence=shapes_of_the_matrices,
    worth_trying="24 heads with d_k halved and d_v kept. Which of the four matrices grow?",
)
def parameter_factors():
    """Twice the columns in W_Q, W_K and W_V and twice the rows in W_O; or the same width, cut finer."""
    before = multi_head_parameters(768, 12, bias=False)
    wider = multi_head_parameters(768, 24, d_k=64, d_v=64, bias=False)
    return wider / before, multi_head_parameters(768, 24, bias=False) / before


@parameter_factors.mistake
def free_at_any_width():
    """More heads cost nothing only if each gets narrower; at first they keep their 64."""
    return 1, 1


@parameter_factors.mistake
def both_sides_doubled():
    """Four times would be right if the tokens became twice as wide, too; d_model stays."""
    return 4, 1


@parameter_factors.mistake
def output_matrix_forgotten():
    """Three matrices grow in your count, but there are four: W_O has d_v rows for every head."""
    return (3 * 2 + 1) / 4, 1


@parameter_factors.mistake
def narrower_heads_at_full_price():
    """With d_k = d_v = 768/24 the heads do not only double, they are half as wide."""
    return 2, 2


@parameter_factors.mistake
def half_as_wide_and_not_twice_as_many():
    """A head of half the width has half the weights, but then there are twice as many heads."""
    return 2, 0.5


def _layer(n, d_model, h, d_k, d_v):
    draw = np.random.default_rng(0).normal
    widths = [(d_model, h * d_k), (d_model, h * d_k), (d_model, h * d_v), (h * d_v, d_model)]
    return draw(size=(n, d_model)), *(draw(size=axes) for axes in widths), h


def shares_within(trial):
    """The given Y as a sum of the heads' shares, each times a number."""
    *layer, h, i = trial.inputs.values()
    shares = [_only(*layer, h, head).ravel() for head in range(h)]
    (Y,) = trial.given
    times, *_ = np.linalg.lstsq(np.stack(shares, axis=1), Y.ravel())
    parts = [f"{show(number.round(9) + 0.0)} times head {head}" for head, number in enumerate(times)]
    return f"For i = {i} your Y holds {', '.join(parts)}."


def _only(X, W_Q, W_K, W_V, W_O, h, i):
    rows = np.arange(len(W_O)) // (len(W_O) // h) == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(rows[:, None], W_O, 0), h)


@exercise(
    cases=[(*_layer(2, 5, 3, 1, 2), 1), (*_layer(5, 7, 3, 2, 5), 0), (*_layer(5, 7, 3, 2, 5), 2)],
    worth_trying="all heads left out in turn: the h outputs add up to how many times Y?",
)
def without_head(X, W_Q, W_K, W_V, W_O, h, i):
    """A head whose d_v rows of W_O are zero adds nothing."""
    rows = W_O.reshape(h, -1, W_O.shape[1]).copy()
    rows[i] = 0
    return multi_head_attention(X, W_Q, W_K, W_V, rows.reshape(W_O.shape), h)


@without_head.mistake_shown_by(shares_within)
def the_head_alone(X, W_Q, W_K, W_V, W_O, h, i):
    """This is the share of head i alone; it is the others that should stay."""
    return _only(X, W_Q, W_K, W_V, W_O, h, i)


@without_head.mistake_shown_by(shares_within)
def counted_from_one(X, W_Q, W_K, W_V, W_O, h, i):
    """The heads are counted from zero: yours leaves out the one before."""
    rows = np.arange(len(W_O)) // (len(W_O) // h) == (i - 1) % h
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(rows[:, None], 0, W_O), h)


@without_head.mistake
def slice_before_the_first(X, W_Q, W_K, W_V, W_O, h, i):
    """The slice is that of head i − 1: heads are counted from zero, and for the first it is empty."""
    d_v = len(W_O) // h
    silenced = W_O.copy()
    silenced[(i - 1) * d_v : i * d_v] = 0
    return multi_head_attention(X, W_Q, W_K, W_V, silenced, h)


@without_head.mistake
def one_row_of_W_O(X, W_Q, W_K, W_V, W_O, h, i):
    """One row of W_O is zero, row i; a head has d_v of them."""
    rows = np.arange(len(W_O)) == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(rows[:, None], 0, W_O), h)


@without_head.mistake
def every_hth_row(X, W_Q, W_K, W_V, W_O, h, i):
    """Every h-th row of W_O is zero; the rows of a head stand together."""
    rows = np.arange(len(W_O)) % h == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(rows[:, None], 0, W_O), h)


@without_head.mistake
def rows_counted_with_d_k(X, W_Q, W_K, W_V, W_O, h, i):
    """The rows are counted with d_k, the width of a head's queries; in W_O a head has d_v rows."""
    rows = np.arange(len(W_O)) // (W_Q.shape[1] // h) == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(rows[:, None], 0, W_O), h)


@without_head.mistake
def columns_of_W_O(X, W_Q, W_K, W_V, W_O, h, i):
    """Columns of W_O are zero: that silences features of the output, for all heads."""
    d_v = len(W_O) // h
    columns = np.arange(W_O.shape[1]) // d_v == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(columns, 0, W_O), h)


@without_head.mistake
def one_column_of_W_O(X, W_Q, W_K, W_V, W_O, h, i):
    """One column of W_O is zero: that silences feature i of the output, for all heads."""
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(np.arange(W_O.shape[1]) == i, 0, W_O), h)


@without_head.mistake
def columns_shared_out(X, W_Q, W_K, W_V, W_O, h, i):
    """The columns of W_O are shared out among the heads; it is the rows that belong to them."""
    columns = np.arange(W_O.shape[1]) // (W_O.shape[1] // h) == i
    return multi_head_attention(X, W_Q, W_K, W_V, np.where(columns, 0, W_O), h)


@without_head.mistake
def queries_silenced(X, W_Q, W_K, W_V, W_O, h, i):
    """A head without queries is not silent: all its scores are equal, and it returns the mean value."""
    columns = np.arange(W_Q.shape[1]) // (W_Q.shape[1] // h) == i
    return multi_head_attention(X, np.where(columns, 0, W_Q), W_K, W_V, W_O, h)


def columns_of_head_0(trial):
    """Which of our columns the colleague's first head would get."""
    h, d = trial.inputs.values()
    given, wanted = (columns.reshape(d, h).T[0] for (columns,) in (trial.given, trial.wanted))
    return (
        f"For {h} heads of width {d} the colleague's head 0 gets your columns {show(given)}; "
        f"wanted {show(wanted)}."
    )


@exercise(
    cases=[(2, 3), (3, 4), (5, 2)],
    evidence=columns_of_head_0,
    worth_trying=(
        "the way back, for weights copied from the colleague to you. "
        "For which h and d are the two orders one?"
    ),
)
def column_order(h, d):
    """The colleague's column c·h + i is column i·d + c of ours: a table of (h, d), read by its columns."""
    return np.arange(h * d).reshape(h, d).T.ravel()


@column_order.mistake
def the_way_back(h, d):
    """This is the inverse: it copies the colleague's weights into your layer."""
    return np.arange(h * d).reshape(d, h).T.ravel()


@column_order.mistake
def as_they_are(h, d):
    """The columns stay where they are: head 0 then gets one column of every block."""
    return np.arange(h * d)


@column_order.mistake
def heads_turned_round(h, d):
    """The heads change places as whole blocks; the colleague's heads are no blocks."""
    return np.arange(h * d).reshape(h, d)[::-1].ravel()


@column_order.mistake_shown_by(numbers)
def table_not_read_out(h, d):
    """The right table, but an index for columns is one row: it wants a `.ravel()`."""
    return np.arange(h * d).reshape(h, d).T


@column_order.mistake
def columns_from_one(h, d):
    """The columns are counted from zero."""
    return np.arange(h * d).reshape(h, d).T.ravel() + 1


def attends_to(head):
    """Whom every one of fifty tokens looks at, given queries and keys of width two."""
    Q, K = (np.asarray(part, dtype=float) for part in head)
    if Q.shape != (50, 2) or K.shape != (50, 2):
        return f"queries {Q.shape} and keys {K.shape}"
    A, tokens = softmax(scaled_scores(Q, K)), np.arange(50)
    sharp = np.diagonal(np.roll(A, -1, axis=1)) > 0.99
    favourites = (A.argmax(1) - tokens) % 50
    known = {1: "the next" if sharp.all() else "the next, among others", 0: "itself", 49: "the one before"}
    if len(set(favourites)) == 1:
        return known.get(favourites[0], "another seat")
    decided = A.max(1).min() > 0.5
    return "the ends" if decided and len(set(A.argmax(1))) <= 2 else "the next, with exceptions"


def weight_of_the_next(trial):
    Q, K = (np.asarray(part, dtype=float) for part in trial.result)
    if Q.shape != (50, 2) or K.shape != (50, 2):
        return f"You gave queries {Q.shape} and keys {K.shape}; wanted (50, 2) each."
    A, tokens = softmax(scaled_scores(Q, K)), np.arange(50)
    worst = A[tokens, (tokens + 1) % 50].argmin()
    others = A[worst].argmax()
    return (
        f"Token {worst} gives the next one a weight of {show(A[worst, (worst + 1) % 50])}, "
        f"and token {others} one of {show(A[worst, others])}."
    )


def _seats():
    angles = 2 * np.pi * np.arange(50) / 50
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@exercise(
    seen_as=attends_to,
    evidence=weight_of_the_next,
    worth_trying="any favourite at all for every token, drawn by lot; then two favourites of equal weight.",
)
def narrow_head():
    """Keys on the unit circle; the query points at the next key, and is long."""
    return 1000 * np.roll(_seats(), -1, axis=0), _seats()


@narrow_head.mistake
def too_warm():
    """Everybody's favourite is the next one, but the softmax is not cold enough."""
    return np.roll(_seats(), -1, axis=0), _seats()


@narrow_head.mistake
def favourite_itself():
    """Everybody looks at itself: the query has to point at another key than its own."""
    return 1000 * _seats(), _seats()


@narrow_head.mistake
def the_one_before():
    """Everybody looks at the one before: rolled the wrong way."""
    return 1000 * np.roll(_seats(), 1, axis=0), _seats()


@narrow_head.mistake
def keys_on_a_line():
    """On a line only the two ends are ever anybody's favourite; whoever sits between them is outbid."""
    seats = np.stack([np.arange(50.0), np.ones(50)], axis=1)
    return 1000 * np.roll(seats - [24.5, 0], -1, axis=0), seats


@narrow_head.mistake
def as_wide_as_tokens():
    """With a column for every token there is no bottleneck to get round."""
    return 1000 * np.roll(np.eye(50), -1, axis=0), np.eye(50)
