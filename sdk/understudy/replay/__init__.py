"""A bag through a student under a virtual clock, by the code of the live node: sources, player, comparison, summary."""
