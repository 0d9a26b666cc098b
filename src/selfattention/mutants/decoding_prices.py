"""What each mistake of a step of decoding costs the language model of chapter 15.

    python -m selfattention.mutants.decoding_prices

lets the model read a story with each mutant of `step` and `rotary_step` in all layers, the first words at
once, then one token at a time, then the rest as one block, and asks it for the capital of France. Writes
data/decoding_prices.json, in some minutes. `load` reads the file; tests run part of it again.
"""

import json
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from selfattention import formulas
from selfattention.formulas import rms_norm, rotary
from selfattention.mutants import Function, Mutant, mutants, right, sentence
from selfattention.signatures import unchecked
from selfattention.trained import smollm2
from selfattention.trained.cache import QuantisedRows
from selfattention.trained.language_model import LanguageModel, perplexity
from selfattention.trained.progress import with_bar

PRICES = files("selfattention") / "data" / "decoding_prices.json"
PROMPT, STEPS, TOKENS = 20, 50, 300  # of the story: at once, one at a time, in all
QUESTION, ANSWER = "What is the capital of France?", 8  # and how many tokens of the answer
CONTINUED = "The capital of France is"
TARGETS = "step", "rotary_step"

Reader = Callable[[list[int]], np.ndarray]
"""Logits of tokens that follow those it was given before."""


def reading(model: LanguageModel, rotary_step: Function) -> Reader:
    """The model with this function in the place of what turns, appends and attends."""
    shape = len(model.layers), model.g, 0, model.d
    cache = [*zip(np.zeros(shape, model.T.dtype), np.zeros(shape, model.T.dtype), strict=True)]

    def attend(layer, Q, K, V):
        O, *cache[layer] = rotary_step(Q, K, V, *cache[layer], base=model.base)
        return O

    def logits(tokens):
        unturned = np.zeros(len(tokens), dtype=int)  # position 0 turns nothing; the step turns by itself
        with unchecked():
            (X,) = deque(model.residuals(np.asarray(tokens), unturned, attend), maxlen=1)
            return rms_norm(X, model.g_N, epsilon=model.epsilon) @ model.head

    return logits


def turned_first(step: Function) -> Function:
    """The `rotary_step` around a candidate for `step`."""

    def rotary_step(Q, K, V, past_K, past_V, *, base):
        past, n = past_K.shape[-2], K.shape[-2]
        places = np.arange(past, past + n)
        return step(rotary(Q, places, base=base), rotary(K, places, base=base), V, past_K, past_V)

    return rotary_step


IN_PLACE = {"step": turned_first, "rotary_step": lambda rotary_step: rotary_step}


def priced(model: LanguageModel) -> list[tuple[str, str, str, Callable[[], Reader]]]:
    """Target, function's name, what it says, and a reader made anew: the right one, then each mutant."""
    rows = [("rotary_step", Mutant("rotary_step", right("rotary_step")))]
    rows += [(target, mutant) for target in TARGETS for mutant in mutants(target)]
    return [
        (
            target,
            mutant.function.__name__,
            "The right one" if mutant.function is right(target) else sentence(mutant.function),
            partial(reading, model, IN_PLACE[target](mutant.function)),
        )
        for target, mutant in rows
    ] + [("cache", name, says, partial(kept, model, **how)) for name, says, how in CACHES]


CACHES = (
    ("float16", "No mistake: the cache keeps halves", {"dtype": np.float16}),
    ("int8", "No mistake: the cache keeps 8 bits, a step per row", {"rows": partial(QuantisedRows, bits=8)}),
    ("int4", "No mistake: the cache keeps 4 bits, a step per row", {"rows": partial(QuantisedRows, bits=4)}),
)


def kept(model: LanguageModel, **how: Any) -> Reader:
    """The model with a cache of another kind."""
    return partial(model.logits, cache=model.cache(**how))


def read_in_pieces(reader: Reader, tokens: list[int]) -> np.ndarray:
    """Logits (n, vocabulary) of the tokens: a prompt at once, then steps of one, then one block."""
    pieces = np.split(np.array(tokens), range(PROMPT, min(PROMPT + STEPS, len(tokens) - 1) + 1))
    return np.concatenate([reader(piece.tolist()) for piece in pieces])


def answered(model: LanguageModel, reader: Reader) -> str:
    """The first words of the answer to QUESTION, token by token."""
    said, new = [], model.tokens(model.chat(QUESTION))
    for _ in range(ANSWER):
        new = [int(reader(new)[-1].argmax())]
        said += new
        if new[0] in model.ends:
            break
    return model.text(said)


def price(
    model: LanguageModel, fresh: Callable[[], Reader], tokens: list[int], reference: np.ndarray
) -> dict[str, Any]:
    """What the reader makes of the tokens and the questions, beside the right logits `reference`.

    The perplexity of what follows the prompt, the share of equal first choices in the steps of one, the
    largest difference of a logit, whether it goes on with Paris, and its answer. Where the model
    refuses to run: the error's first line.
    """
    try:
        S = read_in_pieces(fresh(), tokens)
        continued = int(fresh()(model.tokens(CONTINUED))[-1].argmax())
        answer = answered(model, fresh())
    except (ValueError, IndexError) as error:
        return {"error": str(error).splitlines()[0]}
    steps = slice(PROMPT, PROMPT + STEPS)
    return {
        "perplexity": _digits(perplexity(S[PROMPT:-1], tokens[PROMPT + 1 :])),
        "top1": float((S.argmax(-1) == reference.argmax(-1))[steps].mean()),
        "largest": _digits(np.abs(S - reference)[PROMPT:].max()),
        "paris": model.text([continued]) == " Paris",
        "answer": answer,
    }


def _digits(number):
    """Four of them: more would not be the same on another processor."""
    return float(f"{number:.4g}")


def load() -> dict[str, Any]:
    """What the file holds: how it was counted, and a row for each mistake."""
    return json.loads(PRICES.read_text("utf-8"))


def main() -> None:
    model = smollm2.load()
    tokens = model.tokens(smollm2.story())[:TOKENS]
    reference = read_in_pieces(reading(model, formulas.rotary_step), tokens)
    rows = [
        {"target": target, "name": name, "says": says, **price(model, fresh, tokens, reference)}
        for target, name, says, fresh in with_bar(priced(model), "pricing mistakes")
    ]
    head = {
        "command": "python -m selfattention.mutants.decoding_prices",
        "prompt": PROMPT,
        "steps": STEPS,
        "tokens": TOKENS,
        "continued": CONTINUED,
        "question": QUESTION,
    }
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "rows": [\n{lines}\n]}}\n'
    Path(str(PRICES)).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
