"""What somebody trained, loaded and run by the functions of this package.

`rxnmapper` is a transformer that reads chemical reactions, `reactions` what it is given and what a chemist
would call right, `smiles` the notation they are written in. `smollm2` is a language model; `language_model`
runs it, with keys and values in a `cache`.
"""
