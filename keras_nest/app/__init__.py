"""A page on this machine that asks a model about images: what `keras-nest app` serves.

Nothing but Python's own HTTP server and three static files, which ask no other host for anything.
"""
