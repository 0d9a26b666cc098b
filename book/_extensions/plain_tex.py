r"""Mathematics as text, where none can be set: in a hit of the search, in the title of a window.

`\frac{QK^{\mathsf T}}{\sqrt{d_k}}` reads QKᵀ/√d_k. A command that nobody has listed here reads as its name.
"""

import re
import unicodedata

SIGNS = {
    "cdot": "·", "circ": "∘", "times": "×", "pm": "±", "infty": "∞", "partial": "∂", "sum": "∑", "prod": "∏",
    "le": "≤", "ge": "≥", "ne": "≠", "approx": "≈", "in": "∈", "to": "→", "mapsto": "↦", "cup": "∪",
    "cap": "∩", "dots": "…", "cdots": "⋯", "ddots": "⋱", "ell": "ℓ", "varepsilon": "ε", "varphi": "φ",
    "lVert": "‖", "rVert": "‖", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "tilde": "~",
}  # fmt: skip
SAY_NOTHING = (
    "mathrm|mathsf|mathbf|mathbb|operatorname|text|textstyle|left|right|[Bb]ig+[lr]?|bar|hat|overline|"
    "underbrace|underset"
)
GROUP = r"\{((?:[^{}]|\{[^{}]*\})*)\}"  # what stands between braces, which may hold braces once more


def plain(tex):
    """The TeX of a formula in words and signs, on one line."""
    text = re.sub(r"\\!", "", tex)
    text = re.sub(r"\\(begin|end)\{\w+\}(\{[\w|]*\})?|\\[,;: ]|\\q?quad|&|~", " ", text)
    text = re.sub(r"\\\\(\[[^\]]*\])?", " ", text)
    text = re.sub(r"\^\s*(\{\s*\\mathsf\s*(T|\{T\})\s*\}|\\mathsf\s*(T|\{T\}))", "ᵀ", text)
    while (simpler := _roots_and_fractions(text)) != text:
        text = simpler
    text = re.sub(rf"\\({SAY_NOTHING})(?![A-Za-z])", "", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda command: _sign(command[1]), text)
    text = re.sub(r"([_^])\{(\w+)\}", r"\1\2", text)
    text = re.sub(r"([_^])\{([^{}]*)\}", r"\1(\2)", text)
    text = " ".join(re.sub(r"[{}\\]", "", text).split())
    return re.sub(r"(?<=[(\[]) | (?=[)\],])", "", text)


def _roots_and_fractions(text):
    text = re.sub(r"\\[dt]?frac\s*(\d)\s*(\d)", r"\1/\2", text)
    text = re.sub(rf"\\sqrt\s*{GROUP}", lambda root: f"√{_one(root[1])}", text)
    return re.sub(rf"\\[dt]?frac\s*{GROUP}\s*{GROUP}", lambda part: f"{_one(part[1])}/{_one(part[2])}", text)


def _one(text):
    """A part that stands for itself, in brackets where it has more than one."""
    return text if re.fullmatch(r"[\w^ᵀ]+|√\w+|\([^()]*\)", re.sub(r"[{}]", "", text)) else f"({text})"


def _sign(name):
    """The sign of a command: of our list, a Greek letter, or the name itself, as of `max`."""
    if name in SIGNS:
        return SIGNS[name]
    case = "SMALL" if name[0].islower() else "CAPITAL"
    spelled = {"lambda": "lamda"}.get(name.lower(), name)
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {spelled}")
    except KeyError:
        return f" {name} "
