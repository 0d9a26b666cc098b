"""The language model of chapter 15, where it can be had.

Without a network, and without the model in the cache folder, what needs it is skipped and says why, or
fails if REQUIRE_MODEL is set.
"""

import os

import pytest

from selfattention.trained import smollm2


def why_not():
    """Why the model cannot be had, in words; None where it can."""
    try:
        smollm2.fetch()
    except OSError as why:
        return str(why)
    return None


def needed():
    """Skip or fail the test that asks, where there is no model."""
    if why := why_not():
        pytest.fail(why) if os.environ.get("REQUIRE_MODEL") else pytest.skip(why)


def needs_it(notebook):
    return "smollm2.load" in notebook.read_text(encoding="utf-8")
