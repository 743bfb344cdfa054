"""The networks: what the manifest says of them, which variant is taken, and the runtimes that compute them.

To add a runtime (backend): a file ``backend_NAME.py`` with the two functions of ``loading.BackendModule``; its name in
``manifest.BackendName`` and among the choices of ``cli/predict_options.py``; in ``runtimes.py`` what people call it,
what installs it, and when it is tried; and in ``export/contenders.py`` a line that has the parity test compare it:
without, only the float32 variant is used in it.
"""
