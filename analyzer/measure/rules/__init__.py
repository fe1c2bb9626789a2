"""Rules: from an operation and its shapes to the work that it does."""
