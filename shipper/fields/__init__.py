"""What a field is, and what follows from its declaration: rates, aliases, Diamond's heritage."""
