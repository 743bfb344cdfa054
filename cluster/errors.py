"""What ends a run on many machines before its cases are done."""

from attention_dmfnet.files.cases import InputError


class ClusterError(InputError):
    """Machines, places or a ledger that cannot be used: one sentence with what to do."""
