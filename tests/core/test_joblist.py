"""The job list: the leader's word, except what it has missed."""

from dataclasses import replace

from edged.core.joblist import KEPT, JobList
from edged.core.messages import JobRecord, Jobs, JobState
from tests.core.job_sample import JOB, OTHER_JOB, A


def record(job=JOB, state=JobState.QUEUED, step=0, reason=""):
    return JobRecord(job, "net", A, state, step, 10, reason)


def leading(*records):
    jobs = JobList()
    jobs.lead(1)
    for one in records:
        jobs.put(one)
    return jobs


def test_every_change_raises_the_number_but_a_step_does_not():
    jobs = leading(record())
    assert jobs.number == 1
    assert jobs.put(record(state=JobState.RUNNING))
    assert not jobs.put(record(state=JobState.RUNNING))
    assert not jobs.put(record(state=JobState.RUNNING, step=5))
    assert jobs.number == 2
    assert jobs.records[JOB].step == 5


def test_an_ended_job_stays_ended():
    jobs = leading(record(state=JobState.FAILED, reason="died"))
    assert not jobs.put(record(state=JobState.RUNNING))
    assert jobs.ended(JOB)
    jobs.advance(JOB, 7)
    assert jobs.records[JOB].step == 0


def test_a_follower_takes_the_list_over():
    leader, follower = leading(record(), record(OTHER_JOB)), JobList()
    assert not follower.follow(leader.message())
    assert follower.message() == leader.message()


def test_an_older_list_is_ignored():
    follower = JobList()
    follower.follow(Jobs(2, 5, (record(state=JobState.RUNNING),)))
    assert not follower.follow(Jobs(2, 4, (record(),)))
    assert not follower.follow(Jobs(1, 9, ()))
    assert follower.records[JOB].state is JobState.RUNNING


def test_the_list_of_whoever_is_obeyed_next_is_newer_whatever_its_term_and_number():
    follower = JobList()
    follower.follow(Jobs(2, 5, (record(),)))
    for term in (3, 2, 1):  # another lineage may count the same terms
        follower.obey(term)
        assert not follower.follow(Jobs(term, 1, (record(state=JobState.RUNNING, step=term),)))
        assert (follower.term, follower.number) == (term, 1)
    assert follower.records[JOB].state is JobState.RUNNING


def test_a_follower_corrects_a_leader_that_missed_an_end():
    follower = JobList()
    follower.follow(Jobs(1, 3, (record(state=JobState.FINISHED, step=10),)))
    leader = leading(record(state=JobState.RUNNING))
    leader.lead(2)
    assert follower.follow(leader.message())
    assert follower.ended(JOB)
    assert leader.correct(follower.message())
    assert leader.ended(JOB)
    assert not follower.follow(leader.message())
    assert not leader.correct(follower.message())


def test_a_follower_corrects_a_leader_that_missed_a_job():
    follower = JobList()
    follower.follow(Jobs(1, 3, (record(), record(OTHER_JOB, JobState.STOPPED))))
    leader = JobList()
    leader.lead(2)
    assert follower.follow(leader.message())
    assert leader.correct(follower.message())
    assert leader.records == follower.records
    assert not follower.follow(leader.message())


def test_the_steps_of_a_running_job_do_not_go_back():
    follower = JobList()
    follower.follow(Jobs(1, 1, (record(state=JobState.RUNNING, step=2),)))
    follower.advance(JOB, 6)
    follower.follow(Jobs(1, 1, (record(state=JobState.RUNNING, step=3),)))
    assert follower.records[JOB].step == 6
    follower.follow(Jobs(2, 0, (record(),)))
    assert follower.records[JOB] == record()


def test_the_oldest_ended_jobs_are_forgotten_for_good():
    jobs = leading(record("live", JobState.RUNNING))
    for number in range(KEPT + 5):
        jobs.put(record(f"{number:012x}", JobState.FINISHED))
    assert len(jobs.records) == KEPT
    assert "live" in jobs.records
    assert "0" * 12 not in jobs.records
    follower = JobList()
    follower.put(record("old", JobState.FINISHED))
    follower.put(replace(record("new"), step=1))
    assert follower.follow(jobs.message())
    assert "old" not in follower.records
    assert list(follower.records)[-1] == "new"


def test_what_is_written_tells_the_next_process_what_is_over_and_what_stands():
    jobs = JobList()
    assert jobs.unwritten() is None
    jobs.put(record(state=JobState.RUNNING, step=5, reason="going on"))
    assert jobs.unwritten() == (record(),)
    jobs.advance(JOB, 6)
    jobs.put(record(state=JobState.WAITING, step=6, reason="for a node"))
    assert jobs.unwritten() is None, "only what lasts is worth writing"
    paused = record(state=JobState.PAUSED, step=6)
    jobs.put(paused)
    assert jobs.unwritten() == (paused,)
    over = record(state=JobState.FAILED, step=6, reason="it raised")
    jobs.put(over)
    written = jobs.unwritten()
    assert written == (over,)
    again = JobList(written)
    assert again.records == {JOB: over}
    assert again.unwritten() is None
    again.put(record(state=JobState.RUNNING))
    assert again.ended(JOB)


def test_a_leader_that_runs_a_job_again_learns_from_the_disk_of_another_that_it_is_over():
    source = JobList((record(state=JobState.FINISHED, step=10),))
    leader = leading(record(state=JobState.RUNNING, step=3))
    assert source.follow(leader.message())
    assert leader.correct(source.message())
    assert leader.ended(JOB)
