"""Waiting for what a simulated cluster should come to, on the virtual clock."""

STEP_SECONDS = 0.05


def wait(cluster, condition, seconds, what):
    """Run until the condition holds; fail with the whole picture otherwise."""
    limit = cluster.sim.now + seconds
    while not condition():
        assert cluster.sim.now < limit, f"{what}: not within {seconds} s\n{cluster.picture()}"
        cluster.sim.run_for(STEP_SECONDS)


def elect(cluster):
    """The leader that all living nodes know of."""

    def agree():
        return len({cluster.nodes[node].board.leader for node in cluster.alive} - {None}) == 1 and cluster.leader()

    wait(cluster, agree, 30.0, "a leader")
    return cluster.leader()


def record_of(cluster, job):
    """The leader's record of a job, if there is one."""
    leader = cluster.leader()
    return None if leader is None else cluster.nodes[leader].board.jobs.records.get(job)


def run_to(cluster, step, job):
    """Go on until the leader knows that ``step`` steps are done."""
    wait(cluster, lambda: (record := record_of(cluster, job)) and record.step >= step, 60.0, f"step {step}")


def finish(cluster, job, seconds=120.0):
    """Wait until every living node knows how the job ended; all say the same, and nothing of it is left."""
    wait(cluster, lambda: cluster.ended(job), seconds, f"the end of job {job}")
    wait(cluster, lambda: cluster.is_clean(job), 5.0, f"nothing left of job {job}")
    (end,) = {(record.state, record.reason) for record in cluster.records_of(job).values()}
    assert end, cluster.picture()
    return record_of(cluster, job)
