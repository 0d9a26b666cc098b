"""Somebody else's function: how it wants to be called, what it makes of inputs that separate, and why.

A `Case` is an input (`cases`), a `Plan` a way to call (`plans`: whose argument is what; `layouts`: axes and
masks). The function runs in a process of its own (`process`, `stranger`), which is asked case by case; its
numbers are explained by the recipes of `selfattention.recipes`; `examination` puts these together, and
`report` says what came of it. The door is `selfattention.examine`.
"""
