"""What does maximum likelihood do to a generative model, and what does adversarial training do to the same model?"""
