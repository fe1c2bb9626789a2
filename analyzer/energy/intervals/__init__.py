"""How sure a mean energy is, from what single samples did."""
