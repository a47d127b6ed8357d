"""A procedural chest X-ray: anatomy, findings and films of several sites, drawn from a seed.

It stands in for chest X-ray sets that cannot be shipped: how much data there is, which findings an
image has and how far one site's films are from another's can be dialled, and the truth is known. It
is schematic: signs are where and what a textbook says, but no number measured on it says anything
about patients.
"""
