"""MNIST, synthetic sets, dequantisation and logits."""
