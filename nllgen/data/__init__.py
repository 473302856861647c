"""MNIST, synthetic data sets, dequantisation and logits."""
