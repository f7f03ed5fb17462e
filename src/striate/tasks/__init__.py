"""Tasks, one file each: target kind, head, loss, decoding and metrics."""
