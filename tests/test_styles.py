"""The theme's style sheets, cut down to what the site uses: no rule that a page needs is gone."""

from pathlib import Path

import pytest
from styles import classes, used

SITE = Path(__file__).parents[1] / "_build/html"


@pytest.mark.parametrize(
    ("selector", "asked"),
    [
        ("html[data-theme=dark] img", set()),
        ("nav.bd-links li>a:hover", {"bd-links"}),
        (".cell:not(.folded):has(> .output, :is(.a, .b)) .seen", {"cell", "seen"}),
        (r".col-lg-1\/2.show", {"col-lg-1/2", "show"}),
        ("a[href$='.5']::before", set()),
    ],
)
def test_a_selector_asks_for_classes(selector, asked):
    assert classes(selector) == asked


def test_rules_without_a_page_are_gone_and_the_rest_is_as_it_was():
    sheet = (
        '@charset "UTF-8";/*! MIT */:root{--a:1px}'
        "\n/* why, and .how { */.seen,/* or, */.unseen{color:red}.unseen{top:0}"
        "@media (min-width:9px){.unseen{top:1px}.seen:not(.unseen,:is(.x,.y)),b{top:2px}}"
        "@media print{.unseen{top:3px}}@keyframes turn{0%{top:0}to{top:1px}}"
    )
    assert used(sheet, {"seen"}) == (
        '@charset "UTF-8";/*! MIT */:root{--a:1px}\n.seen{color:red}'
        "@media (min-width:9px){.seen:not(.unseen,:is(.x,.y)),b{top:2px}}"
        "@keyframes turn{0%{top:0}to{top:1px}}"
    )


def test_the_site_has_its_theme_s_layout_and_no_carousel_s():
    sheet = (SITE / "_static/styles/bootstrap.css").read_text("utf-8")
    assert ".d-flex" in sheet
    assert ".col-xl-11" not in sheet
    assert len(sheet) < 60_000
