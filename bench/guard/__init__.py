"""Instruction counts of the hot paths, held to bounds: a change that makes one dearer is seen on any machine.

``python -m bench.guard`` runs each path of ``paths.py`` under valgrind and compares with ``bounds.json``.
"""
