"""The project beside its peers and limits. ``python -m benchmarks`` runs all; tables in benchmarks/results/."""
