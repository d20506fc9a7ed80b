"""A recipe is one file: where the data is from, how it is split, how a specialist is made."""
