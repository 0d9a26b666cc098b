"""Which way to divide an attention, on machines that others have published figures of, or on one's own.

Chapter: notebooks/16_devices. For a terminal:

    python -m selfattention.clusters

The formulas are those of `formulas.devices`; here they are put together, for ranks that have equal shares as
nearly as can be. `data/clusters.json` has the figures, each with its source.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from selfattention.formulas import (
    all_reduce_bytes,
    all_to_all_bytes,
    all_to_all_words,
    attention_flops,
    exposed_seconds,
    head_parallel_words,
    hiding_tokens,
    most_ranks,
    ring_bytes,
    ring_seconds,
    ring_words,
)
from selfattention.signatures import whole

HIDDEN = 1.0  # the overlap of a device that computes while something else moves its messages
STATE_BYTES = 4  # of a number of L, which stays in float32 where all else is in halves


@dataclass(frozen=True)
class Wire:
    """What a message goes by: bytes a second each way, seconds before the first byte moves."""

    bytes_per_second: float
    latency: float


@dataclass(frozen=True)
class Cluster:
    """Devices, `node` of them in a server: what each does in a second, holds, and is connected by."""

    flops_per_second: float
    memory_bytes: float
    node: int
    inside: Wire
    between: Wire

    def wire(self, p: int) -> Wire:
        """What p ranks wait for: the wire between servers, as soon as one server is too small for them."""
        return self.inside if p <= self.node else self.between


@dataclass(frozen=True)
class Attention:
    """One layer's attention over n tokens, of width d_model; of all pairs the part `seen` is computed.

    `seen` is 1 without a mask and a half under a causal one, where a ring has zig-zag shards.
    """

    n: int
    h: int
    g: int
    d_k: int
    d_v: int
    d_model: int
    seen: float = 1.0
    word_bytes: int = 2

    def flops(self, rows: int, heads: int) -> float:
        """The operations of so many queries and heads, over all keys."""
        return self.seen * heads * attention_flops(rows, self.n, self.d_k, self.d_v)


@dataclass(frozen=True)
class Split:
    """What a way to divide costs the rank that has most to do: seconds, bytes sent, bytes held.

    Held are X, Y, Q, K, V, O and what travels, in numbers of `word_bytes`; no matrices, no tile of scores.
    """

    seconds: float
    sent_bytes: int
    held_bytes: int


def published() -> dict[str, Cluster]:
    """The clusters of data/clusters.json, by name."""
    return {name: _cluster(figures) for name, figures in _figures().items()}


def sources(name: str) -> dict[str, str]:
    """Where each figure of a published cluster has been published."""
    return dict(_figures()[name]["sources"])


def splits(cluster: Cluster, attention: Attention, p: int) -> dict[str, Split]:
    """heads, ring and all-to-all: those of the three that have something to do for every one of p ranks.

    Forward, from Q, K and V on, and up to the sum Y where heads are divided: the projections take every way
    as long. Raises ValueError, naming an argument that is no count, or g where it does not divide h.
    """
    p = whole(1)("p", p)
    ways = zip((_heads, _ring, _all_to_all), most_ranks(attention.n, attention.h, attention.g), strict=True)
    names = "heads", "ring", "all-to-all"
    return {
        name: way(cluster, attention, p) for name, (way, most) in zip(names, ways, strict=True) if p <= most
    }


def fitting(cluster: Cluster, found: Mapping[str, Split]) -> dict[str, Split]:
    """Those of the splits that a device has room for: one layer's arrays, and nothing beside them."""
    return {name: split for name, split in found.items() if split.held_bytes <= cluster.memory_bytes}


def fastest(found: Mapping[str, Split]) -> str:
    """The name of the split that takes the fewest seconds. Raises ValueError where there is none."""
    if not found:
        raise ValueError("found has no split; wanted at least one")
    return min(found, key=lambda name: found[name].seconds)


def hides_from(cluster: Cluster, attention: Attention, p: int) -> float:
    """From how many tokens a rank on a ring of p ranks hides behind arithmetic on this cluster."""
    shape = (attention.h, attention.g, attention.d_k, attention.d_v, attention.seen, attention.word_bytes)
    wire = cluster.wire(p)
    return hiding_tokens(*shape, cluster.flops_per_second, wire.bytes_per_second, wire.latency)


