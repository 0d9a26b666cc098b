"""Exercises of chapter 16."""

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import inputs, numbers, show
from selfattention.formulas import (
    all_reduce_bytes,
    all_to_all_bytes,
    finish_state,
    masked_attention,
    merge_states,
    most_ranks,
    ring_bytes,
    scaled_scores,
    shard_start,
    tile_state,
)

RANKS = 8


def seen_by_a_few(trial):
    """Evidence: eight tokens, one for each rank, and all their pairs."""
    pairs = ", ".join(str(i + 1) for i in range(RANKS))
    fair = RANKS * (RANKS + 1) / 2 / RANKS
    return (
        f"With one token for each rank they see {pairs} keys; a fair share would be {show(fair)}. "
        f"{numbers(trial)}"
    )


@exercise(
    evidence=seen_by_a_few,
    worth_trying="two ranks, and a thousand. What do the two numbers go to, and why do they add up to 2?",
)
def causal_shares():
    """(2p − 1) / p² of the work is (2p − 1) / p fair shares, and 1 / p² is 1 / p of one."""
    return (2 * RANKS - 1) / RANKS, 1 / RANKS


@causal_shares.mistake
def shares_of_all():
    """These are shares of all the work; how often is a fair share, 1 / p, in them?"""
    return (2 * RANKS - 1) / RANKS**2, 1 / RANKS**2


@causal_shares.mistake
def tokens_for_pairs():
    """Every rank has as many tokens, and no two have as many pairs."""
    return 1, 1


@causal_shares.mistake
def ends_for_blocks():
    """Twice the mean is what the last query sees, next to nothing what the first does; a rank has a block."""
    return 2, 0


@causal_shares.mistake
def exchanged():
    """The first rank for the last: who comes late in the text sees more."""
    return 1 / RANKS, (2 * RANKS - 1) / RANKS


