"""What becomes of a job's old outputs when the job fails: they stay, whole, and are not taken for new ones.

Snakemake's own way, for outputs that it is to `update`, is to put them back with the time of today and to note the
inputs and params of the job that has failed: the next run would have nothing to do. And it writes into the file that
somebody may read, so that a kill leaves half of it.
"""

import shutil

from snakemake.persistence import FileBackupMixin, PersistenceBase

from signoff.base.files import replacing

FAILED: set[str] = set()
record_finished = PersistenceBase.finished


def keep_old_outputs() -> None:
    """Have this process's Snakemake keep old outputs in the way of this module."""
    FileBackupMixin.backup_output = backup_output
    FileBackupMixin.restore_output = restore_output
    PersistenceBase.finished = finished


def backup_output(self, path) -> None:
    """Copy an output before its job runs, with its time."""
    backup = self._get_backup_path(path)
    backup.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, backup)


def restore_output(self, path) -> bool:
    """Put an output of a job that has failed back in one step, and tell whether there was one."""
    FAILED.add(str(path))
    backup = self._get_backup_path(path)
    if not backup.exists():
        return False
    with replacing(path) as new:
        shutil.copy2(backup, new)
    backup.unlink()
    return True


async def finished(self, job) -> None:
    """Note what a job has made its outputs of; where it has failed, what the old ones are made of stays noted."""
    outputs = {str(path) for path in job.output}
    if not outputs & FAILED:
        return await record_finished(self, job)
    FAILED.difference_update(outputs)
    for path in job.output:
        self._unmark_incomplete(self._get_key(path))
    return None
