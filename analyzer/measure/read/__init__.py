"""The numbers of one tensor: value class, non-zeros along axes and groups, read in one pass."""
