"""Plan a study: which tasks run, why, and what they cost. No torch."""
