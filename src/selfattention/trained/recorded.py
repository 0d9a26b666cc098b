"""Write down what the language model does, for pages that are built without it.

    python -m selfattention.trained.recorded

writes data/smollm2.json, in a minute or two: its attention on a sentence that it ends itself; how much of
their attention the tokens of a story give to the first one, layer by layer; and what the story's
perplexity becomes where a window, or a hidden key, takes the first one out of sight.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from selfattention import masks
from selfattention.formulas import masked_scores, scaled_scores, softmax, weighted_sum
from selfattention.masks import Rule
from selfattention.trained import smollm2
from selfattention.trained.language_model import LanguageModel, perplexity
from selfattention.trained.progress import with_bar

SENTENCE, SAID = "The ferry left the pier in the evening, and the people on the", 12
LAYERS = (0, 2, 8, 11, 20, 28)
FIRST = 64  # the first query that is asked for its share, and from which a key is hidden
SCORED = 128  # the first token whose surprise counts


def watched(
    model: LanguageModel, tokens: list[int], look: Callable[[np.ndarray, np.ndarray], Any]
) -> tuple[list[Any], np.ndarray]:
    """What `look(A, V)` makes of each layer's A (h, n, n) and V (g, n, d); and X before and after layers."""
    n, seen = len(tokens), []
    causal = np.tri(n, dtype=bool)

    def attend(layer, Q, K, V):
        keys, values = (np.repeat(matrix, model.h // model.g, axis=-3) for matrix in (K, V))
        A = softmax(masked_scores(scaled_scores(Q, keys), causal))
        seen.append(look(A, V))
        return weighted_sum(A, values)

    X = np.stack([*model.residuals(np.asarray(tokens), np.arange(n), attend)])
    return seen, X


def attention(model: LanguageModel) -> dict[str, Any]:
    """Every head of six layers on SENTENCE and what the model says after it, in whole thousandths.

    Row i of a head holds i + 1 numbers, for the keys 0 … i; `next` the three likeliest words after each.
    """
    prompt = model.tokens(SENTENCE)
    tokens = [*prompt, *model.generate(prompt, SAID)]
    A, _ = watched(model, tokens, lambda A, V: np.rint(1000 * A).astype(int))
    return {
        "tokens": [model.text([token]) for token in tokens],
        "prompt": len(prompt),
        "next": [likeliest(model, S) for S in model.logits(tokens)],
        "layers": LAYERS,
        "A": [
            [[row[: i + 1].tolist() for i, row in enumerate(head)] for head in A[layer]] for layer in LAYERS
        ],
    }


def likeliest(model: LanguageModel, S: np.ndarray, count: int = 3) -> list[tuple[str, float]]:
    """The likeliest tokens by their scores S (vocabulary), and their probabilities."""
    p = softmax(S[None])[0]
    return [(model.text([token]), round(float(p[token]), 3)) for token in np.argsort(-p)[:count]]


def first_key(model: LanguageModel, tokens: list[int]) -> dict[str, Any]:
    """By layer: the mean share of key 0, in the attention of each head's queries from FIRST on; the length
    of its value over the median token's; and, before and after layers, the largest number of its state.
    """

    def look(A, V):
        lengths = np.linalg.norm(V, axis=-1)
        return A[:, FIRST:, 0].mean(-1), (lengths[:, 0] / np.median(lengths, axis=-1)).mean()

    seen, X = watched(model, tokens, look)
    largest = np.abs(X).max(-1)
    return {
        "queries": [FIRST, len(tokens)],
        "share": [[round(float(share), 3) for share in shares] for shares, _ in seen],
        "uniform": round(float(np.mean([1 / (i + 1) for i in range(FIRST, len(tokens))])), 4),
        "value": [round(float(value), 3) for _, value in seen],
        "state": [round(float(number), 1) for number in largest[:, 0]],
        "median_state": [round(float(np.median(row)), 1) for row in largest],
    }


def hidden(n: int, keys: range, first: int) -> Rule:
    """The causal rule for n tokens, these keys hidden from the queries from `first` on."""
    visible = np.tri(n, dtype=bool)
    visible[first:, keys.start : keys.stop] = False
    return masks.Table(visible)


def windowed(w: int, sinks: int = 0) -> Rule:
    """The last w tokens, and the first ones."""
    return masks.causal & (masks.window(w) | masks.sinks(sinks) if sinks else masks.window(w))


def sights(n: int) -> dict[str, Rule]:
    """Who of n tokens may see whom, by what a table calls it."""
    kept = masks.causal & (
        masks.window(60) | masks.Table(np.broadcast_to((np.arange(n) >= 20) & (np.arange(n) < 24), (n, n)))
    )
    return {
        "everything": masks.causal,
        "the last 64": windowed(64),
        "the first 1 and the last 63": windowed(63, 1),
        "the first 4 and the last 60": windowed(60, 4),
        "keys 20 to 23 and the last 60": kept,
        "the last 16": windowed(16),
        "the first 4 and the last 12": windowed(12, 4),
        "the last 256": windowed(256),
        "the first 4 and the last 252": windowed(252, 4),
        "all but key 0, from query 64 on": hidden(n, range(1), FIRST),
        "all but key 10, from query 64 on": hidden(n, range(10, 11), FIRST),
        "all but keys 4 to 63, from query 64 on": hidden(n, range(4, FIRST), FIRST),
        "all but key 0, from query 1 on": hidden(n, range(1), 1),
    }


def perplexities(model: LanguageModel, tokens: list[int]) -> dict[str, float]:
    """The perplexity of the tokens from SCORED on, for each of the `sights`."""
    rules = sights(len(tokens))
    return {
        name: round(perplexity(model.logits(tokens, rule=rules[name])[SCORED - 1 : -1], tokens[SCORED:]), 2)
        for name in with_bar([*rules], "windows and hidden keys")
    }


def main() -> None:
    model = smollm2.load()
    tokens = model.tokens(smollm2.story())
    recorded = {
        "command": "python -m selfattention.trained.recorded",
        "attention": attention(model),
        "first_key": first_key(model, tokens),
        "scored": [SCORED, len(tokens)],
        "perplexity": perplexities(model, tokens),
    }
    parts = (
        f'"{name}": {json.dumps(part, ensure_ascii=False, separators=(",", ":"))}'
        for name, part in recorded.items()
    )
    Path(str(smollm2.DATA / "smollm2.json")).write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
