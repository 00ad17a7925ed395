"""The user's own numbers. Sources turn bytes into samples, ``bounds`` limits them, ``documents`` makes readings of them."""
