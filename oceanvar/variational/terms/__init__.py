"""Terms of the variational cost."""
