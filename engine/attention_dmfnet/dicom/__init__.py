"""DICOM: which series of a folder or archive is labelled, its planes as a ``Volume`` in HU, and labels as objects.

Needs the extra ``dicom``. Nothing here is imported unless DICOM is given or asked for. The way of a series:
``sources`` finds files, ``headers`` reads what they say, ``series`` groups them, ``choice`` picks one of each study,
``stack`` puts its planes in order, ``pixels`` decodes them, ``tilt`` sets a tilted stack upright. ``seg`` and
``rtstruct`` write labels that any archive stores and any viewer lays over the scan.
"""
