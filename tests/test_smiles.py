"""SMILES: cut into tokens, read as bonds, and its equal atoms found."""

import pytest

from selfattention.trained.smiles import bonds, element, is_atom, symmetry_classes, tokens, without_map


def words(text):
    return tokens(text)[1:-1]


def test_tokens_by_hand():
    assert tokens("CC(=O)Cl>>C[NH3+]") == (
        *("[CLS]", "C", "C", "(", "=", "O", ")", "Cl", ">>", "C", "[NH3+]", "[SEP]"),
    )


def test_tokens_leave_nothing_out():
    text = r"C%12=C[C@@H](Br)c1cc[nH]c1.[Na+]~[Cl-]/C=C\C%12>>*#N"
    assert "".join(words(text)) == text


@pytest.mark.parametrize(
    ("text", "rest"), [("CC X", "' X', at 2"), ("C[C", r"'\[C', at 1"), ("CQ", "'Q', at 1")]
)
def test_what_is_no_smiles_is_refused_with_its_place(text, rest):
    with pytest.raises(ValueError, match=rest):
        tokens(text)


def test_atoms_and_their_elements():
    text = (
        "C",
        "c",
        "[nH]",
        "Cl",
        "[Na+]",
        "[O-]",
        "[13CH3]",
        "=",
        "1",
        "(",
        ">>",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    )
    atoms = [token for token in text if is_atom(token)]
    assert [element(token) for token in atoms] == ["C", "C", "N", "Cl", "Na", "O", "C"]


@pytest.mark.parametrize(
    ("token", "plain", "number"),
    [
        ("[CH3:1]", "C", 1),
        ("[cH:12]", "c", 12),
        ("[n:3]", "n", 3),
        ("[nH:3]", "[nH]", 3),  # without its hydrogen it would be another atom
        ("[O-:4]", "[O-]", 4),
        ("[Si:5]", "[Si]", 5),
        ("[Cl:6]", "Cl", 6),
        ("[Na+]", "[Na+]", 0),
        ("=", "=", 0),
    ],
)
def test_map_numbers_come_off(token, plain, number):
    assert without_map(token) == (plain, number)


def test_bonds_of_a_branch_and_a_ring():
    """Acetyl, then a ring of three: positions of the tokens, bracket and digits counted."""
    assert bonds(words("CC(=O)C1CC1")) == [
        (0, 1, ""),
        (1, 4, "="),
        (1, 6, ""),
        (6, 8, ""),
        (8, 9, ""),
        (6, 9, ""),
    ]


def test_no_bond_between_molecules():
    assert bonds(words("C.C~[Na+]>>C")) == []


@pytest.mark.parametrize("text", ["C1CC", "C(C"])
def test_an_open_ring_or_branch_is_refused(text):
    with pytest.raises(ValueError, match="opened and not closed"):
        bonds(words(text))


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("CC(C)S", "abac"),  # the methyls of isopropyl
        ("CC(=O)O", "abcd"),  # the oxygens of an acid are two
        ("Oc1ccccc1", "abcdedc"),  # ortho, meta, para
        ("CCO.CCO", "abcabc"),  # two copies
        ("CC=CC", "abba"),
        ("Fc1cccnc1F", "abcdefgh"),  # the nitrogen tells all atoms apart
    ],
)
def test_symmetry_by_hand(text, classes):
    found = list(symmetry_classes(words(text)).values())
    assert len(found) == len(classes)
    for i, mine in enumerate(found):
        assert [mine == other for other in found] == [classes[i] == letter for letter in classes]
