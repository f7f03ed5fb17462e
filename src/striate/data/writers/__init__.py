"""Writers, one file a format: what `striate convert` and `striate check --fix` write."""
