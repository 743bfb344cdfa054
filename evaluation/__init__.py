"""How good a prediction is, and how it looks: phantom CT with known organs, pictures, DSC and NSD as FLARE22 has them.

The phantom, the pictures, DSC and the demonstration need numpy and Pillow only; surface distances need the extra
``evaluation``.
"""
