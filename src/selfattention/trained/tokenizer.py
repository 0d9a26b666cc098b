"""Text to tokens and back, as a GGUF file says: byte-level BPE, as GPT-2's, digits one by one.

The merging of bytes is the library `tokenizers`'. Source: Sennrich, Haddow & Birch 2016.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from selfattention.extras import needed

MARK = 3  # the kind of a token that is no text, like <|im_end|>


class Tokenizer:
    """What the fields of a GGUF file say about its tokens; the library is loaded when it is first asked.

    Raises ValueError where they speak of a way to cut texts that is not the one above.
    """

    def __init__(self, fields: dict[str, Any]):
        said = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items()}
        if (said["model"], said["pre"]) != ("gpt2", "smollm"):
            raise ValueError(
                f"the tokens are cut as {said['model']!r}, {said['pre']!r}; wanted 'gpt2', 'smollm'"
            )
        self.words: list[str] = said["tokens"]
        self.merges: list[str] = said["merges"]
        self.marks = [word for word, kind in zip(self.words, said["token_type"], strict=True) if kind == MARK]

    def encode(self, text: str) -> list[int]:
        """The numbers of the text's tokens; a mark that stands in the text counts as the mark."""
        return self._library.encode(text).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of these tokens, without marks; half a letter at the end is �."""
        return self._library.decode(list(tokens))

    @cached_property
    def _library(self):
        with needed():
            from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        numbers = {word: number for number, word in enumerate(self.words)}
        library = Tokenizer(models.BPE(numbers, [tuple(merge.split(" ")) for merge in self.merges]))
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        library.decoder = decoders.ByteLevel()
        library.add_special_tokens([AddedToken(word, special=True) for word in self.marks])
        return library
