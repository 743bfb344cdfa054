"""Synthetic CT painted from anatomy maps.

``docs/painting.md`` goes through the files in order. Illnesses are in ``pathology.py`` and ``spots.py``, the tissues
and their HU in ``tissue.py``, what completes an organ map to a body in ``completion.py`` and ``bodies.py``.
"""
