"""What happens to the others when a rank is killed, fails, is slow, or comes from another world."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import parallel_cases as cases
import pytest
import torch
from oracle import Case
from parallel_workers import CONTEXT, Pool, command, group_that_breaks, pool, serve_from_rank_0
from test_parallel import assert_within_budget, gathered

from selfattention.parallel.__main__ import arguments_of, main
from selfattention.parallel.agreement import agreed
from selfattention.parallel.links import STORE_GONE, RankFailed

SOON = 15  # seconds
FAILED = "selfattention.parallel.links.RankFailed"


@pytest.fixture
def workers():
    """New ones for each test: after a rank is gone, a group is of no use."""
    with pool() as running:
        yield running


def said_after_a_kill(workers, way, step, tmp_path, rank=1):
    """What each survivor says when this rank is killed in this step, and after how many seconds."""
    here = tmp_path / "here"
    workers.start(4, cases.paused, way, rank, step, here)
    until = time.monotonic() + 60
    while not here.exists():
        assert time.monotonic() < until, "nobody came to that step"
        time.sleep(0.02)
    time.sleep(0.5)  # the others wait by now
    began = time.monotonic()
    workers.kill(rank)
    survivors = [other for other in range(4) if other != rank]
    answers = {other: workers.answer(other, SOON)[0] for other in survivors}
    return answers, time.monotonic() - began


@pytest.mark.parametrize(
    ("way", "step"),
    [
        ("ring", "step 1 of ring"),
        ("ring", "step 1 of ring backward"),
        ("ring", "the questions before ring"),
        ("all_to_all", "the message of O and L in all_to_all"),
    ],
)
def test_a_killed_rank_is_named_with_its_step_by_all_others(workers, way, step, tmp_path):
    answers, seconds = said_after_a_kill(workers, way, step, tmp_path)
    assert seconds < SOON
    for rank, said in answers.items():
        # Who comes late hears it at the door.
        where = rf"rank {rank} was in (.+)|the group is of no use since"
        found = re.fullmatch(rf"{FAILED}: rank 1 is gone in (.+); (?:{where})", said)
        assert found, said
        assert way in found[1]
        assert way in (found[2] or way)


def test_where_rank_0_keeps_the_store_and_is_killed_the_others_say_so(tmp_path):
    folder = tmp_path / str(free_port())
    folder.mkdir()
    workers = Pool(folder, target=serve_from_rank_0)
    try:
        answers, seconds = said_after_a_kill(workers, "ring", "step 1 of ring", tmp_path, rank=0)
    finally:
        workers.close()
    assert seconds < SOON
    for rank, said in answers.items():
        assert said.startswith(FAILED)
        assert "rank 0" in said
        assert re.search(rf"; rank {rank} was in step \d of ring$", said)


def test_who_comes_when_the_store_is_gone_says_where_it_was():
    class Gone:
        rank = 1

        def told(self):
            return STORE_GONE

    with pytest.raises(
        RankFailed, match=r"^gone is the store, which rank 0 keeps .*; rank 1 was in the quest"
    ):
        agreed(Gone(), 1, "ring", dict)


def test_a_rank_that_does_not_come_is_named_when_the_groups_patience_ends(workers):
    workers.start(4, cases.without_one, 1)
    late = [workers.answer(rank, SOON)[0] for rank in (0, 2, 3)]
    told = "rank 1 has not come to the questions before ring"
    assert [said.partition("; ")[0] for said in late] == [f"{FAILED}: {told}"] * 3


def test_a_rank_that_fails_tells_the_others_why(workers):
    """It lives on, so that no connection is closed: the others are told."""
    began = time.monotonic()
    workers.start(4, cases.failing, 2)
    answers = [workers.answer(rank, SOON)[0] for rank in range(4)]
    assert time.monotonic() - began < SOON
    assert answers.pop(2) == "MemoryError: no room for a tile"
    for said in answers:
        told = "rank 2 failed in step 0 of ring: MemoryError: no room for a tile; rank"
        assert said.startswith(f"{FAILED}: {told}")
    for kind, said in workers.errors(4, cases.differing, "ring", {}):
        assert kind == FAILED
        assert said.startswith("rank 2 failed in step 0 of ring: MemoryError: no room for a tile; ")
        assert said.endswith("the group is of no use since")


def test_in_pieces_an_error_names_the_piece_and_the_step(workers):
    """The last tile of the first piece: the other rank waits for a second one, which does not come."""
    workers.start(2, cases.in_pieces, 2, 9, cases.failing, 1, 8, 4)
    first, second = (workers.answer(rank, SOON)[0] for rank in range(2))
    assert second == "MemoryError: no room for a tile"
    told = "rank 1 failed in step 1 of ring, piece 1 of 2: MemoryError: no room for a tile; rank 0 was in "
    assert re.fullmatch(rf"{FAILED}: {told}step \d of ring, piece \d of 2", first)


def test_a_slow_rank_makes_it_slow_and_nothing_else(workers):
    case = Case(b=1, h=4, g=4, n=31, m=31, mask="causal")
    began = time.monotonic()
    answers = workers.run(4, cases.with_a_slow_rank, case, 2)
    assert time.monotonic() - began > 6 * cases.Slow.seconds  # three messages forward, six on the way back
    assert_within_budget(gathered(case, answers), case, torch.float64)
    assert answers[3][-1]["waited"] > 2 * cases.Slow.seconds


# The command -------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def begun(port, worlds, target, *arguments):
    """A pipe to one new process for each rank, of a world of that size, in which `target` runs."""
    pipes = []
    for rank, size in enumerate(worlds):
        mine, theirs = CONTEXT.Pipe()
        told = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in told.items()}
        CONTEXT.Process(target=target, args=(theirs, environment, *arguments), daemon=True).start()
        pipes.append(mine)
    return pipes


def ended(port, *worlds, arguments=()):
    """(exit status, output, errors) of the command in one process for each rank."""
    pipes = begun(port, worlds, command, [*arguments])
    assert all(pipe.poll(60) for pipe in pipes)
    return [pipe.recv() for pipe in pipes]


def test_rank_0_does_not_take_the_store_away_before_all_have_read_who_failed():
    first, second, _ = begun(free_port(), [3, 3, 3], group_that_breaks)
    said = [pipe.recv() if pipe.poll(60) else None for pipe in (first, second)]
    assert said == ["rank 2 is gone in a message; rank 0 was in a message", "rank 2 is gone in a message"]


def test_a_second_run_has_the_same_port():
    port = free_port()
    for way in ("ring", "all-to-all"):
        (first, output, errors), (second, *nothing) = ended(
            port, 2, 2, arguments=["--way", way, "--tokens", "7"]
        )
        assert (first, second) == (0, 0), errors
        assert output.startswith(f"{way}: 7 tokens")
        assert nothing == ["", ""]


def test_another_number_of_ranks_is_found_at_the_door():
    (first, _, at_0), (second, _, at_1) = ended(free_port(), 2, 3)
    assert (first, second) == (1, 1)
    assert at_0 == "ValueError: WORLD_SIZE is 2 on rank 0 and 3 on rank 1; wanted the same everywhere\n"
    assert at_1 == "ValueError: WORLD_SIZE is 3 on rank 1 and 2 on rank 0; wanted the same everywhere\n"


def test_the_command_says_what_every_rank_held_sent_and_waited_for():
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [str(torchrun), "--standalone", "--nproc-per-node", "2", "-m", "selfattention.parallel"]
    more = ["--tokens", "16", "--dtype", "float64"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    ways = done.stdout.strip().split("\n\n")
    assert [way.partition(":")[0] for way in ways] == ["heads", "ring", "all-to-all"]
    for way in ways:
        first, names, *lines = way.splitlines()
        assert "16 tokens, 8 heads, 8 groups, causal, float64" in first
        assert names.split() == [
            "rank",
            "held",
            "in",
            "flight",
            "sent",
            "received",
            "waited",
            "took",
            "error",
        ]
        assert [line.split()[0] for line in lines] == ["0", "1"]
        assert max(float(line.split()[-1]) for line in lines) < 1e-13


def test_without_torchrun_the_command_says_how(monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert main([]) == 1
    said = capsys.readouterr().err
    assert said.startswith("RuntimeError: RANK, WORLD_SIZE")
    assert said.endswith("torchrun --standalone --nproc-per-node 2 -m selfattention.parallel\n")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["--heads", "5"], "wanted --groups that divide --heads, and --heads that divide --d-model"),
        (["--tokens", "-1"], "argument --tokens: it is -1"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_is_joined(asked, wanted, capsys):
    with pytest.raises(SystemExit):
        arguments_of(asked)
    assert wanted in capsys.readouterr().err
