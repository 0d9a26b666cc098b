"""Exercises of chapter 14."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import show
from selfattention.formulas import arithmetic_intensity, log_sum_exp, rows_that_fit


def sums_of_the_row(trial):
    """What the weights sum to, and those of the four scores that were read."""
    (A,) = trial.given
    return f"Your seven numbers sum to {show(A.sum())}, the first four of them to {show(A[:4].sum())}."


@exercise(
    evidence=sums_of_the_row,
    worth_trying="an A full of NaN before the launch: now a test of row sums would notice.",
)
def short_block():
    """Four scores are read, their weights written; nobody touches the other three places."""
    return [1 / 4, 1 / 4, 1 / 4, 1 / 4, 0, 0, 0]


@short_block.mistake
def all_seven():
    """That is the softmax of seven scores, and a block of four reads four."""
    return [1 / 7] * 7


@short_block.mistake
def sevenths_for_four():
    """The sum has the exponentials of four scores in it: the program has never seen the other three."""
    return [1 / 7] * 4 + [0] * 3


@short_block.mistake
def block_after_block():
    """Nobody comes for the other three scores: a program has one block, and the grid one program a row."""
    return [1 / 4] * 4 + [1 / 3] * 3


@short_block.mistake
def zeros_for_scores():
    """The zeros were in A, where weights go; they are not scores, and the sum does not know them."""
    weight, zero = np.exp([-3, 0]) / (4 * np.exp(-3) + 3)
    return [weight] * 4 + [zero] * 3


def _scores(n, m, level=0.0, empty=None):
    S = np.random.default_rng(0).normal(level, size=(n, m)).astype(np.float32)
    if empty is not None:
        S[empty] = -np.inf
    return S


@exercise(
    cases=[
        (np.log(np.array([[1, 2, 5]], dtype=np.float32)),),
        (_scores(3, 5, level=800),),
        (_scores(5, 7, empty=2),),
    ],
    worth_trying="a row longer than a block: the program then needs a loop, and the state of chapter 13.",
)
def row_log_sum_exp(S):
    """What the kernel has to compute, in NumPy."""
    return log_sum_exp(S)


@row_log_sum_exp.as_found
def nothing_written(S):
    """L as it was made."""
    return np.full(len(S), np.nan, S.dtype)


@row_log_sum_exp.mistake
def zeros_for_padding(S):
    """The padding is a score: where the block is longer than the row, read −∞ and not 0."""
    places = 1 << (S.shape[1] - 1).bit_length()
    return log_sum_exp(np.pad(S, ((0, 0), (0, places - S.shape[1]))))


@row_log_sum_exp.mistake
def shift_not_added(S):
    """The maximum was subtracted from the scores, and not added to the logarithm again."""
    return log_sum_exp(S) - np.where(np.isneginf(S.max(1)), 0, S.max(1))


@row_log_sum_exp.mistake
def nobody_less_nobody(S):
    """Right until a row is empty: −∞ − (−∞) is not a number."""
    c = S.max(1)
    return c + np.log(np.exp(S - c[:, None]).sum(1))


@row_log_sum_exp.mistake
def exponentials_unshifted(S):
    """The exponentials are taken without a shift: in float32 those of large scores are infinite."""
    return np.log(np.exp(S).sum(1))


@row_log_sum_exp.mistake
def first_row_for_all(S):
    """Every program reads the first row: row i begins at the address S + i·m."""
    return np.full(len(S), log_sum_exp(S)[0])


@row_log_sum_exp.mistake
def maximum_alone(S):
    """That is the largest score of each row; the logarithm of Z is missing."""
    return S.max(1)


ROWS, COLUMNS = 32, 16  # of `causal_attention`


def starts_of_the_loop(trial):
    """Where the tiles of the first two programs start."""
    first, second = (list(range(0, program * ROWS, COLUMNS)) for program in (0, 1))
    return (
        f"Print the loop: the tiles of program 0 start at the keys {first}, those of program 1 at {second}, "
        f"and each holds {COLUMNS} keys."
    )


@exercise(
    evidence=starts_of_the_loop,
    worth_trying="the same slip in causal_queries_kernel: which rows of dQ are wrong, and are they NaN?",
)
def early_end():
    """Every query loses the keys of its own block. The first block has no others, at n = 1 already."""
    return 0, 0, 32, 32, 1


@early_end.mistake
def first_block_spared():
    """The first block is no exception: it begins at query 0, and there its loop ends."""
    return 1, 32, 32, 32, 33


@early_end.mistake
def mask_decides():
    """The mask lets the keys up to the query through, but a loop that is over asks no mask."""
    return 1, 32, 33, 64, 1


@early_end.mistake
def itself_alone():
    """A query loses more than itself: all keys of its block come after the end of the loop."""
    return 0, 31, 32, 63, 1


@early_end.mistake
def later_blocks_empty():
    """The second block still has the keys of the first one: these stand before its own first query."""
    return 0, 0, 0, 0, 1


@early_end.mistake
def full_block_needed():
    """A block need not be full to show it."""
    return 0, 0, 32, 32, 32


@early_end.mistake
def second_block_needed():
    """The second block is not needed to show it: look at the first."""
    return 0, 0, 32, 32, 33


SHARED = 227 * 1024  # bytes, of a program on an H100
BEND = 989e12 / 3.35e12


def tiles_against_the_machine(trial):
    """What tiles of so many queries would reach; or, where that is right, what they would occupy."""
    (answer,) = trial.given
    needed, room = map(float, answer)
    intensity = arithmetic_intensity(2 * needed, 1, 2)
    if abs(intensity - BEND) > 2:
        return f"Tiles of {needed:.0f} queries allow {intensity:.0f} operations per byte."
    words = 64 * 256 + room * (256 + 64 + 2)
    return f"{room:.0f} queries and 64 keys are {2 * words:,.0f} bytes; there are {SHARED:,}."


@exercise(
    evidence=tiles_against_the_machine,
    rtol=0.005,
    worth_trying="Õ in float32, as it has to be summed: how many queries fit then?",
)
def tile_at_the_bend():
    """2r operations per word of two bytes are r per byte, and r rows must fit."""
    return np.ceil(BEND), rows_that_fit(SHARED // 2, 128, 128, 64)


@tile_at_the_bend.mistake
def two_per_byte():
    """2r operations are done per word, and a word is two bytes."""
    return np.ceil(BEND / 2), rows_that_fit(SHARED // 2, 128, 128, 64)


@tile_at_the_bend.mistake
def operations_per_word():
    """These are the operations per word at the bend; a query allows two of them."""
    return np.ceil(2 * BEND), rows_that_fit(SHARED // 2, 128, 128, 64)


@tile_at_the_bend.mistake
def bytes_for_words():
    """227 KB are half as many words of half precision."""
    return np.ceil(BEND), rows_that_fit(SHARED, 128, 128, 64)


@tile_at_the_bend.mistake
def keys_elsewhere():
    """The 64 keys and their values need a place, too."""
    return np.ceil(BEND), rows_that_fit(SHARED // 2 + 64 * 256, 128, 128, 64)


@tile_at_the_bend.mistake
def queries_alone():
    """The queries share the memory with what is made of them: a row of Õ, c and Z, and 64 scores each."""
    return np.ceil(BEND), (SHARED // 2 - 64 * 256) // 128
