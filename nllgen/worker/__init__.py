"""One task of a study, from its configuration to its files: the truth, its data set, or a cell."""
