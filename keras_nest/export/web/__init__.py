"""Models as pages that run them in the browser: static files for any web server."""

from keras_nest.export.web.site import to_web

__all__ = ["to_web"]
