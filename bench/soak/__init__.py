"""`make soak`: the product for a long while, with everything going wrong around it."""
