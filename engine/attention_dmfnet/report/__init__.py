"""What is made for people of a labelled scan: numbers, a page for each case, and an index of them.

Nothing here is imported by a plain ``predict``: only ``--statistics``, ``--report`` and the command ``report`` do.
"""
