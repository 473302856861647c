"""What is to be run: models, grids and plans. No torch."""
