"""A run as one page: how good the model is, what it was right and wrong about, and where it looked.

The page is one file that needs nothing else: no server, no network, no scripts.
"""
