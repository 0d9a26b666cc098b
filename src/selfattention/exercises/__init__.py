"""The exercises: one module per chapter, in each the solutions, and the mistakes that have a name.

An exercise labelled `exercise-softmax-two-key-weight` is `two_key_weight` in `softmax.py` here, and
`check.two_key_weight` for the reader. The solution stands here and nowhere else.
"""
