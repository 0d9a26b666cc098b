"""Text for a stream that may not know all of the book's letters: a pipe on Windows, a terminal in ASCII.

    printed("✗ δ is missing: 40² · √d")  ->  "[x] delta is missing: 40^2 * sqrt d"

where the stream knows none of them. A stream that knows a letter gets the letter.
"""

import codecs
import sys
import unicodedata

# What Unicode's own names and decompositions do not say well.
SPELT = {
    "✓": "[ok]",
    "✗": "[x]",
    "√": "sqrt ",
    "∞": "inf",
    "∂": "d",
    "Σ": "sum ",
    "∘": "*",
    "·": "*",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "│": "|",
    "⌈": "ceil(",
    "⌉": ")",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "→": "->",
    "°": " degrees",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "⁄": "/",
}


def printed(text, stream=None):
    """The text as the stream (standard output, if none is given) can write it."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "selfattention.spelt").decode(encoding)


def _spelt(error):
    """What stands for the letters that an encoding lacks, for `codecs`."""
    return "".join(map(_letter, error.object[error.start : error.end])), error.end


def _letter(letter):
    """ASCII for one letter: δ is delta, ² is ^2, ₁ is _1, ü is u; what has no such name is escaped."""
    if letter in SPELT:
        return SPELT[letter]
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK"):
        word = name.partition("LETTER ")[2].partition(" ")[0].lower()
        return word.capitalize() if "CAPITAL" in name else word
    raised = {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(letter).partition(" ")[0], "")
    plain = "".join(SPELT.get(c, c) for c in unicodedata.normalize("NFKD", letter)).replace("\u0303", "~")
    known = plain.encode("ascii", "ignore").decode()
    return raised + known if known else letter.encode("ascii", "backslashreplace").decode()


codecs.register_error("selfattention.spelt", _spelt)
