"""Which way to divide pays: small clusters with a pencil, the published ones with their sources."""

import re
from dataclasses import replace

import pytest

from selfattention import clusters
from selfattention.clusters import (
    LLAMA_405B,
    Attention,
    Cluster,
    Wire,
    fastest,
    fitting,
    hides_from,
    published,
    splits,
)
from selfattention.formulas import all_to_all_words, head_parallel_words, ring_words

# One operation, one byte inside a server of two, and half a byte outside it, a second.
TOY = Cluster(1.0, 1e9, 2, Wire(1.0, 0.0), Wire(0.5, 10.0))
SMALL = Attention(n=4, h=2, g=2, d_k=1, d_v=1, d_model=3, word_bytes=1)


def test_two_ranks_by_hand():
    """Work 2 · 4 · 16 = 128, a half for each; by heads N = 12 numbers, in a ring 2 of 4 keys of 2 heads."""
    found = splits(TOY, SMALL, 2)
    assert found["heads"].sent_bytes == 2 * 6
    assert found["heads"].seconds == 64 + 12
    assert found["ring"].sent_bytes == 2 * 2 * 2
    assert found["ring"].seconds == 32 + 32  # 8 seconds of sending, hidden behind 32
    there, back = 2 * (1 + 2), 2 * (1 + 4)
    assert found["all-to-all"].sent_bytes == there + back
    assert found["all-to-all"].seconds == 64 + there + back
    assert fastest(found) == "ring"


def test_what_a_rank_holds_by_hand():
    """X and Y as a whole where heads are divided, of one's own tokens where they are."""
    held = {name: split.held_bytes for name, split in splits(TOY, SMALL, 2).items()}
    assert held["heads"] == head_parallel_words(4, 3, 1, 1, 1, 1)
    assert held["ring"] == 2 * 2 * 3 + ring_words(2, 2, 2, 2, 2, 1, 1)
    assert held["all-to-all"] == 2 * 2 * 3 + all_to_all_words(4, 2, 2, 1, 2, 1, 1, 1)
    wide = splits(TOY, replace(SMALL, word_bytes=4), 2)
    assert {name: split.held_bytes for name, split in wide.items()} == {n: 4 * b for n, b in held.items()}


def test_what_a_device_has_no_room_for_does_not_fit():
    """By heads 44 bytes, in a ring 12 + 40, by all-to-all 12 + 40: who has 51 takes the first alone."""
    found = splits(TOY, SMALL, 2)
    assert {name: split.held_bytes for name, split in found.items()} == {
        "heads": 44,
        "ring": 52,
        "all-to-all": 52,
    }
    for room, names in (43, []), (44, ["heads"]), (51, ["heads"]), (52, ["heads", "ring", "all-to-all"]):
        assert list(fitting(replace(TOY, memory_bytes=room), found)) == names
    with pytest.raises(ValueError, match=r"^found has no split; wanted at least one$"):
        fastest({})


def test_four_million_tokens_do_not_fit_in_eight_devices_of_40_gb():
    """One layer's arrays, 32 heads with keys of their own: 43 GB in a ring, the least of the three."""
    shape = {"h": 32, "g": 32, "d_k": 128, "d_v": 128, "d_model": 4096, "seen": 0.5}
    machine, long = published()["A100, Ethernet"], Attention(2**22, **shape)
    words = 2**19 * (2 * 4096 + 32 * (128 + 128 + 2) + 3 * 32 * (128 + 128))
    assert splits(machine, long, 8)["ring"].held_bytes == 2 * words > 40e9
    assert fitting(machine, splits(machine, long, 8)) == {}
    assert list(fitting(machine, splits(machine, long, 16))) == ["ring", "all-to-all"]
    assert list(fitting(published()["H100, InfiniBand"], splits(machine, long, 8))) == ["ring", "all-to-all"]


def test_who_has_nothing_to_do_takes_no_part():
    grouped = replace(SMALL, h=4, g=2)
    assert set(splits(TOY, grouped, 2)) == {"heads", "ring", "all-to-all"}
    assert set(splits(TOY, grouped, 4)) == {"heads", "ring"}  # no whole group for each of four
    with pytest.raises(ValueError, match=r"^p is 0; wanted a positive integer$"):
        splits(TOY, grouped, 0)
    assert set(splits(TOY, replace(SMALL, n=5), 5)) == {"ring"}
    with pytest.raises(ValueError, match=r"^g is 3; wanted a divisor of h = 4$"):
        splits(TOY, replace(SMALL, h=4, g=3), 2)


