"""Convolutions in float32 on the processor, for training: Winograd's method, and products of gathered rows."""
