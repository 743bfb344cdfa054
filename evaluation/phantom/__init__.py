"""A made-up abdominal CT with all thirteen organs: no patient, so it can serve demonstrations and tests.

The patient is painted in LPS millimetres, so that every grid shows the same one: other spacings, crops and axis orders
are other scans of it. HU are those of a portal-venous scan; the reference labels are FLARE22's.
"""

from evaluation.phantom.scan import CASE_NAME, make_phantom, phantom_geometry, write_phantom

__all__ = ["CASE_NAME", "make_phantom", "phantom_geometry", "write_phantom"]
