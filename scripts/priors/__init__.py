"""Families of priors side by side: which one for what, see docs/howto/choose_prior.md."""
