"""The built-in music: composed, played and labelled here, so that everything runs offline.

A piece follows from its place in affect, its style and artist, and a seed. It stands in for real
datasets where there are none, and its scores are no scores on real music.

This door imports nothing: the processes that render need neither PyTorch nor pandas.
"""
