"""How fast the product is beside the least that could do the same work: docs/performance.md."""
