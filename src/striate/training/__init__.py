"""The training loop, the fast step, optimisers and schedules, and checkpoints."""
