"""Readers (one file a format), preparation into shards, and the loader that makes a batch of (shards, seed, step)."""