def test_one_rank_takes_its_time_and_sends_nothing():
    for split in splits(TOY, SMALL, 1).values():
        assert (split.seconds, split.sent_bytes) == (128, 0)


def test_the_rank_that_has_most_says_how_long_it_takes():
    """Three heads for two ranks, and five tokens: 2 of 3, and 3 of 5."""
    odd = Attention(n=5, h=3, g=3, d_k=1, d_v=1, d_model=1, word_bytes=1)
    found, work = splits(TOY, odd, 2), 3 * 4 * 25
    assert found["heads"].seconds == work * 2 / 3 + 2 * 3
    assert found["all-to-all"].seconds == work * 2 / 3 + found["all-to-all"].sent_bytes
    assert found["ring"].seconds == work * 3 / 5


def test_a_second_server_is_slower_to_reach():
    assert TOY.wire(2) == Wire(1.0, 0.0)
    assert TOY.wire(3) == Wire(0.5, 10.0)
    found = splits(TOY, replace(SMALL, h=4, g=4), 4)
    assert found["heads"].seconds == 64 + 2 * 3 * 10 + 2 * 3 * 3 / 0.5


def test_a_ring_hides_from_there_on():
    """At so many tokens a rank a step's tile takes as long as its message; with one less, less."""
    machine, shape = published()["H100, InfiniBand"], Attention(1, **LLAMA_405B, seen=0.5)
    for p in (4, 16):
        threshold = hides_from(machine, shape, p)
        for tokens, hidden in (int(threshold), False), (int(threshold) + 1, True):
            a = replace(shape, n=tokens * p)
            work = a.flops(tokens, a.h) / machine.flops_per_second
            assert (splits(machine, a, p)["ring"].seconds == pytest.approx(work, rel=1e-9)) == hidden


def test_of_published_clusters_every_figure_has_a_source():
    for name, machine in published().items():
        figures = {"flops_per_second", "memory_bytes", "node"}
        figures |= {
            f"{wire}.{what}" for wire in ("inside", "between") for what in ("bytes_per_second", "latency")
        }
        said = clusters.sources(name)
        assert said.keys() == figures
        for source in said.values():
            assert re.search(r"\d{4}|NCCL", source)
        assert machine.inside.bytes_per_second > machine.between.bytes_per_second
        assert machine.inside.latency < machine.between.latency


def test_grouped_heads_change_who_wins():
    """Of 128 groups all-to-all sends less than a ring; of eight a ring does, and has room for more ranks."""
    machine = published()["H100, InfiniBand"]
    grouped = Attention(2**17, **LLAMA_405B, seen=0.5)
    apart = replace(grouped, g=128)
    assert fastest(splits(machine, grouped, 64)) == "ring"
    assert fastest(splits(machine, apart, 64)) == "all-to-all"
    without_latency = replace(machine, between=Wire(50e9, 0.0))
    few, many = (hides_from(without_latency, shape, 64) for shape in (grouped, apart))
    assert many == pytest.approx(128 / 8 * few)


def test_the_table_has_a_line_for_every_number_of_ranks():
    first, *lines = clusters.table(
        published()["A100, Ethernet"], Attention(2**14, **LLAMA_405B, seen=0.5)
    ).splitlines()
    assert first.split()[:3] == ["ranks", "heads", "ring"]
    assert [line.split()[0] for line in lines] == ["8", "16", "32", "64", "128", "256", "512", "1024"]
    assert lines[-1].split()[1] == "-"


def test_what_does_not_fit_stands_in_brackets():
    """By heads every rank has the four million tokens of 16,384 numbers, twice: 268 GB."""
    machine, long = published()["A100, Ethernet"], Attention(2**22, **LLAMA_405B, seen=0.5)
    in_brackets = [line.count("(") for line in clusters.table(machine, long).splitlines()]
    assert in_brackets[1] == 3
    assert in_brackets[3] == 1
    held = splits(machine, long, 32)
    assert held["heads"].held_bytes > 2**22 * 2 * 16_384 * 2 > machine.memory_bytes > held["ring"].held_bytes
