"""Every private name of PyTorch that this package uses, in one place.

PyTorch has no public way to hear of single operations at no cost to the others, to hide the
operations of a block from a user's modes, or to compare how often a tensor was written. The names
in these modules do that. Each was seen in PyTorch 2.6 to 2.13; each is looked up when it is first
needed, and what happens where it lacks is said at its function. Nothing here is needed to load a
profile.
"""
