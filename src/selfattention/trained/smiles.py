"""Read reaction SMILES: tokens, atoms, bonds, and which atoms no bond tells apart.

SMILES (Weininger 1988) writes a molecule as a walk along its bonds: a letter is an atom,
small where it is aromatic; `=` and `#` are double and triple bonds; a bracket opens a side
branch; two equal digits are the ends of a bond that closes a ring. A point stands between
molecules, `~` between the ions of a salt, `>>` between reactants and products.
"""

import re
from collections.abc import Sequence

ATOM = re.compile(r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|\*")
TOKEN = re.compile(ATOM.pattern + r"|>>|%\d\d|[-=#:/\\~.()\d]")
MAPPED = re.compile(r"\[(.+):(\d+)\]")
BARE = re.compile(r"(Br|Cl|[BCNOPSFI])(?:H\d?)?|([bcnops])|(c)H")  # what needs no brackets


def tokens(reaction: str) -> tuple[str, ...]:
    """('[CLS]', 'C', 'C', '(', …, '[SEP]'): the words of `reaction`, begun and ended as in BERT.

    Raises ValueError where the text is no SMILES, naming the place.
    """
    place, words = 0, ["[CLS]"]
    while place < len(reaction):
        word = TOKEN.match(reaction, place)
        if word is None:
            raise ValueError(f"{reaction[place:]!r}, at {place}, begins with no SMILES token")
        words.append(word[0])
        place = word.end()
    return (*words, "[SEP]")


def is_atom(token: str) -> bool:
    """Whether a token is an atom, and not a bond, a bracket, a digit or a mark."""
    return token not in ("[CLS]", "[SEP]", "[MASK]") and ATOM.fullmatch(token) is not None


def element(token: str) -> str:
    """'C' of 'c' and of '[C-]', 'Na' of '[Na+]'."""
    return re.match(r"\[?\d*([A-Z][a-z]?|[a-z]|\*)", token)[1].capitalize()


def without_map(token: str) -> tuple[str, int]:
    """The token as it stands in plain SMILES, and its atom's map number: '[CH3:1]' gives ('C', 1).

    Atoms without a number, and all other tokens, come back as they are, with 0.
    """
    mapped = MAPPED.fullmatch(token)
    if mapped is None:
        return token, 0
    bare = BARE.fullmatch(mapped[1])
    plain = next(filter(None, bare.groups())) if bare else f"[{mapped[1]}]"
    return plain, int(mapped[2])


def bonds(words: Sequence[str]) -> list[tuple[int, int, str]]:
    """(i, j, symbol) for each bond, i and j positions in `words`, the symbol '' where none is written.

    Raises ValueError for a ring or a branch that is opened and not closed.
    """
    pairs, branches, rings = [], [], {}
    last, symbol = None, ""
    for i, word in enumerate(words):
        if is_atom(word):
            if last is not None:
                pairs.append((last, i, symbol))
            last, symbol = i, ""
        elif word == "(":
            branches.append(last)
        elif word == ")":
            last = branches.pop()
        elif word.lstrip("%").isdigit():
            if word in rings:
                start, written = rings.pop(word)
                pairs.append((start, last, symbol or written))
            else:
                rings[word] = last, symbol
            symbol = ""
        elif word in (".", "~", ">>") or word.startswith("["):
            last = None
        else:
            symbol = word
    if rings or branches:
        raise ValueError(f"rings {sorted(rings)} or {len(branches)} branches are opened and not closed")
    return pairs


def symmetry_classes(words: Sequence[str]) -> dict[int, int]:
    """A number for each atom's position; equal numbers for atoms that no walk along bonds tells apart.

    Each round, an atom learns the classes of its neighbours (Morgan 1965). The two methyls of an
    isopropyl group end in one class, and so do the same atoms of two copies of one molecule.
    """
    neighbours = {i: [] for i, word in enumerate(words) if is_atom(word)}
    for i, j, symbol in bonds(words):
        neighbours[i].append((j, symbol))
        neighbours[j].append((i, symbol))
    classes = {i: words[i] for i in neighbours}
    for _ in neighbours:
        seen = {i: (classes[i], *sorted((classes[j], s) for j, s in neighbours[i])) for i in neighbours}
        number = {sight: k for k, sight in enumerate(sorted(set(seen.values())))}
        classes = {i: number[sight] for i, sight in seen.items()}
    return classes
