"""Stateless tensor functions: losses, metrics and the slow reference versions of every layer."""
