"""The catalogue: products and what customers say of them."""
