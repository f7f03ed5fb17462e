"""Networks as data: one file a family, one table a network."""
