"""Differentiable maps with hand-written adjoints: the material of operators and priors."""
