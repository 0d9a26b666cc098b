"""Thirty-two reactions whose atom maps are known: data/reactions.tsv, one a line.

A map says for each atom of the product which atom of the reactants it is: both carry one
number, `[CH3:1]` here and `[CH3:1]` there. The model never sees the numbers.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from selfattention.trained.smiles import element, is_atom, symmetry_classes, tokens, without_map


@dataclass(frozen=True)
class Reaction:
    """One reaction: what the model reads, where its atoms stand, and which answers are right.

    The three tables have a row for each atom of the products and a column for each atom of the
    reactants: `exact` the atom of the same number, `right` that one or one that symmetry makes
    equal to it, `same_element` all that the atom could be by its letter.
    """

    name: str
    part: str  # "choose": a head may be chosen on it; "report": it may not
    why: str  # how the map is known
    tokens: tuple[str, ...]
    reactants: np.ndarray  # the positions of the reactants' atoms among the tokens
    products: np.ndarray
    exact: np.ndarray
    right: np.ndarray
    same_element: np.ndarray

    def between(self, A: np.ndarray) -> np.ndarray:
        """Of weights A (…, n, n), those of the products' atoms on the reactants' atoms (…, p, r)."""
        return A[..., self.products, :][..., self.reactants]

    def points_at(self, A: np.ndarray) -> np.ndarray:
        """For each atom of the products, the column of its largest weight: (…, p)."""
        return self.between(A).argmax(-1)

    def atoms_right(self, columns: np.ndarray) -> np.ndarray:
        """How many of the products' atoms, the last axis of `columns`, point at a right one."""
        return self.right[np.arange(len(self.products)), columns].sum(-1)

    def atoms_exact(self, columns: np.ndarray) -> np.ndarray:
        """The stricter count, without symmetry: how many point at the atom of their own number."""
        return self.exact[np.arange(len(self.products)), columns].sum(-1)


def read(mapped: str, name: str = "", part: str = "", why: str = "") -> Reaction:
    """The `Reaction` of an atom-mapped reaction SMILES, each atom of whose products has a number.

    Symmetry is honoured on both sides: p → r is right where the map holds p' → r', with p' equal
    to p by the symmetry of the products and r' equal to r by that of the reactants.
    """
    words, numbers = zip(*map(without_map, tokens(mapped)), strict=True)
    arrow = words.index(">>")
    atoms = np.array([i for i, word in enumerate(words) if is_atom(word)])
    reactants, products = atoms[atoms < arrow], atoms[atoms > arrow]
    number, kind = np.array(numbers), np.array([element(w) if is_atom(w) else "" for w in words])
    exact = number[products][:, None] == number[reactants]
    if not (exact.sum(1) == 1).all():
        raise ValueError(f"{mapped} does not give each atom of the products one atom of the reactants")
    of = symmetry_classes(words)
    equal_p, equal_r = (
        np.equal.outer(c, c) for c in ([of[i] for i in side] for side in (products, reactants))
    )
    right = equal_p.astype(int) @ exact @ equal_r > 0
    same_element = kind[products][:, None] == kind[reactants]
    return Reaction(name, part, why, words, reactants, products, exact, right, same_element)


def load() -> list[Reaction]:
    """All reactions, in the order of the file."""
    lines = (files("selfattention") / "data" / "reactions.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return [read(mapped, name, part, why) for part, name, mapped, why in rows]
