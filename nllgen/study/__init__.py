"""Studies: configuration, sweeps, YAML with line numbers, and claims. No torch."""
