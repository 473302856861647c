"""The project beside its peers and limits. ``python -m benchmarks`` runs all and writes benchmarks/results.md."""
