"""The table of the families: what is measured on the formulas, held against the papers' counts."""

from dataclasses import replace
from functools import wraps

import pytest

from selfattention.families import FAMILIES, table
from selfattention.formulas import (
    cbam_parameters,
    multi_head_parameters,
    selective_kernel,
    squeeze_excitation_parameters,
)

BY_NAME = {family.name: family for family in FAMILIES}


def test_every_row_is_as_counted_by_formula():
    assert {name: family.parameters for name, family in BY_NAME.items()} == {
        "squeeze-excitation": squeeze_excitation_parameters(256, 16, bias=False),
        "ECA": 5,
        "CBAM, channels": cbam_parameters(256, 16) - 98,
        "CBAM, positions": 98,
        "attention gate": 256 * 128 + 256 * 128 + 128 + 128 + 1,
        "selective kernel": 3 * 256 * 32,
        "temporal": 8 * 16 + 16 * 3,
        "non-local": 2 * 256**2,
        "Swin": multi_head_parameters(96, 3, bias=True) + 169 * 3,
        "ViT": multi_head_parameters(768, 12, bias=True),
    }


@pytest.mark.parametrize(
    ("name", "weighted", "normalised", "squashed_by"),
    [
        ("squeeze-excitation", "channels", "nothing", "sigmoid"),
        ("ECA", "channels", "nothing", "sigmoid"),
        ("CBAM, channels", "channels", "nothing", "sigmoid"),
        ("CBAM, positions", "high wide", "nothing", "sigmoid"),
        ("attention gate", "high wide", "nothing", "sigmoid"),
        ("selective kernel", "branches channels", "branches", "softmax"),
        ("temporal", "channels taps", "taps", "softmax"),
        ("non-local", "n n", "n", "softmax"),
        ("Swin", "h down along n places", "places", "softmax"),
        ("ViT", "h n tokens", "tokens", "softmax"),
    ],
)
def test_what_is_measured(name, weighted, normalised, squashed_by):
    family = BY_NAME[name]
    assert (family.weighted, family.normalised, family.squashed_by) == (weighted, normalised, squashed_by)
    assert (family.weights >= 0).all()
    assert (family.weights <= 1 + 1e-12).all()


def test_another_axis_is_noticed():
    """Softmax over the channels, for branches: a mistake that people make."""

    @wraps(selective_kernel)
    def wrong(F, W_1, W_2):
        mixed, a = selective_kernel(F, W_1, W_2)
        return mixed, a / a.sum(-3, keepdims=True)

    family = replace(BY_NAME["selective kernel"], function=wrong)
    assert family.normalised == "channels"


def test_the_table_has_a_row_for_each():
    head, *rows = table().splitlines()
    assert head.startswith("family ")
    assert [row.split("  ")[0] for row in rows] == [*BY_NAME]
    assert rows[-1].endswith("2362368")
