"""Readers, one file a format, and the files that parse for them."""
