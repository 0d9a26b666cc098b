"""Exercises whose answer is a test, and how it may say that a suspect is unmasked."""

from functools import wraps

import numpy as np

from selfattention.exercises.diagnosis import exercise
from selfattention.exercises.evidence import who_passes


def exercise_in_testing(*, cases, worth_trying, evidence=who_passes):
    """Declare an exercise whose answer is a test: it may assert, raise, or give anything that is true or not.

    The first of the cases is the right function.
    """
    (right, *_) = cases[0]
    return exercise(
        cases=cases,
        worth_trying=worth_trying,
        evidence=evidence,
        seen_as=passes,
        taken_as=lambda answer: as_a_test(answer, right),
    )


def passes(result, *suspects):
    """What a test says: true, or true of every row; a test that asserts, and returns nothing, has passed."""
    if result is None:
        return True
    try:
        each = np.asarray(result)
        return bool(each.size and each.all()) if each.dtype.kind in "biuf" else bool(result)
    except ValueError:  # lists of many lengths
        return bool(result)


def as_a_test(answer, right=None):
    """A test as a function that returns what it says; a suspect that stops, or at whom it stops, is unmasked.

    A test that stops at the right function as well says nothing of the suspect, and its error is raised.
    """

    def test(suspect):
        stopped = []

        @wraps(suspect)
        def watched(*args, **named):
            try:
                return suspect(*args, **named)
            except Exception as error:
                stopped.append(error)
                raise

        try:
            return answer(watched)
        except AssertionError:
            return False
        except Exception:
            if not stopped and (right is None or suspect is right or not _passes_quietly(answer, right)):
                raise
            return False

    return test


def _passes_quietly(answer, right):
    try:
        return passes(answer(right), right)
    except Exception:
        return False
