"""A study of every section, in which tests plant faults."""

GOOD = """\
name: small
truth:
  data: {source: mnist}
  flow: {width: 16, blocks: 2}
  paradigm: {name: nll, steps: 400}
  seed: 0
dataset: {num_train: 5000, num_val: 1000, num_test: 1000}
metrics: {frechet: [lenet]}
cells:
  - data: {source: synthetic, num_train: [1000, fresh]}
    degree: [U2, W]
    paradigm: {name: nll, steps: 300}
    start: random
    precision: auto
    seed: {range: [0, 5]}
    exclude:
      - {degree: U2, seed: 1}
    include:
      - {degree: W*, seed: 0}
"""
