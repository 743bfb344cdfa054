"""What is read and written: scans, label maps, and the names of cases.

To add a file format that ITK reads: its ending in ``cases.EXTENSIONS``. One that ITK does not read needs a branch in
``image_io.read_volume`` as well. NIfTI has its own reader and writer, ``itk_files`` has all the others. Label maps are
written as ``.nii.gz`` (``cases.output_path``).
"""
