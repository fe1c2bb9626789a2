"""The torch side: one forward pass, observed."""
