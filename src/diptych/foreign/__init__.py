"""Recognises the networks of other tools from the keys and shapes of their weights, and loads the weights into ours.

A published ``.pth`` file is a bare state_dict. It does not describe its network, but its keys and shapes determine everything
that has weights. ``families.py`` holds one table of the ways in which tools name layers; its readers infer the settings of one of
our networks, and say which layer of the file is which of ours. A file fits when names and shapes are exactly those expected. What
leaves no trace in a file (padding, norms without parameters, dropout) is assumed, and each assumption is reported with the option
that changes it.
"""

from __future__ import annotations

from diptych.foreign.families import Foreign
from diptych.foreign.layers import Assumed, Said
from diptych.foreign.networks import Networks, load_foreign, load_networks, recognise, to_snapshot

__all__ = ["Assumed", "Foreign", "Networks", "Said", "load_foreign", "load_networks", "recognise", "to_snapshot"]
