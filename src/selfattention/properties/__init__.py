"""What tells a right function from a wrong one: properties, as functions of the candidate.

A module here is called after the function it judges. Each of its public functions calls the
candidate and asserts one thing; its docstring says which. Inputs have no two axes alike, but for the
properties that say so. They assert with `np.testing`, since `python -O` skips the bare statement, and then
everybody would pass.
"""
