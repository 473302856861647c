"""Faults made on purpose: the tests play a seeded part of them, ``make soak`` many more."""
