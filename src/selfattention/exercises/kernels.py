"""Exercises of chapter 14."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import numbers, show
from selfattention.formulas import arithmetic_intensity, log_sum_exp, pieces, rows_that_fit
from selfattention.mutants import pieces as wrong_pieces


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


def bits_or_sum(trial):
    """Whether what came fits into bfloat16, and whether it adds up; else the numbers."""
    if isinstance(trial.given, BaseException) or [x.dtype for x in trial.given] != [np.float32] * 3:
        return numbers(trial)
    (X,) = trial.inputs.values()
    used = next((p for p, x in enumerate(trial.given) if (x.view(np.uint32) & 0xFFFF).any()), None)
    if used is not None:
        return f"Piece {used} has bits in its lower half: bfloat16 does not have this number."
    off = np.abs(sum(x.astype(np.float64) for x in trial.given) - X).max()
    if off:
        return f"Your pieces do not add up to X: the sum is off by up to {show(off)}."
    return f"They add up, and bfloat16 has each. {numbers(trial)}"


def _normal(power):
    X = np.random.default_rng(0).normal(size=(5, 7)) * 2.0**power
    return X.astype(np.float32)


@exercise(
    cases=[(np.array([1 + 2**-8 + 2**-20, -1 / 3], dtype=np.float32),), (_normal(0),), (_normal(100),)],
    evidence=bits_or_sum,
    worth_trying="numbers near 2^-120. How much of them is lost, and why?",
)
def three_pieces(X):
    """The nearest of eight bits, three times, of what is left each time."""
    return pieces(X)


three_pieces.mistake(wrong_pieces.cut_off_without_rounding)
three_pieces.mistake(wrong_pieces.first_piece_three_times)
three_pieces.mistake(wrong_pieces.first_piece_forgotten)
three_pieces.mistake(wrong_pieces.rest_left_whole)
three_pieces.mistake(wrong_pieces.two_pieces)
three_pieces.mistake(wrong_pieces.half_precision)


SIX = [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)]


def _lacks(i, j):
    """A product of two numbers by six products of pieces, but for one."""

    def product(x, y):
        x, y = (pieces(np.asarray(z, dtype=np.float32)) for z in (x, y))
        kept = [pair for pair in SIX if pair != (i, j)]
        return sum((x[p] * y[q] for p, q in kept), np.float32(0))

    return product


def off_at_one(trial):
    """How far the product is off where one of the factors is 1, which has one piece."""
    (product,), (said,) = trial.inputs.values(), trial.given
    x = 1 + 2**-9 + 2**-20
    left, right = (show(x - float(product(*pair))) for pair in ((x, 1.0), (1.0, x)))
    return (
        f"You say {show(said)}; with x = 1 + 2⁻⁹ + 2⁻²⁰ its x · 1 is too small by {left}, and "
        f"1 · x by {right}."
    )


@exercise(
    cases=[(_lacks(*pair),) for pair in SIX],
    evidence=off_at_one,
    worth_trying="a product that lacks two. Does your function name one of them?",
)
def dropped_product(product):
    """Six products of powers of two are six different bits, and one of them is not set."""
    x, y = np.float32(1 + 2**-9 + 2**-20), np.float32(1 + 2**-10 + 2**-21)
    sizes = 2**-20, 2**-9, 2**-19, 2**-10, 2**-21, 1
    return dict(zip(sizes, SIX, strict=True))[sum(sizes) - float(product(x, y))]


@dropped_product.mistake
def named_backwards(product):
    """You name the piece of y first; the piece of x comes first."""
    return dropped_product.solution(product)[::-1]


@dropped_product.mistake
def by_the_size_alone(product):
    """The size of an error says how much the two pieces count together; two or three products share it."""
    i, j = dropped_product.solution(product)
    return {0: (0, 0), 1: (0, 1), 2: (1, 1)}[i + j]


@dropped_product.mistake
def a_number_by_itself(product):
    """Of a number by itself the products (0, 1) and (1, 0) are equal, and so are (0, 2) and (2, 0)."""
    return tuple(sorted(dropped_product.solution(product)))


@dropped_product.mistake
def whole_numbers_tried(product):
    """A number of eight bits is its first piece: of two such, five of the six products are 0 anyhow."""
    return 0, 0
