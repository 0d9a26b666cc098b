"""Processes that a notebook starts: they answer, fail and die as said, and are gone afterwards."""

import multiprocessing
import os

import numpy as np
import pytest
import torch

from selfattention import masks
from selfattention.implementations import numpy_direct
from selfattention.parallel import surprises
from selfattention.parallel.all_to_all import all_to_all
from selfattention.parallel.links import RankFailed
from selfattention.parallel.ring import ring
from selfattention.parallel.shards import zigzag
from selfattention.parallel.whole import from_whole
from selfattention.parallel.workers import workers


def where(link, more):
    return link.rank, link.size, os.getpid(), torch.get_num_threads(), more


def only_one_fails(link):
    if link.rank == 1:
        raise ValueError("rank 1 will not")
    return link.rank


@pytest.fixture(scope="module")
def two():
    with workers(2) as running:
        yield running


def test_every_rank_answers_in_its_place_from_a_process_of_its_own(two):
    answers = two.run(where, "said")
    assert [(rank, size, threads, more) for rank, size, _, threads, more in answers] == [
        (0, 2, 1, "said"),
        (1, 2, 1, "said"),
    ]
    assert len({os.getpid(), *(pid for _, _, pid, *_ in answers)}) == 3


def test_an_error_of_one_rank_is_raised_or_shown(two):
    first, second = two.tried(only_one_fails)
    assert first == 0
    assert (type(second), str(second)) == (ValueError, "rank 1 will not")
    with pytest.raises(ValueError, match="rank 1 will not"):
        two.run(only_one_fails)


def test_afterwards_nobody_is_left():
    with workers(1) as one:
        ((_, _, pid, *_),) = one.run(where, None)
    assert pid not in {child.pid for child in multiprocessing.active_children()}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_without_processes_there_are_no_workers():
    with pytest.raises(ValueError, match=r"^p is 0; wanted a positive integer$"), workers(0):
        pass


# What the library lets pass, in torch 2.13. When one of these fails, chapter 16 says what is no longer true.


def test_the_library_moves_memory_order_and_a_link_positions(two):
    """Broadcast, scatter, and both sums: of each the view is rank 0's, and rank 1 has it scrambled."""
    positions, memory = [[0, 10, 20], [1, 11, 21]], [[0, 1, 10], [11, 20, 21]]
    assert two.run(surprises.heads_first) == [positions, memory]
    assert two.run(surprises.heads_first_scattered) == [memory, memory]
    assert two.run(surprises.heads_first_reduced)[1] == memory
    assert two.run(surprises.heads_first_summed) == [positions, memory]
    for ours in surprises.heads_first_by_link, surprises.heads_first_summed_by_link:
        assert two.run(ours) == [positions, positions]


def test_the_library_takes_a_shorter_message_and_leaves_the_old_tail(two):
    assert two.run(surprises.shorter_message) == [[0, 1, 2, 3], [0, 1, 2, 3, -1, -1]]


def test_the_library_adds_up_numbers_of_different_shapes(two):
    assert two.run(surprises.other_shape) == [[[0, 2, 4], [6, 8, 10]], [[0, 2], [4, 6], [8, 10]]]


def test_the_library_adds_up_numbers_of_different_dtypes_and_a_ring_refuses_them(two):
    """The bits of a float's 1 as an integer, 127 · 2²³, and one integer's 1 more in the second half."""
    floats, integers = two.run(surprises.other_dtype)
    assert integers == [127 * 2**23] * 2 + [127 * 2**23 + 1] * 2
    assert floats == [1, 1, 1 + 2**-23, 1 + 2**-23]
    for error in two.tried(surprises.ring_of_two_dtypes):
        assert type(error) is ValueError
        said = "dtype is torch.float64 on rank 1 and torch.float32 on rank 0; wanted the same on every rank"
        assert str(error) == said


def test_the_library_sends_what_an_array_becomes_and_a_link_says_that_it_was_changed(two):
    """It begins when its receive is there, and that is after the change."""
    assert two.run(surprises.changed_on_its_way) == [[0] * 4, [0] * 4]
    for rank, error in enumerate(two.tried(surprises.changed_on_its_way_by_link)):
        assert type(error) is RuntimeError
        assert str(error) == f"what a test sends to rank {1 - rank} was changed before it had arrived"


def test_the_librarys_blocking_send_waits_for_a_receive(two):
    assert two.run(surprises.everybody_sends_first) == [False, False]


def test_a_sum_whose_gradient_is_summed_again_is_p_times_too_much_for_one_loss(two):
    assert two.run(surprises.gradients_of_a_sum) == [(2, 1), (2, 1)]


def test_context_parallel_on_a_processor_is_right_without_a_mask_and_refuses_a_causal_one(two):
    """PyTorch 2.13, the plain kernel. When this fails, `ring` says what is no longer true.

    Two ranks have blocks 0 and 3, 1 and 2 of four: rows of another order than the text.
    """
    answers = two.run(surprises.librarys_own, False)
    assert [rows for rows, *_ in answers] == [[0, 1, 2, 3, 12, 13, 14, 15], [4, 5, 6, 7, 8, 9, 10, 11]]
    assert max(there for _, there, _ in answers) < 1e-5
    assert min(in_order for *_, in_order in answers) > 0.1
    for error in two.tried(surprises.librarys_own, True):
        assert isinstance(error, RuntimeError)
        assert "mixed torch.Tensor and DTensor" in str(error)


def test_the_librarys_running_sum_restarts_on_every_shard_where_its_axis_is_counted_from_the_back(two):
    """Ours has none: a rank's positions are ranges in the whole text, and a DTensor is refused."""
    right = np.cumsum([1, 1, 1, 1, 1, 1, 0, 0]).tolist()
    assert two.run(surprises.running_sum) == 2 * [(right, [1, 2, 3, 4, 1, 2, 2, 2])]
    said = [str(error) for error in two.tried(surprises.ring_of_dtensors)]
    assert said == [
        f"Q has 8 rows; wanted 4, as shards has them for this rank: ({span!r},)"
        for span in (range(4), range(4, 8))
    ]


def test_a_rank_that_does_not_meet_the_condition_is_named():
    with workers(2) as ranks:
        waited, skipped = ranks.tried(surprises.ring_and_nobody, 1)
    assert skipped is None
    assert isinstance(waited, RankFailed)
    assert str(waited).startswith("rank 1 has not come to the questions before ring; ")


def test_a_rank_that_is_killed_is_named_by_all_others_and_its_workers_end():
    with workers(3) as ranks:
        first, dead, last = ranks.tried(surprises.ring_of_which_one_dies, 1, "step 1 of ring")
    assert str(dead) == "rank 1 has ended without a word"
    for rank, survivor in (0, first), (2, last):
        assert isinstance(survivor, RankFailed)
        assert str(survivor).startswith("rank 1 is gone in step 1 of ring; ")
        assert f"rank {rank} was in step" in str(survivor)


# What a notebook runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("attend", "p"), [(ring, 2), (all_to_all, 2)])
def test_rows_of_whole_arrays_are_the_rows_of_one_process(two, attend, p):
    rng = np.random.default_rng(0)
    Q, K, V = (rng.normal(size=(2, 11, d)) for d in (3, 3, 5))
    O = np.full((2, 11, 5), np.nan)
    answers = two.run(from_whole, attend, Q, K, V, zigzag(11, p), masks.causal)
    for positions, rows, sent in answers:
        O[:, positions] = rows
        assert sent > 0
    np.testing.assert_allclose(O, numpy_direct.attention(Q, K, V, mask=masks.causal)[0], rtol=1e-12)