def _heads(cluster, a, p):
    """Each rank some heads of all tokens; where ranks share a group each has a copy of its keys."""
    h_own = -(-a.h // p)
    g_own = -(-h_own // (a.h // a.g))
    sent = all_reduce_bytes(a.n * a.d_model, p, a.word_bytes)
    words = head_parallel_words(a.n, a.d_model, h_own, g_own, a.d_k, a.d_v)
    return _exposed(cluster, a, p, a.flops(a.n, h_own), sent, words)


def _ring(cluster, a, p):
    """Each rank some tokens of all heads; shards travel whole, which takes the fewest latencies."""
    rows, wire = -(-a.n // p), cluster.wire(p)
    sent = ring_bytes(a.n, a.n // p, a.g, a.d_k, a.d_v, a.word_bytes)
    rank = a.flops(rows, a.h), sent, cluster.flops_per_second, wire.bytes_per_second, wire.latency
    words = 2 * rows * a.d_model + ring_words(rows, rows, rows, a.h, a.g, a.d_k, a.d_v)
    return Split(ring_seconds(p, *rank, HIDDEN), sent, words * a.word_bytes)


def _all_to_all(cluster, a, p):
    """Each rank some tokens of all heads, then some heads of all tokens."""
    rows, g_own = -(-a.n // p), -(-a.g // p)
    h_own = a.h // a.g * g_own
    shape = a.n, rows, a.h, h_own, a.g, g_own, a.d_k, a.d_v
    sent = all_to_all_bytes(*shape, a.word_bytes, STATE_BYTES)
    words = 2 * rows * a.d_model + all_to_all_words(*shape)
    return _exposed(cluster, a, p, a.flops(a.n, h_own), sent, words)


def _exposed(cluster, a, p, flops, sent, words):
    wire = cluster.wire(p)
    rank = flops, sent, cluster.flops_per_second, wire.bytes_per_second, wire.latency
    return Split(exposed_seconds(p, *rank), sent, words * a.word_bytes)


def _figures():
    return json.loads(files("selfattention").joinpath("data/clusters.json").read_text(encoding="utf-8"))


def _cluster(figures):
    wires = {name: Wire(**figures[name]) for name in ("inside", "between")}
    return Cluster(**{key: figures[key] for key in ("flops_per_second", "memory_bytes", "node")}, **wires)


def table(cluster: Cluster, attention: Attention) -> str:
    """A line for every number of ranks from one server's on: milliseconds of each split, and tokens.

    In brackets where a device has no room for what the split has it hold.
    """
    lines = [
        f"{'ranks':>6}{'heads':>12}{'ring':>12}{'all-to-all':>12}{'tokens a rank':>15}{'hides from':>12}"
    ]
    for p in (8, 16, 32, 64, 128, 256, 512, 1024):
        found = splits(cluster, attention, p)
        taken = {name: f"{1e3 * split.seconds:.3g} ms" for name, split in found.items()}
        room = fitting(cluster, found)
        cells = [
            taken[name] if name in room else f"({taken[name]})" if name in found else "-"
            for name in ("heads", "ring", "all-to-all")
        ]
        tokens = f"{attention.n // p:>15,}{hides_from(cluster, attention, p):>12,.0f}"
        lines.append(f"{p:>6}" + "".join(f"{cell:>12}" for cell in cells) + tokens)
    return "\n".join(lines)


LLAMA_405B = {"h": 128, "g": 8, "d_k": 128, "d_v": 128, "d_model": 16_384}
"""The heads, groups and widths of Llama 3 405B (Llama Team 2024, table 3)."""


if __name__ == "__main__":
    for title, machine in published().items():
        for tokens in (2**14, 2**17, 2**20, 2**22):
            print(f"{title}, a causal layer of Llama 3 405B over {tokens:,} tokens")
            print(table(machine, Attention(tokens, **LLAMA_405B, seen=0.5)), end="\n\n")
