"""Results, data sets and study folders on disk. The only owner of HDF5 paths, shapes, dtypes and units. No torch."""
