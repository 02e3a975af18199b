"""From expressions to what a person reads: lines, matrix and index form, text and LaTeX."""
