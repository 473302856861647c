"""From a plan to processes: leases, the supervisor, local runs, status. No torch."""
