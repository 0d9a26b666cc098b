"""The thirty-two reactions: well formed, and counted as chapter 09 says."""

from collections import Counter

import numpy as np
import pytest

from selfattention.trained import reactions, rxnmapper

ALL = reactions.load()


def test_there_are_six_to_choose_on_and_twenty_six_to_report():
    assert Counter(reaction.part for reaction in ALL) == {"choose": 6, "report": 26}
    assert sum(len(reaction.products) for reaction in ALL) == 373
    assert len({reaction.name for reaction in ALL}) == 32


@pytest.mark.parametrize("reaction", ALL, ids=lambda r: r.name)
def test_every_map_is_one_to_one_and_keeps_elements(reaction):
    assert (reaction.exact.sum(1) == 1).all()
    assert (reaction.exact.sum(0) <= 1).all()
    assert not (reaction.right & ~reaction.same_element).any()
    assert not (reaction.exact & ~reaction.right).any()
    assert reaction.why


def test_the_readme_reactions_are_as_printed_there():
    printed = [
        "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
        "C1COCCO1.CC(C)(C)OC(=O)CONC(=O)NCc1cccc2ccccc12.Cl>>O=C(O)CONC(=O)NCc1cccc2ccccc12",
    ]
    assert ["".join(reaction.tokens[1:-1]) for reaction in ALL[:2]] == printed


def test_every_token_is_in_the_vocabulary():
    model = rxnmapper.load()
    for reaction in ALL:
        assert model.embed(reaction.tokens).shape == (len(reaction.tokens), 128)


def test_symmetry_counts_on_both_sides():
    """Diethyl ether: its two ethyls are equal in the product, and neither methyl is the other's ethyl."""
    ether = reactions.read("[CH3:1][CH2:2][OH:3].[CH3:5][CH2:4]Br>>[CH3:1][CH2:2][O:3][CH2:4][CH3:5]")
    swapped = np.array([3, 4, 2, 1, 0])  # the ethyls exchanged: right, not exact
    assert ether.atoms_right(swapped) == 5
    assert ether.atoms_exact(swapped) == 1
    crossed = np.array([1, 0, 2, 4, 3])  # a methyl for its neighbour: wrong
    assert ether.atoms_right(crossed) == 3
    assert ether.atoms_right(np.stack([swapped, crossed])).tolist() == [5, 3]


def test_points_at_reads_products_as_queries():
    """The rows are the product's atoms, the columns the reactants'; what lies elsewhere is not seen."""
    swap = reactions.read("[CH3:1][OH:2]>>[OH:2][CH3:1]")  # [CLS] C O >> O C [SEP]
    A = np.full((7, 7), 9.0)
    A[np.ix_([4, 5], [1, 2])] = [[0.1, 0.3], [0.4, 0.2]]
    np.testing.assert_array_equal(swap.between(A), [[0.1, 0.3], [0.4, 0.2]])
    np.testing.assert_array_equal(swap.points_at(A), [1, 0])
    assert swap.atoms_right(swap.points_at(A)) == swap.atoms_exact(swap.points_at(A)) == 2


def test_a_product_atom_without_a_source_is_refused():
    with pytest.raises(ValueError, match="does not give each atom"):
        reactions.read("[CH4:1]>>[CH3:1]O")
