"""Records of tensor operations: what is noted, recognised, expanded and run."""
