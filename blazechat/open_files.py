"""The limit on open files of a process: each socket needs one."""

MAX_OPEN_FILES = 1_048_576
"""More are not asked for: some libraries walk through all possible file numbers."""


def attainable_limit() -> int | None:
    """Return the open files that `raise_limit()` allows this process; None on systems without a limit."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return MAX_OPEN_FILES
    return max(soft, min(hard, MAX_OPEN_FILES))


def raise_limit() -> None:
    """Raise the soft limit of this process as far as the hard limit allows."""
    limit = attainable_limit()
    if limit is None:
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (limit, resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
