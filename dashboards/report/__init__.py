"""The boards as one page that needs nothing but a browser."""
