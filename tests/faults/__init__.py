"""Fault injection: the tests play a seeded part of the faults, ``make soak`` many more."""
