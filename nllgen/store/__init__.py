"""What was found: the only owner of HDF5 paths, shapes, dtypes and units. No torch."""
