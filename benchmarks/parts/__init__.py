"""What several benchmarks share: environments of peers, results that outlive an interruption, tables of ratios."""
