"""A function as the parts that it is made of, the mistakes that replace one part, and what explains numbers.

A recipe is a frozen dataclass whose fields are the parts: of `attention`, how scores are made, scaled and
hidden, how a softmax makes weights of them, how these mix the values. Called, it computes in the dtype of
what it is given. A `Mistake` replaces one part and has a sentence and a chapter; a `Convention` replaces one
and is right by another definition; a `Reading` settles what the formula leaves open, the rows that may see
nobody. Two mistakes at once are two parts replaced, so pairs are composed and never listed. `explain` finds
the smallest of these explanations that gives somebody's numbers.
"""
