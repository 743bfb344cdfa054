"""DICOM: which series of a folder or archive is labelled, and its planes as a ``Volume`` in HU.

Needs the extra ``dicom``. Nothing here is imported unless there is DICOM to read. The way of a series:
``sources`` finds files, ``headers`` reads what they say, ``series`` groups them, ``choice`` picks one of each study,
``stack`` puts its planes in order, ``pixels`` decodes them, ``tilt`` sets a tilted stack upright.
"""
