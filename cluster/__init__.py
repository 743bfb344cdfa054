"""The same jobs on many machines, with Ray: ``python -m cluster``.

Needs the extra ``cluster``. One machine is the default of this project and needs nothing of this. The way of a case:
``ledger`` says whether it is to be done, ``dispatch`` gives it to a worker of a crew, ``places`` and ``staging`` bring
its scan to the worker's disk and its outputs back, ``labelling`` does with it what ``attention-dmfnet predict`` does.
Only ``ray_crew`` knows Ray.
"""
