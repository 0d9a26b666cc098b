"""Talk to the language model of chapter 15, every attention of it computed by this package.

    python -m selfattention.chat "The capital of France is" --raw
    python -m selfattention.chat "What is the capital of France?"
    python -m selfattention.chat

Without a question it asks for one, and for the next; an empty line ends it. `--help` lists the rest.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS
from selfattention.masks import Rule
from selfattention.printed import printed
from selfattention.trained import smollm2
from selfattention.trained.cache import QuantisedRows
from selfattention.trained.language_model import LanguageModel, attention_of

CACHES = ("float32", "float16", "int8", "int4")


def main(arguments: list[str] | None = None) -> int:
    """Answer the question on the command line, or one after the other; 1 where that is not possible."""
    asked = arguments_of(arguments)
    try:
        talk = Talk(smollm2.load, asked)
        return max(
            [show(talk, question) for question in ([asked.question] if asked.question else questions())],
            default=0,
        )
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


def show(talk: "Talk", question: str) -> int:
    """Print the answer as it comes; 1 where there is none. Ctrl-C ends an answer, not the talk."""
    try:
        for piece in talk.answer(question):
            print(printed(piece), end="", flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    print()
    return 0


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for; what cannot be is refused here, before anything is loaded."""
    parser = argparse.ArgumentParser(
        prog="python -m selfattention.chat", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("question", nargs="?", help="what to answer; without it, questions are asked for")
    parser.add_argument("--raw", action="store_true", help="go on with the text itself, as no question")
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, default="numpy_direct")
    parser.add_argument("--window", type=whole(1), metavar="W", help="see the last W tokens only")
    parser.add_argument(
        "--sinks", type=whole(0), default=0, metavar="K", help="and the first K, with --window"
    )
    parser.add_argument("--cache", choices=CACHES, default="float32", help="how keys and values are kept")
    parser.add_argument("--tokens", type=whole(1), default=200, metavar="N", help="at most, in an answer")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0: the likeliest token")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn, with a temperature")
    asked = parser.parse_args(arguments)
    if asked.question is not None and not asked.question.strip():
        parser.error("argument question: it is empty; wanted some text")
    if asked.sinks and not asked.window:
        parser.error("argument --sinks: wanted --window, beside which the first tokens stay in sight")
    if not 0 <= asked.temperature < np.inf:
        parser.error(f"argument --temperature: it is {asked.temperature}; wanted a finite number, 0 or more")
    return asked


def whole(least: int) -> Any:
    """What reads a whole number from `least` on, for an argument."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"it is {text}; wanted a whole number from {least} on")
        return int(text)

    return number


def questions() -> Iterator[str]:
    """Lines from standard input, until one is empty or there are no more."""
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not line.strip():
            return
        yield line


def rule_of(window: int | None, sinks: int) -> Rule:
    """Causal; with a window, the last so many tokens, and with sinks the first ones, too."""
    if not window:
        return masks.causal
    seen = masks.window(window)
    return masks.causal & (seen | masks.sinks(sinks) if sinks else seen)


class Talk:
    """Questions and answers in one cache: what was said once is not computed again."""

    def __init__(self, load: Callable[[], LanguageModel], asked: argparse.Namespace):
        self.asked = asked
        self.rule = rule_of(asked.window, asked.sinks)
        self.attention = attention_of(asked.implementation)  # before anything is loaded: it may not run here
        self.rng = np.random.default_rng(asked.seed)
        self.model = fast(load(), asked.implementation)
        self.cache = self.model.cache(**kept(asked.cache))
        self.said: list[int] = []  # every token so far, those that the cache has not taken yet included

    def answer(self, question: str) -> Iterator[str]:
        """The answer's text, piece by piece, as its tokens come.

        Raises ValueError where the model has no positions left; what was said before stays said.
        """
        before = len(self.said)
        self.said += self.model.tokens(
            question if self.asked.raw else self.model.chat(question, again=before > 0)
        )
        try:
            yield from pieces(self.model, self._tokens())
        except ValueError:
            del self.said[max(before, self.cache.taken) :]
            raise
        if self.asked.window:
            self.cache.forget(self.rule)

    def _tokens(self):
        new = self.said[self.cache.taken :]
        how = {"cache": self.cache, "rule": self.rule, "attention": self.attention}
        draws = {"temperature": self.asked.temperature, "rng": self.rng}
        for token in self.model.generate(new, self.asked.tokens, **how, **draws):
            self.said.append(token)
            yield token


def fast(model: LanguageModel, implementation: str) -> LanguageModel:
    """The same model, for few rows no slower than its weights are read: compiled where attention is, too."""
    library = "numba" if implementation == "numba_tiled" else "numpy"
    products = import_module(f"selfattention.implementations.{library}_products")
    return model.with_matrices(products.Floats)


def kept(name: str) -> dict[str, Any]:
    """How `--cache` wants keys and values kept, as `LanguageModel.cache` takes it."""
    if name.startswith("int"):
        return {"rows": partial(QuantisedRows, bits=int(name[3:]))}
    return {"dtype": name}


def pieces(model: LanguageModel, tokens: Iterable[int]) -> Iterator[str]:
    """The text of the tokens, each piece as soon as it is text: a letter may take several tokens."""
    shown, so_far = "", []
    for token in tokens:
        so_far.append(token)
        text = model.text(so_far)
        if not text.endswith("�"):
            yield text.removeprefix(shown)
            shown = text
    yield model.text(so_far).removeprefix(shown) if so_far else ""


if __name__ == "__main__":
    sys.exit(main())
