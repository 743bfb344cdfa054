"""DICOM: what a series' slices are, and labels as objects that any archive stores and any viewer lays over them.

Needs the extra ``dicom``. Nothing here is imported unless DICOM is given or asked for.
"""
