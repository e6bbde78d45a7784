"""A classifier as a page that runs it in the browser: static files for any web server."""

from keras_nest.export.web.site import to_web

__all__ = ["to_web"]
