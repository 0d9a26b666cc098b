"""Write down the language model's attention on a sentence that it ends itself, for the widget of chapter 15.

    python -m selfattention.trained.recorded

writes data/smollm2.json, so that the book is built without the model.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from selfattention.formulas import masked_scores, scaled_scores, softmax, weighted_sum
from selfattention.trained import smollm2
from selfattention.trained.language_model import LanguageModel

SENTENCE, SAID = "The ferry left the pier in the evening, and the people on the", 12
LAYERS = (0, 2, 8, 11, 20, 28)


def watched(model: LanguageModel, tokens: list[int]) -> list[np.ndarray]:
    """Each layer's A (h, n, n)."""
    n, seen = len(tokens), []
    causal = np.tri(n, dtype=bool)

    def attend(layer, Q, K, V):
        keys, values = (np.repeat(matrix, model.h // model.g, axis=-3) for matrix in (K, V))
        seen.append(softmax(masked_scores(scaled_scores(Q, keys), causal)))
        return weighted_sum(seen[-1], values)

    for _ in model.residuals(np.asarray(tokens), np.arange(n), attend):
        pass  # what each layer leaves is not asked for
    return seen


def attention(model: LanguageModel) -> dict[str, Any]:
    """Every head of six layers on SENTENCE and what the model says after it, in whole thousandths.

    Row i of a head holds i + 1 numbers, for the keys 0 … i; `next` the three likeliest words after each.
    """
    prompt = model.tokens(SENTENCE)
    tokens = [*prompt, *model.generate(prompt, SAID)]
    A = [np.rint(1000 * weights).astype(int) for weights in watched(model, tokens)]
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


def main() -> None:
    recorded = {
        "command": "python -m selfattention.trained.recorded",
        "attention": attention(smollm2.load()),
    }
    parts = (
        f'"{name}": {json.dumps(part, ensure_ascii=False, separators=(",", ":"))}'
        for name, part in recorded.items()
    )
    Path(str(smollm2.DATA / "smollm2.json")).write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
