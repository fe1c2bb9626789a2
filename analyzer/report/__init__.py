"""From profiles to a page, figures and tables. Knows no torch."""
