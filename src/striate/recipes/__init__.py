"""Experiments, where data, architecture, task and training meet, and the named ones such as the demo."""
