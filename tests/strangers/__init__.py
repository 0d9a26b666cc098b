"""Functions as strangers write them, right, and wrong in ways that are known."""
