"""Reading what strangers wrote: looked at before memory is taken for it, and refused in a sentence.

What readers of checkpoints, models and lists have in common; docs/guides/trust.md is what users are told of it.
"""
