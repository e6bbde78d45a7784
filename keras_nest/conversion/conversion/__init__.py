"""`conversion` in a checkout: `keras_nest.conversion` and all its modules, under the name of this directory."""

from keras_nest_start import quiet_when_run

with quiet_when_run():
    from keras_nest.aliases import add_alias

    add_alias("conversion", "keras_nest.conversion")
