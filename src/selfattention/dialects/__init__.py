"""Which attention do you mean? What the formula leaves open, as questions, and what libraries answer.

    from selfattention.dialects import QUESTIONS, answers, missing, moving, reading

A question (`QUESTIONS[name]`, see `questions`) has a small input, `asked`, and `readings`, the answers that
it can have: each a function of the input that calls this package's own contract. `question.expected(reading,
variant)` gives the reading's numbers. An adapter (`libraries`) says a question in one library's words; each
of its doors is a function with its flags, or a layer in one of its modes. `make dialects` asks and writes
data/dialects.json::

    {"command": …, "libraries": {
      name: {"title", "packages": […], "date", "versions": {…}, "doors": {
        door: {"takes": […], "calls": [line of code, …], "answers": {
          question: {variant: [reading, numbers, index into calls]}}}}},
      name: {"title", "packages", "date", "missing": why it could not be had}}}

The variant "" is the question itself. Where nothing came back, the reading is "refused", with the class and
the first line of the error in the numbers' place, or "no answer", with how the process ended; "none of these"
has numbers that no reading gives. A question that a door has no argument for is absent: `takes` says what it
has. NaN and ∞ are the strings "NaN", "Infinity" and "-Infinity". `answers()` gives all of it as `Answer`s,
one a line, and `reading(library, door, question)` one word: a reading, "depends" where variants disagree, or
None. `moving(from_, to)` says what becomes different between two doors, named "library/door", and which line
makes them agree.
"""

from selfattention.dialects.moving import Change, doors, moving
from selfattention.dialects.questions import GROUPS, QUESTIONS
from selfattention.dialects.recorded import Answer, answers, missing, places, reading, titles

__all__ = [
    "GROUPS",
    "QUESTIONS",
    "Answer",
    "Change",
    "answers",
    "doors",
    "missing",
    "moving",
    "places",
    "reading",
    "titles",
]
