"""Layer specs, the graphs that join them, and the few modules that torch.nn lacks."""