def _blocks(n, count, *which):
    return np.array([i for b in which for i in range(b * n // count, (b + 1) * n // count)], dtype=int)


@exercise(
    cases=[(4, 2, 0), (16, 4, 1), (16, 4, 3), (23, 3, 1), (11, 5, 4), (1, 2, 1)],
    worth_trying="the work of every rank, counted from your positions. How far are two of them apart?",
)
def zigzag_positions(n, p, rank):
    """Blocks r and 2p − 1 − r of 2p, each from ⌊b n / 2p⌋ on."""
    starts = [shard_start(n, 2 * p, block) for block in range(2 * p + 1)]
    blocks = [range(*starts[b : b + 2]) for b in (rank, 2 * p - 1 - rank)]
    return np.array([i for block in blocks for i in block], dtype=int)


@zigzag_positions.mistake
def one_block_each(n, p, rank):
    """That is one block for each, from the front to the back, and the last rank works longest."""
    return _blocks(n, p, rank)


@zigzag_positions.mistake
def dealt_like_cards(n, p, rank):
    """Blocks r and p + r: the last rank has the later one of both rounds."""
    return _blocks(n, 2 * p, rank, p + rank)


@zigzag_positions.mistake
def striped(n, p, rank):
    """Every p-th token: that is striped attention, nearly as even, with other tokens."""
    return np.arange(rank, n, p)


@zigzag_positions.mistake
def counted_from_the_end(n, p, rank):
    """The block from the back is 2p − 1 − r: block 2p is none."""
    return _blocks(n, 2 * p, rank, 2 * p - rank)


@zigzag_positions.mistake
def read_backwards(n, p, rank):
    """The right tokens, those from the back in the wrong order: a block stays in the order of the text."""
    front, back = _blocks(n, 2 * p, rank), _blocks(n, 2 * p, 2 * p - 1 - rank)
    return np.concatenate([front, back[::-1]])


@zigzag_positions.mistake
def rest_dropped(n, p, rank):
    """Blocks of ⌊n / 2p⌋ tokens: the last few of the text are nobody's."""
    size = n // (2 * p)
    return np.array([i for b in (rank, 2 * p - 1 - rank) for i in range(b * size, (b + 1) * size)], dtype=int)


def _drawn(n, p, rank, d_k=3, d_v=2):
    rng = np.random.default_rng(n)
    return *(2 * rng.normal(size=(n, d)) for d in (d_k, d_k, d_v)), p, rank


def _merged(Q, K, V, p, rank, sees):
    """The rank's outputs, merged shard by shard; `sees` says which of a tile's keys its queries may see."""
    cuts = [range(shard_start(len(Q), p, r), shard_start(len(Q), p, r + 1)) for r in range(p)]
    rows = cuts[rank]
    S, state = scaled_scores(Q[rows.start : rows.stop], K), None
    for step in range(p):
        keys = cuts[(rank - step) % p]
        scores = np.where(sees(rows, keys), S[:, keys.start : keys.stop], -np.inf)
        tile = tile_state(scores, V[keys.start : keys.stop])
        state = tile if state is None else merge_states(*state, *tile)
    return finish_state(*state)[0]


def _causal(rows, keys):
    return np.array(rows)[:, None] >= np.array(keys)


def first_rows(trial):
    """Evidence: the first query of the rank, if it is not as it should be, or the worst."""
    if trial.given[0].shape != trial.wanted[0].shape or not np.isfinite(trial.given[0]).all():
        return numbers(trial)
    n, p, rank = len(trial.inputs["Q"]), trial.inputs["p"], trial.inputs["rank"]
    off = np.abs(trial.given[0] - trial.wanted[0]).max(1)
    at = int(off.argmax())
    where = f"query {shard_start(n, p, rank) + at} of the text, row {at} of rank {rank}"
    return f"For {inputs(trial)}: {where}, is off by {show(off[at])}."


@exercise(
    cases=[_drawn(5, 2, 0), _drawn(7, 3, 1), _drawn(12, 4, 3), _drawn(11, 4, 2)],
    evidence=first_rows,
    worth_trying="the same for zig-zag shards. Which of the tiles may you skip now?",
)
def rank_of_a_ring(Q, K, V, p, rank):
    """Positions in the whole text decide who sees whom, whatever shard has just arrived."""
    return _merged(Q, K, V, p, rank, _causal)


@rank_of_a_ring.mistake
def every_shard_from_its_corner(Q, K, V, p, rank):
    """Every shard is masked from its own corner: a shard of the past is seen in part, one to come as well."""
    return _merged(Q, K, V, p, rank, lambda rows, keys: np.tri(len(rows), len(keys), dtype=bool))


@rank_of_a_ring.mistake
def others_seen_whole(Q, K, V, p, rank):
    """One's own shard is masked, and all others are seen whole: so are those that are still to come."""
    return _merged(Q, K, V, p, rank, _own_is_masked_and_others(True))


@rank_of_a_ring.mistake
def own_shard_alone(Q, K, V, p, rank):
    """One's own shard alone: nothing has been received."""
    return _merged(Q, K, V, p, rank, _own_is_masked_and_others(False))


def _own_is_masked_and_others(seen):
    return lambda rows, keys: _causal(rows, keys) if rows == keys else np.array(seen)


@rank_of_a_ring.mistake
def own_shard_unmasked(Q, K, V, p, rank):
    """Earlier shards are whole and later ones are skipped, and within one's own there is no mask."""
    return _merged(Q, K, V, p, rank, lambda rows, keys: np.array(keys.start <= rows.start))


@rank_of_a_ring.mistake
def no_mask(Q, K, V, p, rank):
    """There is no mask at all."""
    return _merged(Q, K, V, p, rank, lambda rows, keys: np.array(True))


@rank_of_a_ring.mistake
def all_rows(Q, K, V, p, rank):
    """The outputs of all queries: a rank has its own."""
    return masked_attention(Q, K, V, np.tri(len(Q), dtype=bool))


def _two_machines(n, d_v, L_1, L_2):
    """Outputs of two machines, and their log-sum-exps: the second's to base 2."""
    O_1, O_2 = np.random.default_rng(0).normal(size=(2, n, d_v))
    return O_1, np.full(n, L_1), O_2, np.full(n, L_2) / np.log(2)


@exercise(
    cases=[
        _two_machines(1, 2, np.log(2), np.log(8)),
        _two_machines(5, 3, -1.0, 2.0),
        _two_machines(2, 3, 800.0, 799.0),
        _two_machines(3, 2, 0.5, -np.inf),
    ],
    worth_trying="logarithms that differ by 0.1, and by 10. Where would nobody have noticed?",
)
def merge_two_bases(O_1, L_1, O_2, L_2):
    """log₂ x · ln 2 = ln x, and then as ever: (L, 1, O) is a state."""
    one = np.ones_like(L_1)
    return finish_state(*merge_states(L_1, one, O_1, L_2 * np.log(2), one, O_2))


def _merged_two(O_1, L_1, O_2, L_2):
    return finish_state(*merge_states(L_1, np.ones_like(L_1), O_1, L_2, np.ones_like(L_2), O_2))


@merge_two_bases.mistake
def taken_as_they_are(O_1, L_1, O_2, L_2):
    """Both are taken for natural logarithms: the second machine's keys weigh too much, or too little."""
    return _merged_two(O_1, L_1, O_2, L_2)


@merge_two_bases.mistake
def the_wrong_way(O_1, L_1, O_2, L_2):
    """Divided by ln 2, which makes a log₂ of a natural logarithm; the way back multiplies."""
    return _merged_two(O_1, L_1, O_2, L_2 / np.log(2))


@merge_two_bases.mistake
def both_converted(O_1, L_1, O_2, L_2):
    """Both are converted; the first was natural already."""
    return _merged_two(O_1, L_1 * np.log(2), O_2, L_2 * np.log(2))


@merge_two_bases.mistake
def first_converted(O_1, L_1, O_2, L_2):
    """The first is converted, and it is the second that needs it."""
    return _merged_two(O_1, L_1 * np.log(2), O_2, L_2)


@merge_two_bases.mistake
def answered_to_base_two(O_1, L_1, O_2, L_2):
    """The outputs are right, and the log-sum-exp is to base 2: a natural one is asked for."""
    O, L = merge_two_bases.solution(O_1, L_1, O_2, L_2)
    return O, L / np.log(2)


WAYS = "heads", "ring", "all-to-all"


def bytes_of_each_way(p, g, n=1024, h=32, d=128, word=2):
    """What rank 0 of p sends of n tokens, forward; nothing where the way has no room for p ranks."""
    room = dict(zip(WAYS, most_ranks(n, h, g), strict=True))
    own, heads = n // p, h // p
    swapped = (
        all_to_all_bytes(n, own, h, heads, g, g // p, d, d, word, 4) if p <= room["all-to-all"] else None
    )
    sums = all_reduce_bytes(n * h * d, p, word) if p <= room["heads"] else None
    return dict(zip(WAYS, (sums, ring_bytes(n, own, g, d, d, word), swapped), strict=True))


def bytes_for(p):
    """Evidence: what each way sends of a thousand tokens, with so many ranks."""

    def told(trial):
        sent = bytes_of_each_way(p, 8).items()
        each = ", ".join(f"{way} {'has no room' if b is None else f'{b:,}'}" for way, b in sent)
        return f"Bytes that a rank sends of 1,024 tokens, p = {p}: {each}."

    return told


@exercise(worth_trying="g = 32, where no heads share their keys. Which of the three answers are others now?")
def fewest_bytes():
    """A ring's bytes do not shrink with p and are few to begin with; all-to-all's shrink, up to p = g."""
    return "ring", "all-to-all", "ring"


@fewest_bytes.mistake_shown_by(bytes_for(2))
def shrinks_at_once():
    """All-to-all sends a p-th of the queries and outputs of 32 heads: with two ranks that is much still."""
    return "all-to-all", "all-to-all", "ring"


@fewest_bytes.mistake_shown_by(bytes_for(2))
def one_sum_is_least():
    """One sum of Y is sent nearly twice, and Y is as wide as all heads."""
    return "heads", "all-to-all", "ring"


@fewest_bytes.mistake_shown_by(bytes_for(8))
def ring_for_eight():
    """With eight ranks an eighth of everything is less than all keys of eight groups."""
    return "ring", "ring", "ring"


@fewest_bytes.mistake_shown_by(bytes_for(8))
def sum_for_eight():
    """The sum of Y grows with the ranks, slightly, and what all-to-all sends shrinks."""
    return "ring", "heads", "ring"


@fewest_bytes.mistake_shown_by(bytes_for(16))
def more_ranks_than_groups():
    """Sixteen ranks, and eight groups to give them: all-to-all has no room."""
    return "ring", "all-to-all", "all-to-all"


@fewest_bytes.mistake_shown_by(bytes_for(16))
def sum_for_sixteen():
    """By heads there is room for sixteen, and the sum of Y is still the widest thing to send."""
    return "ring", "all-to-all", "heads"
