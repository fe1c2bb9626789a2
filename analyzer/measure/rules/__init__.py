"""What an operation computes, told from its shapes: the rules, and how contractions meet."""
