"""A model that maps any sea: trained on seas that are drawn, scored on others and on real ones."""
