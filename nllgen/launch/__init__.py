"""From a plan to processes: claims, the supervisor, local runs, status. No torch."""
