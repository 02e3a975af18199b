"""Jacobians and Hessians as sums of structured terms: δ, diagonal, low-rank, Kronecker, banded."""
