"""One forward pass, observed: the operations it runs, where, and on what."""
