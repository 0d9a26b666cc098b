"""Grading a notebook: its checks, judged by a process that the notebook cannot reach.

`python -m selfattention.check student.ipynb` starts two processes. One runs the notebook's cells
(`student`); it has no solutions, and its `check` hands each answer to the other. That one (`judge`) holds the
exercises, and the verdicts are made there. Between the two go lines of text (`channel`): numbers, words, and
calls of a function that lives on the other side. So a function is judged by what it returns, and nothing that
a notebook prints, patches or rewrites in its own process is heard.

Three things this does not do. The solutions are printed in the book, and whoever copies one is right. The
inputs are those that the reader's own `check` tries, so that a table of its answers is right, too. And both
processes are the same user's: a notebook of somebody who means harm belongs into a container.
"""
